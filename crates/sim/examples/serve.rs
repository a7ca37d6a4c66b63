//! The simulated API server on loopback, on real time: for kubectl, and to compare it with a real one.
//!
//! `cargo run -p rerail-sim --example serve -- 127.0.0.1:8766`, then `kubectl -s http://127.0.0.1:8766 …`

use std::convert::Infallible;

use http_body_util::BodyExt;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rerail_sim::{Options, Server};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8766".to_owned());
    let listener = TcpListener::bind(&address).await?;
    let server = Server::new(Options::default());
    loop {
        let (socket, _) = listener.accept().await?;
        let server = server.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                // A body that broke off is as good as none: the answer goes nowhere.
                let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                Ok::<_, Infallible>(server.answer(&Request::from_parts(parts, body)))
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
    }
}
