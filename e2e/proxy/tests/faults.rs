//! Every fault, as a client on the wire sees it, and what the server behind the proxy saw of it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{
    convert::Infallible,
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response, body::Frame, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use jiff::SignedDuration;
use rerail_proxy::{Cut, Fault, Proxy, Reply, Rule};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

const NODE: &str = r#"{"kind":"Node","metadata":{"name":"n1"}}"#;
const LINE: &str = "{\"type\":\"ADDED\",\"object\":{}}\n";
const LONG: Duration = Duration::from_secs(10);

/// A server that answers with a node, or with a watch of one line that stays open.
struct Server {
    proxy: Proxy,
    served: Arc<AtomicUsize>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = Arc::new(AtomicUsize::new(0));
        let count = served.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let count = count.clone();
                let service = service_fn(move |request| respond(count.clone(), request));
                let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(served);
            }
        });
        let proxy = Proxy::start(kube::Config::new(url.parse().unwrap())).await.unwrap();
        Server { proxy, served }
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    async fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(self.proxy.url().trim_start_matches("http://")).await
    }

    /// Sends a request on a connection of its own; what comes until the end, and which end.
    async fn ask(&self, method: &str, path: &str, body: &str) -> (String, Result<(), ErrorKind>) {
        let mut stream = self.connect().await.unwrap();
        send(&mut stream, method, path, body).await;
        timeout(LONG, read_to_end(&mut stream)).await.unwrap()
    }

    async fn get_node(&self) -> (String, Result<(), ErrorKind>) {
        self.ask("GET", "/api/v1/nodes/n1", "").await
    }

    /// A watch whose first line has come.
    async fn watch(&self) -> TcpStream {
        let mut stream = self.connect().await.unwrap();
        send(&mut stream, "GET", "/api/v1/nodes?watch=true", "").await;
        let mut text = String::new();
        while !text.contains(LINE) {
            let mut buffer = [0; 1024];
            let count = timeout(LONG, stream.read(&mut buffer)).await.unwrap().unwrap();
            assert_ne!(count, 0, "{text}");
            text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
        stream
    }
}

async fn respond(
    count: Arc<AtomicUsize>,
    request: Request<Incoming>,
) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, Infallible> {
    count.fetch_add(1, Ordering::SeqCst);
    let watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    let authorization = request.headers().get("authorization").cloned();
    let sent = request.into_body().collect().await.unwrap().to_bytes();
    let builder = authorization
        .into_iter()
        .fold(Response::builder(), |builder, value| builder.header("x-authorization", value));
    let body = match (watch, sent.is_empty()) {
        (true, _) => {
            let line = futures::stream::iter([Ok(Frame::data(Bytes::from(LINE)))]);
            let rest = futures::stream::pending();
            BodyExt::boxed_unsync(StreamBody::new(futures::StreamExt::chain(line, rest)))
        }
        (false, true) => http_body_util::Full::new(Bytes::from(NODE)).boxed_unsync(),
        (false, false) => http_body_util::Full::new(sent).boxed_unsync(),
    };
    Ok(builder.body(body).unwrap())
}

async fn send(stream: &mut TcpStream, method: &str, path: &str, body: &str) {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer mine\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
}

async fn read_to_end(stream: &mut TcpStream) -> (String, Result<(), ErrorKind>) {
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes).await.map(drop).map_err(|error| error.kind());
    (String::from_utf8(bytes).unwrap(), end)
}

