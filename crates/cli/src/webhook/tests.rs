//! What somebody who can reach the port may try.

use rerail_alerts::fetch::{Access, Fetch, FetchError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use super::*;
use crate::fetch::HttpFetch;

const TOKEN: &str = "Bearer right";

/// A port with the source `main`, and its bell.
async fn port() -> (SocketAddr, Arc<tokio::sync::Notify>) {
    let pushes = Arc::<Pushes>::default();
    pushes.polls(true);
    let bell = pushes.register("main");
    pushes.register("other");
    pushes.set_token("main", Some("right"));
    pushes.set_token("other", Some("others"));
    (listening(pushes, None).await, bell)
}

/// A port on loopback.
async fn listening(pushes: Arc<Pushes>, files: Option<Files>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = files.map(|files| Arc::new(Tls::new(files).unwrap()));
    let (metrics, denied, told) = (Metrics::default(), Denied::default(), Mutex::default());
    tokio::spawn(accept(listener, tls, Arc::new(Port { pushes, metrics, denied, told })));
    address
}

/// Sends these bytes and reads until the other side ends it.
async fn sent(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The other side may end it before it has everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn request(method: &str, path: &str, authorization: Option<&str>, body: &str) -> Vec<u8> {
    let authorization =
        authorization.map_or(String::new(), |value| format!("Authorization: {value}\r\n"));
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{authorization}Content-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// Whether the bell has been rung since it was last listened to.
async fn rang(bell: &tokio::sync::Notify) -> bool {
    tokio::time::timeout(Duration::from_millis(50), bell.notified()).await.is_ok()
}

#[tokio::test]
async fn only_the_token_of_the_source_has_it_polled() {
    let (address, bell) = port().await;
    let path = "/v1/alertsources/main";
    for (method, path, token, status) in [
        ("POST", path, None, "401"),
        ("POST", path, Some("Bearer wrong"), "401"),
        ("POST", path, Some("Bearer others"), "401"),
        ("POST", path, Some("Basic right"), "401"),
        ("POST", path, Some("right"), "401"),
        ("POST", "/v1/alertsources/nobody", Some(TOKEN), "401"),
        ("POST", "/v1/alertsources/", Some(TOKEN), "401"),
        ("POST", "/v1/alertsources/../main", Some(TOKEN), "401"),
        ("GET", path, Some(TOKEN), "405"),
        ("POST", "/metrics", Some(TOKEN), "404"),
    ] {
        let answer = sent(address, &request(method, path, token, "{}")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{method} {path}: {answer}");
        assert!(!rang(&bell).await, "{method} {path} {token:?}");
    }
    let answer = sent(address, &request("POST", path, Some(TOKEN), "{}")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(rang(&bell).await);
}

/// Where nobody is polled, another operator leads: the sender is told to come again, on another
/// connection.
#[tokio::test]
async fn who_does_not_lead_says_so_and_ends_the_connection() {
    let address = listening(Arc::default(), None).await;
    let head = b"POST /v1/alertsources/main HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer right\r\nContent-Length: 0\r\n\r\n";
    let answer = sent(address, head).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
}

/// What is sent is not looked at: neither garbage, nor many labels, nor alerts of another cluster's nodes, nor
/// the same once more do more than a push does.
#[tokio::test]
async fn the_body_means_nothing() {
    let (address, bell) = port().await;
    let labels: String = (0..30_000).map(|n| format!("\"label-{n}\":\"{n}\",")).collect();
    let elsewhere = r#"{"version":"4","status":"firing","receiver":"r","truncatedAlerts":0,"alerts":[
        {"status":"firing","labels":{"alertname":"Hot","node":"of-another-cluster"}}]}"#;
    for body in ["", "\u{0}", "{", &labels, elsewhere, elsewhere, elsewhere] {
        let answer =
            sent(address, &request("POST", "/v1/alertsources/main", Some(TOKEN), body)).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(rang(&bell).await);
    }
}

#[tokio::test]
async fn a_million_labels_are_not_read() {
    let (address, bell) = port().await;
    let labels: String = (0..1_000_000).map(|n| format!("\"label-{n}\":\"\",")).collect();
    let answer =
        sent(address, &request("POST", "/v1/alertsources/main", Some(TOKEN), &labels)).await;
    // Who is still sending may not hear it.
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(rang(&bell).await);
}

#[tokio::test]
async fn a_gigabyte_is_not_read() {
    let (address, _bell) = port().await;
    let head = format!(
        "POST /v1/alertsources/main HTTP/1.1\r\nHost: x\r\nAuthorization: {TOKEN}\r\nContent-Length: {}\r\n\r\n",
        1_u64 << 30
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let sender = tokio::spawn(async move {
        let part = vec![b'x'; 1 << 20];
        for sent in 0..1024 {
            if writer.write_all(&part).await.is_err() {
                return sent;
            }
        }
        1024
    });
    let mut answer = Vec::new();
    let _ = reader.read_to_end(&mut answer).await;
    let sent = sender.await.unwrap();
    assert!(sent < 64, "{sent} MiB were taken");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_head_that_is_too_long_or_no_http_is_refused() {
    let (address, bell) = port().await;
    let long = format!("POST /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(64 << 10));
    let many: String = (0..5000).map(|n| format!("X-{n}: {n}\r\n")).collect();
    let many = format!("POST /v1/alertsources/main HTTP/1.1\r\n{many}\r\n");
    for bytes in [long.as_bytes(), many.as_bytes(), b"\x16\x03\x01 TLS", b"\r\n\r\n\r\n\r\n!"] {
        let answer = sent(address, bytes).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert!(!rang(&bell).await);
}

/// Who never gets on keeps a place for seconds, and nobody else waiting for longer.
#[tokio::test]
async fn slow_clients_are_cut_off_and_others_have_their_turn() {
    let (address, bell) = port().await;
    let mut slow = Vec::new();
    for _ in 0..CONNECTIONS + 10 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(b"POST /v1/alertsources/main HTTP/1.1\r\nHost").await;
        slow.push(stream);
    }
    let started = Instant::now();
    let answer = sent(address, &request("POST", "/v1/alertsources/main", Some(TOKEN), "{}")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(rang(&bell).await);
    assert!(started.elapsed() < 4 * HEAD_DEADLINE, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_body_that_never_comes_is_not_waited_for() {
    let (address, _bell) = port().await;
    let head = format!(
        "POST /v1/alertsources/main HTTP/1.1\r\nHost: x\r\nAuthorization: {TOKEN}\r\nContent-Length: 10\r\n\r\nab"
    );
    let answer = sent(address, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

/// Who guesses tokens is told to come later; who has the right one is not kept waiting for it.
#[tokio::test]
async fn who_is_denied_too_often_is_told_to_come_later_and_nobody_else_is() {
    let (address, bell) = port().await;
    let path = "/v1/alertsources/main";
    let mut denied = Vec::new();
    for _ in 0..2 * DENIED_A_SECOND {
        denied.push(sent(address, &request("POST", path, Some("Bearer wrong"), "")).await);
    }
    let too_many = denied.iter().filter(|answer| answer.starts_with("HTTP/1.1 429")).count();
    assert!(denied[0].starts_with("HTTP/1.1 401") && too_many > 0, "{denied:?}");
    let answer = sent(address, &request("POST", path, Some(TOKEN), "")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(rang(&bell).await);
}

/// An authority, and what it signs.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Authority { certificate, issuer: rcgen::Issuer::new(params, key) }
    }

    /// A certificate for this name, and its key, in PEM.
    fn sign(&self, name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn pem(&self) -> String {
        self.certificate.pem()
    }
}

/// The files of a port for `localhost`.
fn files(folder: &std::path::Path, server: &Authority, clients: Option<&Authority>) -> Files {
    let (certificate, key) = server.sign("localhost");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).unwrap();
        folder.join(name)
    };
    Files {
        certificate: write("tls.crt", &certificate),
        key: write("tls.key", &key),
        client_ca: clients.map(|clients| write("ca.crt", &clients.pem())),
    }
}

/// A port with TLS, and a client of ours that trusts its authority: both ends of what we have of TLS.
#[tokio::test]
async fn only_who_is_known_by_certificate_is_spoken_to() {
    let (server, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let pushes = Arc::<Pushes>::default();
    let address = listening(pushes, Some(files(folder.path(), &server, Some(&clients)))).await;
    let url = format!("https://localhost:{}/", address.port());
    let fetch = HttpFetch::default();
    let with = |ca: Option<&Authority>, client: Option<(String, String)>| Access {
        authorization: None,
        ca: ca.map(|ca| ca.pem().into()),
        client_certificate: client.map(|(chain, key)| (chain.into(), key.into())),
    };
    let good = fetch.get(&url, &with(Some(&server), Some(clients.sign("am")))).await;
    assert_eq!(good.unwrap().status, 404, "it speaks to us, and there is nothing here");
    for (what, access) in [
        ("the authority is none of the public ones", with(None, Some(clients.sign("am")))),
        ("another authority", with(Some(&others), Some(clients.sign("am")))),
        ("no certificate", with(Some(&server), None)),
        ("a certificate of somebody else", with(Some(&server), Some(others.sign("am")))),
    ] {
        let answer = fetch.get(&url, &access).await;
        assert!(matches!(answer, Err(FetchError::Unreachable(_))), "{what}: {answer:?}");
    }
    let garbage = with(Some(&server), Some(("no certificate".into(), "no key".into())));
    assert!(matches!(fetch.get(&url, &garbage).await, Err(FetchError::Access(_))));
}

/// Mutual TLS: the name in the certificate says who may push what.
#[tokio::test]
async fn a_client_pushes_only_what_its_name_allows() {
    let (server, clients) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let pushes = Arc::<Pushes>::default();
    pushes.polls(true);
    let bell = pushes.register("main");
    pushes.set_clients("main", &["am.example.com".into()]);
    pushes.register("other");
    pushes.set_clients("other", &["else.example.com".into()]);
    let address = listening(pushes, Some(files(folder.path(), &server, Some(&clients)))).await;
    for (name, source, status) in [
        ("am.example.com", "main", "200"),
        ("am.example.com", "other", "401"),
        ("example.com", "main", "401"),
        ("notam.example.com", "main", "401"),
        // What it may stand for is not what it is.
        ("*.example.com", "main", "401"),
    ] {
        let path = format!("/v1/alertsources/{source}");
        let body = request("POST", &path, None, "{}");
        let answer = sent_over_tls(address, &server, clients.sign(name), &body).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{name} {source}: {answer}");
        assert_eq!(rang(&bell).await, status == "200", "{name} {source}");
    }
}

async fn sent_over_tls(
    address: SocketAddr,
    server: &Authority,
    (chain, key): (String, String),
    bytes: &[u8],
) -> String {
    use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(server.certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
        .unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// cert-manager replaces the files under a running process.
#[tokio::test(start_paused = true)]
async fn files_that_change_are_read_anew_and_bad_ones_leave_the_old_in_force() {
    let server = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let files_of = |age: u64| {
        let files = files(folder.path(), &server, None);
        // Times of files may have whole seconds.
        let time = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(age);
        std::fs::File::open(&files.key).unwrap().set_modified(time).unwrap();
        std::fs::File::open(&files.certificate).unwrap().set_modified(time).unwrap();
        files
    };
    let tls = Tls::new(files_of(1)).unwrap();
    let first = tls.acceptor().config().clone();
    files_of(2);
    assert!(Arc::ptr_eq(&first, tls.acceptor().config()), "not looked at yet");
    tokio::time::advance(Duration::from_secs(11)).await;
    let second = tls.acceptor().config().clone();
    assert!(!Arc::ptr_eq(&first, &second));
    let files = files_of(3);
    std::fs::write(&files.certificate, "garbage").unwrap();
    tokio::time::advance(Duration::from_secs(11)).await;
    assert!(Arc::ptr_eq(&second, tls.acceptor().config()));
    files_of(4);
    tokio::time::advance(Duration::from_secs(11)).await;
    assert!(!Arc::ptr_eq(&second, tls.acceptor().config()));
}
