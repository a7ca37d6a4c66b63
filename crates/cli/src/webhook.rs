//! The port to which Alertmanager sends webhooks: `POST /v1/alertsources/NAME` with a bearer token, or
//! with a client's certificate, has that source polled now. What is in the body is not looked at. Whoever may
//! reach the port can open so many connections, each for so long, and send so much, and no more (hazard H25,
//! safety.md C3).

mod tls;

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rerail_operator::{
    alerts::{Answer, Presented, Pushes},
    deps::Deps,
    record::metrics::Metrics,
};
use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
};

use crate::CommandError;
pub use tls::Files;
use tls::Tls;

/// Connections at the same time; more wait to be accepted.
const CONNECTIONS: usize = 64;

/// The longest that the head of a request, or a TLS handshake, may take.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);

/// The longest that a connection may last: Alertmanager opens another one.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(60);

/// The longest that a body may take.
const BODY_DEADLINE: Duration = Duration::from_secs(5);

/// The longest body, in bytes. It is read only so that the sender gets its answer.
const BODY_LIMIT: usize = 1 << 20;

/// Handshakes that fail are told of so often.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// So many a second are told that they may not push; more are told to come later.
const DENIED_A_SECOND: u32 = 10;

/// Serves until the process ends.
pub async fn serve(
    address: SocketAddr,
    files: Option<Files>,
    deps: Arc<Deps>,
) -> Result<(), CommandError> {
    let flag = "--alerts-listen";
    let failed = |source| CommandError::Listen { address, source, flag };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    if files.as_ref().is_some_and(|files| files.client_ca.is_some()) {
        deps.pushes.see_certificates();
    }
    let tls = match files {
        None => None,
        Some(files) => Some(Arc::new(Tls::new(files)?)),
    };
    let address = listener.local_addr().map_err(failed)?;
    tracing::info!(%address, tls = tls.is_some(), "serving /v1/alertsources/NAME");
    let port = Port {
        pushes: deps.pushes.clone(),
        metrics: deps.metrics.clone(),
        denied: Denied::default(),
        told: Mutex::default(),
    };
    tokio::spawn(accept(listener, tls, Arc::new(port)));
    Ok(())
}

/// What all connections share.
struct Port {
    pushes: Arc<Pushes>,
    metrics: Metrics,
    denied: Denied,
    /// When it was last told that a handshake failed.
    told: Mutex<Option<tokio::time::Instant>>,
}

impl Port {
    /// A client has not come so far as to be heard: what is wrong with certificates would show nowhere else.
    fn no_handshake(&self, error: &str) {
        self.metrics.alert_pushed("NoHandshake");
        let now = tokio::time::Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| now.duration_since(told) >= TOLD_EVERY) {
            *told = Some(now);
            tracing::warn!(error, "a TLS handshake on the alerts port failed; told once a minute");
        }
    }
}

/// How many were denied lately: whoever floods the port with what may not push gets the shortest answer, and
/// counts as that; who may push is not kept waiting for it.
#[derive(Default)]
struct Denied(Mutex<Option<(tokio::time::Instant, u32)>>);

impl Denied {
    /// One more; true if there were too many in this second.
    fn too_many(&self) -> bool {
        let now = tokio::time::Instant::now();
        let mut of_second = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (began, count) = of_second.get_or_insert((now, 0));
        if now.duration_since(*began) >= Duration::from_secs(1) {
            (*began, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count > DENIED_A_SECOND
    }
}

async fn accept(listener: TcpListener, tls: Option<Arc<Tls>>, port: Arc<Port>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Too many open files, say: others have them, and give them back.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (tls, port) = (tls.clone(), port.clone());
        tokio::spawn(async move {
            let _place = place;
            let served = async {
                match tls {
                    None => connection(stream, None, port).await,
                    Some(tls) => {
                        let handshake = tls.acceptor().accept(stream);
                        match tokio::time::timeout(HEAD_DEADLINE, handshake).await {
                            Ok(Ok(stream)) => {
                                let client = tls::client(&stream);
                                connection(stream, client, port).await;
                            }
                            Ok(Err(error)) => port.no_handshake(&error.to_string()),
                            Err(_) => port.no_handshake("it takes too long"),
                        }
                    }
                }
            };
            // Who is slower than this is cut off.
            let _ = tokio::time::timeout(CONNECTION_DEADLINE, served).await;
        });
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    client: Option<CertificateDer<'static>>,
    port: Arc<Port>,
) {
    let client = Arc::new(client);
    let service = service_fn(move |request| {
        let (port, client) = (port.clone(), client.clone());
        async move { Ok::<_, Infallible>(answer(request, client.as_ref().as_ref(), &port).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE).max_buf_size(16 << 10);
    // What a client does wrong is its own business.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: Request<Incoming>,
    client: Option<&CertificateDer<'static>>,
    port: &Port,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let Some(source) = head.uri.path().strip_prefix("/v1/alertsources/") else {
        return said(StatusCode::NOT_FOUND, "send webhooks to /v1/alertsources/NAME");
    };
    if head.method != Method::POST {
        return said(StatusCode::METHOD_NOT_ALLOWED, "send webhooks with POST");
    }
    let header = head.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = header.and_then(|value| value.strip_prefix("Bearer "));
    let has_name = |name: &str| client.is_some_and(|client| tls::has_name(client, name));
    match port.pushes.push(source, &Presented { token, has_name: &has_name }) {
        Answer::Denied if port.denied.too_many() => {
            port.metrics.alert_pushed("TooMany");
            return said(StatusCode::TOO_MANY_REQUESTS, "too many that may not push; try later");
        }
        Answer::Denied => {
            port.metrics.alert_pushed("Denied");
            let words = "no such source, or it may not be pushed with what was shown";
            return said(StatusCode::UNAUTHORIZED, words);
        }
        // The next connection may reach the one that leads, or come when it knows more.
        Answer::NotHere => {
            port.metrics.alert_pushed("NotHere");
            return said(
                StatusCode::SERVICE_UNAVAILABLE,
                "this operator does not lead, or has only just begun to; try again",
            );
        }
        Answer::Polled => port.metrics.alert_pushed("Polled"),
    }
    let whole = tokio::time::timeout(BODY_DEADLINE, Limited::new(body, BODY_LIMIT).collect()).await;
    match whole {
        Ok(Ok(_)) => said(StatusCode::OK, "the source is polled"),
        Ok(Err(_)) => {
            said(StatusCode::PAYLOAD_TOO_LARGE, "the source is polled; nobody reads so much")
        }
        Err(_) => said(StatusCode::REQUEST_TIMEOUT, "the source is polled; nobody waits so long"),
    }
}

/// An answer; one that is no success also ends the connection.
fn said(status: StatusCode, words: &'static str) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from_static(words.as_bytes())));
    *answer.status_mut() = status;
    if !status.is_success() {
        let close = header::HeaderValue::from_static("close");
        answer.headers_mut().insert(header::CONNECTION, close);
    }
    answer
}

#[cfg(test)]
mod tests;
