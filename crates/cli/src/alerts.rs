//! `rerail alerts`: the alert bridge alone, and `rerail alerts test`.

mod sciuro;
pub mod test;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use clap::{Args, Subcommand};
use kube::Config;
use rerail_api::names;
use rerail_operator::{
    alerts::{Origin, Source, run_alone},
    client::Around,
    deps::{LeaseName, Settings},
};

use crate::{
    CommandError, connect, logs,
    process::{self, ProcessArguments},
};
pub use sciuro::SciuroError;

/// What can be done with alerts.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct AlertsArguments {
    #[command(subcommand)]
    command: Option<AlertsCommand>,
    #[command(flatten)]
    alone: AloneArguments,
}

/// What can be asked about alerts.
#[derive(Debug, Subcommand)]
enum AlertsCommand {
    /// Show which alerts of a file an expression finds for a node, why, and which conditions the node
    /// would get. Needs no cluster.
    Test(test::TestArguments),
}

#[derive(Debug, Args)]
struct AloneArguments {
    #[command(flatten)]
    process: ProcessArguments,
    /// Where /metrics, /healthz and /readyz are served. Default: 0.0.0.0:8080, or SCIURO_METRICS_ADDR.
    #[arg(long, env = "RERAIL_LISTEN")]
    listen: Option<SocketAddr>,
    /// Name of the Pod that this runs in; its part of the Lease. Default: HOSTNAME.
    #[arg(long, env = "POD_NAME")]
    pod_name: Option<String>,
    /// Namespace of the Lease. Default: rerail-system; with Sciuro's configuration the Pod's own.
    #[arg(long, env = "RERAIL_LEADER_ELECT_RESOURCE_NAMESPACE", value_name = "NAMESPACE")]
    leader_elect_resource_namespace: Option<String>,
    /// Name of the Lease. Default: rerail-alerts; with Sciuro's configuration sciuro-leader.
    #[arg(long, env = "RERAIL_LEADER_ELECT_RESOURCE_NAME", value_name = "NAME")]
    leader_elect_resource_name: Option<String>,
}

/// The environment as Sciuro's Deployments set it: what is not Unicode is none of Sciuro's.
fn environment() -> BTreeMap<String, String> {
    let pairs = std::env::vars_os();
    pairs
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// True if the process is to be what Sciuro was, though nothing was said on the command line.
pub fn stands_in_for_sciuro() -> bool {
    sciuro::is_configured(&environment())
}

pub async fn run(arguments: AlertsArguments, layer: &impl Around) -> Result<(), CommandError> {
    match arguments.command {
        Some(AlertsCommand::Test(arguments)) => test::run(arguments),
        None => alone(arguments.alone, layer).await,
    }
}

/// What the bridge is configured with.
struct Configured {
    origin: Origin,
    listen: SocketAddr,
    lease: LeaseName,
}

async fn alone(mut arguments: AloneArguments, layer: &impl Around) -> Result<(), CommandError> {
    let environment = environment();
    let sciuro = match sciuro::is_configured(&environment) {
        true => Some(sciuro::read(&environment)?),
        false => None,
    };
    logs::start(if sciuro.as_ref().is_some_and(|sciuro| sciuro.dev_mode) {
        "debug"
    } else {
        "info"
    });
    arguments.process.sciuro_metrics |= sciuro.is_some();
    let config = connect::config(arguments.process.kubeconfig.as_deref()).await?;
    let configured = match sciuro {
        Some(sciuro) => as_sciuro(sciuro, &config)?,
        None => of_cluster(),
    };
    let Configured { origin, listen, lease } = configured;
    let settings = Settings {
        election: arguments.process.election()?,
        lease: LeaseName {
            namespace: arguments.leader_elect_resource_namespace.unwrap_or(lease.namespace),
            name: arguments.leader_elect_resource_name.unwrap_or(lease.name),
        },
        ..Settings::outside_a_cluster()
    };
    let pod_name = arguments.pod_name.as_ref().or_else(|| environment.get("HOSTNAME"));
    let host = pod_name.map_or(names::ALERTS_LEASE, String::as_str);
    let (clients, deps) = arguments.process.begin(host, config, settings, layer)?;
    arguments.process.serve(arguments.listen.unwrap_or(listen), &deps).await?;
    Ok(run_alone(clients, deps, origin, process::told_to_end()?).await?)
}

fn of_cluster() -> Configured {
    let (namespace, name) = (names::SYSTEM_NAMESPACE.to_owned(), names::ALERTS_LEASE.to_owned());
    Configured {
        origin: Origin::Objects,
        listen: process::LISTEN,
        lease: LeaseName { namespace, name },
    }
}

fn as_sciuro(sciuro: sciuro::Sciuro, config: &Config) -> Result<Configured, CommandError> {
    for note in &sciuro.notes {
        tracing::warn!("{note}");
    }
    let source = Source::given("sciuro", sciuro.spec, &sciuro.logins)?;
    tracing::info!(servers = ?source.servers, "configured as Sciuro is");
    let namespace = sciuro.lease_namespace.unwrap_or_else(|| config.default_namespace.clone());
    Ok(Configured {
        origin: Origin::Given(Arc::new(source)),
        listen: sciuro.listen,
        lease: LeaseName { namespace, name: sciuro.lease_name },
    })
}
