//! Whether etcd was restored from a backup behind this process's back.
//!
//! Versions only grow (KEP-5504). A read that is not from a cache, or the answer to a write, that shows an
//! older version of an object than was known before it was sent says that the API server does not know any
//! more what it has told. Caches, which take a newer version for the later one, would keep what has not
//! happened until somebody has written each object often enough; so the process ends, and begins anew.

use std::sync::{Mutex, PoisonError};

use kube::{Resource, ResourceExt};
use rerail_core::mutant;
use tokio::sync::Notify;

use super::watch::is_newer;

/// The API server does not know any more what it has told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the API server shows {what} in version {shown}, and has shown version {known} before: etcd was restored from a backup, and what this process knows has not happened"
)]
pub struct Rewound {
    what: String,
    shown: String,
    known: String,
}

/// What was found out about that.
#[derive(Default)]
pub struct Rewind {
    first: Mutex<Option<Rewound>>,
    bell: Notify,
}

impl Rewind {
    /// Compares an object, as a fresh read or the answer to a write shows it, with the version of it that
    /// was known before that was sent.
    pub fn compare<K: Resource>(&self, kind: &str, known: Option<String>, object: &K) {
        let shown = object.resource_version();
        if is_newer(shown.as_deref(), known.as_deref()) || mutant!("rewind-unseen") {
            return;
        }
        let what = format!("{kind} {}", object.name_any());
        let (shown, known) = (shown.unwrap_or_default(), known.unwrap_or_default());
        let rewound = Rewound { what, shown, known };
        self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(rewound);
        self.bell.notify_one();
    }

    /// Resolves when etcd was restored. For one who waits.
    pub async fn seen(&self) -> Rewound {
        loop {
            let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(rewound) = first {
                return rewound;
            }
            self.bell.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn object(name: &str, version: Option<&str>) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name.to_owned());
        object.metadata.resource_version = version.map(str::to_owned);
        object
    }

    #[test]
    fn an_older_version_than_was_known_says_that_etcd_was_restored() {
        let rewind = Rewind::default();
        let compare = |name: &str, known: Option<&str>, shown: Option<&str>| {
            rewind.compare("Run", known.map(str::to_owned), &object(name, shown));
        };
        for (known, shown) in
            [(None, Some("3")), (Some("7"), Some("7")), (Some("7"), Some("8")), (Some("x"), None)]
        {
            compare("a", known, shown);
            assert_eq!(rewind.seen().now_or_never(), None, "{known:?} {shown:?}");
        }
        compare("a", Some("7"), Some("6"));
        compare("b", Some("9"), Some("5"));
        let rewound = rewind.seen().now_or_never().unwrap().to_string();
        for part in ["Run a", "version 6", "version 7"] {
            assert!(rewound.contains(part), "{rewound}");
        }
    }
}
