//! Waiting for what a real cluster does in its own time.

use std::{fmt::Debug, future::Future, time::Duration};

use crate::Error;

/// How long a scenario waits for one thing: much longer than it takes, since machines are busy.
pub const PATIENCE: Duration = Duration::from_secs(150);

/// Looks again and again until `look` says `Ok`; `Err` is what was seen instead.
pub async fn wait_for<T, S: Debug, F>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, S>>,
{
    let began = tokio::time::Instant::now();
    loop {
        let seen = match look().await {
            Ok(found) => return Ok(found),
            Err(seen) => seen,
        };
        if began.elapsed() > patience {
            return Err(Error::Waited {
                what: what.to_owned(),
                seconds: patience.as_secs(),
                seen: format!("{seen:?}"),
            });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
