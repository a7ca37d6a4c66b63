//! `rerail`: the one binary. Each subcommand is a file that calls a crate; only here are signals,
//! sockets and files known. A library, so that `cargo xtask` can document it and shares its build.

mod agent;
mod http;
mod logs;
mod operator;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// Puts derailed Kubernetes nodes back on the track.
#[derive(Debug, Parser)]
#[command(name = "rerail", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator: watch nodes, carry out RemediationPolicies.
    Operator(operator::OperatorArguments),
    /// What runs on a node, in Pods that the operator makes.
    #[command(subcommand)]
    Agent(agent::AgentCommand),
}

/// The command line, for its reference page.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Does what the command line says.
pub async fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Operator(arguments) => operator::run(arguments).await.map(|()| ExitCode::SUCCESS),
        Command::Agent(command) => agent::run(command).await,
    };
    result.unwrap_or_else(|error| {
        anstream::eprintln!("\u{1b}[31merror\u{1b}[0m: {error}");
        ExitCode::FAILURE
    })
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
    #[error("cannot listen on {address}: {source}; choose another with --listen")]
    Listen { address: std::net::SocketAddr, source: std::io::Error },
    #[error("cannot wait for signals: {0}")]
    Signals(std::io::Error),
    #[error(transparent)]
    Operator(#[from] rerail_operator::StartError),
}
