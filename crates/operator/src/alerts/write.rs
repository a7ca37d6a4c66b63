//! Conditions of nodes, as strategic merge patches of their status that hold only our entries: the API
//! server merges them by type, so that no report that a kubelet writes in between is undone (SCI-1).

use std::{collections::BTreeMap, time::Duration};

use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use rerail_api::Node;
use rerail_core::{
    alert::{
        conditions::{Change, is_ours},
        plan::NodeChanges,
    },
    facts::{ConditionFact, NodeFacts},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    act::patch_params,
    client::{CallError, call},
    context::Context,
};

/// Nodes that are written at the same time.
const AT_ONCE: usize = 32;

/// For how long writes are begun that were decided together: what is older may be wrong by now, and is
/// decided anew.
const DECIDED_FOR: Duration = Duration::from_secs(5);

/// After so many failures the rest is left for later.
const FAILURES: usize = 32;

/// The patch.
fn body(of_node: &NodeChanges) -> Value {
    let entry = |(kind, change): (&String, &Change)| match change {
        Change::Set(condition) => json!({
            "type": kind,
            "status": condition.status.as_str(),
            "reason": condition.reason,
            "message": condition.message,
            "lastHeartbeatTime": condition.heartbeat.to_string(),
            "lastTransitionTime": condition.transition.to_string(),
        }),
        Change::Remove => json!({ "type": kind, "$patch": "delete" }),
    };
    let conditions: Vec<_> = of_node.changes.iter().map(entry).collect();
    json!({ "metadata": { "uid": of_node.uid }, "status": { "conditions": conditions } })
}

/// What came of several writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Nodes that were not: those are seen to differ at the next look.
    pub failed: usize,
    /// Nodes that were not tried.
    pub left: usize,
}

/// Writes as many as there is time for.
pub async fn write(context: &Context, writes: Vec<NodeChanges>) -> Written {
    let api: Api<Node> = Api::all(context.clients.act.clone());
    let params = patch_params();
    let (until, mut written) = (Instant::now() + DECIDED_FOR, Written::default());
    let mut waiting = writes.into_iter();
    let mut under_way = FuturesUnordered::new();
    loop {
        let goes_on = written.failed < FAILURES && Instant::now() < until;
        while goes_on
            && under_way.len() < AT_ONCE
            && let Some(write) = waiting.next()
        {
            let before = context.nodes.get(&write.node);
            let sent = one(&api, &params, write);
            under_way.push(sent.map(|(answer, write)| (answer, write, before)));
        }
        let Some((answer, write, before)) = under_way.next().await else { break };
        match answer {
            Ok(node) => {
                context.deps.metrics.conditions_written(&write.changes, before.as_deref());
                context.nodes.fold(&node, context.now(), &context.wakers);
            }
            // It is gone, or another one has its name now.
            Err(error) if error.is_not_found() || error.is_conflict() => {}
            Err(error) => {
                written.failed += 1;
                if written.failed == 1 {
                    tracing::warn!(%error, "conditions were not written; they are looked at again");
                }
            }
        }
    }
    written.left = waiting.count();
    written
}

async fn one(
    api: &Api<Node>,
    params: &PatchParams,
    write: NodeChanges,
) -> (Result<Node, CallError>, NodeChanges) {
    let what = || format!("write conditions of node {}", write.node);
    let body = Patch::Strategic(body(&write));
    (call(what, api.patch_status(&write.node, params, &body)).await, write)
}

/// Takes the conditions of a source that is gone off every node, but those of `others`, which begin with more
/// than its prefix: nobody says anything of them any more. Where this fails they grow stale, and count as
/// Unknown from then on.
pub async fn forget(context: &Context, prefix: &str, others: &[&str]) {
    let of_node = |facts: &NodeFacts| -> BTreeMap<String, Change> {
        let ours = |fact: &&ConditionFact| {
            let kind = fact.condition_type();
            is_ours(kind, &fact.reason, prefix)
                && !others.iter().any(|other| kind.starts_with(other))
        };
        let types = facts.conditions.values().filter(ours);
        types.map(|fact| (fact.condition_type().to_owned(), Change::Remove)).collect()
    };
    let nodes = context.nodes.snapshot();
    let all = nodes.iter().map(|(name, facts)| NodeChanges {
        node: name.clone(),
        uid: facts.uid.clone(),
        changes: of_node(facts),
    });
    let writes: Vec<_> = all.filter(|write| !write.changes.is_empty()).collect();
    if !writes.is_empty() {
        tracing::info!(prefix, nodes = writes.len(), "taking the conditions of an AlertSource off");
        write(context, writes).await;
    }
}

#[cfg(test)]
mod tests {
    use rerail_core::alert::conditions::{Condition, Status};

    use super::*;

    #[test]
    fn a_patch_holds_only_what_changes_and_names_the_node_that_it_is_for() {
        let time = "2026-03-02T12:00:00Z".parse().unwrap();
        let set = Change::Set(Condition {
            status: Status::True,
            reason: "AlertIsFiring",
            message: "[P6] s".into(),
            heartbeat: time,
            transition: time,
        });
        let changes = [("A_Hot".to_owned(), set), ("A_Old".to_owned(), Change::Remove)].into();
        let write = NodeChanges { node: "n1".into(), uid: "u1".into(), changes };
        assert_eq!(
            body(&write),
            json!({ "metadata": { "uid": "u1" }, "status": { "conditions": [
                { "type": "A_Hot", "status": "True", "reason": "AlertIsFiring", "message": "[P6] s",
                  "lastHeartbeatTime": "2026-03-02T12:00:00Z", "lastTransitionTime": "2026-03-02T12:00:00Z" },
                { "type": "A_Old", "$patch": "delete" },
            ] } })
        );
    }
}
