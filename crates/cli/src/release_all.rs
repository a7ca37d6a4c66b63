//! `rerail release-all`.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Args;
use rerail_api::names;
use rerail_core::lease::Times;
use rerail_operator::{
    check,
    client::Clients,
    deps::{Clock, Deps, LeaseName, NoFetch, Settings, SteadyClock, SystemBootClock},
    record::metrics::Metrics,
    release::{self, Left},
};

use crate::{CommandError, connect, logs, watchdog::ThreadWatchdog};

#[derive(Debug, Args)]
pub struct ReleaseAllArguments {
    /// Kubeconfig file of a person who may patch nodes; without it KUBECONFIG or ~/.kube/config.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// How many minutes to wait for machines that are rebooting, verified, or not Ready.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// Image of the probe Pods of runs that are being verified: the operator's own.
    #[arg(long, env = "RERAIL_NODE_IMAGE", default_value = concat!("rerail:", env!("CARGO_PKG_VERSION")))]
    node_image: String,
}

pub async fn run(arguments: ReleaseAllArguments) -> Result<ExitCode, CommandError> {
    logs::start_quiet();
    let config = connect::config(arguments.kubeconfig.as_deref()).await?;
    let metrics = Metrics::default();
    let clients = Clients::new(config, &metrics).map_err(Box::new)?;
    let replicas = release::operator_replicas(&clients).await.map_err(CommandError::Call)?;
    if replicas > 0 {
        return Err(CommandError::OperatorRuns(replicas));
    }
    let clock = SteadyClock::start();
    let pauses = check::pauses(&clients.read).await.map_err(CommandError::Call)?;
    // No node and no policy has an empty name: only a pause of everything is asked for.
    if let Some(pause) = pauses.in_force("", "", clock.now()) {
        return Err(CommandError::Paused(pause.text.clone()));
    }
    let settings = Settings {
        lease: LeaseName::default(),
        pod_name: String::new(),
        node_name: String::new(),
        election: Times::default(),
        node_image: arguments.node_image,
        // Nothing is rebooted: every run is cancelled.
        reboot_command: Vec::new(),
    };
    let identity = connect::identity("release-all", &clock);
    let deps = Arc::new(Deps {
        clock: Box::new(clock),
        boot_clock: Arc::new(SystemBootClock),
        watchdog: Box::new(ThreadWatchdog::start().map_err(CommandError::Watchdog)?),
        identity,
        fetch: Arc::new(NoFetch),
        pushes: Arc::default(),
        settings,
        metrics,
    });
    let patience = Duration::from_secs(arguments.minutes.saturating_mul(60));
    let shutdown = async move {
        tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => {}
            () = tokio::time::sleep(patience) => {}
        }
    };
    let left = release::release_all(clients, deps, shutdown, told).await?;
    if left.is_empty() {
        anstream::println!(
            "every node is given back; no mark, no open run, no finalizer and no slot is left"
        );
        return Ok(ExitCode::SUCCESS);
    }
    not_released(&left);
    Ok(ExitCode::FAILURE)
}

/// What is left, whenever it changes.
fn told(left: &[Left]) {
    if left.is_empty() {
        return;
    }
    let width = |of: fn(&Left) -> &str, least: usize| {
        left.iter().map(|left| of(left).chars().count()).max().unwrap_or(0).max(least)
    };
    let (node, run) = (width(|left| &left.node, 4), width(|left| &left.run, 3));
    anstream::println!("{:node$}  {:run$}  {:12}  WHY", "NODE", "RUN", "STEP");
    for Left { node: on, run: name, step, reason: (reason, message), .. } in left {
        anstream::println!("{on:node$}  {name:run$}  {step:12}  {reason}: {message}");
    }
    anstream::println!();
}

/// The way without us, for each.
fn not_released(left: &[Left]) {
    anstream::eprintln!("\u{1b}[31merror\u{1b}[0m: not everything could be given back in time.");
    anstream::eprintln!("Wait and call this again, or undo it by hand:");
    for Left { node, run, cordoned, reason: (reason, _), .. } in left {
        if *cordoned {
            anstream::eprintln!(
                "  kubectl uncordon {node}; kubectl annotate node {node} {}",
                marks_off()
            );
        }
        if !run.is_empty() {
            anstream::eprintln!(
                "  kubectl patch noderemediation {run} --type=merge -p '{{\"metadata\":{{\"finalizers\":null}}}}'"
            );
        }
        if reason == release::SLOT_HELD {
            anstream::eprintln!(
                "  see that {node} is well; slots go with the Lease: kubectl -n {} delete lease {}",
                names::SYSTEM_NAMESPACE,
                names::LEASE
            );
        } else if run.is_empty() && !*cordoned {
            anstream::eprintln!("  kubectl annotate node {node} {}", marks_off());
        }
    }
}

/// What takes our marks off a node, for `kubectl annotate`.
fn marks_off() -> String {
    format!("{}- {}-", names::CORDONED_BY, names::CORDON_NOTE)
}
