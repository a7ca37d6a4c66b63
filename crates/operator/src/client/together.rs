//! Reads that many ask for at the same moment, sent once. Whoever asks gets an answer to a request that
//! was sent after the ask: one that is under way already says how things were before, and is no last
//! look (SAFE-9).

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};

use super::CallError;

type Answer<T> = Result<T, Arc<CallError>>;

/// One request: whoever waits for it drives it on.
struct Request<T> {
    answer: Shared<BoxFuture<'static, Answer<T>>>,
    sent: Arc<AtomicBool>,
}

/// Reads by key.
pub(crate) struct Together<K, T>(Mutex<BTreeMap<K, Request<T>>>);

impl<K, T> Default for Together<K, T> {
    fn default() -> Self {
        Together(Mutex::new(BTreeMap::new()))
    }
}

impl<K: Ord, T: Clone + Send + Sync + 'static> Together<K, T> {
    /// The answer to a request that is sent after this call: that of somebody else who waits to send
    /// it, or our own, sent when the one under way has been answered.
    pub(crate) async fn read(
        &self,
        key: K,
        read: impl Future<Output = Result<T, CallError>> + Send + 'static,
    ) -> Result<T, CallError> {
        let answer = {
            let mut requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match requests.get(&key) {
                Some(waiting) if !waiting.sent.load(Ordering::SeqCst) => waiting.answer.clone(),
                before => {
                    let before = before.map(|request| request.answer.clone());
                    let request = Request::after(before, read);
                    let answer = request.answer.clone();
                    requests.insert(key, request);
                    answer
                }
            }
        };
        answer.await.map_err(CallError::Shared)
    }
}

impl<T: Clone + Send + Sync + 'static> Request<T> {
    fn after(
        before: Option<Shared<BoxFuture<'static, Answer<T>>>>,
        read: impl Future<Output = Result<T, CallError>> + Send + 'static,
    ) -> Self {
        let sent = Arc::new(AtomicBool::new(false));
        let sending = sent.clone();
        let answer = async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            sending.store(true, Ordering::SeqCst);
            read.await.map_err(Arc::new)
        };
        Request { answer: answer.boxed().shared(), sent }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::Semaphore;

    use super::*;

    /// A server that answers with the number of the request, when it is let.
    struct Server {
        requests: AtomicUsize,
        answers: Semaphore,
    }

    async fn request(server: Arc<Server>) -> Result<usize, CallError> {
        let number = server.requests.fetch_add(1, Ordering::SeqCst);
        let _answer = server.answers.acquire().await.unwrap();
        if number == 1 {
            let limit = std::time::Duration::ZERO;
            return Err(CallError::Deadline { what: "the second".into(), limit });
        }
        Ok(number)
    }

    #[tokio::test]
    async fn asks_join_a_request_that_is_not_sent_yet_and_never_one_under_way() {
        let server = Arc::new(Server { requests: AtomicUsize::new(0), answers: Semaphore::new(0) });
        let together = Arc::new(Together::<&str, usize>::default());
        let ask = || {
            let (server, together) = (server.clone(), together.clone());
            tokio::spawn(async move { together.read("a", request(server)).await })
        };
        let sent = |count| {
            let server = server.clone();
            async move {
                while server.requests.load(Ordering::SeqCst) < count {
                    tokio::task::yield_now().await;
                }
            }
        };
        let first = ask();
        sent(1).await;
        let late: Vec<_> = (0..5).map(|_| ask()).collect();
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert_eq!(server.requests.load(Ordering::SeqCst), 1, "they wait for the one under way");
        server.answers.add_permits(1);
        assert_eq!(first.await.unwrap().unwrap(), 0);
        for answer in late {
            let error = answer.await.unwrap().unwrap_err();
            assert!(error.to_string().contains("the second"), "all share one answer: {error}");
        }
        assert_eq!(server.requests.load(Ordering::SeqCst), 2);
        assert_eq!(ask().await.unwrap().unwrap(), 2, "an error is not remembered");
    }
}
