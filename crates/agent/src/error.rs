//! What can go wrong on the node, told to a person who reads it in a termination message.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Why the reboot Pod could not read, could not decide or could not act.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused a read, or could not be reached.
    #[error(
        "cannot read {what}: {source}; nothing was done. If this lasts, check that the \
         ServiceAccount rerail-node may get nodes and noderemediations and that this node reaches \
         the API server"
    )]
    Read {
        /// Kind and name of the object.
        what: String,
        /// What the client reported.
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("no answer about {what} within {deadline:?}; nothing was done. Check the API server")]
    Deadline {
        /// Kind and name of the object.
        what: String,
        /// How long was waited.
        deadline: Duration,
    },
    /// The run's status holds an intent that this agent cannot read.
    #[error(
        "the status of {what} cannot be understood: {problem}; nothing was done. Check that agent \
         and operator are of the same version"
    )]
    Malformed {
        /// Kind and name of the object.
        what: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Reads succeeded, but always took longer than their answer may be relied on.
    #[error(
        "what was read was {age:?} old before it could be acted on, {limit:?} is allowed; nothing \
         was done. The node or the API server is overloaded"
    )]
    TooLate {
        /// Time since the start of the last look.
        age: Duration,
        /// The most that is allowed.
        limit: Duration,
    },
    /// A file of the host's kernel could not be read.
    #[error("cannot read {}: {source}; nothing was done. Is /proc mounted in the Pod?", path.display())]
    Proc {
        /// The file.
        path: PathBuf,
        /// What the system reported.
        source: std::io::Error,
    },
    /// `/proc/uptime` is not what every Linux kernel writes there.
    #[error("{} holds no number of seconds; nothing was done", path.display())]
    Uptime {
        /// The file.
        path: PathBuf,
    },
    /// No reboot command was given to the Pod.
    #[error(
        "no reboot command is configured; set `reboot.command` in the operator's configuration"
    )]
    NoCommand,
    /// The reboot command could not be started.
    #[error("cannot start the reboot command `{program}`: {source}; is it in the image?")]
    Spawn {
        /// The first word of the command.
        program: String,
        /// What the system reported.
        source: std::io::Error,
    },
    /// The reboot command ended without success.
    #[error("the reboot command `{program}` failed with {status}; try it on the node by hand")]
    CommandFailed {
        /// The first word of the command.
        program: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// The signal could not be sent.
    #[error(
        "cannot send SIGRTMIN+5 to PID 1: {source}; does a security module (AppArmor, SELinux) keep \
         containers on this node from it? The remedy `reboot: {{method: Command}}` does without"
    )]
    Signal {
        /// What the system reported.
        source: std::io::Error,
    },
    /// The Pod has PIDs of its own.
    #[error(
        "this Pod does not share the host's PIDs, so that its PID 1 is not the host's init; nothing was done"
    )]
    OwnPids,
    /// No such signal exists here.
    #[error("this system knows no SIGRTMIN+5; nothing was done")]
    NoSignal,
    /// A machine that is not a real one refused to act; carries the fixture's own words.
    #[error("{0}")]
    Act(String),
    /// The termination message could not be written.
    #[error("cannot write the termination message to {}: {source}", path.display())]
    TerminationMessage {
        /// The file.
        path: PathBuf,
        /// What the system reported.
        source: std::io::Error,
    },
}
