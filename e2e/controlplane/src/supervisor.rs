//! Talks to the supervisor process of one instance: a line in, a line out.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::binaries::Binaries;
use crate::error::{Error, Result};
use crate::tools;

/// How often a wait looks whether it is over.
const TICK: Duration = Duration::from_millis(10);

/// A running supervisor. It ends, with everything it started, when its standard input is closed: that is, when this
/// value is dropped or this process dies, however it dies.
#[derive(Debug)]
pub(crate) struct Supervisor {
    dir: PathBuf,
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Supervisor {
    /// Starts the supervisor of a directory that has a `plan.json`. Nothing of the plan runs yet.
    pub(crate) fn spawn(binaries: &Binaries, dir: &Path) -> Result<Self> {
        let log = dir.join("supervisor.log");
        let stderr = File::create(&log).map_err(Error::file("create", &log))?;
        let program = binaries.supervisor();
        let mut child = Command::new(&program)
            .arg("run")
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(Error::file("run", &program))?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::Gone { dir: dir.to_owned(), reason: "it has no pipes".to_owned() });
        };
        Ok(Self { dir: dir.to_owned(), child, orders, answers: BufReader::new(answers) })
    }

    /// Gives an order and waits until it is carried out.
    pub(crate) fn order(&mut self, order: &str) -> Result<()> {
        let mut answer = String::new();
        let told =
            writeln!(self.orders, "{order}").and_then(|()| self.answers.read_line(&mut answer));
        match (told, answer.trim()) {
            (Ok(_), "ok") => Ok(()),
            (Ok(1..), refusal) => Err(Error::Refused {
                dir: self.dir.clone(),
                order: order.to_owned(),
                reason: refusal.trim_start_matches("error: ").to_owned(),
            }),
            _ => Err(self.gone()),
        }
    }

    /// Waits for a helper to succeed, and gives up as soon as the control plane is gone.
    pub(crate) fn wait_for(&mut self, helper: &mut Command) -> Result<()> {
        let failed = |stderr: String, helper: &Command| Error::Command {
            command: tools::shown(helper),
            stderr,
        };
        let mut running = helper.spawn().map_err(|error| failed(error.to_string(), helper))?;
        loop {
            // Ours first: a port that another instance took answers for somebody else's server.
            if !matches!(self.child.try_wait(), Ok(None)) {
                let _ = running.kill();
                let _ = running.wait();
                return Err(self.gone());
            }
            if let Some(status) =
                running.try_wait().map_err(|error| failed(error.to_string(), helper))?
            {
                if status.success() {
                    return Ok(());
                }
                let stderr = running.wait_with_output().map(|out| out.stderr).unwrap_or_default();
                return Err(failed(String::from_utf8_lossy(&stderr).trim().to_owned(), helper));
            }
            thread::sleep(TICK);
        }
    }

    /// Leaves the control plane running when this process ends.
    pub(crate) fn detach(mut self) -> Result<()> {
        self.order("detach")
    }

    /// Why it ended, in its own last words.
    fn gone(&mut self) -> Error {
        let _ = self.child.wait();
        let said = |file: &str| fs::read_to_string(self.dir.join(file)).unwrap_or_default();
        let reason = [said("failed"), said("supervisor.log")]
            .into_iter()
            .find(|text| !text.trim().is_empty());
        let reason =
            reason.map_or_else(|| "it was killed".to_owned(), |text| text.trim().to_owned());
        Error::Gone { dir: self.dir.clone(), reason }
    }

    /// Ends the control plane; returns when every component is gone.
    pub(crate) fn end(self) {
        let Self { mut child, orders, .. } = self;
        drop(orders);
        let _ = child.wait();
    }
}
