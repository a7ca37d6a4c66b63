//! Nodes to [`NodeFacts`].

use std::{fmt::Write, sync::Arc};

use jiff::Timestamp;
use rerail_core::alert::TYPE_LIMIT;
use rerail_core::facts::{
    ConditionFact, Conditions, Evidence, Labels, NodeFacts, OUT_OF_SERVICE_TAINT, Ready,
    cut_message,
};

use rerail_core::mutant;

use super::last_remediation;
use crate::{Node, names, node::Condition};

/// Labels and taints that make a node part of the control plane, whatever its value.
const CONTROL_PLANE_ROLES: [&str; 3] = [
    "node-role.kubernetes.io/control-plane",
    "node-role.kubernetes.io/master",
    "node-role.kubernetes.io/etcd",
];

/// Taints by which other controllers say that they are taking a node down, whatever their value and
/// effect. Sources: `docs/design/006-marks-of-other-controllers.md`.
const CLAIMING_TAINTS: [&str; 3] =
    ["ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted", "karpenter.sh/disruption"];

/// Annotations that say the same.
pub(crate) const CLAIMING_ANNOTATIONS: [&str; 1] = ["weave.works/kured-reboot-in-progress"];

/// How many conditions of a node are looked at; nodes seen in production have up to 40.
const CONDITIONS_KEPT: usize = 256;

/// The longest boot ID that is believed; the kernel's have 36 characters.
const BOOT_ID_LIMIT: usize = 64;

/// When a node was looked at, and whether the operator could have seen it before.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// The operator's clock.
    pub now: Timestamp,
    /// What was known of the node before; `None` at first sight.
    pub earlier: Option<&'a NodeFacts>,
    /// True during the operator's first list: conditions are then as old as they say, not new.
    pub first_list: bool,
}

/// What is known of a node now. A condition keeps its times while its report stays the same, so that
/// durations are the operator's own observation and nobody's clock is trusted (hazard H05). At its first
/// list there is none yet: then times count as they are reported, never later than now. A report from a
/// clock that is slow may count as stale for that, and starts nothing until it is renewed (SAFE-5).
///
/// `texts` makes a text that many nodes may have: labels, and what conditions say.
pub fn facts(node: &Node, look: Look<'_>, texts: &mut dyn FnMut(&str) -> Arc<str>) -> NodeFacts {
    let metadata = &node.metadata;
    let labels = labels(node, texts);
    let annotation = |name: &str| metadata.annotations.as_ref()?.get(name);
    let uid = metadata.uid.clone().unwrap_or_default();
    let earlier = look.earlier.filter(|earlier| earlier.uid == uid);
    let conditions: Conditions = node
        .conditions
        .iter()
        // A kubelet can write any text about itself; a type that no status of a run could hold would keep its
        // node, and all that wait behind it, from being admitted (SAFE-17).
        .filter(|condition| condition.condition_type.len() <= TYPE_LIMIT)
        .take(CONDITIONS_KEPT)
        .map(|condition| fact(condition, earlier, &look, texts))
        .collect();
    NodeFacts {
        name: metadata.name.clone().unwrap_or_default(),
        uid,
        control_plane: is_control_plane(node, &labels),
        deleting: metadata.deletion_timestamp.is_some(),
        unschedulable: node.unschedulable,
        cordoned_by: annotation(names::CORDONED_BY).cloned(),
        cordon_field_ours: node.cordon_field_ours || mutant!("person-cordon-lifted"),
        ready: ready(&conditions),
        boot_id: match node.boot_id.len() <= BOOT_ID_LIMIT {
            true => node.boot_id.clone(),
            false => String::new(),
        },
        conditions,
        last_remediation: annotation(names::LAST_REMEDIATION)
            .and_then(|text| last_remediation::parse(text).ok())
            .unwrap_or_default(),
        hold: labels.contains_key(names::HOLD) && !mutant!("hold-ignored"),
        ignore: labels.contains_key(names::IGNORE),
        claim: claim(node).filter(|_| !mutant!("claim-ignored")),
        out_of_service: is_tainted(node, OUT_OF_SERVICE_TAINT),
        labels,
    }
}

