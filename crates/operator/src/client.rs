//! The two clients. `read` retries what the API server throttles; `act` never retries by itself,
//! since kube would repeat an eviction 15 times inside one call, and writes only while this process
//! leads. Every call has a deadline, and so has
//! the beginning of every answer to a watch: what a watch waits for in vain makes the operator blind.

mod fence;
mod in_time;
mod server_clock;
mod together;

use std::{future::Future, sync::Arc, time::Duration};

use http_body_util::BodyExt;
use kube::{
    Client, Config,
    client::{Body, ClientBuilder, DynBody, retry::RetryPolicy},
};
use tower::{
    BoxError, Layer, Service, ServiceExt, layer::util::Identity, retry::RetryLayer,
    util::BoxService,
};

use in_time::InTime;

use crate::{
    observe::{
        recency::{Noted, Recency},
        watch::WATCH_SECONDS,
    },
    record::metrics::Metrics,
};

/// A connection from which a watch has heard nothing for longer than it may last is dead.
pub const DEAD_AFTER: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);

pub use fence::{Fence, is_free};
pub use server_clock::ServerClock;
pub(crate) use together::Together;

/// The longest that one call may take. Later than this the answer would be about another time.
pub const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// Why a call has no useful answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API server answered with an error, or could not be reached.
    #[error("{what}: {}", words(source))]
    Api {
        /// What was asked.
        what: String,
        /// The answer.
        source: Box<kube::Error>,
    },
    /// No answer in time. Whether it was done is unknown, and is looked up before anything else.
    #[error("{what}: no answer within {limit:?}; it will be looked up whether it was done")]
    Deadline {
        /// What was asked.
        what: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The same for everybody who asked at the same moment.
    #[error(transparent)]
    Shared(Arc<CallError>),
}

/// What the API server said, without the object around it.
fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}

impl CallError {
    /// The HTTP status of the API server's answer, if there was one.
    pub fn code(&self) -> Option<u16> {
        match self {
            CallError::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            CallError::Deadline { .. } => None,
            CallError::Shared(error) => error.code(),
        }
    }

    /// True where it is not known whether it was done, and it may still be: no answer, or one by which the
    /// API server does not know either.
    pub fn is_in_doubt(&self) -> bool {
        self.code().is_none_or(|code| code >= 500)
    }

    /// The object has changed since it was read.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// The object is not there.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }
}

/// Awaits a call within [`CALL_DEADLINE`]. The one place where calls get their deadline.
pub async fn call<T>(
    what: impl FnOnce() -> String,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, CallError> {
    call_within(CALL_DEADLINE, what, request).await
}

/// The same within a shorter time.
pub(crate) async fn call_within<T>(
    limit: Duration,
    what: impl FnOnce() -> String,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, CallError> {
    let limit = limit.min(CALL_DEADLINE);
    match tokio::time::timeout(limit, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(CallError::Api { what: what(), source: Box::new(source) }),
        Err(_) => Err(CallError::Deadline { what: what(), limit }),
    }
}

/// What carries the requests of a client to the API server.
pub type Transport = BoxService<http::Request<Body>, http::Response<Box<DynBody>>, BoxError>;

/// A layer that may be put around a [`Transport`]: it sees every request before it is sent, and
/// every answer before the operator does.
pub trait Around:
    Layer<
        Transport,
        Service: Service<
            http::Request<Body>,
            Response = http::Response<Box<DynBody>>,
            Error = BoxError,
            Future: Send + 'static,
        > + Send
                     + 'static,
    >
{
}

impl<L> Around for L where
    L: Layer<
            Transport,
            Service: Service<
                http::Request<Body>,
                Response = http::Response<Box<DynBody>>,
                Error = BoxError,
                Future: Send + 'static,
            > + Send
                         + 'static,
        >
{
}

/// The operator's connections to the API server.
#[derive(Clone)]
pub struct Clients {
    /// For GET, LIST and WATCH.
    pub read: Client,
    /// For every write: evictions, patches, status.
    pub act: Client,
    /// The API server's clock, by its answers to both.
    pub server_clock: ServerClock,
    /// What keeps `act` from writing while this process does not lead; open until it is armed.
    pub fence: Fence,
    /// How recent the caches are that watches by `read` keep; says nothing until it is armed.
    pub recency: Recency,
}

impl Clients {
    /// Both clients of one configuration, with every request counted.
    pub fn new(config: Config, metrics: &Metrics) -> Result<Self, kube::Error> {
        Self::with_layer(config, metrics, &Identity::new())
    }

    /// The same with one more layer around both transports. Production has none.
    pub fn with_layer(
        config: Config,
        metrics: &Metrics,
        layer: &impl Around,
    ) -> Result<Self, kube::Error> {
        let counter = CountRequests { metrics: metrics.clone() };
        let (server_clock, fence) = (ServerClock::default(), Fence::default());
        let recency = Recency::default();
        let (mut read, mut act) = (config.clone(), config);
        read.default_retry = true;
        act.default_retry = false;
        read.read_timeout = Some(DEAD_AFTER);
        read.reset_reader_on_write = true;
        let read = ClientBuilder::try_from(read)?
            .with_layer(layer)
            .with_layer(&InTime(CALL_DEADLINE))
            .with_layer(&recency)
            .with_layer(&server_clock)
            .with_layer(&counter)
            .build();
        let act = ClientBuilder::try_from(act)?
            .with_layer(layer)
            .with_layer(&server_clock)
            .with_layer(&counter)
            .with_layer(&fence)
            .build();
        Ok(Clients { read, act, server_clock, fence, recency })
    }

    /// The same layers over any transport, such as a simulated API server, which itself gives up bodies
    /// that are silent for [`DEAD_AFTER`]. `outermost` sees a request before the fence does.
    pub fn over<S, B, L>(transport: S, outermost: &L, metrics: &Metrics) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<B>, Error = BoxError>
            + Clone
            + Send
            + 'static,
        S::Future: Send + 'static,
        B: http_body::Body<Data = bytes::Bytes, Error: Into<BoxError>> + Send + 'static,
        L: Layer<BoxService<http::Request<Body>, http::Response<Noted>, BoxError>>,
        L::Service: Service<http::Request<Body>, Response = http::Response<Noted>, Error = BoxError>
            + Send
            + 'static,
        <L::Service as Service<http::Request<Body>>>::Future: Send + 'static,
    {
        let counter = CountRequests { metrics: metrics.clone() };
        let (server_clock, fence) = (ServerClock::default(), Fence::default());
        let recency = Recency::default();
        let retry = RetryLayer::new(RetryPolicy::server_retry());
        let read = InTime(CALL_DEADLINE).layer(retry.layer(transport.clone()));
        let read = counter.layer(server_clock.layer(recency.layer(read)));
        let of_one_type = |answer: http::Response<B>| {
            answer.map(|body| -> Noted { body.map_err(Into::into).boxed_unsync() })
        };
        let act = transport.map_response(of_one_type);
        let act = fence.layer(counter.layer(server_clock.layer(act)));
        let read = Client::new(outermost.layer(BoxService::new(read)), "default");
        let act = Client::new(outermost.layer(BoxService::new(act)), "default");
        Clients { read, act, server_clock, fence, recency }
    }
}

/// Counts requests by verb and resource.
#[derive(Clone)]
struct CountRequests {
    metrics: Metrics,
}

impl<S> Layer<S> for CountRequests {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, metrics: self.metrics.clone() }
    }
}

