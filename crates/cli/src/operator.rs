//! `rerail operator`.

use std::net::SocketAddr;

use clap::Args;
use rerail_operator::{
    client::Around,
    deps::{LeaseName, Settings},
};

use crate::{
    CommandError, connect, logs,
    process::{self, ProcessArguments},
};

/// What kured runs by default: into the host's init with `nsenter`, then systemd.
const REBOOT_COMMAND: &str =
    "/usr/bin/nsenter --target=1 --mount --uts --ipc --net --pid -- /bin/systemctl reboot";

#[derive(Debug, Args)]
pub struct OperatorArguments {
    #[command(flatten)]
    process: ProcessArguments,
    /// Where /metrics, /healthz and /readyz are served.
    #[arg(long, env = "RERAIL_LISTEN", default_value_t = process::LISTEN)]
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
}

pub async fn run(arguments: OperatorArguments, layer: &impl Around) -> Result<(), CommandError> {
    logs::start("info");
    let config = connect::config(arguments.process.kubeconfig.as_deref()).await?;
    let host = if arguments.pod_name.is_empty() { "rerail-operator" } else { &arguments.pod_name };
    let settings = Settings {
        lease: LeaseName::default(),
        election: arguments.process.election()?,
        node_image: arguments.node_image,
        reboot_command: arguments.reboot_command.split_whitespace().map(str::to_owned).collect(),
        node_name: arguments.node_name,
        pod_name: arguments.pod_name.clone(),
    };
    let (clients, deps) = arguments.process.begin(host, config, settings, layer)?;
    arguments.process.serve(arguments.listen, &deps).await?;
    Ok(rerail_operator::run(clients, deps, process::told_to_end()?).await?)
}
