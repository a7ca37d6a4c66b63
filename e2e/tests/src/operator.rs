//! The operator as a process of its own, under the ServiceAccount that `config/` gives it.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    ops::Range,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use rerail_api::names;
use rerail_controlplane::{Component, ControlPlane};

use crate::{Election, Error, get::get, kubeconfig::through, program, wait_for};

/// How an operator is started.
#[derive(Debug, Clone)]
pub struct OperatorOptions {
    /// The command, `operator` or `alerts`.
    pub command: &'static str,
    /// Another build of `rerail` than this checkout's.
    pub program: Option<PathBuf>,
    /// Name of its process and log.
    pub name: String,
    /// Name of the Pod that it takes itself for; without one, the name of its process.
    pub pod_name: Option<String>,
    /// The times of leader election.
    pub election: Election,
    /// More arguments.
    pub arguments: Vec<String>,
    /// Its kubeconfig; without one, one of its ServiceAccount with a token that is good for a day.
    pub kubeconfig: Option<PathBuf>,
    /// Where it goes instead of to the API server, such as a fault proxy's URL.
    pub through: Option<String>,
}

impl Default for OperatorOptions {
    fn default() -> Self {
        OperatorOptions {
            command: "operator",
            program: None,
            name: "rerail-operator".into(),
            pod_name: None,
            election: Election::SHORT,
            arguments: Vec::new(),
            kubeconfig: None,
            through: None,
        }
    }
}

/// Numbers of requests to the API server by verb and resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requests(pub BTreeMap<(String, String), u64>);

impl Requests {
    /// Those since an earlier count, watches apart: how many of these are opened is a matter of time.
    pub fn since(&self, earlier: &Requests) -> Requests {
        let counted = self.0.iter().filter(|((verb, _), _)| verb != "watch");
        let grown = counted.filter_map(|(kind, count)| {
            let before = earlier.0.get(kind).copied().unwrap_or(0);
            (*count > before).then(|| (kind.clone(), count - before))
        });
        Requests(grown.collect())
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// The same, by verb first.
    pub fn by_verb(&self) -> BTreeMap<&str, BTreeMap<&str, u64>> {
        let mut verbs: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
        for ((verb, resource), count) in &self.0 {
            verbs.entry(verb).or_default().insert(resource, *count);
        }
        verbs
    }
}

/// A running operator.
#[derive(Debug, Clone)]
pub struct Operator {
    name: String,
    pod_name: String,
    port: u16,
}

impl Operator {
    /// Starts an operator and waits until it says that it is ready.
    pub async fn start(plane: &ControlPlane, options: OperatorOptions) -> Result<Self, Error> {
        let kubeconfig = kubeconfig(plane, &options)?;
        let port = free_port().map_err(|error| Error::File("a free port".into(), error))?;
        let pod_name = options.pod_name.unwrap_or_else(|| options.name.clone());
        let rerail = match options.program {
            Some(other) => other,
            None => program("rerail")?,
        };
        let mut argv = vec![
            rerail.display().to_string(),
            options.command.into(),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--listen=127.0.0.1:{port}"),
            format!("--pod-name={pod_name}"),
        ];
        argv.extend(options.election.arguments());
        argv.extend(options.arguments);
        let env = vec!["RUST_LOG=info,rerail_operator=debug".to_owned()];
        // On a busy machine one may not be able to renew its Lease in time, and its watchdog ends it.
        let (name, guest, start_again) = (options.name.clone(), true, true);
        plane.run(&Component { name, argv, env, guest, start_again })?;
        let operator = Operator { name: options.name, pod_name, port };
        operator.is_ready().await?;
        Ok(operator)
    }

    /// Starts so many operators: `rerail-operator-a`, `-b` and so on. One of them leads, some time soon.
    pub async fn start_replicas(plane: &ControlPlane, count: u8) -> Result<Vec<Self>, Error> {
        let starts = (b'a'..).take(count.into()).map(|letter| {
            let name = format!("rerail-operator-{}", char::from(letter));
            Self::start(plane, OperatorOptions { name, ..OperatorOptions::default() })
        });
        futures::future::try_join_all(starts).await
    }

    async fn is_ready(&self) -> Result<(), Error> {
        wait_for("the operator to be ready", Duration::from_secs(60), || async {
            self.get("/readyz").await.map(|_| ())
        })
        .await
    }

    /// Ends it with SIGTERM; returns when it is gone.
    pub fn terminate(&self, plane: &ControlPlane) -> Result<(), Error> {
        Ok(plane.stop_component(&self.name)?)
    }

