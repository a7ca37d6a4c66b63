//! The API server's clock, by the `Date` of its answers. What is made of it is decided in
//! `rerail_core::clock`.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
};

use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use rerail_core::clock;
use tokio::time::Instant;
use tower::{Layer, Service};

/// What the latest answer said, and when it was asked for and came.
#[derive(Debug, Clone, Copy)]
struct Sample {
    date: Timestamp,
    sent: Instant,
    answered: Instant,
}

/// The latest word of the API server about the time; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct ServerClock(Arc<Mutex<Option<Sample>>>);

impl ServerClock {
    /// The API server's clock less ours, where they differ by more than is allowed. `None` also before
    /// the first answer.
    pub fn skew(&self, now: Timestamp) -> Option<SignedDuration> {
        let Sample { date, sent, answered } =
            (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        let ago = |instant: Instant| now.saturating_sub(instant.elapsed()).unwrap_or(now);
        clock::skew(date, ago(sent), ago(answered))
    }

    fn heard<B>(&self, answer: &http::Response<B>, sent: Instant) {
        let date = answer.headers().get(http::header::DATE);
        let date = date.and_then(|date| rfc2822::parse(date.to_str().ok()?).ok());
        if let Some(date) = date {
            let sample = Sample { date: date.timestamp(), sent, answered: Instant::now() };
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sample);
        }
    }
}

impl<S> Layer<S> for ServerClock {
    type Service = Listening<S>;

    fn layer(&self, inner: S) -> Listening<S> {
        Listening { inner, clock: self.clone() }
    }
}

/// A service whose answers are listened to.
#[derive(Clone)]
pub struct Listening<S> {
    inner: S,
    clock: ServerClock,
}

impl<S, B, C> Service<http::Request<B>> for Listening<S>
where
    S: Service<http::Request<B>, Response = http::Response<C>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let (clock, sent) = (self.clock.clone(), Instant::now());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            clock.heard(&answer, sent);
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_date_of_an_answer_is_compared_with_our_clock() {
        let clock = ServerClock::default();
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        assert_eq!(clock.skew(now), None, "nothing was heard yet");
        let answer = |date: &str| http::Response::builder().header("date", date).body(()).unwrap();
        clock.heard(&answer("Thu, 01 Jan 2026 12:00:01 GMT"), Instant::now());
        assert_eq!(clock.skew(now), None);
        clock.heard(&answer("Thu, 01 Jan 2026 13:00:00 GMT"), Instant::now());
        assert!(clock.skew(now).unwrap() > SignedDuration::from_secs(3_590));
        clock.heard(&answer("nonsense"), Instant::now());
        assert!(clock.skew(now).is_some(), "what cannot be read says nothing");
    }
}
