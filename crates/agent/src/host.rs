//! The machine under the Pod. A trait, because the fake machines of the end-to-end tests run the
//! same [`crate::reboot`] and simulate only this.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

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

    /// Runs the reboot command and waits for it to end. Success means that the command ended with
    /// success, not that the machine went down.
    fn act(&self, command: &[String]) -> impl Future<Output = Result<(), Error>> + Send;
}

/// The real machine, seen through `/proc`, which containers share with the host's kernel.
#[derive(Debug, Clone)]
pub struct NodeHost {
    proc: PathBuf,
}

impl Default for NodeHost {
    fn default() -> Self {
        Self { proc: PathBuf::from("/proc") }
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

    /// No shell: the words of the command go to the program as they are. How it reaches the host
    /// (`nsenter` and the like) is part of the configured command.
    async fn act(&self, command: &[String]) -> Result<(), Error> {
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
        assert!(host.act(&words("true ; false")).await.is_ok());
        let failed = host.act(&words("false")).await.unwrap_err();
        assert!(failed.to_string().contains("`false` failed"), "{failed}");
        let absent = host.act(&words("/no/such/program")).await.unwrap_err();
        assert!(matches!(absent, Error::Spawn { .. }), "{absent}");
        assert!(matches!(host.act(&[]).await, Err(Error::NoCommand)));
    }
}
