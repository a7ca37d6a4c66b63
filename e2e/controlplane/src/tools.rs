//! The one-shot helpers: the supervisor program's subcommands, and kubectl.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::binaries::Binaries;
use crate::error::{Error, Result};

/// Whom a kubeconfig is for, and how the API server knows.
pub(crate) enum Identity<'a> {
    /// By a client certificate for this user in these groups.
    User(&'a str, &'a [&'a str]),
    /// By this bearer token; the name is only for people.
    Token { name: &'a str, token: &'a str },
}

/// Writes the CA, the serving certificate and the service account keys to a new directory.
pub(crate) fn write_pki(binaries: &Binaries, pki: &Path) -> Result<()> {
    run(Command::new(binaries.supervisor()).arg("pki").arg(pki), None).map(drop)
}

/// Writes a kubeconfig to `out`.
pub(crate) fn write_kubeconfig(
    binaries: &Binaries,
    pki: &Path,
    url: &str,
    out: &Path,
    identity: &Identity<'_>,
) -> Result<()> {
    let mut command = Command::new(binaries.supervisor());
    command.arg("kubeconfig").arg(pki).arg(url).arg(out);
    match identity {
        Identity::User(name, groups) => run(command.args(["user", name]).args(*groups), None),
        Identity::Token { name, token } => run(command.args(["token", name]), Some(token)),
    }
    .map(drop)
}

/// A command that returns when a GET of `url` answers 200, or fails after `limit`. With a kubeconfig the URL is a path
/// on its API server.
pub(crate) fn wait(
    binaries: &Binaries,
    kubeconfig: Option<&Path>,
    url: &str,
    limit: Duration,
) -> Command {
    let mut command = Command::new(binaries.supervisor());
    command.arg("wait");
    match kubeconfig {
        Some(file) => command.arg(file),
        None => command.arg("-"),
    };
    command.arg(url).arg(format!("{}ms", limit.as_millis()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Ends the supervisor of a directory, and returns when all its components are gone.
pub(crate) fn end(binaries: &Binaries, dir: &Path) -> Result<()> {
    run(Command::new(binaries.supervisor()).arg("end").arg(dir), None).map(drop)
}

/// Runs a helper with this input and gives back what it printed.
pub(crate) fn run(command: &mut Command, input: Option<&str>) -> Result<String> {
    let failed =
        |command: &Command, stderr: String| Error::Command { command: shown(command), stderr };
    match finish(command, input) {
        Ok(out) if out.status.success() => Ok(String::from_utf8_lossy(&out.stdout).into_owned()),
        Ok(out) => Err(failed(command, String::from_utf8_lossy(&out.stderr).trim().to_owned())),
        Err(error) => Err(failed(command, error.to_string())),
    }
}

fn finish(command: &mut Command, input: Option<&str>) -> io::Result<Output> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input.as_bytes())?;
    }
    child.wait_with_output()
}

/// The command line as a person would type it, for messages.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
