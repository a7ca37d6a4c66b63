//! What somebody who can reach the port may try.

use tokio::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

const TOKEN: &str = "Bearer right";

/// A port with the source `main`, and its bell.
async fn port() -> (SocketAddr, Arc<tokio::sync::Notify>) {
    let pushes = Arc::<Pushes>::default();
    let bell = pushes.register("main");
    pushes.register("other");
    pushes.set_token("main", Some("right"));
    pushes.set_token("other", Some("others"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(accept(listener, None, pushes));
    (address, bell)
}

/// Sends these bytes and reads until the other side ends it.
async fn sent(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
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
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(accept(listener, None, Arc::default()));
    let head = b"POST /v1/alertsources/main HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer right\r\nContent-Length: 0\r\n\r\n";
    let answer = sent(address, head).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
}

/// What is sent is not looked at: neither garbage nor a million labels do more than a push does.
#[tokio::test]
async fn the_body_means_nothing() {
    let (address, bell) = port().await;
    let labels: String = (0..30_000).map(|n| format!("\"label-{n}\":\"{n}\",")).collect();
    for body in ["", "\u{0}", "{", &labels] {
        let answer =
            sent(address, &request("POST", "/v1/alertsources/main", Some(TOKEN), body)).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(rang(&bell).await);
    }
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
