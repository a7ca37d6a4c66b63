//! `rerail`: the one binary. Each subcommand is a file that calls a crate; only here are signals,
//! sockets and files known. A library, so that `cargo xtask` can document it and shares its build.

mod agent;
mod alerts;
mod connect;
mod demo;
mod doors;
mod explain;
mod fetch;
mod http;
mod logs;
mod operator;
mod outlook;
mod plan;
mod process;
mod release_all;
mod simulate;
mod watchdog;
mod webhook;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};
use rerail_operator::client::Around;
use tower::layer::util::Identity;

/// Puts derailed Kubernetes nodes back on the track.
#[derive(Debug, Parser)]
#[command(name = "rerail", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show everything without a cluster: 60 simulated nodes, alerts, a storm, and the operator at work.
    /// Its API is served on loopback, for kubectl in another terminal.
    Demo(demo::DemoArguments),
    /// Run the operator: watch nodes, carry out RemediationPolicies.
    Operator(operator::OperatorArguments),
    /// Show what would start now and in which order, and what waits, why, and until when. Changes nothing.
    Plan(plan::PlanArguments),
    /// Show why something is as it is.
    #[command(subcommand)]
    Explain(explain::ExplainCommand),
    /// Show what would happen: play the operator on a simulated cluster, made up or as a real one is, and tell
    /// what came of it.
    ///
    /// When all was healthy, in which order, how many nodes were out at most, which drains were blocked; in
    /// virtual time, so that an hour takes seconds. Exits with 0 if nothing happened that must never happen and
    /// everything came as the scenario expects it, with 3 if not, with 1 if it could not be played, and with 2 if
    /// the command line makes no sense.
    Simulate(simulate::SimulateArguments),
    /// Make alerts conditions of nodes, without the rest of the operator: for clusters that have no
    /// other. With Sciuro's environment in place of Sciuro.
    Alerts(alerts::AlertsArguments),
    /// Try a held run again: cordon, drain and every remedy, as new attempts.
    Retry(doors::DoorArguments),
    /// End a run: give its node back as it is, as soon as that is safe.
    Release(doors::DoorArguments),
    /// Give every node back and end every run, before Rerail is uninstalled.
    ReleaseAll(release_all::ReleaseAllArguments),
    /// What runs on a node, in Pods that the operator makes.
    #[command(subcommand)]
    Agent(agent::AgentCommand),
}

