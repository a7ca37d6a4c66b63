//! How requests reach an API server, whichever it is.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt};
use http::{Request, Response};
use http_body_util::BodyExt;

use crate::Error;

/// The body of an answer, as it arrives.
pub type BodyStream = BoxStream<'static, Result<Bytes, String>>;

/// Sends one request and returns the answer with a body that is read as it comes, so that the same function serves
/// watches. It must not repeat requests, whatever the answer is.
pub trait Transport: Sync {
    /// Sends one request, whose URI has no host.
    fn send(&self, request: Request<Vec<u8>>)
    -> BoxFuture<'_, Result<Response<BodyStream>, Error>>;
}

impl Transport for kube::Client {
    fn send(
        &self,
        request: Request<Vec<u8>>,
    ) -> BoxFuture<'_, Result<Response<BodyStream>, Error>> {
        let name = format!("{} {}", request.method(), request.uri());
        Box::pin(async move {
            let answer = kube::Client::send(self, request.map(kube::client::Body::from)).await;
            let answer = answer
                .map_err(|error| Error::NoAnswer { request: name, what: error.to_string() })?;
            Ok(answer.map(|body| {
                body.into_data_stream().map(|part| part.map_err(|error| error.to_string())).boxed()
            }))
        })
    }
}
