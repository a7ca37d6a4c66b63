//! The machine under the Pod. A trait, because the fake machines of the end-to-end tests run the
//! same [`crate::reboot`] and simulate only this.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, kill_process};
use rustix_libc_wrappers::process::SignalExt;
use tokio::process::Command;

use crate::Error;

/// What the reboot Pod needs of the machine it runs on.
pub trait Host: Send + Sync {
    /// The boot ID of the machine's kernel, never the one in the Node object, which a kubelet may
    /// not have reported yet (protocol R1).
    fn kernel_boot_id(&self) -> Result<String, Error>;

    /// Time since boot, time asleep included: a laptop lid or a paused virtual machine must not
    /// make old knowledge look fresh.
    fn uptime(&self) -> Result<Duration, Error>;

    /// Tells the machine to reboot; a command is waited for. Success means that the command ended with
    /// success or that the signal was sent, not that the machine went down.
    fn act(&self, act: &Act) -> impl Future<Output = Result<(), Error>> + Send;
}

/// How the machine is told to reboot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// By this command, with its arguments.
    Command(Vec<String>),
    /// By [`REBOOT_SIGNAL`] to the host's PID 1.
    Signal,
}

/// SIGRTMIN+5, on which systemd starts `reboot.target` (systemd(1), "Signals"). As a number, as kured has
/// it: systemd counts from glibc's SIGRTMIN, and a C library of our own need not.
pub const REBOOT_SIGNAL: i32 = 39;

/// The real machine, seen through `/proc`, which containers share with the host's kernel.
#[derive(Debug, Clone)]
pub struct NodeHost {
    proc: PathBuf,
    /// Who is signalled: in the PID namespace of the host, which the Pod shares, its init.
    init: Pid,
}

impl Default for NodeHost {
    fn default() -> Self {
        Self { proc: PathBuf::from("/proc"), init: Pid::INIT }
    }
}

impl Host for NodeHost {
    fn kernel_boot_id(&self) -> Result<String, Error> {
        let text = read(&self.proc.join("sys/kernel/random/boot_id"))?;
        Ok(text.trim().to_owned())
    }

    /// `/proc/uptime` counts on the boot-time clock; `std::time::Instant` stands still in sleep.
    fn uptime(&self) -> Result<Duration, Error> {
        let path = self.proc.join("uptime");
        parse_uptime(&read(&path)?).ok_or(Error::Uptime { path })
    }

    async fn act(&self, act: &Act) -> Result<(), Error> {
        match act {
            Act::Command(command) => run(command).await,
            Act::Signal => self.signal_init(),
        }
    }
}

impl NodeHost {
    /// A container with PIDs of its own is its own PID 1: nothing would come of the signal but an agent that
    /// ends itself.
    fn signal_init(&self) -> Result<(), Error> {
        if self.init == getpid() {
            return Err(Error::OwnPids);
        }
        let signal = Signal::from_raw(REBOOT_SIGNAL).ok_or(Error::NoSignal)?;
        kill_process(self.init, signal).map_err(|error| Error::Signal { source: error.into() })
    }
}

/// No shell: the words of the command go to the program as they are. How it reaches the host (`nsenter`
/// and the like) is part of the configured command.
async fn run(command: &[String]) -> Result<(), Error> {
    let (program, arguments) = command.split_first().ok_or(Error::NoCommand)?;
    let status = Command::new(program)
        .args(arguments)
        .status()
        .await
        .map_err(|source| Error::Spawn { program: program.clone(), source })?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::CommandFailed { program: program.clone(), status })
    }
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Proc { path: path.to_owned(), source })
}

fn parse_uptime(text: &str) -> Option<Duration> {
    let seconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use tokio::io::{AsyncBufReadExt, BufReader};

    use super::*;

    #[test]
    fn reads_this_machine() {
        let host = NodeHost::default();
        assert_eq!(host.kernel_boot_id().unwrap().len(), 36);
        assert!(host.uptime().unwrap() > Duration::ZERO);
    }

    #[test]
    fn an_odd_uptime_is_an_error() {
        assert_eq!(parse_uptime("12.50 3.1\n"), Some(Duration::from_millis(12_500)));
        for odd in ["", "soon", "-1 2", "NaN 1"] {
            assert_eq!(parse_uptime(odd), None, "{odd:?}");
        }
    }

    #[tokio::test]
    async fn the_command_is_run_without_a_shell() {
        let host = NodeHost::default();
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let act = async |text| host.act(&Act::Command(words(text))).await;
        assert!(act("true ; false").await.is_ok());
        let failed = act("false").await.unwrap_err();
        assert!(failed.to_string().contains("`false` failed"), "{failed}");
        let absent = act("/no/such/program").await.unwrap_err();
        assert!(matches!(absent, Error::Spawn { .. }), "{absent}");
        assert!(matches!(host.act(&Act::Command(Vec::new())).await, Err(Error::NoCommand)));
    }

    /// What systemd would do at it, a shell in the place of PID 1 does: it ends with a code of its own.
    #[tokio::test]
    async fn pid_1_gets_the_signal_that_reboots() {
        let script = "trap 'exit 7' 39; echo ready; while true; do sleep 0.01; done";
        let mut command = Command::new("bash");
        let mut shell = command.args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(shell.stdout.take().unwrap());
        out.read_line(&mut line).await.unwrap();
        let init = Pid::from_raw(i32::try_from(shell.id().unwrap()).unwrap()).unwrap();
        let host = NodeHost { init, ..NodeHost::default() };
        host.act(&Act::Signal).await.unwrap();
        assert_eq!(shell.wait().await.unwrap().code(), Some(7));
        let gone = host.act(&Act::Signal).await.unwrap_err();
        assert!(matches!(gone, Error::Signal { .. }), "{gone}");
        let itself = NodeHost { init: getpid(), ..NodeHost::default() };
        assert!(matches!(itself.act(&Act::Signal).await, Err(Error::OwnPids)));
    }
}
