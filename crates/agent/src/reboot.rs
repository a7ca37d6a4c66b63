//! From the last look to the act.

use std::path::Path;
use std::time::Duration;

use kube::Client;
use rerail_core::reboot_check::{
    self, ACT_WITHIN_SECONDS, EXIT_COMMAND_FAILED, EXIT_REFUSED, EXIT_UNCERTAIN, Expected, Refusal,
    Report, Verdict,
};
use tracing::{info, warn};

use crate::{Act, Error, Host, look};

/// Where a kubelet looks for the termination message unless the Pod says otherwise.
pub const TERMINATION_LOG: &str = "/dev/termination-log";

/// How long failed reads are repeated. Well inside the Pod's own deadline, so that the Pod ends
/// with a report and is not killed without one.
pub const RETRY_FOR: Duration = Duration::from_secs(30);

/// Pause between two tries.
pub const PAUSE_BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// The longest message: kubelets cut termination messages at 4096 bytes, and half a JSON document
/// is none.
const MESSAGE_LIMIT: usize = 1024;

/// How the Pod ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What the termination message tells the operator.
    pub report: Report,
    /// The exit code of the process.
    pub exit_code: i32,
}

impl Outcome {
    fn acted(act: &Act) -> Self {
        let message = match act {
            Act::Command(_) => "the reboot command was started and did not fail",
            Act::Signal => "PID 1 was sent SIGRTMIN+5",
        };
        let message = message.to_owned();
        Self { report: Report { acted: true, refusal: None, message }, exit_code: 0 }
    }

    fn refused(refusal: Refusal) -> Self {
        let message = format!("nothing was done: {refusal}");
        let report = Report { acted: false, refusal: Some(refusal), message };
        Self { report, exit_code: EXIT_REFUSED }
    }

    fn failed(error: &Error, exit_code: i32) -> Self {
        let mut message = error.to_string();
        message.truncate(message.floor_char_boundary(MESSAGE_LIMIT));
        Self { report: Report { acted: false, refusal: None, message }, exit_code }
    }

    /// The termination message.
    pub fn message(&self) -> String {
        // A struct of a bool, an enum and a string always serialises; the sentence is the fallback.
        serde_json::to_string(&self.report).unwrap_or_else(|_| self.report.message.clone())
    }
}

/// Looks, checks and, if nothing stands against it, reboots. Returns when the command has ended
/// or the signal is sent, or when there is nothing to do.
///
/// Reads that fail are repeated for [`RETRY_FOR`]. It acts at most once, and only within
/// [`ACT_WITHIN_SECONDS`] of the *start* of the look that allowed it: how long the API server had
/// the answer before it arrived cannot be known.
pub async fn reboot(client: &Client, expected: &Expected, act: &Act, host: &impl Host) -> Outcome {
    match permission(client, expected, host).await {
        Ok(Verdict::Reboot) => {
            info!(run = expected.run_name, attempt = expected.attempt, "rebooting");
            match host.act(act).await {
                Ok(()) => Outcome::acted(act),
                Err(error) => Outcome::failed(&error, EXIT_COMMAND_FAILED),
            }
        }
        Ok(Verdict::Refuse(refusal)) => Outcome::refused(refusal),
        Err(error) => Outcome::failed(&error, EXIT_UNCERTAIN),
    }
}

/// [`reboot`], and the report left at `termination_log` ([`TERMINATION_LOG`] in a Pod). Returns the
/// process's exit code, which says the same as the report, should the report not be writable.
pub async fn run(
    client: &Client,
    expected: &Expected,
    act: &Act,
    host: &impl Host,
    termination_log: &Path,
) -> i32 {
    let outcome = reboot(client, expected, act, host).await;
    info!(exit_code = outcome.exit_code, "{}", outcome.report.message);
    if let Err(source) = tokio::fs::write(termination_log, outcome.message()).await {
        let error = Error::TerminationMessage { path: termination_log.to_owned(), source };
        warn!("{error}");
    }
    outcome.exit_code
}

/// Looks until there is a verdict that is young enough to act on, or the time for tries is over.
async fn permission(
    client: &Client,
    expected: &Expected,
    host: &impl Host,
) -> Result<Verdict, Error> {
    let began = host.uptime()?;
    loop {
        let error = match look_once(client, expected, host).await {
            Ok(verdict) => return Ok(verdict),
            Err(error) => error,
        };
        if host.uptime()?.saturating_sub(began) >= RETRY_FOR {
            return Err(error);
        }
        warn!("{error}; trying again in {PAUSE_BETWEEN_TRIES:?}");
        tokio::time::sleep(PAUSE_BETWEEN_TRIES).await;
    }
}

async fn look_once(
    client: &Client,
    expected: &Expected,
    host: &impl Host,
) -> Result<Verdict, Error> {
    let start = host.uptime()?;
    let seen = look(client, expected, host.kernel_boot_id()?).await?;
    let verdict = reboot_check::check(expected, &seen);
    let limit = Duration::from_secs(ACT_WITHIN_SECONDS);
    let age = host.uptime()?.saturating_sub(start);
    // Only the permission grows stale; a refusal stays one.
    if verdict == Verdict::Reboot && age >= limit {
        return Err(Error::TooLate { age, limit });
    }
    Ok(verdict)
}
