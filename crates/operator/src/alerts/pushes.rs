//! Who asks for a source to be polled now. Whatever a push says, it does nothing else: conditions are
//! written from the poll's answer, so that one that is forged, partial or replayed costs one poll (hazard
//! H25).

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use sha2::{Digest, Sha256};
use tokio::sync::Notify;

/// What becomes of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The source is polled now, or within a second of its last poll.
    Polled,
    /// Who asks may not push it, or there is no such source. Which of these is not told.
    Denied,
    /// This process does not lead, or does not know yet who may push: another time, or another process, does.
    NotHere,
}

/// What whoever pushes shows of itself.
pub struct Presented<'a> {
    /// A bearer token.
    pub token: Option<&'a str>,
    /// Whether its certificate, which was verified, has this DNS name.
    pub has_name: &'a dyn Fn(&str) -> bool,
}

/// A source that is polled here.
struct Pushed {
    bell: Arc<Notify>,
    allowed: Allowed,
}

/// Who may push.
enum Allowed {
    /// That is not known yet.
    NotKnown,
    Nobody,
    /// Whose token hashes to this.
    Token([u8; 32]),
    /// Whose certificate has one of these names.
    Clients(Vec<String>),
}

impl Allowed {
    fn allows(&self, presented: &Presented<'_>) -> bool {
        match self {
            Allowed::NotKnown | Allowed::Nobody => false,
            // Hashes are compared, so that the time it takes tells nothing of the token.
            Allowed::Token(expected) => {
                presented.token.is_some_and(|token| hash(token) == *expected)
            }
            Allowed::Clients(names) => names.iter().any(|name| (presented.has_name)(name)),
        }
    }
}

/// The sources that are polled here, by name.
#[derive(Default)]
pub struct Pushes {
    all: Mutex<BTreeMap<String, Pushed>>,
    /// Which sources there are is known here.
    polls: AtomicBool,
    certificates: AtomicBool,
}

impl Pushes {
    /// Has a source polled now, if who asks for it may.
    pub fn push(&self, source: &str, presented: &Presented<'_>) -> Answer {
        if !self.polls.load(Ordering::Relaxed) {
            return Answer::NotHere;
        }
        match self.lock().get(source) {
            Some(Pushed { allowed: Allowed::NotKnown, .. }) => Answer::NotHere,
            Some(pushed) if pushed.allowed.allows(presented) => {
                pushed.bell.notify_one();
                Answer::Polled
            }
            _ => Answer::Denied,
        }
    }

    /// From now on sources are polled here, or are not.
    pub fn polls(&self, polls: bool) {
        self.polls.store(polls, Ordering::Relaxed);
    }

    /// Whether it is known who may push a source.
    pub(super) fn knows(&self, source: &str) -> bool {
        let all = self.lock();
        all.get(source).is_some_and(|pushed| !matches!(pushed.allowed, Allowed::NotKnown))
    }

    /// The port asks clients for certificates.
    pub fn see_certificates(&self) {
        self.certificates.store(true, Ordering::Relaxed);
    }

    pub(super) fn sees_certificates(&self) -> bool {
        self.certificates.load(Ordering::Relaxed)
    }

    /// A source is polled here, by whoever listens to this bell.
    pub fn register(&self, source: &str) -> Arc<Notify> {
        let bell = Arc::new(Notify::new());
        let pushed = Pushed { bell: bell.clone(), allowed: Allowed::NotKnown };
        self.lock().insert(source.to_owned(), pushed);
        bell
    }

    /// From now on this is the token of a source; `None`: nobody may push it.
    pub fn set_token(&self, source: &str, token: Option<&str>) {
        self.allow(source, token.map_or(Allowed::Nobody, |token| Allowed::Token(hash(token))));
    }

    /// From now on clients with these names may push a source.
    pub fn set_clients(&self, source: &str, names: &[String]) {
        self.allow(source, Allowed::Clients(names.to_vec()));
    }

    fn allow(&self, source: &str, allowed: Allowed) {
        if let Some(pushed) = self.lock().get_mut(source) {
            pushed.allowed = allowed;
        }
    }

    pub(super) fn forget(&self, source: &str) {
        self.lock().remove(source);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Pushed>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn with_token(pushes: &Pushes, source: &str, token: &str) -> Answer {
        pushes.push(source, &Presented { token: Some(token), has_name: &|_| false })
    }

    #[test]
    fn only_the_right_token_of_the_source_rings_its_bell() {
        let pushes = Pushes::default();
        assert_eq!(with_token(&pushes, "a", "t"), Answer::NotHere);
        pushes.polls(true);
        assert_eq!(with_token(&pushes, "a", "t"), Answer::Denied);
        let (bell, other) = (pushes.register("a"), pushes.register("b"));
        // Alertmanager does not try again what is refused; and here it is only not known yet.
        assert_eq!(with_token(&pushes, "a", ""), Answer::NotHere);
        assert!(!pushes.knows("a"));
        pushes.set_token("a", None);
        assert_eq!(with_token(&pushes, "a", ""), Answer::Denied);
        assert!(pushes.knows("a"));
        pushes.set_token("a", Some("t"));
        pushes.set_token("b", Some("u"));
        for (source, token) in [("a", "u"), ("b", "t"), ("a", "T"), ("a", ""), ("c", "t")] {
            assert_eq!(with_token(&pushes, source, token), Answer::Denied, "{source} {token}");
        }
        assert!(bell.notified().now_or_never().is_none());
        assert_eq!(with_token(&pushes, "a", "t"), Answer::Polled);
        assert!(bell.notified().now_or_never().is_some());
        assert!(other.notified().now_or_never().is_none());
        pushes.set_token("a", None);
        assert_eq!(with_token(&pushes, "a", "t"), Answer::Denied);
        pushes.forget("a");
        pushes.forget("b");
        assert_eq!(with_token(&pushes, "b", "u"), Answer::Denied);
        pushes.polls(false);
        assert_eq!(with_token(&pushes, "b", "u"), Answer::NotHere);
    }

    #[test]
    fn a_client_with_one_of_the_names_may_push_and_a_token_helps_nobody_there() {
        let pushes = Pushes::default();
        pushes.polls(true);
        let bell = pushes.register("a");
        pushes.set_clients("a", &["am.example.com".into(), "am-1".into()]);
        let shows = |name: &'static str| {
            let has_name = move |asked: &str| asked == name;
            pushes.push("a", &Presented { token: Some("am-1"), has_name: &has_name })
        };
        assert_eq!(shows("other"), Answer::Denied);
        assert!(bell.notified().now_or_never().is_none());
        assert_eq!(shows("am-1"), Answer::Polled);
        assert!(bell.notified().now_or_never().is_some());
        assert_eq!(with_token(&pushes, "a", "am-1"), Answer::Denied);
    }
}
