//! Slips of the pen: what can be read and played, and comes to nothing. Who checks a policy with a scene would
//! believe what was never tried.

use std::collections::BTreeSet;

use rerail_core::facts::OF_KUBELET;

use super::{Scene, SceneError, check::wrong};
use crate::world::{Act, Spec};

pub(super) fn check(scene: &Scene, specs: &[Spec]) -> Result<(), SceneError> {
    groups(scene)?;
    workloads(scene, specs)?;
    times(scene)?;
    let known: BTreeSet<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    let order = scene.expect.order.iter().flatten();
    if let Some(node) = order.into_iter().find(|node| !known.contains(node.as_str())) {
        let problem = format!("no machine is called `{node}`");
        return Err(wrong("expect.order", problem, "name machines of `nodes`"));
    }
    Ok(())
}

/// What an act says that nobody would notice.
pub(super) fn check_act(place: &str, act: &Act) -> Result<(), SceneError> {
    let Act::Sicken { with, .. } = act else { return Ok(()) };
    if !OF_KUBELET.contains(&with.condition.as_str()) {
        return Ok(());
    }
    let problem = format!("kubelets write the condition {} themselves", with.condition);
    let advice = "use a type of its own; a machine that is not Ready has no power, or is cut off (`power`, `cut`)";
    Err(wrong(format!("{place}.do.sicken.with.condition"), problem, advice))
}

fn groups(scene: &Scene) -> Result<(), SceneError> {
    for (at, group) in scene.nodes.iter().enumerate() {
        if group.racks > group.number() {
            let problem = format!("{} racks for {} machines", group.racks, group.number());
            return Err(wrong(format!("nodes[{at}].racks"), problem, "give each rack a machine"));
        }
    }
    Ok(())
}

fn workloads(scene: &Scene, specs: &[Spec]) -> Result<(), SceneError> {
    let is_labelled = scene.acts().any(|act| matches!(act, Act::Label { .. }));
    for (at, deployment) in scene.deployments.iter().enumerate() {
        let place = |field| format!("deployments[{at}] ({}).{field}", deployment.name);
        let (placed, replicas) = (deployment.placed.len(), deployment.replicas);
        if u64::try_from(placed).unwrap_or(u64::MAX) > u64::from(replicas) {
            let problem = format!("{placed} Pods are placed, and there are {replicas}");
            return Err(wrong(place("placed"), problem, "give it as many replicas"));
        }
        if !is_labelled && !specs.iter().any(|spec| spec.has_labels(&deployment.nodes)) {
            let problem = "no machine has these labels, so that its Pods never run";
            return Err(wrong(place("nodes"), problem, "write labels of `nodes`"));
        }
    }
    Ok(())
}

fn times(scene: &Scene) -> Result<(), SceneError> {
    let Some(until) = &scene.until else { return Ok(()) };
    let late = |time: &rerail_api::duration::GoDuration| time.value() >= until.value();
    let (problem, advice) =
        ("it is not before `until`, so that it never happens", "play longer, or take it out");
    if scene.policies_at.as_ref().is_some_and(late) {
        return Err(wrong("policiesAt", problem, advice));
    }
    match scene.timeline.iter().position(|entry| late(&entry.at)) {
        Some(at) => Err(wrong(format!("timeline[{at}].at"), problem, advice)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(more: &str) -> String {
        let head = "apiVersion: scenario.rerail.dev/v1alpha1\nkind: Scenario\nname: x\n";
        let nodes =
            if more.starts_with("nodes:") { "" } else { "nodes: [{prefix: n-, count: 2}]\n" };
        Scene::parse(&format!("{head}{nodes}{more}")).unwrap_err().to_string()
    }

    #[test]
    fn what_would_come_to_nothing_is_refused() {
        let sicken = |kind: &str| {
            format!(
                "timeline: [{{at: 1m, do: {{sicken: {{nodes: [n-001], with: {{condition: {kind}}}}}}}}}]"
            )
        };
        let sick = sicken("Sick");
        let good = "{nodes: {all: true}, triggers: [{condition: {type: S}}], remedies: [{reboot: {method: Command}}]}";
        for (more, says) in [
            (sicken("MemoryPressure"), "timeline[0].do.sicken.with.condition: kubelets write"),
            (sicken("Ready"), "kubelets write the condition Ready themselves"),
            (format!("{sick}\nuntil: 1m"), "at timeline[0].at: it is not before `until`"),
            ("policiesAt: 10m\nuntil: 10m".to_owned(), "at policiesAt: it is not before"),
            ("expect: {order: [n-001, n-003]}".to_owned(), "at expect.order: no machine"),
            ("nodes: [{prefix: n-, count: 2, racks: 3}]".to_owned(), "3 racks for 2 machines"),
            (
                "deployments: [{name: a, replicas: 1, placed: [n-001, n-002]}]".to_owned(),
                "at deployments[0] (a).placed: 2 Pods are placed, and there are 1",
            ),
            (
                "deployments: [{name: a, replicas: 1, nodes: {pool: b}}]".to_owned(),
                "at deployments[0] (a).nodes: no machine has these labels",
            ),
            (
                "timeline: [{at: 1m, do: {edit: {object: {group: rerail.dev, resource: remediationpolicies, name: p}, patch: {}}}}]".to_owned(),
                "no policy is called `p`",
            ),
            (
                format!("policies: [{{metadata: {{name: p}}, spec: {good}}}, {{metadata: {{name: p}}, spec: {good}}}]"),
                "at policies[1] (p): there is one of this name already",
            ),
            (
                "policies: [{metadata: {name: p}, spec: {nodes: {all: true}, budgt: {}, triggers: [{condition: {type: S}}], remedies: [{reboot: {method: Command}}]}}]".to_owned(),
                "at policies[0] (p): ",
            ),
            ("name: y".to_owned(), "duplicate"),
        ] {
            let said = refused(&more);
            assert!(said.contains(says), "{more}: {said}");
            for jargon in ["Options", "POST", "fieldValidation", "from_str"] {
                assert!(!said.contains(jargon), "{said}");
            }
        }
    }
}
