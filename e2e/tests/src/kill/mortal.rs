//! An operator that can be told to die, as its parent sees it.

use std::{path::PathBuf, process::Stdio};

use rerail_api::names;
use rerail_controlplane::ControlPlane;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::orders::{Dies, Order, Request, Said};
use crate::{Error, program};

/// How such operators are started: all of them alike, so that one carries on what another began.
#[derive(Debug, Clone)]
pub struct Program {
    program: PathBuf,
    kubeconfig: PathBuf,
    log: PathBuf,
}

impl Program {
    /// Builds the program if need be, and gets it the operator's own rights.
    pub fn new(plane: &ControlPlane) -> Result<Self, Error> {
        let kubeconfig = plane.kubeconfig_for_service_account(
            names::SYSTEM_NAMESPACE,
            names::OPERATOR_SERVICE_ACCOUNT,
        )?;
        Ok(Program {
            program: program("rerail-operator-that-dies")?,
            kubeconfig,
            log: plane.dir().join("rerail-operator-that-dies.log"),
        })
    }

    /// Starts one, with its first order. All of them write to one log.
    pub async fn start(&self, order: &Order) -> Result<MortalOperator, Error> {
        let log = std::fs::File::options().create(true).append(true).open(&self.log);
        let log = log.map_err(|error| Error::File(self.log.display().to_string(), error))?;
        let mut child = Command::new(&self.program)
            .arg("operator")
            .arg(format!("--kubeconfig={}", self.kubeconfig.display()))
            .arg("--listen=127.0.0.1:0")
            .env("RUST_LOG", "info,rerail_operator=debug")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Error::Mortal(format!("it did not start: {error}")))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::Mortal("it has no standard input or output".to_owned()));
        };
        let lines = BufReader::new(stdout).lines();
        let mut operator = MortalOperator {
            child,
            stdin,
            lines,
            requests: Vec::new(),
            earlier: Vec::new(),
            last_words: None,
        };
        match operator.order(order).await? {
            None => Ok(operator),
            Some(dies) => Err(Error::Mortal(format!("it died without an order: {dies:?}"))),
        }
    }
}

/// A running operator that can be told to die. It dies when this is dropped, too.
#[derive(Debug)]
pub struct MortalOperator {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    /// Since the latest order.
    requests: Vec<Request>,
    /// Between the latest order and the one before it.
    earlier: Vec<Request>,
    /// Kept, so that whoever gives up waiting for a death does not lose it.
    last_words: Option<Dies>,
}

impl MortalOperator {
    /// Gives an order and waits until it is taken. The last words, if it obeyed the order before
    /// this one meanwhile.
    pub async fn order(&mut self, order: &Order) -> Result<Option<Dies>, Error> {
        let failed = |error: &dyn std::fmt::Display| Error::Mortal(error.to_string());
        let mut line = serde_json::to_string(order).map_err(|error| failed(&error))?;
        line.push('\n');
        if let Some(dies) = &self.last_words {
            return Ok(Some(dies.clone()));
        }
        // One that has just died cannot be written to; what it said last can still be read.
        let written = self.stdin.write_all(line.as_bytes()).await;
        loop {
            match self.next().await? {
                Some(Said::Counting) => {
                    self.earlier = std::mem::take(&mut self.requests);
                    return Ok(None);
                }
                Some(Said::Request(_)) => {}
                Some(Said::Dies(dies)) => return Ok(Some(dies)),
                None => {
                    written.map_err(|error| failed(&error))?;
                    return Err(Error::Mortal("it ended by itself; see its log".to_owned()));
                }
            }
        }
    }

    /// Waits for its death by order. May be given up at any time.
    pub async fn death(&mut self) -> Result<Dies, Error> {
        loop {
            if let Some(dies) = self.last_words.clone() {
                self.child.wait().await.map_err(|error| Error::Mortal(error.to_string()))?;
                return Ok(dies);
            }
            if self.next().await?.is_none() {
                return Err(Error::Mortal("it ended by itself; see its log".to_owned()));
            }
        }
    }

    /// Waits for its next request that satisfies `is`.
    pub async fn request(&mut self, is: impl Fn(&Request) -> bool) -> Result<Request, Error> {
        loop {
            match self.next().await? {
                Some(Said::Request(request)) if is(&request) => return Ok(request),
                Some(Said::Request(_) | Said::Counting) => {}
                Some(Said::Dies(dies)) => {
                    return Err(Error::Mortal(format!("it died at {dies:?}")));
                }
                None => return Err(Error::Mortal("it ended by itself; see its log".to_owned())),
            }
        }
    }

    /// Ends it with SIGKILL, from outside.
    pub async fn kill(mut self) -> Result<(), Error> {
        self.child.kill().await.map_err(|error| Error::Mortal(error.to_string()))
    }

    /// Every request between the latest order and the one before it.
    pub fn earlier_requests(&self) -> &[Request] {
        &self.earlier
    }

    async fn next(&mut self) -> Result<Option<Said>, Error> {
        let line = self.lines.next_line().await;
        let Some(line) = line.map_err(|error| Error::Mortal(error.to_string()))? else {
            return Ok(None);
        };
        let said = serde_json::from_str(&line)
            .map_err(|error| Error::Mortal(format!("{error}: {line}")))?;
        match &said {
            Said::Request(request) => self.requests.push(request.clone()),
            Said::Dies(dies) => self.last_words = Some(dies.clone()),
            Said::Counting => {}
        }
        Ok(Some(said))
    }
}
