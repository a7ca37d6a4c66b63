//! `rerail agent`: what the Pods on a node run.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use rerail_agent::{Act, NodeHost};
use rerail_core::reboot_check::Expected;

use crate::{CommandError, logs};

#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Check everything once more and reboot this machine. Made by the operator; by hand it refuses.
    Reboot(RebootArguments),
    /// Succeed: proves that Pods start on this node.
    Probe,
}

#[derive(Debug, Args)]
pub struct RebootArguments {
    /// Name of the NodeRemediation.
    #[arg(long)]
    run: String,
    /// UID of the NodeRemediation.
    #[arg(long)]
    run_uid: String,
    /// Name of the node.
    #[arg(long)]
    node: String,
    /// UID of the node.
    #[arg(long)]
    node_uid: String,
    /// The attempt, from 1.
    #[arg(long)]
    attempt: u32,
    /// The boot ID that must still be the kernel's.
    #[arg(long)]
    boot_id_before: String,
    /// Where the outcome is written for the kubelet.
    #[arg(long, default_value = rerail_agent::TERMINATION_LOG)]
    termination_log: PathBuf,
    /// Send PID 1 the signal on which systemd reboots, in place of a command.
    #[arg(long)]
    signal: bool,
    /// The reboot command and its arguments.
    #[arg(last = true, required_unless_present = "signal", conflicts_with = "signal")]
    command: Vec<String>,
}

pub async fn run(command: AgentCommand) -> Result<ExitCode, CommandError> {
    match command {
        AgentCommand::Probe => {
            anstream::println!("{}", rerail_agent::probe());
            Ok(ExitCode::SUCCESS)
        }
        AgentCommand::Reboot(arguments) => reboot(arguments).await,
    }
}

async fn reboot(arguments: RebootArguments) -> Result<ExitCode, CommandError> {
    logs::start("info");
    let expected = Expected {
        run_name: arguments.run,
        run_uid: arguments.run_uid,
        node_name: arguments.node,
        node_uid: arguments.node_uid,
        attempt: arguments.attempt,
        boot_id_before: arguments.boot_id_before,
    };
    // kube's own retries would hide how old an answer is; the agent tries again by itself.
    let mut config =
        kube::Config::infer().await.map_err(|error| CommandError::Config(error.to_string()))?;
    config.default_retry = false;
    let client = kube::Client::try_from(config).map_err(Box::new)?;
    let host = NodeHost::default();
    let act = if arguments.signal { Act::Signal } else { Act::Command(arguments.command) };
    let log = &arguments.termination_log;
    let code = rerail_agent::run(&client, &expected, &act, &host, log).await;
    Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from))
}