/// The command line, for its reference page.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// What `-o json` prints: the commands that have it, each with the schema of its answer.
pub fn answers() -> [(&'static str, schemars::Schema); 4] {
    outlook::view::schemas()
}

/// Does what the command line says.
pub async fn main() -> ExitCode {
    main_with_layer(&Identity::new()).await
}

/// The same, with one more layer around the operator's connections to the API server. Programs of
/// the tests use it, so that what they disturb is otherwise the operator that users run.
pub async fn main_with_layer(layer: &impl Around) -> ExitCode {
    let result = match Arguments::parse_from(command_line()).command {
        Command::Demo(arguments) => demo::run(arguments).await.map(|good| match good {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }),
        Command::Operator(arguments) => {
            operator::run(arguments, layer).await.map(|()| ExitCode::SUCCESS)
        }
        Command::Plan(arguments) => plan::run(arguments).await.map(|()| ExitCode::SUCCESS),
        Command::Simulate(arguments) => simulate::run(arguments).await,
        Command::Explain(command) => explain::run(command).await.map(|()| ExitCode::SUCCESS),
        Command::Alerts(arguments) => {
            alerts::run(arguments, layer).await.map(|()| ExitCode::SUCCESS)
        }
        Command::Retry(arguments) => doors::retry(arguments).await.map(|()| ExitCode::SUCCESS),
        Command::Release(arguments) => doors::release(arguments).await.map(|()| ExitCode::SUCCESS),
        Command::ReleaseAll(arguments) => release_all::run(arguments).await,
        Command::Agent(command) => agent::run(command).await,
    };
    result.unwrap_or_else(|error| {
        anstream::eprintln!("\u{1b}[31merror\u{1b}[0m: {error}");
        ExitCode::FAILURE
    })
}

/// The command line. A Deployment of Sciuro has none, and goes on with its environment alone.
fn command_line() -> Vec<OsString> {
    let mut given: Vec<_> = std::env::args_os().collect();
    if given.len() <= 1 && alerts::stands_in_for_sciuro() {
        given.resize(1, "rerail".into());
        given.push("alerts".into());
    }
    given
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(
        "no way to reach a Kubernetes API server: {0}; give --kubeconfig, set KUBECONFIG, or run inside a cluster"
    )]
    Config(String),
    #[error("the connection to the API server could not be set up: {0}")]
    Client(#[from] Box<kube::Error>),
    #[error("cannot listen on {address}: {source}; choose another with {flag}")]
    Listen { address: std::net::SocketAddr, source: std::io::Error, flag: &'static str },
    #[error("the certificate of the alerts port cannot be used: {0}")]
    Certificate(String),
    #[error("cannot wait for signals: {0}")]
    Signals(std::io::Error),
    #[error(
        "{0}; change --leader-elect-lease-duration, --leader-elect-renew-deadline, --leader-elect-retry-period"
    )]
    Election(rerail_core::lease::BadTimes),
    #[error("the thread that ends an operator which cannot step down did not start: {0}")]
    Watchdog(std::io::Error),
    #[error("{0}")]
    Call(rerail_operator::client::CallError),
    #[error("there is no NodeRemediation {0}; `kubectl get noderemediations` lists them")]
    NoRun(String),
    #[error(
        "run {run} is in step {step}, not Held: it goes on by itself, or has ended; only a held run can be tried again"
    )]
    NotHeld { run: String, step: rerail_core::step::Step },
    #[error("run {run} is frozen and cannot be {what}: {message}")]
    Frozen { run: String, what: String, message: String },
    #[error("step `{0}` is not known to this version of rerail; use the version of the operator")]
    UnknownStep(String),
    #[error(
        "the operator runs (its Deployment asks for {0} replicas) and would take up what is released; stop it first: \
         kubectl --namespace rerail-system scale deployment rerail-operator --replicas=0"
    )]
    OperatorRuns(i32),
    #[error(
        "{0}: under a pause nothing is undone, either; take the entry out of the ConfigMap rerail-pause first"
    )]
    Paused(String),
    #[error(
        "run {run} was released before, and cannot be tried again; a new run comes by itself where a trigger is true"
    )]
    Released { run: String },
    #[error("run {run} has ended ({step}); there is nothing to release")]
    Ended { run: String, step: rerail_core::step::Step },
    #[error(
        "policy {policy} of run {run} does not exist any more, and a retry needs it; bring it back, or release the run"
    )]
    NoPolicy { run: String, policy: String },
    #[error(
        "{0}; this needs the right to list nodes, policies and runs, which the ClusterRole rerail-view gives: \
         bind it, or the cluster's role `view`, to this user in the whole cluster: \
         kubectl create clusterrolebinding NAME --clusterrole=rerail-view --user=USER"
    )]
    Forbidden(rerail_operator::client::CallError),
    #[error(
        "{0}; this needs the right to get and patch NodeRemediations: ask somebody who may `kubectl patch nrem`"
    )]
    MayNotTouch(rerail_operator::client::CallError),
    #[error(
        "this cluster does not know Rerail's kinds; apply crds/ and config/, or preview a policy with -f"
    )]
    NotInstalled,
    #[error(transparent)]
    Simulate(#[from] simulate::SimulateError),
    #[error(transparent)]
    Demo(#[from] rerail_demo::DemoError),
    #[error("the demo broke down; this is a bug, and the words above are worth a report")]
    Broken,
    #[error("there is no node {node}; {hint}")]
    NoNode { node: String, hint: String },
    #[error(transparent)]
    File(#[from] outlook::files::FileError),
    #[error(transparent)]
    Moment(#[from] outlook::moment::MomentError),
    #[error(transparent)]
    Preview(#[from] outlook::preview::PreviewError),
    #[error(transparent)]
    AlertsTest(#[from] alerts::test::AlertsError),
    #[error(transparent)]
    Sciuro(#[from] alerts::SciuroError),
    #[error("the configuration of Sciuro cannot be worked with: {0}")]
    Source(#[from] rerail_operator::alerts::SourceError),
    #[error("the answer could not be written: {0}")]
    Output(std::io::Error),
    #[error(transparent)]
    Operator(#[from] rerail_operator::StartError),
}
