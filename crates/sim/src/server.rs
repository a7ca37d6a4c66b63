//! The thin shell: a service that kube's client takes for an API server. Everything that is decided is
//! decided by the [`Store`]; here is only what waits.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{HeaderValue, Request, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};
use tower::{BoxError, Service};

use crate::{
    body::Body,
    handle::{Answer, Reply},
    observe::{Happening, Observer, Read, Sent},
    path,
    store::{Options, Store},
    watch::{Next, Watch},
};

/// Body of an answer.
pub type Answered = UnsyncBoxBody<Bytes, Infallible>;

/// A simulated API server; clones are the same one. Its clock is tokio's, so it stands still when that
/// is paused.
#[derive(Clone)]
pub struct Server {
    world: Arc<Inner>,
    /// Who asks.
    name: Arc<str>,
}

struct Inner {
    store: Mutex<Store>,
    /// Wakes the watches of one resource, in the order in which they began to wait:
    /// `tokio::sync::watch` would draw the order, from what no seed reaches. What they see they read from
    /// the store.
    changed: Vec<Notify>,
    start: Timestamp,
    origin: Instant,
    latency: std::time::Duration,
    observers: Mutex<Vec<Box<dyn Observer>>>,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.start.saturating_add(self.origin.elapsed()).unwrap_or(Timestamp::MAX)
    }

    fn each_observer(&self, tell: impl FnMut(&mut Box<dyn Observer>)) {
        let mut observers = self.observers.lock().unwrap_or_else(PoisonError::into_inner);
        observers.iter_mut().for_each(tell);
    }

    fn tell(&self, changed: &BTreeSet<usize>) {
        for notify in changed.iter().filter_map(|table| self.changed.get(*table)) {
            notify.notify_waiters();
        }
    }
}

impl Server {
    /// An empty cluster. Within a tokio runtime: its clock starts here.
    pub fn new(options: Options) -> Self {
        let (start, latency) = (options.start, options.latency);
        let store = Store::new(options);
        let changed = store.resources().iter().map(|_| Notify::new()).collect();
        let origin = Instant::now();
        let (store, observers) = (Mutex::new(store), Mutex::default());
        let world = Inner { store, changed, start, origin, latency, observers };
        Server { world: Arc::new(world), name: Arc::from("") }
    }

    /// The same server for somebody else: changes that come through it bear this name
    /// ([`Commit::by`](crate::store::Commit::by)).
    #[must_use]
    pub fn acting_as(&self, name: &str) -> Server {
        Server { world: self.world.clone(), name: Arc::from(name) }
    }

    /// From now on this one sees everything that happens.
    pub fn observe(&self, observer: impl Observer + 'static) {
        self.world.lock().keep_journal();
        let mut observers = self.world.observers.lock().unwrap_or_else(PoisonError::into_inner);
        observers.push(Box::new(observer));
    }

    /// Lets all observers go: one that holds this server would keep itself and the server for ever.
    pub fn unobserve(&self) {
        let mut observers = self.world.observers.lock().unwrap_or_else(PoisonError::into_inner);
        observers.clear();
    }

    /// Tells all observers of something that is not an object's change.
    pub fn happened(&self, happening: &Happening) {
        let store = self.world.lock();
        self.world.each_observer(|observer| observer.happened(&store, happening));
    }