fn status_of(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

#[tokio::test]
async fn without_a_rule_everything_passes_with_the_clients_own_credentials() {
    let server = Server::start().await;
    let (answer, end) = server.get_node().await;
    assert_eq!((status_of(&answer), end), ("200", Ok(())));
    assert!(answer.ends_with(NODE) && answer.contains("x-authorization: Bearer mine"), "{answer}");
    let (answer, _) = server.ask("PATCH", "/api/v1/nodes/n1", "[{}]").await;
    assert!(answer.ends_with("[{}]"), "{answer}");
    let seen = server.proxy.seen();
    let verbs: Vec<_> = seen.iter().map(|s| (s.verb, s.resource.as_str(), s.status)).collect();
    assert_eq!(verbs, [("get", "nodes", Some(200)), ("patch", "nodes", Some(200))]);
}

#[tokio::test]
async fn a_status_instead_never_reaches_the_server_and_comes_as_often_as_was_said() {
    let server = Server::start().await;
    let rule = server.proxy.inject(Rule::on("get", "nodes"), Fault::Instead(Reply::throttled(7)));
    let (answer, _) = server.get_node().await;
    assert_eq!((status_of(&answer), server.served()), ("429", 0));
    assert!(answer.contains("retry-after: 7") && answer.contains("\"retryAfterSeconds\":7"));
    assert!(
        answer.contains("\"reason\":\"TooManyRequests\"") && answer.contains("\"name\":\"n1\"")
    );
    let (answer, _) = server.get_node().await;
    assert_eq!((status_of(&answer), server.served(), rule.met()), ("200", 1, 1));
    let seen = server.proxy.seen();
    assert!(seen[0].fault.is_some() && seen[0].status.is_none() && seen[1].fault.is_none());
}

#[tokio::test]
async fn a_lost_reply_was_served_and_is_not_told() {
    let server = Server::start().await;
    let replies = [Reply::status(500), Reply::Closed, Reply::Reset];
    for (index, reply) in replies.into_iter().enumerate() {
        server.proxy.inject(Rule::on("get", "nodes"), Fault::Lost(reply.clone()));
        let (answer, end) = server.get_node().await;
        assert_eq!(server.served(), index + 1);
        match reply {
            Reply::Status { .. } => assert_eq!((status_of(&answer), end), ("500", Ok(()))),
            Reply::Reset => {
                assert_eq!((answer.as_str(), end), ("", Err(ErrorKind::ConnectionReset)))
            }
            _ => assert_eq!((answer.as_str(), end), ("", Ok(()))),
        }
    }
}

#[tokio::test]
async fn silence_is_a_connection_that_stays_open() {
    let server = Server::start().await;
    server.proxy.inject(Rule::on("get", "nodes"), Fault::Instead(Reply::Silence));
    let mut stream = server.connect().await.unwrap();
    send(&mut stream, "GET", "/api/v1/nodes/n1", "").await;
    let mut buffer = [0; 16];
    assert!(timeout(Duration::from_millis(300), stream.read(&mut buffer)).await.is_err());
    assert_eq!(server.served(), 0);
}

#[tokio::test]
async fn a_late_request_arrives_although_the_client_has_gone() {
    let server = Server::start().await;
    let delay = Duration::from_millis(300);
    server.proxy.inject(Rule::on("patch", "nodes"), Fault::Late(delay));
    let mut stream = server.connect().await.unwrap();
    send(&mut stream, "PATCH", "/api/v1/nodes/n1", "[]").await;
    tokio::time::sleep(delay / 3).await;
    drop(stream);
    assert_eq!(server.served(), 0);
    let began = Instant::now();
    while server.served() == 0 {
        assert!(began.elapsed() < LONG);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.proxy.inject(Rule::on("get", "nodes"), Fault::Late(delay));
    let began = Instant::now();
    let (answer, _) = server.get_node().await;
    assert!(began.elapsed() >= delay && answer.ends_with(NODE));
}

#[tokio::test]
async fn a_slow_reply_was_served_at_once() {
    let server = Server::start().await;
    let delay = Duration::from_millis(400);
    server.proxy.inject(Rule::on("get", "nodes"), Fault::SlowReply(delay));
    let mut stream = server.connect().await.unwrap();
    send(&mut stream, "GET", "/api/v1/nodes/n1", "").await;
    let began = Instant::now();
    while server.served() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(began.elapsed() < delay);
    let (answer, _) = read_to_end(&mut stream).await;
    assert!(began.elapsed() >= delay / 2 && answer.ends_with(NODE), "{answer}");
}

#[tokio::test]
async fn a_cut_reply_ends_in_the_middle_of_its_body() {
    let server = Server::start().await;
    server.proxy.inject(Rule::on("get", "nodes"), Fault::CutReply);
    let (answer, _) = server.get_node().await;
    assert_eq!((status_of(&answer), server.served()), ("200", 1));
    let promised = format!("content-length: {}", NODE.len());
    let half = &NODE[..NODE.len() / 2];
    assert!(answer.contains(&promised) && answer.ends_with(half), "{answer}");
}

#[tokio::test]
async fn a_watch_that_has_expired_says_so_in_a_200_or_as_410() {
    let server = Server::start().await;
    server.proxy.inject(Rule::on("watch", "nodes"), Fault::Expired);
    server.proxy.inject(Rule::on("watch", "nodes"), Fault::Instead(Reply::status(410)));
    let (answer, _) = server.ask("GET", "/api/v1/nodes?watch=true", "").await;
    assert_eq!(status_of(&answer), "200");
    assert!(answer.contains(r#"{"type":"ERROR","object":"#) && answer.contains(r#""code":410"#));
    let (answer, _) = server.ask("GET", "/api/v1/nodes?watch=true", "").await;
    assert_eq!((status_of(&answer), server.served()), ("410", 0));
    assert!(answer.contains("\"reason\":\"Expired\""), "{answer}");
}

#[tokio::test]
async fn watches_are_cut_in_every_way() {
    let server = Server::start().await;
    let last_chunk = "0\r\n\r\n";
    for cut in [Cut::Clean, Cut::HalfLine, Cut::Reset, Cut::Expired] {
        let mut watch = server.watch().await;
        assert_eq!(server.proxy.cut_watches("pods", cut), 0, "another resource");
        assert_eq!(server.proxy.cut_watches("nodes", cut), 1);
        let (rest, end) = timeout(LONG, read_to_end(&mut watch)).await.unwrap();
        match cut {
            Cut::Clean => assert_eq!((rest.as_str(), end), (last_chunk, Ok(()))),
            Cut::HalfLine => {
                assert!(rest.contains(r#"{"type":"MODIFIED","object""#), "{rest}");
                assert!(!rest.contains("}\n") && !rest.ends_with(last_chunk), "{rest}");
            }
            Cut::Reset => assert_eq!((rest.as_str(), end), ("", Err(ErrorKind::ConnectionReset))),
            Cut::Expired | Cut::Mute => {
                assert!(
                    rest.contains(r#"{"type":"ERROR""#) && rest.ends_with(last_chunk),
                    "{rest}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_mute_watch_stays_open_and_nothing_comes() {
    let server = Server::start().await;
    let mut watch = server.watch().await;
    assert_eq!(server.proxy.cut_watches("nodes", Cut::Mute), 1);
    let quiet = timeout(Duration::from_millis(300), read_to_end(&mut watch)).await;
    assert!(quiet.is_err(), "{quiet:?}");
}

#[tokio::test]
async fn refused_connections_are_refused_and_those_that_there_were_are_reset() {
    let server = Server::start().await;
    let mut watch = server.watch().await;
    server.proxy.refuse();
    let (_, end) = timeout(LONG, read_to_end(&mut watch)).await.unwrap();
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
    let refused = server.connect().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    server.proxy.accept();
    let began = Instant::now();
    while server.connect().await.is_err() {
        assert!(began.elapsed() < LONG);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(status_of(&server.get_node().await.0), "200");
}

#[tokio::test]
async fn the_date_is_shifted() {
    let server = Server::start().await;
    let date = |answer: &str| {
        let lines = answer.lines();
        let mut dates = lines.filter_map(|line| line.strip_prefix("date: "));
        jiff::fmt::rfc2822::parse(dates.next().unwrap()).unwrap().timestamp()
    };
    let (before, _) = server.get_node().await;
    let hour = SignedDuration::from_hours(1);
    server.proxy.shift_date(hour);
    let (after, _) = server.get_node().await;
    let moved = date(&after).duration_since(date(&before));
    assert!(moved >= hour && moved < hour + SignedDuration::from_mins(1), "{moved}");
    server.proxy.inject(Rule::on("get", "nodes"), Fault::Instead(Reply::status(503)));
    let (made_up, _) = server.get_node().await;
    assert!(date(&made_up).duration_since(date(&before)) >= hour);
}
