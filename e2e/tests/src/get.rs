//! Pages of servers on loopback.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The body of a page; `Err` with what was answered instead of 200, or what went wrong. In HTTP/1.0, whose
/// answers come in one piece.
pub async fn get(host: &str, path: &str) -> Result<String, String> {
    request(host, &format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n")).await
}

/// The same for JSON that is sent, with a bearer token or without.
pub async fn post(
    host: &str,
    path: &str,
    token: Option<&str>,
    json: &str,
) -> Result<String, String> {
    let token = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
    let length = json.len();
    let head = format!("POST {path} HTTP/1.0\r\nHost: {host}\r\nContent-Type: application/json");
    request(host, &format!("{head}\r\n{token}Content-Length: {length}\r\n\r\n{json}")).await
}

async fn request(host: &str, request: &str) -> Result<String, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = tokio::net::TcpStream::connect(host).await.map_err(text)?;
    stream.write_all(request.as_bytes()).await.map_err(text)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.map_err(text)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let good = head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200");
    if good { Ok(body.to_owned()) } else { Err(answer) }
}
