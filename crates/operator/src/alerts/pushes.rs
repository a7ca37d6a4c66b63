//! Who asks for a source to be polled now. Whatever a push says, it does nothing else: conditions are
//! written from the poll's answer, so that one that is forged, partial or replayed costs one poll (hazard
//! H25).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sha2::{Digest, Sha256};
use tokio::sync::Notify;

/// What becomes of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The source is polled now, or within a second of its last poll.
    Polled,
    /// Its token is not the source's; or there is no such source, or nobody may push it. Which of these is
    /// not told.
    Denied,
    /// This process polls nothing: another one leads.
    NotHere,
}

/// A source that is polled here.
struct Pushed {
    bell: Arc<Notify>,
    /// What the token must hash to.
    token: Option<[u8; 32]>,
}

/// The sources that are polled here, by name.
#[derive(Default)]
pub struct Pushes(Mutex<BTreeMap<String, Pushed>>);

impl Pushes {
    /// Has a source polled now, if the token is right.
    pub fn push(&self, source: &str, token: &str) -> Answer {
        let all = self.lock();
        if all.is_empty() {
            return Answer::NotHere;
        }
        // Hashes are compared, so that the time it takes tells nothing of the token.
        let presented = hash(token);
        match all.get(source) {
            Some(pushed) if pushed.token == Some(presented) => {
                pushed.bell.notify_one();
                Answer::Polled
            }
            _ => Answer::Denied,
        }
    }

    /// A source is polled here, by whoever listens to this bell.
    pub fn register(&self, source: &str) -> Arc<Notify> {
        let bell = Arc::new(Notify::new());
        let pushed = Pushed { bell: bell.clone(), token: None };
        self.lock().insert(source.to_owned(), pushed);
        bell
    }

    /// From now on this is the token of a source; `None`: nobody may push it.
    pub fn set_token(&self, source: &str, token: Option<&str>) {
        if let Some(pushed) = self.lock().get_mut(source) {
            pushed.token = token.map(hash);
        }
    }

    pub(super) fn forget(&self, source: &str) {
        self.lock().remove(source);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Pushed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn only_the_right_token_of_the_source_rings_its_bell() {
        let pushes = Pushes::default();
        assert_eq!(pushes.push("a", "t"), Answer::NotHere);
        let (bell, other) = (pushes.register("a"), pushes.register("b"));
        assert_eq!(pushes.push("a", ""), Answer::Denied);
        pushes.set_token("a", Some("t"));
        pushes.set_token("b", Some("u"));
        for (source, token) in [("a", "u"), ("b", "t"), ("a", "T"), ("a", ""), ("c", "t")] {
            assert_eq!(pushes.push(source, token), Answer::Denied, "{source} {token}");
        }
        assert!(bell.notified().now_or_never().is_none());
        assert_eq!(pushes.push("a", "t"), Answer::Polled);
        assert!(bell.notified().now_or_never().is_some());
        assert!(other.notified().now_or_never().is_none());
        pushes.set_token("a", None);
        assert_eq!(pushes.push("a", "t"), Answer::Denied);
        pushes.forget("a");
        pushes.forget("b");
        assert_eq!(pushes.push("b", "u"), Answer::NotHere);
    }
}
