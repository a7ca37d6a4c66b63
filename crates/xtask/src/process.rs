//! Runs other programs: captured with signs of life, or line by line through a reader.

use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

/// How often a captured program that takes long is said to be still running.
const SIGN_OF_LIFE: Duration = Duration::from_secs(30);

/// Why a program could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It did not start.
    #[error("`{program}` could not be started: {source}; is it installed?")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Its end could not be observed.
    #[error("`{program}` could not be waited for: {source}")]
    Wait {
        /// The program.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It took longer than it may.
    #[error("`{program}` took longer than {} s and was stopped", limit.as_secs())]
    TooLong {
        /// The program.
        program: String,
        /// What it was allowed.
        limit: Duration,
    },
    /// It ended with a failure, where only success is useful.
    #[error("`{program}` failed: {output}")]
    Failed {
        /// The program.
        program: String,
        /// What it printed on standard error.
        output: String,
    },
}

/// How a program ended and what it printed.
#[derive(Debug)]
pub struct Finished {
    /// Whether it said success.
    pub success: bool,
    /// Standard output and standard error, in the order they arrived.
    pub output: String,
}

/// Runs a program without input.
///
/// On a terminal its progress is shown as it happens; otherwise everything is captured, and a line
/// every half minute says that it still runs.
pub fn watch(what: &str, command: &mut Command) -> Result<Finished, ProcessError> {
    if std::io::stderr().is_terminal() {
        let status = command.stdin(Stdio::null()).status().map_err(|e| start(command, e))?;
        return Ok(Finished { success: status.success(), output: String::new() });
    }
    capture(what, command, None)
}

/// Runs a program without input and captures what it prints, for at most `limit`.
pub fn capture(
    what: &str,
    command: &mut Command,
    limit: Option<Duration>,
) -> Result<Finished, ProcessError> {
    let mut child = spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let (sender, lines) = mpsc::channel();
    forward(child.stdout.take(), sender.clone());
    forward(child.stderr.take(), sender);
    let began = Instant::now();
    let mut output = String::new();
    loop {
        let wait = limit.map_or(SIGN_OF_LIFE, |limit| limit.saturating_sub(began.elapsed()));
        match lines.recv_timeout(wait.min(SIGN_OF_LIFE)) {
            Ok(line) => output.push_str(&line),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => match limit {
                Some(limit) if began.elapsed() >= limit => {
                    stop(&mut child);
                    return Err(ProcessError::TooLong { program: name(command), limit });
                }
                _ => anstream::println!("  … {what}: {} s", began.elapsed().as_secs()),
            },
        }
    }
    let status = wait(command, &mut child)?;
    Ok(Finished { success: status.success(), output })
}

/// Runs a program, passes each line of its standard output to `see`, and lets its standard error
/// through.
pub fn stream(
    command: &mut Command,
    mut see: impl FnMut(&str),
) -> Result<ExitStatus, ProcessError> {
    let mut child = spawn(command.stdout(Stdio::piped()).stderr(Stdio::inherit()))?;
    if let Some(out) = child.stdout.take() {
        read_lines(out, |line| {
            see(line.trim_end_matches(['\n', '\r']));
            true
        });
    }
    wait(command, &mut child)
}

/// What a short program prints on standard output; an error if it fails.
pub fn output(command: &mut Command) -> Result<String, ProcessError> {
    let result = command.stdin(Stdio::null()).output().map_err(|e| start(command, e))?;
    if result.status.success() {
        return Ok(String::from_utf8_lossy(&result.stdout).into_owned());
    }
    let output = String::from_utf8_lossy(&result.stderr).trim().to_owned();
    Err(ProcessError::Failed { program: name(command), output })
}

/// The triple of this machine, as rustc names it.
pub fn host() -> Result<String, ProcessError> {
    let said = output(Command::new("rustc").arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.unwrap_or("x86_64-unknown-linux-gnu").to_owned())
}

/// `cargo` as the caller of this program runs it.
pub fn cargo() -> Command {
    rerail_e2e::cargo()
}

fn spawn(command: &mut Command) -> Result<Child, ProcessError> {
    command.stdin(Stdio::null()).spawn().map_err(|e| start(command, e))
}

fn start(command: &Command, source: std::io::Error) -> ProcessError {
    ProcessError::Start { program: name(command), source }
}

fn wait(command: &Command, child: &mut Child) -> Result<ExitStatus, ProcessError> {
    child.wait().map_err(|source| ProcessError::Wait { program: name(command), source })
}

/// Ends a program of ours that takes too long. It may have ended by itself, so errors say nothing.
fn stop(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn forward(from: Option<impl Read + Send + 'static>, to: Sender<String>) {
    if let Some(from) = from {
        thread::spawn(move || read_lines(from, |line| to.send(line.to_owned()).is_ok()));
    }
}

/// Reads lines that need not be valid UTF-8, until `more` says no.
fn read_lines(from: impl Read, mut more: impl FnMut(&str) -> bool) {
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        if !more(&String::from_utf8_lossy(&line)) {
            return;
        }
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_both_streams_and_the_verdict() {
        let script = "echo out; echo err >&2; exit 3";
        let finished = capture("sh", Command::new("sh").args(["-c", script]), None).unwrap();
        assert!(!finished.success);
        assert!(finished.output.contains("out\n") && finished.output.contains("err\n"));
    }

    #[test]
    fn stops_what_takes_too_long() {
        let limit = Some(Duration::from_millis(50));
        let result = capture("sleep", Command::new("sleep").arg("60"), limit);
        assert!(matches!(result, Err(ProcessError::TooLong { .. })));
    }

    #[test]
    fn names_a_program_that_is_not_there() {
        let error = output(&mut Command::new("no-such-program-here")).unwrap_err();
        assert!(error.to_string().starts_with("`no-such-program-here` could not be started"));
    }
}
