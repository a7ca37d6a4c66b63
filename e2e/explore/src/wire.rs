//! The transport of one process: a service that kube's client takes for a connection. What has left the
//! process is carried out whether or not the process lives on; what a dead process asks for is never
//! answered.

use std::{
    future::pending,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use kube::client::Body;
use rerail_operator::client::is_free;
use rerail_sim::{Answered, Server, observe::Sent};
use serde_json::json;
use tokio::{sync::oneshot, time::sleep};
use tower::{BoxError, Layer, Service};

use crate::{
    body,
    draw::Draw,
    fault::Spoil,
    net::{Fate, Moment, Net},
    process::Process,
    trace::hash,
};

/// The answer to a request.
pub type Reply = Response<UnsyncBoxBody<Bytes, BoxError>>;
type Result<T> = std::result::Result<T, BoxError>;

/// How late what is slow is.
const SLOW: Duration = Duration::from_secs(30);

/// How late a late request is done: its sender has given it up (`CALL_DEADLINE`, 10 s), and may have gone on.
const REQUEST_LATE: Duration = Duration::from_secs(12);

/// How late a late answer comes: in time for most calls, and too late for those to the Lease, which have half a
/// renew deadline (5 s). Where the look at what became of such a write is as late, the right to act is over
/// before it is known.
const REPLY_LATE: Duration = Duration::from_secs(8);

/// The connection of one process; clones are the same.
#[derive(Clone)]
pub struct Wire {
    net: Net,
    process: Process,
    server: Server,
}

impl Wire {
    /// A connection of this process.
    pub fn new(net: &Net, process: &Process) -> Self {
        let server = net.server().acting_as(&process.name());
        Wire { net: net.clone(), process: process.clone(), server }
    }
}

impl Service<Request<Body>> for Wire {
    type Response = Reply;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Reply>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if self.process.is_dead() {
            return Box::pin(pending());
        }
        let fate = self.net.fate(
            &self.process,
            request.method(),
            request.uri().path(),
            is_watch(&request),
        );
        if fate.kill == Some(Moment::Before) {
            self.net.note(format_args!("{} dies before it sends", fate.number));
            self.process.kill(self.net.back_after());
            return Box::pin(pending());
        }
        if !is_free(&request) {
            self.process.writes(false);
        }
        let (tell, told) = oneshot::channel();
        let (wire, process) = (self.clone(), self.process.clone());
        let mut request = request;
        // By this it is judged whether it may be sent, however long it is under way.
        request.extensions_mut().insert(Sent(self.server.now()));
        tokio::spawn(async move {
            let _ = tell.send(wire.carry(fate, request).await);
        });
        Box::pin(async move {
            let Ok(Some(reply)) = told.await else { return pending().await };
            process.proceed().await;
            reply
        })
    }
}

fn is_watch<B>(request: &Request<B>) -> bool {
    request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"))
}

impl Wire {
    /// From the request to its reply; `None` when there will be none.
    async fn carry(&self, fate: Fate, request: Request<Body>) -> Option<Result<Reply>> {
        let (number, watch) = (fate.number, is_watch(&request));
        let (parts, body) = request.into_parts();
        let body = match body.collect_bytes().await {
            Ok(body) => body,
            Err(error) => return Some(Err(error.into())),
        };
        let name = self.process.name();
        let (uri, sum) = (&parts.uri, hash(0, &body));
        let method = &parts.method;
        self.net.note(format_args!("{number} {name} {method} {uri} {sum:x}"));
        self.process.proceed().await;
        self.gets_there(&fate).await?;
        if fate.kill == Some(Moment::RequestLate) {
            sleep(REQUEST_LATE).await;
        }
        let request = Asked { parts, body };
        let reply = self.spoiled(&fate, &request).await;
        let reply = match fate.kill {
            Some(Moment::After) => {
                self.net.note(format_args!("{number} is done, and its sender dies"));
                self.process.kill(self.net.back_after());
                return None;
            }
            Some(Moment::ReplyLost) => {
                self.net.reply_lost();
                Some(Err(reset()))
            }
            Some(Moment::ReplyLate) => {
                sleep(REPLY_LATE).await;
                reply
            }
            Some(Moment::Before | Moment::RequestLate) | None => reply,
        };
        let said = match &reply {
            None => 0,
            Some(Ok(reply)) => reply.status().as_u16(),
            Some(Err(_)) => 1,
        };
        let spoil = fate.spoil.map(Spoil::name).unwrap_or_default();
        self.net.note(format_args!("{number} {said} {spoil}"));
        self.comes_back().await;
        let reply = reply?.map(|reply| {
            if watch && reply.status().is_success() {
                let watched = body::Watched::new(&self.net, &self.process, &fate);
                reply.map(|body| watched.over(body))
            } else {
                reply
            }
        });
        Some(reply)
    }

    /// Waits out what keeps a request from the API server; `None` if it is lost for good.
    async fn gets_there(&self, fate: &Fate) -> Option<()> {
        let operator = self.process.operator();
        if self.net.way(operator).no_requests {
            // What was sent into a broken line may come out of it when that is mended, whoever still
            // waits for it.
            if fate.draw.clone().chance(500) {
                return None;
            }
            self.net.when(operator, |way| !way.no_requests).await;
        }
        Some(())
    }

