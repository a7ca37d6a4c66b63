//! One way to watch: list, then follow, with back-off, until told to stop.

use std::{fmt::Debug, time::Duration};

use futures::{StreamExt, pin_mut};
use kube::{
    Api, Resource,
    runtime::{WatchStreamExt, utils::Backoff, watcher},
};
use serde::de::DeserializeOwned;

use super::recency::{RECENT, Recency};

/// Watches are opened anew after this many seconds, so that one that has silently died shows within
/// a minute and not after kube's five (hazard H04).
pub const WATCH_SECONDS: u32 = 50;

/// The longest pause before a watch that failed is tried again. kube's own thirty seconds would come on
/// top of an outage, and there are few watches that could press an API server that comes back.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Pause before a watch begins anew with a list.
const BEFORE_A_NEW_LIST: Duration = Duration::from_secs(1);

/// Watches until the returned future is dropped, and hands every event to `handle`.
pub async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    what: String,
    mut handle: impl FnMut(watcher::Event<K>) + Send,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = config.timeout(WATCH_SECONDS);
    loop {
        let pauses = Pauses(watcher::DefaultBackoff::default());
        let events = watcher(api.clone(), config.clone()).backoff(pauses);
        pin_mut!(events);
        loop {
            match events.next().await {
                None => return,
                Some(Ok(event)) => handle(event),
                Some(Err(error)) => {
                    tracing::warn!(%error, "watching {what}; trying again");
                    if needs_a_new_list(&error) {
                        break;
                    }
                }
            }
        }
        tokio::time::sleep(BEFORE_A_NEW_LIST).await;
    }
}

/// The same for a kind of objects that starts are decided by: notes how recent what is known is, and lists
/// anew when nothing was heard for too long.
pub async fn follow_recent<K>(
    recency: Recency,
    resource: &'static str,
    (api, config): (Api<K>, watcher::Config),
    what: String,
    mut handle: impl FnMut(watcher::Event<K>) + Send,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    loop {
        let mut began = Duration::ZERO;
        let noted = |event: watcher::Event<K>| {
            match &event {
                watcher::Event::Init => began = recency.list_begins(resource),
                watcher::Event::InitApply(_) => recency.list_goes_on(resource),
                watcher::Event::InitDone => recency.listed(resource, began),
                watcher::Event::Apply(_) | watcher::Event::Delete(_) => {}
            }
            handle(event);
        };
        tokio::select! {
            biased;
            () = follow(api.clone(), config.clone(), what.clone(), noted) => return,
            () = recency.overdue(resource) => {
                let seconds = RECENT.as_secs();
                tracing::warn!("watching {what}: nothing was told for {seconds} s; listing anew");
            }
        }
    }
}

/// kube's pauses, none of them longer than [`LONGEST_PAUSE`].
struct Pauses(watcher::DefaultBackoff);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.0.next()?.min(LONGEST_PAUSE))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0.reset();
    }
}

/// The version at which a watch was to be opened is gone. kube begins anew when an *event* says so;
/// to an answer 410 it would ask for the same version again, for ever.
fn needs_a_new_list(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 410,
        watcher::Error::WatchStartFailed(_)
        | watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchError(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => false,
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
