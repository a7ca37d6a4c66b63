//! One way to watch: list, then follow, with back-off, until told to stop.

use std::fmt::Debug;

use futures::{StreamExt, pin_mut};
use kube::{
    Api, Resource,
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;

/// Watches are opened anew after this many seconds, so that one that has silently died shows within
/// a minute and not after kube's five (hazard H04).
pub const WATCH_SECONDS: u32 = 50;

/// Watches until the returned future is dropped, and hands every event to `handle`.
pub async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    what: String,
    mut handle: impl FnMut(watcher::Event<K>) + Send,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let events = watcher(api, config.timeout(WATCH_SECONDS)).default_backoff();
    pin_mut!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => handle(event),
            Err(error) => tracing::warn!(%error, "watching {what}; trying again"),
        }
    }
}

/// The newer of two versions of an object. Resource versions are compared as numbers, which
/// Kubernetes promises since 1.35 (KEP-5504); one that is none counts as new.
pub fn is_newer(version: Option<&str>, than: Option<&str>) -> bool {
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
    match (number(version), number(than)) {
        (Some(a), Some(b)) => a >= b,
        _ => true,
    }
}
