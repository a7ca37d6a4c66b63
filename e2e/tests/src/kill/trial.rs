//! What is tried, and what must hold after each trial.

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, ResourceExt, api::ListParams};
use rerail_api::{names, remediation::StepName};
use rerail_core::step::Step;
use rerail_fleet::{EventKind, truth::Limits};

use super::orders::{KillPoint, Moment, Request, Which};
use crate::{Cluster, Error, Story, judge};

/// Pods on each node that a drain would evict.
pub(super) const PODS: usize = 2;

/// Both moments of a request.
pub(super) const MOMENTS: [Moment; 2] = [Moment::Before, Moment::After];

/// The run of one node, and where operators die in it.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    /// Where the operator dies that began the run.
    pub first: KillPoint,
    /// Where the next one dies, counted from its start. The one after it lives.
    pub second: Option<KillPoint>,
}

impl std::fmt::Display for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "killed {}", self.first)?;
        match &self.second {
            Some(second) => write!(f, ", and the next one {second} since its start"),
            None => Ok(()),
        }
    }
}

/// Each request, before and after; `at_most` of these points, evenly spread.
pub(super) fn every_request(requests: usize, at_most: Option<usize>) -> Vec<Trial> {
    let points = (1..=requests).flat_map(|number| {
        MOMENTS.map(|moment| KillPoint { which: Which::Number(number), moment })
    });
    let all: Vec<_> = points.map(|first| Trial { first, second: None }).collect();
    let wanted = at_most.unwrap_or(all.len()).min(all.len());
    let spread = (0..wanted).filter_map(|index| all.get(index * all.len() / wanted.max(1)));
    spread.cloned().collect()
}

/// The next operator dies at each of its first requests, too. It finds, in turn, a node that has been
/// cordoned, pods that are on their way out, and a machine that is about to boot.
pub(super) fn recoveries(requests: usize) -> Vec<Trial> {
    let trials = (1..=requests).flat_map(|number| {
        let (verb, resource) = match number % 3 {
            1 => ("patch", "nodes"),
            2 => ("create", "pods/eviction"),
            _ => ("create", "pods"),
        };
        MOMENTS.map(|moment| {
            let which = Which::First { verb: verb.to_owned(), resource: resource.to_owned() };
            Trial {
                first: KillPoint { which, moment: Moment::After },
                second: Some(KillPoint { which: Which::Number(number), moment }),
            }
        })
    });
    trials.collect()
}

/// What does not hold after the run of a node, in words.
pub(super) async fn violations(
    cluster: &Cluster,
    node: &str,
    story: Story,
) -> Result<Vec<String>, Error> {
    let mut events = cluster.fleet.truth();
    events.retain(|event| event.node == node);
    let limits = Limits { max_parallel: Some(1), ..Limits::default() };
    let mut found = judge(cluster, &events, &limits).await?.violations;
    // Nothing else stood in the way of this run, so an operator that dies is no reason for another
    // end, nor for a second attempt.
    let (step, attempts) = match story {
        Story::Healed => (Step::Succeeded, 1),
        Story::TurnedBack => (Step::Failed, 0),
    };
    let boots = events.iter().filter(|event| event.event == EventKind::Boot).count();
    if boots != attempts {
        found.push(format!("the machine booted {boots} times, and not {attempts}"));
    }
    let runs = cluster.runs_of(node).await?;
    if runs.len() != 1 {
        found.push(format!("SAFE-22: {} runs were made", runs.len()));
    }
    for run in &runs {
        let status = run.status.clone().unwrap_or_default();
        if status.step != StepName::Known(step) || usize::try_from(status.attempt) != Ok(attempts) {
            let said = status.conditions.iter().find(|said| said.type_ == "Succeeded");
            let said = said.map(|said| format!("{}: {}", said.reason, said.message));
            found.push(format!(
                "the run ended in step {:?} after {} attempts ({})",
                status.step,
                status.attempt,
                said.unwrap_or_default()
            ));
        }
    }
    found.extend(marks(cluster, node).await?);
    found.extend(pods(cluster, node, story).await?);
    Ok(found)
}

/// What of ours is still on the node.
async fn marks(cluster: &Cluster, node: &str) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    let object = Api::<Node>::all(cluster.client.clone()).get(node).await?;
    if object.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false) {
        found.push("the node is still cordoned".to_owned());
    }
    for mark in [names::CORDONED_BY, names::CORDON_NOTE] {
        if object.annotations().contains_key(mark) {
            found.push(format!("the node still bears {mark}"));
        }
    }
    Ok(found)
}

/// What had to go and is still there, or had to stay and is gone.
async fn pods(cluster: &Cluster, node: &str, story: Story) -> Result<Vec<String>, Error> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "default");
    let there = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let mut there = pods.list(&there).await?.items;
    there.retain(|pod| pod.owner_references().is_empty());
    let stays = |pod: &Pod| pod.metadata.deletion_timestamp.is_none();
    Ok(match story {
        Story::Healed if !there.is_empty() => {
            let names: Vec<_> = there.iter().map(ResourceExt::name_any).collect();
            vec![format!("not drained: {}", names.join(", "))]
        }
        Story::TurnedBack if there.len() != PODS || !there.iter().all(stays) => {
            vec!["pods were touched that had to stay".to_owned()]
        }
        Story::Healed | Story::TurnedBack => Vec::new(),
    })
}

/// The kinds of requests, in the order in which they came first.
pub(super) fn kinds(requests: &[Request]) -> Vec<(String, String)> {
    let mut kinds: Vec<(String, String)> = Vec::new();
    for request in requests {
        let kind = (request.verb.clone(), request.resource.clone());
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_tried_both_ways() {
        let trials = every_request(3, None);
        let shown: Vec<_> = trials.iter().map(ToString::to_string).collect();
        assert_eq!(shown[..2], ["killed before request 1", "killed after request 1"]);
        assert_eq!(trials.len(), 6);
    }

    #[test]
    fn fewer_points_are_spread_over_the_whole_run() {
        let numbers: Vec<_> = every_request(50, Some(10))
            .into_iter()
            .map(|trial| match trial.first.which {
                Which::Number(number) => number,
                Which::First { .. } => 0,
            })
            .collect();
        assert_eq!(numbers, [1, 6, 11, 16, 21, 26, 31, 36, 41, 46]);
        assert_eq!(every_request(2, Some(10)).len(), 4);
    }
}
