//! Who led when, and what others did meanwhile: nothing, if all is well (SAFE-2).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use kube::runtime::watcher;
use rerail_proxy::Seen;
use tokio::{task::JoinHandle, time::Instant};

use crate::{Cluster, LEASE, Operator};

/// How late the start of a term may be seen: whoever acquires the Lease knows before its watchers.
const LATE: Duration = Duration::from_secs(2);

/// Pause before a watch that failed is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// One term, or a time without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// When it was seen to begin.
    pub since: Instant,
    /// Who held the Lease; empty for nobody.
    pub holder: String,
}

/// Watches the operator's Lease until it is dropped.
#[derive(Debug)]
pub struct Terms {
    seen: Arc<Mutex<Vec<Term>>>,
    task: JoinHandle<()>,
}

impl Terms {
    /// Begins to watch.
    pub fn watch(cluster: &Cluster) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let name = watcher::Config::default().fields(&format!("metadata.name={LEASE}"));
        let mut events = watcher(cluster.leases(), name).boxed();
        let terms = seen.clone();
        let task = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                let holder = match event {
                    Ok(watcher::Event::Apply(lease) | watcher::Event::InitApply(lease)) => {
                        lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default()
                    }
                    Ok(watcher::Event::Delete(_)) => String::new(),
                    Ok(watcher::Event::Init | watcher::Event::InitDone) => continue,
                    Err(_) => {
                        tokio::time::sleep(RETRY).await;
                        continue;
                    }
                };
                let mut terms: std::sync::MutexGuard<'_, Vec<Term>> =
                    terms.lock().unwrap_or_else(PoisonError::into_inner);
                if terms.last().is_none_or(|last| last.holder != holder) {
                    terms.push(Term { since: Instant::now(), holder });
                }
            }
        });
        Terms { seen, task }
    }

    /// Every term so far.
    pub fn so_far(&self) -> Vec<Term> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Terms {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Effects that an operator sent while it did not lead, and its writes on runs that were accepted
/// then. `seen` is what came to its proxy. A Lease that was deleted ends a term, too: who finds it
/// gone has to recover first (protocol R7).
pub fn stale_effects(operator: &Operator, seen: &[Seen], terms: &[Term]) -> Vec<String> {
    let leads = |at: Instant| {
        let now = terms.iter().rfind(|term| term.since <= at);
        let soon = terms.iter().filter(|term| term.since > at && term.since - at < LATE);
        now.into_iter().chain(soon).any(|term| operator.bore(&term.holder))
    };
    let stale = seen.iter().filter(|seen| is_effect(seen) && !leads(seen.at));
    let told = stale.map(|seen| {
        format!(
            "SAFE-2: {} sent {} {} {} (answer: {:?}) when it did not lead",
            operator.name(),
            seen.verb,
            seen.resource,
            seen.name,
            seen.status
        )
    });
    told.collect()
}

fn is_effect(seen: &Seen) -> bool {
    match (seen.verb, seen.resource.as_str()) {
        ("patch", "nodes") | ("create", "pods/eviction") => true,
        ("create" | "delete" | "patch", "pods") => true,
        // An older term may try: the schema refuses it.
        ("update" | "patch", "noderemediations/status" | "noderemediations") => {
            seen.status.is_some_and(|status| status < 300)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(at: Instant, verb: &'static str, resource: &str, status: u16) -> Seen {
        Seen {
            verb,
            resource: resource.into(),
            name: "n1".into(),
            at,
            fault: None,
            status: Some(status),
        }
    }

    #[test]
    fn what_is_sent_in_the_term_of_another_is_found() {
        let began = Instant::now();
        let at = |second| began + Duration::from_secs(second);
        let term = |second, holder: &str| Term { since: at(second), holder: holder.into() };
        let terms = [term(0, "op-a-1"), term(10, "op-b-1"), term(20, ""), term(30, "op-a-2")];
        let operator = Operator::named("op-a");
        let stale = |seen: Seen| !stale_effects(&operator, &[seen], &terms).is_empty();
        let cordon = |second| sent(at(second), "patch", "nodes", 409);
        assert!(!stale(cordon(5)));
        assert!(stale(cordon(15)), "sent is enough");
        assert!(stale(cordon(25)), "nobody leads");
        assert!(!stale(cordon(29)), "its term was about to be seen");
        assert!(!stale(cordon(35)));
        assert!(stale(sent(at(15), "create", "pods/eviction", 201)));
        assert!(stale(sent(at(15), "create", "pods", 201)));
        assert!(stale(sent(at(15), "update", "noderemediations/status", 200)));
        assert!(!stale(sent(at(15), "update", "noderemediations/status", 422)), "it was refused");
        assert!(!stale(sent(at(15), "get", "nodes", 200)));
        assert!(!stale(sent(at(15), "update", "leases", 409)));
    }
}
