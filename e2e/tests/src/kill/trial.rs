//! What is tried, and what must hold after each trial.

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, ResourceExt, api::ListParams};
use rerail_api::{names, remediation::StepName};
use rerail_core::step::Step;
use rerail_fleet::{EventKind, truth::Limits};

use super::orders::{KillPoint, Moment, Request, Which};
use crate::{Cluster, Error, judge};

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
/// cordoned, a pod that is on its way out, and a machine that is about to boot.
pub(super) fn recoveries(requests: usize) -> Vec<Trial> {
    let found = [("patch", "nodes"), ("create", "pods/eviction"), ("create", "pods")];
    let trials = (1..=requests).flat_map(|number| {
        MOMENTS.map(|moment| Trial {
            first: found
                .get(number % found.len())
                .map(|(verb, resource)| after_the_first(verb, resource))
                .unwrap_or_else(reboot_begins),
            second: Some(KillPoint { which: Which::Number(number), moment }),
        })
    });
    trials.collect()
}

fn after_the_first(verb: &str, resource: &str) -> KillPoint {
    let which = Which::First { verb: verb.to_owned(), resource: resource.to_owned() };
    KillPoint { which, moment: Moment::After }
}

/// The reboot Pod has been created, and nobody in the operator knows.
pub(super) fn reboot_begins() -> KillPoint {
    after_the_first("create", "pods")
}

/// What does not hold after the run of a node, in words.
pub(super) async fn violations(cluster: &Cluster, node: &str) -> Result<Vec<String>, Error> {
    let mut events = cluster.fleet.truth();
    events.retain(|event| event.node == node);
    let limits = Limits { max_parallel: Some(1), ..Limits::default() };
    let mut found = judge(cluster, &events, &limits).await?.violations;
    // Nothing stood in the way of this run, so an operator that dies is no reason for another end or
    // for a second attempt.
    let boots = events.iter().filter(|event| event.event == EventKind::Boot).count();
    if boots != 1 {
        found.push(format!("the machine booted {boots} times"));
    }
    let runs = cluster.runs_of(node).await?;
    if runs.len() != 1 {
        found.push(format!("SAFE-22: {} runs were made", runs.len()));
    }
    for run in &runs {
        let status = run.status.clone().unwrap_or_default();
        if status.step != StepName::Known(Step::Succeeded) || status.attempt != 1 {
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
    found.extend(left_on_node(cluster, node).await?);
    Ok(found)
}

/// What of ours, or of what had to go, is still on the node.
async fn left_on_node(cluster: &Cluster, node: &str) -> Result<Vec<String>, Error> {
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
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "default");
    let there = ListParams::default().fields(&format!("spec.nodeName={node}"));
    for pod in pods.list(&there).await?.items {
        if pod.owner_references().is_empty() {
            found.push(format!("pod {} was not drained", pod.name_any()));
        }
    }
    Ok(found)
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