    async fn comes_back(&self) {
        let operator = self.process.operator();
        let delay = self.net.way(operator).delay;
        if !delay.is_zero() {
            sleep(delay).await;
        }
        self.net.when(operator, |way| !way.no_replies).await;
    }

    /// Has a request carried out, spoiled as its fate says.
    async fn spoiled(&self, fate: &Fate, request: &Asked) -> Option<Result<Reply>> {
        if fate.no_writes {
            let full = "etcdserver: mvcc: database space exceeded";
            return Some(Ok(made_up(StatusCode::INTERNAL_SERVER_ERROR, "", full)));
        }
        let Some(spoil) = fate.spoil else { return Some(self.done(request).await) };
        let mut draw = fate.draw.clone();
        if let Some((code, reason, message)) = spoil.answer() {
            let may_be_done = matches!(spoil, Spoil::InternalError | Spoil::GatewayTimeout);
            if may_be_done && draw.chance(500) {
                let _ = self.done(request).await;
            }
            return Some(Ok(with_retry_after(made_up(code, reason, message), spoil, &mut draw)));
        }
        match spoil {
            Spoil::Refused => Some(Err(io::Error::from(io::ErrorKind::ConnectionRefused).into())),
            Spoil::RequestLost => None,
            Spoil::ReplyLost => {
                let _ = self.done(request).await;
                self.net.reply_lost();
                Some(Err(reset()))
            }
            Spoil::ReplyNever => {
                let _ = self.done(request).await;
                self.net.reply_lost();
                None
            }
            Spoil::SlowRequest => {
                sleep(SLOW).await;
                Some(self.done(request).await)
            }
            Spoil::SlowReply => {
                let reply = self.done(request).await;
                sleep(SLOW).await;
                Some(reply)
            }
            Spoil::Truncated => Some(halved(self.done(request).await).await),
            Spoil::Twice => {
                let _ = self.done(request).await;
                Some(self.done(request).await)
            }
            // Those of watches are in what follows the answer; the others have answers.
            _ => Some(self.done(request).await),
        }
    }

    async fn done(&self, request: &Asked) -> Result<Reply> {
        let reply = self.server.clone().call(request.again()).await?;
        Ok(reply.map(boxed))
    }
}

/// A request that can be sent more than once.
struct Asked {
    parts: http::request::Parts,
    body: Bytes,
}

impl Asked {
    fn again(&self) -> Request<Body> {
        Request::from_parts(self.parts.clone(), Body::from(self.body.clone()))
    }
}

fn boxed(body: Answered) -> UnsyncBoxBody<Bytes, BoxError> {
    body.map_err(|never| match never {}).boxed_unsync()
}

fn whole(body: Bytes) -> UnsyncBoxBody<Bytes, BoxError> {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

/// What a connection that breaks looks like.
pub(crate) fn reset() -> BoxError {
    io::Error::from(io::ErrorKind::ConnectionReset).into()
}

fn made_up(code: StatusCode, reason: &str, message: &str) -> Reply {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code.as_u16(),
    });
    let mut reply = Response::new(whole(Bytes::from(status.to_string())));
    *reply.status_mut() = code;
    let json = HeaderValue::from_static("application/json");
    reply.headers_mut().insert(header::CONTENT_TYPE, json);
    reply
}

fn with_retry_after(mut reply: Reply, spoil: Spoil, draw: &mut Draw) -> Reply {
    if spoil == Spoil::Throttled {
        // Mostly a second, as the API server says it; rarely very long.
        let seconds = if draw.chance(50) { 3600 } else { draw.between(1, 3) };
        reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    reply
}

/// An answer of which half comes.
async fn halved(reply: Result<Reply>) -> Result<Reply> {
    let (parts, body) = reply?.into_parts();
    let body = body.collect().await?.to_bytes();
    let half = body.slice(..body.len() / 2);
    Ok(Response::from_parts(parts, whole(half)))
}

/// Holds what a process asks for while it is stopped, before anything of its own sees it.
pub struct Gate(pub Process);

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated {
            inner: std::sync::Arc::new(tokio::sync::Mutex::new(inner)),
            process: self.0.clone(),
        }
    }
}

/// A service behind a [`Gate`].
pub struct Gated<S> {
    inner: std::sync::Arc<tokio::sync::Mutex<S>>,
    process: Process,
}

impl<S> Service<Request<Body>> for Gated<S>
where
    S: Service<Request<Body>, Response = Reply, Error = BoxError> + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Reply;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Reply>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (inner, process) = (self.inner.clone(), self.process.clone());
        if !is_free(&request) {
            process.writes(true);
        }
        let stopped = process.is_stopped_deciding();
        let passes = async move {
            process.pass_the_gate().await;
            let answer = {
                let mut inner = inner.lock().await;
                std::future::poll_fn(|context| inner.poll_ready(context)).await?;
                inner.call(request)
            };
            answer.await
        };
        if !stopped {
            return Box::pin(passes);
        }
        // Nobody in a stopped process gives a call up. When it goes on this one is decided on first, before
        // whoever made it finds that its time is over: only the fence is left to say no.
        let held = tokio::spawn(passes);
        Box::pin(async move { held.await? })
    }
}