    /// A client of this server, without retries. Within a tokio runtime.
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.clone(), "default")
    }

    /// What the server's clock says.
    pub fn now(&self) -> Timestamp {
        self.world.now()
    }

    /// Looks at the world, or changes it past the API, in one step.
    pub fn with<T>(&self, work: impl FnOnce(&mut Store, Timestamp) -> T) -> T {
        let now = self.now();
        self.at(now, now, work)
    }

    fn at<T>(
        &self,
        now: Timestamp,
        sent: Timestamp,
        work: impl FnOnce(&mut Store, Timestamp) -> T,
    ) -> T {
        let mut store = self.world.lock();
        store.asked = (now, self.name.clone());
        store.sent = sent;
        let result = work(&mut store, now);
        let changed = store.take_changed();
        for commit in store.take_journal() {
            self.world.each_observer(|observer| observer.committed(&store, &commit));
        }
        drop(store);
        self.world.tell(&changed);
        result
    }

    /// Answers at once, without the way there and back.
    pub fn answer(&self, request: &Request<Bytes>) -> Response<Answered> {
        let now = self.now();
        let sent = request.extensions().get::<Sent>().map_or(now, |sent| sent.0);
        let reply = self.at(now, sent, |store, now| store.handle(request, now));
        self.tell_read(request, &reply, now);
        let mut response = match reply {
            Reply::Answer(answer) => whole(answer),
            Reply::Watch(watch) => self.streamed(*watch),
        };
        if let Some(date) = date(self.now()) {
            response.headers_mut().insert(header::DATE, date);
        }
        response
    }

    /// Tells observers who was told of what.
    fn tell_read(&self, request: &Request<Bytes>, reply: &Reply, at: Timestamp) {
        let Reply::Answer(Answer { code: 200 | 404, .. }) = reply else { return };
        if request.method() != http::Method::GET || self.is_unobserved() {
            return;
        }
        let path::Path::Resource(target) = path::parse(request.uri().path()) else { return };
        let Some(resource) = self.world.lock().position(&target.group, &target.plural) else {
            return;
        };
        let namespace = target.namespace.unwrap_or_default();
        // A list of the one object of a name is a read of that.
        let query = path::Query::parse(request.uri().query());
        let selected =
            query.get("fieldSelector").and_then(|text| text.strip_prefix("metadata.name="));
        let name = target.name.as_deref().or(selected);
        let key = name.map(|name| crate::store::key(&namespace, name));
        let read = Read { at, by: self.name.clone(), resource, key };
        self.world.each_observer(|observer| observer.read(&read));
    }

    fn is_unobserved(&self) -> bool {
        self.world.observers.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn streamed(&self, watch: Watch) -> Response<Answered> {
        let lines = lines(self.world.clone(), watch);
        let frames = lines.map(|line| Ok::<_, Infallible>(Frame::data(line)));
        let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

impl Service<Request<kube::client::Body>> for Server {
    type Response = Response<Answered>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    /// What has left the client is carried out, whether or not somebody still waits for the answer.
    fn call(&mut self, mut request: Request<kube::client::Body>) -> Self::Future {
        let (tell, told) = oneshot::channel();
        let sent = Sent(self.now());
        request.extensions_mut().get_or_insert(sent);
        let server = self.clone();
        tokio::spawn(async move {
            let half = server.world.latency / 2;
            tokio::time::sleep(half).await;
            let answer = server.carry_out(request).await;
            tokio::time::sleep(server.world.latency.saturating_sub(half)).await;
            let _ = tell.send(answer);
        });
        Box::pin(async move {
            told.await.unwrap_or_else(|_| Err("the simulated API server has ended".into()))
        })
    }
}

impl Server {
    async fn carry_out(
        &self,
        request: Request<kube::client::Body>,
    ) -> Result<Response<Answered>, BoxError> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await?;
        Ok(self.answer(&Request::from_parts(parts, body)))
    }
}

fn whole(answer: Answer) -> Response<Answered> {
    let media = match &answer.body {
        Body::Text(_) => "text/plain; charset=utf-8",
        _ => "application/json",
    };
    let mut response = Response::new(Full::new(Bytes::from(answer.body.bytes())).boxed_unsync());
    *response.status_mut() =
        http::StatusCode::from_u16(answer.code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.media.unwrap_or(media)));
    if let Some(etag) = &answer.etag
        && let Ok(value) = HeaderValue::from_str(&format!("{etag:?}"))
    {
        headers.insert(header::ETAG, value);
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    }
    if let Some(seconds) = answer.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    for warning in answer.warnings {
        if let Ok(value) = HeaderValue::from_str(&format!("299 - {warning:?}")) {
            headers.append(header::WARNING, value);
        }
    }
    response
}

/// `Date`, by which the operator knows the server's clock.
fn date(now: Timestamp) -> Option<HeaderValue> {
    let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&now).ok()?;
    HeaderValue::from_str(&text).ok()
}

/// The lines of a watch, until it ends.
fn lines(world: Arc<Inner>, watch: Watch) -> impl Stream<Item = Bytes> + Send {
    let table = world.lock().stored(watch.resource());
    stream::unfold((world, watch), move |(world, mut watch)| async move {
        loop {
            let mut changed = std::pin::pin!(world.changed[table].notified());
            // Whatever changes from here on wakes it.
            changed.as_mut().enable();
            let next = world.lock().next(&mut watch, world.now());
            match next {
                Next::End => return None,
                Next::Event(event) => {
                    return Some((event.line(), (world.clone(), watch)));
                }
                Next::Wait(until) => {
                    let pause = until.duration_since(world.now());
                    let pause = std::time::Duration::try_from(pause).unwrap_or_default();
                    tokio::select! {
                        biased;
                        () = changed => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                }
            }
        }
    })
}

#[cfg(test)]
mod tests;
