//! QEMU's machine protocol (docs/interop/qmp-spec of QEMU): JSON lines on a socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

/// How long QEMU may take to answer; it answers at once unless the host is very busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// One line from QEMU. Its greeting has none of these.
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(rename = "return")]
    answer: Option<Value>,
    error: Option<Refusal>,
    event: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    desc: String,
}

/// A connection. QEMU serves one at a time.
pub(crate) struct Qmp {
    lines: BufReader<UnixStream>,
    /// What happened while a command was executed: its answer comes after what it did.
    events: Vec<String>,
}

impl Qmp {
    /// Connects, and is ready for commands.
    pub(crate) fn connect(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut qmp = Qmp { lines: BufReader::new(stream), events: Vec::new() };
        qmp.execute("qmp_capabilities")?;
        Ok(qmp)
    }

    /// Has a command executed; what it returns.
    pub(crate) fn execute(&mut self, command: &str) -> io::Result<Value> {
        let mut line = json!({ "execute": command }).to_string();
        line.push('\n');
        self.lines.get_mut().write_all(line.as_bytes())?;
        loop {
            match self.next()? {
                Line { error: Some(refusal), .. } => return Err(io::Error::other(refusal.desc)),
                Line { answer: Some(answer), .. } => return Ok(answer),
                Line { event, .. } => self.events.extend(event),
            }
        }
    }

    /// Waits for an event, if it has not happened on this connection.
    pub(crate) fn wait_for(&mut self, event: &str) -> io::Result<()> {
        while !self.events.iter().any(|known| known == event) {
            let line = self.next()?;
            self.events.extend(line.event);
        }
        Ok(())
    }

    fn next(&mut self) -> io::Result<Line> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "QEMU is gone"));
        }
        Ok(serde_json::from_str(&line)?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// A QEMU that says these lines, one batch after each line that it is sent.
    fn says(socket: &Path, batches: &'static [&'static str]) -> thread::JoinHandle<Vec<String>> {
        let listener = UnixListener::bind(socket).unwrap();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream);
            lines.get_mut().write_all(b"{\"QMP\": {\"version\": {}}}\n").unwrap();
            let mut asked = Vec::new();
            for batch in batches {
                let mut line = String::new();
                lines.read_line(&mut line).unwrap();
                asked.push(line);
                lines.get_mut().write_all(batch.as_bytes()).unwrap();
            }
            asked
        })
    }

    #[test]
    fn events_are_passed_over_and_refusals_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("qmp");
        let qemu = says(
            &socket,
            &[
                "{\"return\": {}}\n",
                "{\"event\": \"RESET\", \"data\": {}}\n{\"return\": {\"running\": true}}\n",
                "{\"error\": {\"class\": \"GenericError\", \"desc\": \"not now\"}}\n",
                "{\"return\": {}}\n{\"event\": \"STOP\"}\n",
                "{\"event\": \"RESET\"}\n{\"return\": {}}\n",
            ],
        );
        let mut qmp = Qmp::connect(&socket).unwrap();
        assert_eq!(qmp.execute("query-status").unwrap()["running"], true);
        assert_eq!(qmp.execute("cont").unwrap_err().to_string(), "not now");
        qmp.execute("stop").unwrap();
        qmp.wait_for("STOP").unwrap();
        qmp.execute("system_reset").unwrap();
        qmp.wait_for("RESET").unwrap();
        let asked = qemu.join().unwrap();
        assert!(asked[1].contains("query-status"), "{asked:?}");
        let gone = qmp.execute("cont").unwrap_err();
        assert!(matches!(gone.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe));
    }
}