    /// Ends it with SIGKILL; returns when it is gone.
    pub fn kill(&self, plane: &ControlPlane) -> Result<(), Error> {
        Ok(plane.kill_component(&self.name)?)
    }

    /// Freezes it (SIGSTOP): it keeps its connections, and knows of nothing until it goes on.
    pub fn pause(&self, plane: &ControlPlane) -> Result<(), Error> {
        Ok(plane.pause_component(&self.name)?)
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&self, plane: &ControlPlane) -> Result<(), Error> {
        Ok(plane.resume_component(&self.name)?)
    }

    /// Whether its process is there, frozen or not.
    pub fn runs(&self, plane: &ControlPlane) -> bool {
        plane.pid(&self.name).is_some()
    }

    /// Starts a new process in the place of one that has ended, and waits until it says that it is
    /// ready. One that had aborted itself may have been started by then.
    pub async fn start_again(&self, plane: &ControlPlane) -> Result<(), Error> {
        match plane.start_component(&self.name) {
            Err(rerail_controlplane::Error::Refused { .. }) if self.runs(plane) => {}
            other => other?,
        }
        self.is_ready().await
    }

    /// Whether a term (`status.leader` of a run, the holder of the Lease) was of one of its processes.
    pub fn bore(&self, term: &str) -> bool {
        term.strip_prefix(&self.pod_name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
    }

    /// Name of its process and log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Pod that it takes itself for.
    pub fn pod_name(&self) -> &str {
        &self.pod_name
    }

    /// One of its pages, such as `/metrics`; `Err` with what was answered instead of 200.
    pub async fn get(&self, path: &str) -> Result<String, String> {
        get(&format!("127.0.0.1:{}", self.port), path).await
    }

    /// Requests to the API server so far.
    pub async fn api_requests(&self) -> Result<Requests, String> {
        let page = self.get("/metrics").await?;
        let lines = page.lines().filter_map(|line| {
            let rest = line.strip_prefix("rerail_api_requests_total{")?;
            let (labels, count) = rest.split_once("} ")?;
            let label = |name: &str| {
                let start = labels.find(&format!("{name}=\""))? + name.len() + 2;
                labels.get(start..)?.split('"').next().map(str::to_owned)
            };
            Some(((label("verb")?, label("resource")?), count.trim().parse().ok()?))
        });
        Ok(Requests(lines.collect()))
    }
}

fn kubeconfig(plane: &ControlPlane, options: &OperatorOptions) -> Result<PathBuf, Error> {
    let own = match &options.kubeconfig {
        Some(given) => given.clone(),
        None => plane.kubeconfig_for_service_account(
            names::SYSTEM_NAMESPACE,
            names::OPERATOR_SERVICE_ACCOUNT,
        )?,
    };
    let Some(server) = &options.through else { return Ok(own) };
    let path = plane.dir().join(format!("{}-through.kubeconfig", options.name));
    through(&own, &path, server)?;
    Ok(path)
}

/// A port that is free now, and that nobody is given who asks the system for any: those are higher. The
/// operator opens it a moment later, and again when it is started anew.
pub fn free_port() -> std::io::Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const PORTS: Range<u32> = 20_000..32_000;
    let begin = std::process::id().wrapping_mul(61);
    let mut last = std::io::ErrorKind::AddrInUse.into();
    for _ in PORTS {
        let offset = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + offset % (PORTS.end - PORTS.start);
        match TcpListener::bind(("127.0.0.1", u16::try_from(port).unwrap_or_default())) {
            Ok(listener) => return Ok(listener.local_addr()?.port()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
impl Operator {
    /// One that does not run.
    pub(crate) fn named(name: &str) -> Self {
        Operator { name: name.to_owned(), pod_name: name.to_owned(), port: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_is_told_from_that_of_another_operator() {
        let operator = Operator::named("rerail-operator-a");
        assert!(operator.bore("rerail-operator-a-4711-1-2"));
        assert!(!operator.bore("rerail-operator-ab-4711-1-2"));
        assert!(!operator.bore("rerail-operator-b-4711-1-2"));
    }

    #[test]
    fn requests_are_counted_from_an_earlier_count_and_watches_apart() {
        let count = |gets, watches| {
            let kind = |verb: &str| (verb.to_owned(), "nodes".to_owned());
            Requests([(kind("get"), gets), (kind("watch"), watches)].into())
        };
        let between = count(5, 9).since(&count(2, 1));
        assert_eq!((between.total(), between.by_verb()["get"]["nodes"]), (3, 3));
    }
}
