//! The operator as a process of its own, under the ServiceAccount that `config/` gives it.

use std::{collections::BTreeMap, net::TcpListener, path::PathBuf, time::Duration};

use rerail_api::names;
use rerail_controlplane::{Component, ControlPlane};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{Error, kubeconfig::through, program, wait_for};

/// How an operator is started.
#[derive(Debug, Clone)]
pub struct OperatorOptions {
    /// Name of its process and log.
    pub name: String,
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
            name: "rerail-operator".into(),
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
#[derive(Debug)]
pub struct Operator {
    name: String,
    port: u16,
}

impl Operator {
    /// Starts an operator and waits until it says that it is ready.
    pub async fn start(plane: &ControlPlane, options: OperatorOptions) -> Result<Self, Error> {
        let kubeconfig = kubeconfig(plane, &options)?;
        let port = free_port().map_err(|error| Error::File("a free port".into(), error))?;
        let mut argv = vec![
            program("rerail")?.display().to_string(),
            "operator".into(),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--listen=127.0.0.1:{port}"),
        ];
        argv.extend(options.arguments);
        let env = vec!["RUST_LOG=info,rerail_operator=debug".to_owned()];
        plane.run(&Component { name: options.name.clone(), argv, env, guest: true })?;
        let operator = Operator { name: options.name, port };
        wait_for("the operator to be ready", Duration::from_secs(60), || async {
            operator.get("/readyz").await.map(|_| ())
        })
        .await?;
        Ok(operator)
    }

    /// Name of its process and log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One of its pages, such as `/metrics`; `Err` with what was answered instead of 200.
    pub async fn get(&self, path: &str) -> Result<String, String> {
        let text = |error: std::io::Error| error.to_string();
        let mut stream =
            tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.map_err(text)?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.map_err(text)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map_err(text)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        if head.starts_with("HTTP/1.1 200") { Ok(body.to_owned()) } else { Err(answer) }
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

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

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