fn labels(node: &Node, texts: &mut dyn FnMut(&str) -> Arc<str>) -> Labels {
    let mut line = String::new();
    let text = |(key, value): (&String, &String)| {
        line.clear();
        // Writing into a String cannot fail.
        let _ = write!(line, "{key}={value}");
        texts(&line)
    };
    Labels::of_texts(node.metadata.labels.iter().flatten().map(text))
}

fn is_tainted(node: &Node, key: &str) -> bool {
    node.taints.iter().any(|taint| taint == key)
}

fn is_control_plane(node: &Node, labels: &Labels) -> bool {
    CONTROL_PLANE_ROLES.iter().any(|role| labels.contains_key(role) || is_tainted(node, role))
}

/// The first mark of another controller that is taking the node down (SAFE-7).
fn claim(node: &Node) -> Option<String> {
    let annotated = |key: &&&str| {
        node.metadata
            .annotations
            .as_ref()
            .is_some_and(|annotations| annotations.contains_key(**key))
    };
    let taint = CLAIMING_TAINTS.iter().find(|key| is_tainted(node, key));
    taint.map(|key| format!("taint {key}")).or_else(|| {
        CLAIMING_ANNOTATIONS.iter().find(annotated).map(|key| format!("annotation {key}"))
    })
}

fn ready(conditions: &Conditions) -> Ready {
    match conditions.get("Ready").map(ConditionFact::status) {
        Some("True") => Ready::True,
        Some("False") => Ready::False,
        _ => Ready::Unknown,
    }
}

/// The three statuses of the API; what else a kubelet may write is not known, hence Unknown.
fn status(text: &str) -> &str {
    if matches!(text, "True" | "False") { text } else { "Unknown" }
}

fn fact(
    condition: &Condition,
    earlier: Option<&NodeFacts>,
    look: &Look<'_>,
    texts: &mut dyn FnMut(&str) -> Arc<str>,
) -> ConditionFact {
    let evidence = Evidence {
        condition_type: texts(&condition.condition_type),
        status: texts(status(&condition.status)),
        last_transition_time: condition.last_transition_time.as_ref().map(|time| time.0),
        last_heartbeat_time: condition.last_heartbeat_time.as_ref().map(|time| time.0),
    };
    let before = earlier.and_then(|earlier| earlier.conditions.get(&condition.condition_type));
    let status_since = match before {
        Some(before) if before.evidence.status == evidence.status => before.status_since,
        None if look.first_list => {
            evidence.last_transition_time.map_or(look.now, |time| time.min(look.now))
        }
        Some(_) | None => look.now,
    };
    let changed_at = match before {
        Some(before) if before.evidence == evidence => before.changed_at,
        // An operator that has watched for a while knows how old the report is; one that has only just
        // begun takes it from the heartbeat, or it would act once more on what is long stale.
        None if look.first_list && !mutant!("first-list-is-fresh") => {
            evidence.last_heartbeat_time.map_or(look.now, |time| time.min(look.now))
        }
        Some(_) | None => look.now,
    };
    ConditionFact {
        reason: texts(condition.reason.as_deref().unwrap_or_default()),
        message: texts(cut_message(condition.message.as_deref().unwrap_or_default())),
        evidence,
        status_since,
        changed_at,
    }
}

/// True when two versions of a node differ in something that a decision could see, heartbeats
/// aside: a heartbeat that changes nothing must cost nothing.
pub fn differs(a: &NodeFacts, b: &NodeFacts) -> bool {
    // Every field is named, so that a new one is not forgotten here.
    let NodeFacts {
        name,
        uid,
        labels,
        control_plane,
        deleting,
        unschedulable,
        cordoned_by,
        cordon_field_ours,
        ready,
        boot_id,
        conditions,
        last_remediation,
        hold,
        ignore,
        claim,
        out_of_service,
    } = a;
    let same = *ready == b.ready
        && *unschedulable == b.unschedulable
        && *deleting == b.deleting
        && *control_plane == b.control_plane
        && *cordon_field_ours == b.cordon_field_ours
        && *hold == b.hold
        && *ignore == b.ignore
        && *out_of_service == b.out_of_service
        && *name == b.name
        && *uid == b.uid
        && *boot_id == b.boot_id
        && *cordoned_by == b.cordoned_by
        && *claim == b.claim
        && *labels == b.labels
        && *last_remediation == b.last_remediation
        && conditions.values().len() == b.conditions.values().len()
        && conditions.values().zip(b.conditions.values()).all(|(a, b)| says_the_same(a, b));
    !same
}

