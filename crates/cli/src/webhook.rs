//! The port to which Alertmanager sends webhooks: `POST /v1/alertsources/NAME` with a bearer token has that
//! source polled now. What is in the body is not looked at. Whoever may reach the port can open so many
//! connections, each for so long, and send so much, and no more (hazard H25, safety.md C3).

use std::{
    convert::Infallible,
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rerail_operator::alerts::{Answer, Pushes};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;

use crate::CommandError;

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

/// How often it is looked whether the certificate has changed.
const CERTIFICATE_EVERY: Duration = Duration::from_secs(10);

/// Certificate and key of the port, in files that may be replaced while it is served.
#[derive(Debug, Clone)]
pub struct Files {
    /// Chain, in PEM.
    pub certificate: PathBuf,
    /// Key, in PEM.
    pub key: PathBuf,
}

/// Serves until the process ends.
pub async fn serve(
    address: SocketAddr,
    files: Option<Files>,
    pushes: Arc<Pushes>,
) -> Result<(), CommandError> {
    let failed = |source| CommandError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let tls = match files {
        None => None,
        Some(files) => Some(Arc::new(Tls::new(files)?)),
    };
    let address = listener.local_addr().map_err(failed)?;
    tracing::info!(%address, tls = tls.is_some(), "serving /v1/alertsources/NAME");
    tokio::spawn(accept(listener, tls, pushes));
    Ok(())
}

async fn accept(listener: TcpListener, tls: Option<Arc<Tls>>, pushes: Arc<Pushes>) {
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
        let (tls, pushes) = (tls.clone(), pushes.clone());
        tokio::spawn(async move {
            let _place = place;
            let served = async {
                match tls {
                    None => connection(stream, pushes).await,
                    Some(tls) => {
                        let handshake = tls.acceptor().accept(stream);
                        if let Ok(Ok(stream)) = tokio::time::timeout(HEAD_DEADLINE, handshake).await
                        {
                            connection(stream, pushes).await;
                        }
                    }
                }
            };
            // Who is slower than this is cut off.
            let _ = tokio::time::timeout(CONNECTION_DEADLINE, served).await;
        });
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, pushes: Arc<Pushes>) {
    let service = service_fn(move |request| {
        let pushes = pushes.clone();
        async move { Ok::<_, Infallible>(answer(request, &pushes).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE).max_buf_size(16 << 10);
    // What a client does wrong is its own business.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, pushes: &Pushes) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let Some(source) = head.uri.path().strip_prefix("/v1/alertsources/") else {
        return said(StatusCode::NOT_FOUND, "send webhooks to /v1/alertsources/NAME");
    };
    if head.method != Method::POST {
        return said(StatusCode::METHOD_NOT_ALLOWED, "send webhooks with POST");
    }
    let token = head.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(token) = token.and_then(|value| value.strip_prefix("Bearer ")) else {
        return said(StatusCode::UNAUTHORIZED, "a bearer token is needed");
    };
    match pushes.push(source, token) {
        Answer::Denied => {
            return said(StatusCode::UNAUTHORIZED, "no such source, or not its token");
        }
        // The next connection may reach the one that leads.
        Answer::NotHere => {
            return said(StatusCode::SERVICE_UNAVAILABLE, "another operator leads; try again");
        }
        Answer::Polled => {}
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

/// The certificate of the port, read anew when its files change.
struct Tls {
    files: Files,
    known: Mutex<Known>,
}

struct Known {
    acceptor: TlsAcceptor,
    changed: Option<SystemTime>,
    looked: tokio::time::Instant,
}

impl Tls {
    fn new(files: Files) -> Result<Self, CommandError> {
        let acceptor = acceptor(&files).map_err(|error| bad_certificate(&files, error))?;
        let (changed, looked) = (changed(&files), tokio::time::Instant::now());
        let known = Mutex::new(Known { acceptor, changed, looked });
        Ok(Tls { files, known })
    }

    /// What new connections are accepted with. Files that are not good leave the old one in force.
    fn acceptor(&self) -> TlsAcceptor {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.looked.elapsed() >= CERTIFICATE_EVERY {
            known.looked = tokio::time::Instant::now();
            let now = changed(&self.files);
            if now != known.changed {
                match acceptor(&self.files) {
                    Ok(acceptor) => {
                        tracing::info!("the certificate of the alerts port was read anew");
                        (known.acceptor, known.changed) = (acceptor, now);
                    }
                    Err(error) => {
                        let error = bad_certificate(&self.files, error);
                        tracing::error!(%error, "the old certificate stays in force");
                    }
                }
            }
        }
        known.acceptor.clone()
    }
}

fn bad_certificate(files: &Files, error: String) -> CommandError {
    let (certificate, key) = (files.certificate.display(), files.key.display());
    CommandError::Certificate(format!("{certificate} and {key}: {error}"))
}

fn changed(files: &Files) -> Option<SystemTime> {
    let of = |path: &PathBuf| fs::metadata(path).and_then(|file| file.modified()).ok();
    of(&files.certificate).max(of(&files.key))
}

fn acceptor(files: &Files) -> Result<TlsAcceptor, String> {
    let words = |error: &dyn std::error::Error| error.to_string();
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| words(&error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| words(&error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| words(&error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| words(&error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests;
