//! How large a scene may be: what is larger is taken for a slip of the pen, before it takes all memory or never
//! ends.

use rerail_api::duration::GoDuration;

use super::{NodeGroup, Scene, SceneError, SceneTimes, Span, check::wrong};

/// Machines in one scene: twice what Kubernetes is made for
/// (<https://kubernetes.io/docs/setup/best-practices/cluster-large/>).
const NODES: usize = 10_000;
/// Pods of Deployments: likewise.
const PODS: u64 = 300_000;
/// Seconds, 30 days: nothing is later, or takes longer.
pub const LONGEST: u64 = 30 * 24 * 3600;
/// What happens again and again does so no more often than each second.
const MOST_OFTEN: u64 = 1;

pub(super) fn check(scene: &Scene) -> Result<(), SceneError> {
    let nodes = scene.nodes.iter().map(NodeGroup::number).fold(0, usize::saturating_add);
    if nodes > NODES {
        let problem = format!("{nodes} machines are more than {NODES}");
        return Err(wrong("nodes", problem, "play a part of them, such as one zone"));
    }
    let pods = scene.deployments.iter().map(|one| u64::from(one.replicas)).sum::<u64>();
    if pods > PODS {
        let problem = format!("{pods} Pods are more than {PODS}");
        return Err(wrong("deployments", problem, "play a part of them, such as one zone"));
    }
    for (at, entry) in scene.timeline.iter().enumerate() {
        soon(format!("timeline[{at}].at"), Some(&entry.at))?;
    }
    for (at, random) in scene.random.iter().enumerate() {
        again(format!("random[{at}].every"), Some(&random.every))?;
        soon(format!("random[{at}].from"), random.from.as_ref())?;
        soon(format!("random[{at}].until"), random.until.as_ref())?;
    }
    for (at, deployment) in scene.deployments.iter().enumerate() {
        let place = |field| format!("deployments[{at}] ({}).{field}", deployment.name);
        soon(place("grace"), deployment.grace.as_ref())?;
        soon(place("stopsAfter"), deployment.stops_after.as_ref())?;
        soon(place("startsAfter"), deployment.starts_after.as_ref())?;
    }
    soon("until", scene.until.as_ref())?;
    soon("policiesAt", scene.policies_at.as_ref())?;
    times(&scene.times)
}

fn times(times: &SceneTimes) -> Result<(), SceneError> {
    for (field, time) in [
        ("lease", &times.lease),
        ("report", &times.report),
        ("heartbeat", &times.heartbeat),
        ("grace", &times.grace),
    ] {
        again(format!("times.{field}"), time.as_ref())?;
    }
    for (field, span) in [
        ("boot", times.boot),
        ("shutdown", times.shutdown),
        ("kubelet", times.kubelet),
        ("ready", times.ready),
        ("settle", times.settle),
        ("podStart", times.pod_start),
        ("podStop", times.pod_stop),
        ("watch", times.watch),
    ] {
        let longest = span.map(Span::millis).map_or(0, |(_, longest)| longest);
        within(format!("times.{field}"), longest)?;
    }
    Ok(())
}

fn within(place: impl Into<String>, millis: u64) -> Result<(), SceneError> {
    match millis > LONGEST * 1000 {
        true => Err(wrong(place, "it is longer than 30 days", "give a shorter time")),
        false => Ok(()),
    }
}

fn soon(place: impl Into<String>, time: Option<&GoDuration>) -> Result<(), SceneError> {
    within(place, time.map_or(0, super::millis))
}

/// Also not too often.
fn again(place: impl Into<String>, time: Option<&GoDuration>) -> Result<(), SceneError> {
    if time.is_some_and(|time| super::millis(time) < MOST_OFTEN * 1000) {
        return Err(wrong(place, "it is shorter than a second", "give a duration such as 1m"));
    }
    soon(place, time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(more: &str) -> String {
        let nodes =
            if more.starts_with("nodes:") { "" } else { "nodes: [{prefix: n-, count: 1}]\n" };
        let head = "apiVersion: scenario.rerail.dev/v1alpha1\nkind: Scenario\nname: x\n";
        Scene::parse(&format!("{head}{nodes}{more}")).unwrap_err().to_string()
    }

    #[test]
    fn slips_of_the_pen_are_refused_before_they_take_all_memory_or_never_end() {
        for (more, says) in [
            (
                "nodes: [{prefix: n-, count: 18446744073709551615}, {name: m}]",
                "at nodes: 18446744073709551615 machines are more than 10000",
            ),
            ("nodes: [{prefix: n-, count: 10001}]", "at nodes: 10001 machines"),
            (
                "deployments: [{name: a, replicas: 4294967295}, {name: b, replicas: 4294967295}]",
                "at deployments: 8589934590 Pods are more",
            ),
            ("until: 721h", "at until: it is longer than 30 days"),
            ("policiesAt: 8000h", "at policiesAt: it is longer"),
            ("times: {heartbeat: 1ms}", "at times.heartbeat: it is shorter than a second"),
            ("times: {report: 800h}", "at times.report: it is longer"),
            ("times: {boot: 1s..1000h}", "at times.boot: it is longer"),
            (
                "deployments: [{name: a, replicas: 1, grace: 1000h}]",
                "at deployments[0] (a).grace: it is longer",
            ),
            (
                "timeline: [{at: 1000h, do: {cordon: {nodes: [n-001], by: ann}}}]",
                "at timeline[0].at: it is longer",
            ),
            (
                "random: [{every: 10ms, chance: 1, do: {cordon: {nodes: [n-001], by: ann}}}]",
                "at random[0].every: it is shorter",
            ),
            (
                "random: [{every: 0s, chance: 1, do: {cordon: {nodes: [n-001], by: ann}}}]",
                "at random[0].every: it is shorter",
            ),
            (
                "random: [{every: 1s, chance: 1, until: 1000h, do: {cordon: {nodes: [n-001], by: ann}}}]",
                "at random[0].until: it is longer",
            ),
        ] {
            let said = refused(more);
            assert!(said.contains(says), "{more}: {said}");
        }
    }
}
