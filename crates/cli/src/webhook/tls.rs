//! TLS of the alerts port: its certificate, and those of its clients. Files are read anew when they change.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::CommandError;

/// How often it is looked whether the certificate has changed.
const CERTIFICATE_EVERY: Duration = Duration::from_secs(10);

/// Certificate and key of the port, in files that may be replaced while it is served.
#[derive(Debug, Clone)]
pub struct Files {
    /// Chain, in PEM.
    pub certificate: PathBuf,
    /// Key, in PEM.
    pub key: PathBuf,
    /// Authorities whose certificates clients have to show, in PEM; without them none is asked for.
    pub client_ca: Option<PathBuf>,
}

/// The certificate that a client has shown, verified by the handshake.
pub fn client(stream: &TlsStream<TcpStream>) -> Option<CertificateDer<'static>> {
    let (_, connection) = stream.get_ref();
    connection.peer_certificates()?.first().cloned()
}

/// Whether a certificate has this DNS name among its alternative names, letter by letter: one for
/// `*.example.com` is not every client of that domain.
pub fn has_name(certificate: &CertificateDer<'_>, name: &str) -> bool {
    webpki::EndEntityCert::try_from(certificate)
        .is_ok_and(|entity| entity.valid_dns_names().any(|own| own.eq_ignore_ascii_case(name)))
}

/// The certificate of the port, read anew when its files change.
pub struct Tls {
    files: Files,
    known: Mutex<Known>,
}

struct Known {
    acceptor: TlsAcceptor,
    changed: Vec<Option<SystemTime>>,
    looked: tokio::time::Instant,
}

impl Tls {
    /// Reads the files.
    pub fn new(files: Files) -> Result<Self, CommandError> {
        // The times first: what changes meanwhile is seen to have changed.
        let (changed, looked) = (changed(&files), tokio::time::Instant::now());
        let acceptor = acceptor(&files).map_err(|error| bad_certificate(&files, error))?;
        let known = Mutex::new(Known { acceptor, changed, looked });
        Ok(Tls { files, known })
    }

    /// What new connections are accepted with. Files that are not good leave the old one in force.
    pub fn acceptor(&self) -> TlsAcceptor {
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

/// When each of the files was changed; a copy may well be older than what it replaces.
fn changed(files: &Files) -> Vec<Option<SystemTime>> {
    let of = |path: &PathBuf| fs::metadata(path).and_then(|file| file.modified()).ok();
    let all = [&files.certificate, &files.key].into_iter().chain(&files.client_ca);
    all.map(of).collect()
}

fn acceptor(files: &Files) -> Result<TlsAcceptor, String> {
    let words = |error: &dyn std::error::Error| error.to_string();
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| words(&error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| words(&error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| words(&error))?;
    let config = match &files.client_ca {
        None => config.with_no_client_auth(),
        Some(path) => {
            let failed = |error: &dyn std::error::Error| format!("{}: {error}", path.display());
            let verifier = WebPkiClientVerifier::builder_with_provider(
                Arc::new(authorities(path).map_err(|error| failed(&error))?),
                provider,
            );
            config.with_client_cert_verifier(verifier.build().map_err(|error| failed(&error))?)
        }
    };
    let config = config.with_single_cert(chain, key).map_err(|error| words(&error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The authorities of clients. A file without any is an error of whoever uses it.
fn authorities(path: &Path) -> Result<RootCertStore, pem::Error> {
    let mut store = RootCertStore::empty();
    let all = CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>()?;
    let (_, ignored) = store.add_parsable_certificates(all);
    if ignored > 0 {
        let path = path.display();
        tracing::warn!(%path, ignored, "certificates of authorities cannot be used, and let nobody in");
    }
    Ok(store)
}
