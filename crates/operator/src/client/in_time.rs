//! An answer that has not begun in time never will. kube gives its calls no deadline: a list or watch
//! on a connection that died silently, or one that is asked to come again in an hour, would keep a
//! watch of the operator waiting for as long.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tower::{BoxError, Layer, Service};

/// The beginning of an answer did not come in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer began within {0:?}; it is asked again")]
struct NotInTime(Duration);

/// Gives the beginning of every answer this deadline; a body may take as long as it comes.
pub(super) struct InTime(pub(super) Duration);

impl<S> Layer<S> for InTime {
    type Service = AnswersInTime<S>;

    fn layer(&self, inner: S) -> AnswersInTime<S> {
        AnswersInTime { inner, deadline: self.0 }
    }
}

/// A service whose answers begin in time.
#[derive(Clone)]
pub(super) struct AnswersInTime<S> {
    inner: S,
    deadline: Duration,
}

impl<S, R> Service<R> for AnswersInTime<S>
where
    S: Service<R>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let (answer, deadline) = (self.inner.call(request), self.deadline);
        Box::pin(async move {
            match tokio::time::timeout(deadline, answer).await {
                Ok(answer) => answer.map_err(Into::into),
                Err(_) => Err(NotInTime(deadline).into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tower::{ServiceExt, service_fn};

    #[tokio::test]
    async fn an_answer_that_does_not_begin_is_given_up() {
        let in_time = InTime(Duration::from_millis(50));
        let silent = service_fn(|()| std::future::pending::<Result<(), BoxError>>());
        let error = in_time.layer(silent).oneshot(()).await.unwrap_err();
        assert!(error.to_string().contains("no answer began within 50ms"), "{error}");
        let quick = service_fn(|()| async { Ok::<_, BoxError>(7) });
        assert_eq!(in_time.layer(quick).oneshot(()).await.unwrap(), 7);
    }
}
