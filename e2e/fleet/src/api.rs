//! Calls of the API server with a deadline, in one place.

use std::future::Future;
use std::time::Duration;

use crate::Error;

/// How long one call may take. A fake kubelet that waits for ever would look like a machine that
/// hangs, which only a test may order.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// Makes a call; `what` completes the sentence "cannot …".
pub(crate) async fn call<T>(
    what: impl FnOnce() -> String,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(CALL_DEADLINE, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(Error::Api { what: what(), source: Box::new(source) }),
        Err(_) => Err(Error::Deadline { what: what(), deadline: CALL_DEADLINE }),
    }
}

/// True when the object is not there, which most deletions take for success.
pub(crate) fn is_not_found(error: &Error) -> bool {
    matches!(error, Error::Api { source, .. } if code(source) == Some(404))
}

/// True when the object is there already, or is not the one that was meant.
pub(crate) fn is_conflict(error: &Error) -> bool {
    matches!(error, Error::Api { source, .. } if code(source) == Some(409))
}

fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}
