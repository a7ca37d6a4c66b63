//! Judges a cluster in the end: the truth log of the machines against what the operator did and says.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Node;
use kube::{Api, ResourceExt, api::ListParams};
use rerail_api::{NodeRemediation, names, remediation::StepName};
use rerail_core::step::Step;
use rerail_fleet::truth::{Limits, RunSummary, TruthEvent, check, check_starts};

use crate::{Cluster, Error};

/// What was found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Properties that did not hold, in words.
    pub violations: Vec<String>,
}

/// Checks the properties on these events of the truth log, and on the objects as they are now. The
/// events may be those of some nodes only; runs of other nodes are not judged by them.
pub async fn judge(
    cluster: &Cluster,
    events: &[TruthEvent],
    limits: &Limits,
) -> Result<Verdict, Error> {
    let runs = cluster.runs().list(&ListParams::default()).await?.items;
    let nodes: BTreeSet<&str> = events.iter().map(|event| event.node_uid.as_str()).collect();
    let here = runs.iter().filter(|run| nodes.contains(run.spec.node_uid.as_str()));
    let summaries: Vec<_> = here.filter_map(summary).collect();
    let mut found = check(events, &summaries, limits);
    found.extend(check_starts(events, &cluster.fleet.nodes_seen(), &summaries, limits));
    let mut violations: Vec<String> = found.iter().map(ToString::to_string).collect();
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    for node in nodes.list(&ListParams::default()).await?.items {
        let Some(owner) = node.annotations().get(names::CORDONED_BY) else { continue };
        let open = runs.iter().any(|run| run.uid().as_deref() == Some(owner) && is_open(run));
        if !open {
            violations.push(format!(
                "LIVE-3: node {} bears the mark of run {owner}, which is not open",
                node.name_any()
            ));
        }
    }
    for run in runs.iter().filter(|run| !is_open(run)) {
        if run.finalizers().iter().any(|finalizer| finalizer == names::FINALIZER) {
            violations
                .push(format!("LIVE-5: run {} has ended and bears our finalizer", run.name_any()));
        }
    }
    Ok(Verdict { violations })
}

fn is_open(run: &NodeRemediation) -> bool {
    match run.status.as_ref().map(|status| &status.step) {
        Some(StepName::Known(step)) => !step.is_terminal(),
        Some(StepName::Unknown(_)) | None => true,
    }
}

fn summary(run: &NodeRemediation) -> Option<RunSummary> {
    let status = run.status.as_ref()?;
    let claims = status.conditions.iter().any(|c| c.type_ == "Rebooted" && c.status == "True");
    let verified = matches!(status.step, StepName::Known(Step::Succeeded));
    let began = |is: &dyn Fn(Step) -> bool| {
        let found = status.steps.iter().find(|record| record.name.parse().is_ok_and(is));
        found.map(|record| record.start_time)
    };
    Some(RunSummary {
        uid: run.uid()?,
        node_uid: run.spec.node_uid.clone(),
        claims_boot: claims || verified,
        priority: status.priority,
        since: run.spec.cause.as_ref().map(|cause| cause.since),
        admitted: began(&|step| step == Step::Cordoning),
        held: began(&|step| step == Step::Held),
        ended: began(&|step: Step| step.is_terminal()),
    })
}
