//! The API server's side: compare-and-swap, and the rule at the root of a run's schema.

use rerail_core::run::Run;

use super::{
    FENCED, P1, P3A,
    state::{Call, Lease, Put, Rules, State},
};

/// At most one node may be out.
pub(super) const LIMIT: usize = 1;

/// A call reaches the API server. True when it was done.
pub(super) fn land(mut state: State, call: Call, rules: Rules) -> (State, bool) {
    match call {
        Call::Status { at, next, mark, version, .. } => {
            write_status(state, at, *next, mark, version, rules)
        }
        Call::Cordon { at, version } => {
            if state.nodes[at].version != version {
                return (state, false);
            }
            let uid = state.runs[at].run.uid.clone();
            let node = &mut state.nodes[at];
            node.facts.unschedulable = true;
            node.facts.cordoned_by = Some(uid);
            node.facts.cordon_field_ours = true;
            node.version += 1;
            (cordoned(state, at), true)
        }
        Call::Close { at, closed, version } => {
            let done = state.nodes[at].version == version;
            if done {
                state.nodes[at].facts = *closed;
                state.nodes[at].version += 1;
            }
            (state, done)
        }
        Call::Lease(put) => {
            let holder = put.document.term.clone();
            write_lease(state, &put, &holder)
        }
    }
}

/// P1, P3a: what must be true when a cordon has landed.
fn cordoned(state: State, at: usize) -> State {
    let out = state.nodes.iter().filter(|node| node.facts.cordoned_by.is_some()).count();
    let step = state.runs[at].run.step;
    if out > LIMIT {
        return state.breaks(P1, format!("{out} nodes are out, and at most {LIMIT} may be"));
    }
    if !step.holds_slot() {
        return state.breaks(P3A, format!("a cordon lands while its run is in {step}"));
    }
    state
}

/// The rule at the root: a higher epoch, or the same epoch of the same leader.
fn write_status(
    mut state: State,
    at: usize,
    next: Run,
    mark: (i64, String),
    version: u32,
    rules: Rules,
) -> (State, bool) {
    let stored = &state.runs[at];
    let allowed = stored.mark.as_ref().is_none_or(|(epoch, leader)| {
        mark.0 > *epoch || (mark.0 == *epoch && (!rules.fenced || mark.1 == *leader))
    });
    if stored.version != version || !allowed {
        return (state, false);
    }
    let before = stored.mark.clone();
    let run = Run { cancel: stored.run.cancel, ..next };
    let stored = &mut state.runs[at];
    (stored.run, stored.mark) = (run, Some(mark.clone()));
    stored.version += 1;
    match before {
        Some((epoch, leader)) if epoch >= mark.0 && leader != mark.1 => {
            let why = format!(
                "a write of {} with epoch {} is accepted for a run that {leader} writes with epoch {epoch}",
                mark.1, mark.0
            );
            (state.breaks(FENCED, why), true)
        }
        Some(_) | None => (state, true),
    }
}

/// A `PUT` on a version that was read.
pub(super) fn write_lease(mut state: State, put: &Put, holder: &str) -> (State, bool) {
    let Some(lease) = state.lease.as_ref().filter(|lease| lease.version == put.version) else {
        return (state, false);
    };
    let repaired = put.repairs || lease.repaired;
    store(&mut state, holder, put, repaired);
    (state, true)
}

/// Stores the Lease under a new version.
pub(super) fn store(state: &mut State, holder: &str, put: &Put, repaired: bool) {
    state.versions += 1;
    state.lease_age = 0;
    state.lease = Some(Lease {
        version: state.versions,
        holder: holder.to_owned(),
        document: put.document.clone(),
        repaired,
    });
}