/// A service whose requests are counted.
#[derive(Clone)]
struct Counted<S> {
    inner: S,
    metrics: Metrics,
}

impl<S, B> Service<http::Request<B>> for Counted<S>
where
    S: Service<http::Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let (verb, resource) = describe(request.method(), request.uri());
        self.metrics.api_request(verb, &resource);
        self.inner.call(request)
    }
}

/// The Kubernetes verb and resource of a request, such as `("create", "pods/eviction")`.
pub fn describe(method: &http::Method, uri: &http::Uri) -> (&'static str, String) {
    let rest = object_path(uri);
    let named = rest.len() > 1;
    let resource = match rest.as_slice() {
        [] => "other".to_owned(),
        [resource] | [resource, _] => (*resource).to_owned(),
        [resource, _, subresource, ..] => format!("{resource}/{subresource}"),
    };
    let watch = uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
    let verb = match *method {
        http::Method::GET if watch => "watch",
        http::Method::GET if named => "get",
        http::Method::GET => "list",
        http::Method::POST => "create",
        http::Method::PUT => "update",
        http::Method::PATCH => "patch",
        http::Method::DELETE => "delete",
        _ => "other",
    };
    (verb, resource)
}

/// The name of the object that a request's path names; a create and a list name none there.
pub fn object_name(uri: &http::Uri) -> Option<&str> {
    object_path(uri).get(1).copied()
}

/// Resource, name and subresource, as far as the path has them.
fn object_path(uri: &http::Uri) -> Vec<&str> {
    let mut parts =
        uri.path().trim_matches('/').split('/').skip_while(|p| *p != "api" && *p != "apis");
    // `api/v1/…` or `apis/group/version/…`
    let skip = if parts.next() == Some("api") { 1 } else { 2 };
    let mut rest: Vec<_> = parts.skip(skip).collect();
    if rest.first() == Some(&"namespaces") && rest.len() > 2 {
        rest.drain(..2);
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_named_by_their_path() {
        let cases = [
            ("/api/v1/nodes/n1?x=y", Some("n1")),
            ("/api/v1/namespaces/web/pods/a/eviction", Some("a")),
            ("/apis/rerail.dev/v1alpha1/noderemediations/r/status", Some("r")),
            ("/api/v1/namespaces/rerail-node/pods", None),
            ("/api/v1/nodes?watch=true", None),
        ];
        for (uri, name) in cases {
            assert_eq!(object_name(&uri.parse().unwrap()), name, "{uri}");
        }
    }

    #[test]
    fn requests_are_named_as_kubernetes_names_them() {
        let cases = [
            ("GET", "/api/v1/nodes?&limit=500", ("list", "nodes")),
            ("GET", "/api/v1/nodes/n1?", ("get", "nodes")),
            ("GET", "/api/v1/nodes?&watch=true&timeoutSeconds=290", ("watch", "nodes")),
            ("PATCH", "/api/v1/nodes/n1?&fieldManager=rerail", ("patch", "nodes")),
            ("POST", "/api/v1/namespaces/web/pods/a/eviction?", ("create", "pods/eviction")),
            ("POST", "/api/v1/namespaces/rerail-node/pods?", ("create", "pods")),
            (
                "PUT",
                "/apis/rerail.dev/v1alpha1/noderemediations/r/status?",
                ("update", "noderemediations/status"),
            ),
            ("GET", "/apis/rerail.dev/v1alpha1/noderemediations", ("list", "noderemediations")),
            ("DELETE", "/prefix/api/v1/namespaces/a/pods/b", ("delete", "pods")),
            ("GET", "/version", ("list", "other")),
        ];
        for (method, uri, (verb, resource)) in cases {
            let method = method.parse().unwrap();
            let uri: http::Uri = uri.parse().unwrap();
            assert_eq!(describe(&method, &uri), (verb, resource.to_owned()), "{uri}");
        }
    }
}
