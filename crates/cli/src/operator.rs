//! `rerail operator`.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use rerail_api::duration::{DurationError, GoDuration};
use rerail_core::lease::Times;
use rerail_operator::{
    alerts::Pushes,
    client::{Around, Clients},
    deps::{Deps, Settings, SteadyClock, SystemBootClock},
    record::metrics::Metrics,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    CommandError, connect, fetch::HttpFetch, http, logs, watchdog::ThreadWatchdog, webhook,
};

/// What kured runs by default: into the host's init with `nsenter`, then systemd.
const REBOOT_COMMAND: &str =
    "/usr/bin/nsenter --target=1 --mount --uts --ipc --net --pid -- /bin/systemctl reboot";

#[derive(Debug, Args)]
pub struct OperatorArguments {
    /// Kubeconfig file; without it KUBECONFIG, ~/.kube/config or the Pod's own service account.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Where /metrics, /healthz and /readyz are served.
    #[arg(long, env = "RERAIL_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Name of the operator's own Pod, which it never evicts.
    #[arg(long, env = "POD_NAME", default_value = "")]
    pod_name: String,
    /// Name of the node that the operator's own Pod runs on: among equals it is taken last.
    #[arg(long, env = "NODE_NAME", default_value = "")]
    node_name: String,
    /// Image of the Pods that the operator runs on nodes: the operator's own.
    #[arg(long, env = "RERAIL_NODE_IMAGE", default_value = concat!("rerail:", env!("CARGO_PKG_VERSION")))]
    node_image: String,
    /// What a reboot Pod runs, split at spaces; no shell looks at it.
    #[arg(long, env = "RERAIL_REBOOT_COMMAND", default_value = REBOOT_COMMAND)]
    reboot_command: String,
    #[command(flatten)]
    alerts: AlertsArguments,
    #[command(flatten)]
    election: ElectionArguments,
}

/// The port to which Alertmanager sends webhooks.
#[derive(Debug, Args)]
pub struct AlertsArguments {
    /// Where webhooks are taken that have an AlertSource polled at once, at /v1/alertsources/NAME.
    /// Default: nowhere.
    #[arg(long, env = "RERAIL_ALERTS_LISTEN", value_name = "ADDRESS")]
    alerts_listen: Option<SocketAddr>,
    /// Certificate chain of that port, in PEM; read anew when it changes. Default: no TLS.
    #[arg(
        long,
        env = "RERAIL_ALERTS_TLS_CERT_FILE",
        requires = "alerts_tls_key_file",
        value_name = "FILE"
    )]
    alerts_tls_cert_file: Option<PathBuf>,
    /// Key of that certificate, in PEM.
    #[arg(
        long,
        env = "RERAIL_ALERTS_TLS_KEY_FILE",
        requires = "alerts_tls_cert_file",
        value_name = "FILE"
    )]
    alerts_tls_key_file: Option<PathBuf>,
}

impl AlertsArguments {
    fn files(&self) -> Option<webhook::Files> {
        let (certificate, key) = (&self.alerts_tls_cert_file, &self.alerts_tls_key_file);
        let (certificate, key) = certificate.clone().zip(key.clone())?;
        Some(webhook::Files { certificate, key })
    }
}

/// The times of leader election, spelt as kube-controller-manager spells them.
#[derive(Debug, Args)]
pub struct ElectionArguments {
    /// For how long nobody else takes a Lease that was renewed.
    #[arg(long = "leader-elect-lease-duration", env = "RERAIL_LEADER_ELECT_LEASE_DURATION", default_value = "15s", value_parser = duration)]
    lease_duration: Duration,
    /// For how long after its last renewal a leader acts.
    #[arg(long = "leader-elect-renew-deadline", env = "RERAIL_LEADER_ELECT_RENEW_DEADLINE", default_value = "10s", value_parser = duration)]
    renew_deadline: Duration,
    /// Between two renewals.
    #[arg(long = "leader-elect-retry-period", env = "RERAIL_LEADER_ELECT_RETRY_PERIOD", default_value = "5s", value_parser = duration)]
    retry_period: Duration,
}

impl ElectionArguments {
    fn times(&self) -> Result<Times, CommandError> {
        let times = Times::new(self.lease_duration, self.renew_deadline, self.retry_period);
        times.map_err(CommandError::Election)
    }
}

/// A duration as Kubernetes writes it, such as `15s` or `1m30s`.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed: GoDuration = text.parse().map_err(|error: DurationError| error.to_string())?;
    Duration::try_from(parsed.value()).map_err(|error| error.to_string())
}

pub async fn run(arguments: OperatorArguments, layer: &impl Around) -> Result<(), CommandError> {
    logs::start();
    let config = connect::config(arguments.kubeconfig.as_deref()).await?;
    let election = arguments.election.times()?;
    let (metrics, pushes) = (Metrics::default(), Arc::<Pushes>::default());
    let clients = Clients::with_layer(config, &metrics, layer).map_err(Box::new)?;
    let clock = SteadyClock::start();
    let host = if arguments.pod_name.is_empty() { "rerail-operator" } else { &arguments.pod_name };
    let identity = connect::identity(host, &clock);
    let deps = Arc::new(Deps {
        clock: Box::new(clock),
        boot_clock: Arc::new(SystemBootClock),
        watchdog: Box::new(ThreadWatchdog::start().map_err(CommandError::Watchdog)?),
        identity,
        fetch: Arc::new(HttpFetch::default()),
        pushes: pushes.clone(),
        settings: Settings {
            pod_name: arguments.pod_name,
            node_name: arguments.node_name,
            election,
            node_image: arguments.node_image,
            reboot_command: arguments
                .reboot_command
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
        },
        metrics,
    });
    http::serve(arguments.listen, deps.clone()).await?;
    if let Some(address) = arguments.alerts.alerts_listen {
        webhook::serve(address, arguments.alerts.files(), pushes).await?;
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(CommandError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CommandError::Signals)?;
    let shutdown = async move {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(rerail_operator::run(clients, deps, shutdown).await?)
}
