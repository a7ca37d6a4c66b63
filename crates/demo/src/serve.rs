//! The simulated API server over HTTP, for `kubectl` and for `rerail plan` in another terminal. It runs
//! in the simulation's own thread, on its clock, so that nobody sees another time than the operator.

use std::{
    borrow::Cow,
    convert::Infallible,
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener as StdListener},
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Request, body::Incoming, http::Uri, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rerail_sim::Server;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::spawn_local};

use crate::Shared;

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port is taken, most likely.
    #[error("cannot serve the API at {address}: {source}; choose another --port, or none")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// No place for the kubeconfig.
    #[error(
        "cannot write a kubeconfig in {directory}: {source}; set TMPDIR to a directory that is yours"
    )]
    Kubeconfig {
        /// Where.
        directory: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// Takes a port on loopback; 0 for any that is free.
pub fn listen(port: u16) -> Result<StdListener, ServeError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let failed = |source| ServeError::Listen { address, source };
    let listener = StdListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// A kubeconfig that goes when this goes.
#[derive(Debug)]
pub struct Kubeconfig {
    _directory: TempDir,
    path: PathBuf,
}

impl Kubeconfig {
    /// Writes one for this address.
    pub fn write(address: SocketAddr) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Kubeconfig { directory: std::env::temp_dir(), source };
        let directory =
            tempfile::Builder::new().prefix("rerail-demo-").tempdir().map_err(failed)?;
        let path = directory.path().join("kubeconfig");
        let mut file = std::fs::File::create_new(&path).map_err(failed)?;
        file.write_all(kubeconfig(address).as_bytes()).map_err(failed)?;
        Ok(Kubeconfig { _directory: directory, path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn kubeconfig(address: SocketAddr) -> String {
    format!(
        "apiVersion: v1
kind: Config
clusters:
- {{name: rerail-demo, cluster: {{server: \"http://{address}\"}}}}
users:
- {{name: you, user: {{}}}}
contexts:
- {{name: rerail-demo, context: {{cluster: rerail-demo, user: you}}}}
current-context: rerail-demo
"
    )
}

/// Answers requests as long as it is polled. In the simulation's thread.
pub async fn serve(
    listener: StdListener,
    server: Server,
    shared: Arc<Shared>,
) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let server = Rc::new(server);
    loop {
        // One connection that breaks while it is accepted is no reason to stop.
        let Ok((socket, _)) = listener.accept().await else { continue };
        let (server, shared) = (server.clone(), shared.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (server, shared) = (server.clone(), shared.clone());
            async move {
                let (mut parts, body) = request.into_parts();
                parts.uri = on_our_clock(parts.uri, shared.dial.speed().stretch());
                // A body that broke off is as good as none: the answer goes nowhere.
                let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                let answer = server.answer(&Request::<Bytes>::from_parts(parts, body));
                Ok::<_, Infallible>(answer)
            }
        });
        spawn_local(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
    }
}

/// How long a watch lasts for somebody outside who does not say: as at a real API server.
const WATCH_SECONDS: f64 = 1800.0;

/// A watch that is to last for five minutes means those of whoever asked. The server's minutes are
/// shorter, so it has to be asked for more of them.
fn on_our_clock(uri: Uri, stretch: f64) -> Uri {
    let query = uri.query().unwrap_or_default();
    let pairs = || query.split('&').filter(|pair| !pair.is_empty());
    if !pairs().any(|pair| matches!(pair, "watch=true" | "watch=1" | "watch")) {
        return uri;
    }
    let asked = pairs().find_map(|pair| pair.strip_prefix("timeoutSeconds=")?.parse().ok());
    let seconds = (asked.unwrap_or(WATCH_SECONDS) * stretch).ceil().min(f64::from(u32::MAX));
    let others = pairs().filter(|pair| !pair.starts_with("timeoutSeconds=")).map(Cow::Borrowed);
    let all: Vec<Cow<'_, str>> =
        others.chain([Cow::Owned(format!("timeoutSeconds={seconds}"))]).collect();
    let text = format!("{}?{}", uri.path(), all.join("&"));
    text.parse().unwrap_or(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretched(text: &str) -> String {
        on_our_clock(text.parse().unwrap(), 60.0).to_string()
    }

    #[test]
    fn a_watch_lasts_as_long_as_whoever_asked_means() {
        assert_eq!(
            stretched("/api/v1/nodes?watch=true&timeoutSeconds=300&resourceVersion=7"),
            "/api/v1/nodes?watch=true&resourceVersion=7&timeoutSeconds=18000"
        );
        assert_eq!(
            stretched("/api/v1/nodes?watch=1"),
            "/api/v1/nodes?watch=1&timeoutSeconds=108000"
        );
        let list = "/api/v1/nodes?limit=500&timeoutSeconds=300";
        assert_eq!(stretched(list), list);
        assert_eq!(stretched("/readyz"), "/readyz");
    }

    #[test]
    fn a_kubeconfig_names_the_address_and_goes_with_its_owner() {
        let address: SocketAddr = "127.0.0.1:4711".parse().unwrap();
        let file = Kubeconfig::write(address).unwrap();
        let read = kube::config::Kubeconfig::read_from(file.path()).unwrap();
        let cluster = read.clusters[0].cluster.clone().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("http://127.0.0.1:4711"));
        let path = file.path().to_owned();
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_port_that_is_taken_is_told() {
        let taken = listen(0).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = listen(port).unwrap_err().to_string();
        assert!(error.contains(&format!("127.0.0.1:{port}")), "{error}");
    }
}