/// Two reports of a condition differ in their heartbeat at most.
fn says_the_same(a: &ConditionFact, b: &ConditionFact) -> bool {
    let ConditionFact { evidence, reason, message, status_since, changed_at: _ } = a;
    let Evidence { condition_type, status, last_transition_time, last_heartbeat_time: _ } =
        evidence;
    *condition_type == b.evidence.condition_type
        && *status == b.evidence.status
        && *last_transition_time == b.evidence.last_transition_time
        && *status_since == b.status_since
        && *reason == b.reason
        && *message == b.message
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts_of(node: serde_json::Value) -> NodeFacts {
        let look = Look { now: Timestamp::UNIX_EPOCH, earlier: None, first_list: true };
        facts(&serde_json::from_value(node).unwrap(), look, &mut |text| text.into())
    }

    fn read(conditions: serde_json::Value, boot_id: &str) -> NodeFacts {
        facts_of(json!({
            "metadata": { "name": "n1", "uid": "u1" },
            "status": { "conditions": conditions, "nodeInfo": { "bootID": boot_id,
                "architecture": "", "containerRuntimeVersion": "", "kernelVersion": "",
                "kubeProxyVersion": "", "kubeletVersion": "", "machineID": "",
                "operatingSystem": "", "osImage": "", "systemUUID": "" } },
        }))
    }

    fn tainted(key: &str) -> NodeFacts {
        facts_of(json!({ "spec": { "taints": [
            { "key": "node.kubernetes.io/not-ready", "effect": "NoExecute" },
            { "key": key, "value": "1700000000", "effect": "NoSchedule" },
        ] } }))
    }

    #[test]
    fn a_mark_of_another_controller_is_known_by_its_key_and_told() {
        for key in
            ["ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted", "karpenter.sh/disruption"]
        {
            assert_eq!(tainted(key).claim, Some(format!("taint {key}")));
        }
        let key = "weave.works/kured-reboot-in-progress";
        let kured = facts_of(json!({ "metadata": { "annotations": { key: "2026-01-01" } } }));
        assert_eq!(kured.claim, Some(format!("annotation {key}")));
    }

    #[test]
    fn marks_that_claim_nothing_are_left_aside() {
        // The first is only a candidate of the autoscaler; many nodes bear it and are never taken.
        for key in
            ["DeletionCandidateOfClusterAutoscaler", "karpenter.sh/unregistered", "dedicated"]
        {
            assert_eq!(tainted(key).claim, None, "{key}");
        }
        let kured = json!({ "weave.works/kured-most-recent-reboot-needed": "2026-01-01" });
        assert_eq!(facts_of(json!({ "metadata": { "annotations": kured } })).claim, None);
    }

    #[test]
    fn a_node_is_out_of_service_by_its_taint_whatever_the_effect() {
        assert!(tainted(OUT_OF_SERVICE_TAINT).out_of_service);
        assert!(!tainted("node.kubernetes.io/unreachable").out_of_service);
    }

    #[test]
    fn a_mark_that_comes_or_goes_is_a_difference_that_decisions_can_see() {
        let plain = tainted("dedicated");
        assert!(differs(&plain, &tainted("karpenter.sh/disrupted")));
        assert!(differs(&plain, &tainted(OUT_OF_SERVICE_TAINT)));
    }

    #[test]
    fn what_no_status_of_a_run_could_hold_is_not_looked_at() {
        let longest = "x".repeat(TYPE_LIMIT);
        let condition = |kind: &str, status: &str| json!({ "type": kind, "status": status });
        let conditions = json!([
            condition(&longest, "True"),
            condition(&format!("{longest}x"), "True"),
            condition("Odd", &"Maybe".repeat(100)),
        ]);
        let found = read(conditions, &"b".repeat(65));
        let types: Vec<_> = found.conditions.keys().collect();
        assert_eq!(types, ["Odd", &longest]);
        assert_eq!(found.conditions.get("Odd").unwrap().status(), "Unknown");
        assert_eq!(found.boot_id, "");
        assert_eq!(read(json!([]), &"b".repeat(64)).boot_id.len(), 64);
    }
}
