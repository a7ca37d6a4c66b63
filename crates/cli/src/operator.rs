//! `rerail operator`.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use clap::Args;
use rerail_operator::{
    client::{Around, Clients},
    deps::{Deps, Settings, SteadyClock},
    record::metrics::Metrics,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{CommandError, connect, http, logs};

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
    /// Image of the Pods that the operator runs on nodes: the operator's own.
    #[arg(long, env = "RERAIL_NODE_IMAGE", default_value = concat!("rerail:", env!("CARGO_PKG_VERSION")))]
    node_image: String,
    /// What a reboot Pod runs, split at spaces; no shell looks at it.
    #[arg(long, env = "RERAIL_REBOOT_COMMAND", default_value = REBOOT_COMMAND)]
    reboot_command: String,
}

pub async fn run(arguments: OperatorArguments, layer: &impl Around) -> Result<(), CommandError> {
    logs::start();
    let config = connect::config(arguments.kubeconfig.as_deref()).await?;
    let metrics = Metrics::default();
    let clients = Clients::with_layer(config, &metrics, layer).map_err(Box::new)?;
    let clock = SteadyClock::start();
    let host = if arguments.pod_name.is_empty() { "rerail-operator" } else { &arguments.pod_name };
    let identity = connect::identity(host, &clock);
    let deps = Arc::new(Deps {
        clock: Box::new(clock),
        identity,
        settings: Settings {
            pod_name: arguments.pod_name,
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
