//! HTTP and TLS to Alertmanager and Prometheus: hyper and rustls, as kube itself uses them, so that
//! there is one TLS in the program. No redirects, no proxy of the environment.

use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Empty};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use jiff::Timestamp;
use rerail_alerts::fetch::{Access, BODY_LIMIT, Fetch, FetchError, Fetched};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// How long a connection may take to come about; a server behind a dead address must not take the whole
/// time of a question.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// Clients that are kept, one for each set of credentials; of more the oldest go.
const CLIENTS_KEPT: usize = 32;

type Https = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// Fetches over sockets.
#[derive(Default)]
pub struct HttpFetch {
    clients: Mutex<Vec<(Access, Https)>>,
}

impl HttpFetch {
    /// The client for these credentials.
    fn client(&self, access: &Access) -> Result<Https, FetchError> {
        // The header goes with each request, and not into the client.
        let key = Access { authorization: None, ..access.clone() };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = clients.iter().find(|(known, _)| *known == key) {
            return Ok(client.clone());
        }
        let mut http = HttpConnector::new();
        http.set_connect_timeout(Some(CONNECT_DEADLINE));
        http.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(&key)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        if clients.len() >= CLIENTS_KEPT {
            clients.remove(0);
        }
        clients.push((key, client.clone()));
        Ok(client)
    }
}

impl Fetch for HttpFetch {
    fn get<'a>(
        &'a self,
        url: &'a str,
        access: &'a Access,
    ) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        async move {
            let answer = self.client(access)?.request(request(url, access)?).await;
            let answer = answer.map_err(|error| FetchError::Unreachable(causes(&error)))?;
            let (head, mut body) = answer.into_parts();
            let mut read = BytesMut::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| FetchError::Unreachable(causes(&error)))?;
                if let Ok(data) = frame.into_data() {
                    if read.len() + data.len() > BODY_LIMIT {
                        return Err(FetchError::TooLong);
                    }
                    read.extend_from_slice(&data);
                }
            }
            let date = head.headers.get(header::DATE).and_then(|value| date(value.to_str().ok()?));
            Ok(Fetched { status: head.status.as_u16(), date, body: read.freeze() })
        }
        .boxed()
    }
}

fn request(url: &str, access: &Access) -> Result<Request<Empty<Bytes>>, FetchError> {
    let mut request = Request::get(url)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("rerail/", env!("CARGO_PKG_VERSION")))
        .body(Empty::new())
        .map_err(|error| FetchError::Unreachable(format!("`{url}` is no address: {error}")))?;
    if let Some(authorization) = &access.authorization {
        let mut value = HeaderValue::from_str(authorization).map_err(|_| {
            FetchError::Access("the credentials hold what no header may have".to_owned())
        })?;
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    Ok(request)
}

/// The date of an HTTP header (RFC 9110, section 5.6.7).
fn date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

fn tls(access: &Access) -> Result<ClientConfig, FetchError> {
    let failed =
        |what: &str, error: &dyn Error| FetchError::Access(format!("{what}: {}", causes(error)));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed("TLS", &error))?;
    let config = match &access.ca {
        // An image with nothing but this program has none: plain HTTP works all the same, and HTTPS says
        // that it trusts nobody.
        None => match config.clone().with_native_roots() {
            Ok(config) => config,
            Err(error) => {
                tracing::warn!(%error, "no public authorities are known: HTTPS needs `caSecretName`, or SSL_CERT_FILE in the environment");
                config.with_root_certificates(RootCertStore::empty())
            }
        },
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(pem).map_err(|error| failed("`ca.crt`", &error))? {
                roots.add(authority).map_err(|error| failed("`ca.crt`", &error))?;
            }
            if roots.is_empty() {
                return Err(FetchError::Access("`ca.crt` holds no certificate in PEM".to_owned()));
            }
            config.with_root_certificates(roots)
        }
    };
    match &access.client_certificate {
        None => Ok(config.with_no_client_auth()),
        Some((chain, key)) => {
            let chain = certificates(chain).map_err(|error| failed("`tls.crt`", &error))?;
            let key =
                PrivateKeyDer::from_pem_slice(key).map_err(|error| failed("`tls.key`", &error))?;
            config
                .with_client_auth_cert(chain, key)
                .map_err(|error| failed("`tls.crt` and `tls.key`", &error))
        }
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}

/// An error with what caused it: hyper itself says no more than `client error (Connect)`.
fn causes(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_http_writes_them() {
        let expected: Timestamp = "1994-11-06T08:49:37Z".parse().unwrap();
        assert_eq!(date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(expected));
        assert_eq!(date("yesterday"), None);
    }

    #[test]
    fn certificates_that_are_none_say_which() {
        let pem = |text: &str| Some(Bytes::from(text.to_owned()));
        let ca = Access { ca: pem("no certificate"), ..Access::default() };
        assert!(tls(&ca).unwrap_err().to_string().contains("`ca.crt` holds no certificate"));
        let client = Access { client_certificate: pem("x").zip(pem("y")), ..Access::default() };
        assert!(tls(&client).unwrap_err().to_string().starts_with("`tls.key`"));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_says_why() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let (url, access) = (format!("http://{address}/"), Access::default());
        let error = HttpFetch::default().get(&url, &access).await.unwrap_err();
        assert!(error.to_string().contains("Connection refused"), "{error}");
        let error = HttpFetch::default().get("nonsense url", &access).await.unwrap_err();
        assert!(error.to_string().contains("is no address"), "{error}");
    }
}
