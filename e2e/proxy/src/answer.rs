//! One request from end to end.

use std::{future::pending, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response, header, request::Parts};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use kube::client::Body;

use crate::{
    Asked, Fault, Reply,
    error::Severed,
    fault::{expired_event, status_body},
    proxy::Shared,
    stream::{self, ReplyBody},
    wire::ResetAtEnd,
};

/// Headers that are about one connection only.
const OF_ONE_CONNECTION: [HeaderName; 6] = [
    header::HOST,
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
];

/// Answers one request. An error makes hyper drop the connection without an answer.
pub(crate) async fn answer(
    shared: Arc<Shared>,
    reset: ResetAtEnd,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Severed> {
    let (parts, body) = request.into_parts();
    // Whole, so that a rule can look into it, and so that it is done or not done, never half.
    let body = body.collect().await.map_err(|_| Severed)?.to_bytes();
    let asked = Asked::new(&parts.method, &parts.uri, body);
    let (fault, number) = shared.arrived(&asked);
    let call = Call { shared: shared.clone(), reset, asked, parts, number };
    let mut response = match fault {
        None => call.relayed().await,
        Some(fault) => call.spoiled(fault).await,
    }?;
    shared.date(response.headers_mut());
    Ok(response)
}

struct Call {
    shared: Arc<Shared>,
    reset: ResetAtEnd,
    asked: Asked,
    parts: Parts,
    number: usize,
}

impl Call {
    async fn spoiled(self, fault: Fault) -> Result<Response<ReplyBody>, Severed> {
        match fault {
            Fault::Instead(reply) => self.replied(reply).await,
            Fault::Lost(reply) => {
                self.complete().await?;
                self.replied(reply).await
            }
            // In a task of its own: a client that gives up does not call a request back.
            Fault::Late(delay) => {
                let late = tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    self.complete().await
                });
                let (head, body) = late.await.map_err(|_| Severed)??;
                Ok(Response::from_parts(head, stream::whole(body)))
            }
            Fault::SlowReply(delay) => {
                let (head, body) = self.complete().await?;
                tokio::time::sleep(delay).await;
                Ok(Response::from_parts(head, stream::whole(body)))
            }
            Fault::CutReply => {
                let (mut head, body) = self.complete().await?;
                // The length that was promised makes the rest missed.
                head.headers.insert(header::CONTENT_LENGTH, body.len().into());
                Ok(Response::from_parts(head, stream::half(&body)))
            }
            Fault::Expired => made_up(200, None, expired_event(&self.asked)),
        }
    }

    async fn replied(&self, reply: Reply) -> Result<Response<ReplyBody>, Severed> {
        match reply {
            Reply::Status { code, retry_after } => {
                made_up(code, retry_after, status_body(&self.asked, code, retry_after))
            }
            Reply::Closed => Err(Severed),
            Reply::Reset => {
                self.reset.set();
                Err(Severed)
            }
            Reply::Silence => pending().await,
        }
    }

    /// The API server's answer, streamed.
    async fn relayed(self) -> Result<Response<ReplyBody>, Severed> {
        let (head, body) = self.forwarded().await?.into_parts();
        let (body, open) = stream::relay(&self.asked, body, self.reset.clone());
        if self.asked.verb == "watch" {
            self.shared.opened(open);
        }
        Ok(Response::from_parts(head, body))
    }

    /// The API server's answer, all of it.
    async fn complete(&self) -> Result<(http::response::Parts, Bytes), Severed> {
        let (head, body) = self.forwarded().await?.into_parts();
        let body = body.collect().await.map_err(|_| Severed)?.to_bytes();
        Ok((head, body))
    }

    async fn forwarded(&self) -> Result<Response<Body>, Severed> {
        let path = self.parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder()
            .method(self.parts.method.clone())
            .uri(path)
            .body(Body::from(self.asked.body.clone()))
            .map_err(|_| Severed)?;
        *request.headers_mut() = forwardable(&self.parts.headers);
        // No API server, no answer: the client sees its connection end.
        let mut response = self.shared.upstream.send(request).await.map_err(|_| Severed)?;
        self.shared.answered(self.number, response.status().as_u16());
        *response.headers_mut() = forwardable(response.headers());
        Ok(response)
    }
}

fn forwardable(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in OF_ONE_CONNECTION {
        headers.remove(name);
    }
    headers
}

fn made_up(
    code: u16,
    retry_after: Option<u32>,
    body: String,
) -> Result<Response<ReplyBody>, Severed> {
    let mut builder =
        Response::builder().status(code).header(header::CONTENT_TYPE, "application/json");
    if let Some(seconds) = retry_after {
        builder = builder.header(header::RETRY_AFTER, seconds);
    }
    builder.body(stream::whole(body)).map_err(|_| Severed)
}
