//! The handle that a test holds, and the port that the client talks to.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{HeaderMap, HeaderValue, header};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimePrinter};
use kube::{Client, Config, client::ClientBuilder, config::AuthInfo};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::Instant,
};

use crate::{
    Asked, Cut, Error, Fault, Injected, Rule, Seen,
    answer::answer,
    stream::OpenWatch,
    wire::{ResetAtEnd, Wire},
};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 128;

/// A running proxy. It ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

/// What the handle and the connections share.
pub(crate) struct Shared {
    pub(crate) upstream: Client,
    rules: Mutex<Vec<Arc<Injected>>>,
    watches: Mutex<Vec<OpenWatch>>,
    seen: Mutex<Vec<Seen>>,
    date_shift: Mutex<Option<SignedDuration>>,
    /// Whether connections are taken.
    open: watch::Sender<bool>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Proxy {
    /// Starts a proxy before the API server of this configuration. Its address and its trust are
    /// used, its credentials are not: the client brings its own.
    pub async fn start(mut upstream: Config) -> Result<Self, Error> {
        upstream.auth_info = AuthInfo::default();
        // What the API server says is for the client to hear.
        upstream.default_retry = false;
        let upstream = ClientBuilder::try_from(upstream).map_err(Box::new)?.build();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            rules: Mutex::default(),
            watches: Mutex::default(),
            seen: Mutex::default(),
            date_shift: Mutex::default(),
            open: watch::channel(true).0,
        });
        let task = tokio::spawn(serve(shared.clone(), listener, address));
        Ok(Proxy { shared, address, task })
    }

    /// Where the client has to go, such as `http://127.0.0.1:12345`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests that fit the rule meet the fault. Of several rules that fit, the oldest one that is
    /// not used up counts.
    pub fn inject(&self, rule: Rule, fault: Fault) -> Arc<Injected> {
        let injected = Arc::new(Injected::new(rule, fault));
        lock(&self.shared.rules).push(injected.clone());
        injected
    }

    /// Cuts the watches of a resource that are open now; how many there were.
    pub fn cut_watches(&self, resource: &str, cut: Cut) -> usize {
        let watches = lock(&self.shared.watches);
        let of = watches.iter().filter(|watch| watch.resource == resource);
        of.filter(|watch| watch.cut(cut)).count()
    }

    /// Refuses connections, and resets those that there are, as when nobody listens.
    pub fn refuse(&self) {
        self.shared.open.send_replace(false);
    }

    /// Takes connections again.
    pub fn accept(&self) {
        self.shared.open.send_replace(true);
    }

    /// From now on every answer says in its `Date` that it is so much later than it is.
    pub fn shift_date(&self, by: SignedDuration) {
        *lock(&self.shared.date_shift) = Some(by);
    }

    /// What has come so far, in the order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// A request has come: the fault that it meets, and its number in the log.
    pub(crate) fn arrived(&self, asked: &Asked) -> (Option<Fault>, usize) {
        let fault = lock(&self.rules).iter().find_map(|rule| rule.meets(asked));
        let mut seen = lock(&self.seen);
        seen.push(Seen {
            verb: asked.verb,
            resource: asked.resource.clone(),
            name: asked.name.clone(),
            at: Instant::now(),
            fault: fault.as_ref().map(|fault| format!("{fault:?}")),
            status: None,
        });
        (fault, seen.len() - 1)
    }

    pub(crate) fn answered(&self, number: usize, status: u16) {
        if let Some(seen) = lock(&self.seen).get_mut(number) {
            seen.status = Some(status);
        }
    }

    pub(crate) fn opened(&self, watch: OpenWatch) {
        let mut watches = lock(&self.watches);
        watches.retain(OpenWatch::is_open);
        watches.push(watch);
    }

    /// Writes the `Date` header anew if it is to be wrong.
    pub(crate) fn date(&self, headers: &mut HeaderMap) {
        let Some(by) = *lock(&self.date_shift) else { return };
        let date = now().saturating_add(by).ok().and_then(|date| {
            let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&date).ok()?;
            HeaderValue::from_str(&text).ok()
        });
        if let Some(date) = date {
            headers.insert(header::DATE, date);
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "a fixture that plays a server has a server's clock")]
fn now() -> Timestamp {
    Timestamp::now()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes connections while the gate is open. While it is shut the port stays ours, and nobody listens.
async fn serve(shared: Arc<Shared>, listener: TcpListener, address: SocketAddr) {
    let mut gate = shared.open.subscribe();
    let mut listener = Some(listener);
    loop {
        if let Some(listening) = listener.take() {
            accept(&shared, listening, &mut gate).await;
        }
        let reserved = reserve(address);
        if gate.wait_for(|open| *open).await.is_err() {
            return;
        }
        match reserved.and_then(|socket| socket.listen(BACKLOG)) {
            Ok(listening) => listener = Some(listening),
            // Another process has the port in its hands for a moment; it is tried again.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
}

fn reserve(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Takes connections until the gate shuts; then all of them are reset.
async fn accept(shared: &Arc<Shared>, listener: TcpListener, gate: &mut watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let mut resets: Vec<ResetAtEnd> = Vec::new();
    loop {
        tokio::select! {
            biased;
            _ = gate.wait_for(|open| !*open) => break,
            Some(_) = connections.join_next() => {}
            Ok((stream, _)) = listener.accept() => {
                let reset = ResetAtEnd::default();
                resets.push(reset.clone());
                connections.spawn(connection(shared.clone(), stream, reset));
            }
        }
    }
    resets.iter().for_each(ResetAtEnd::set);
    connections.shutdown().await;
}

async fn connection(shared: Arc<Shared>, stream: TcpStream, reset: ResetAtEnd) {
    let wire = TokioIo::new(Wire::new(stream, reset.clone()));
    let service = service_fn(|request| answer(shared.clone(), reset.clone(), request));
    // It ends with an error whenever it is cut, which is what it is for.
    let _ = http1::Builder::new().serve_connection(wire, service).await;
}
