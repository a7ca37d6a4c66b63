//! What the scenarios of the queue share: pools with racks, policies with budgets, and the order in
//! which runs were admitted.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, ResourceExt};
use rerail_api::{NodeRemediation, remediation::StepName};
use rerail_core::step::Step;
use rerail_e2e::{ClusterOptions, PATIENCE, wait_for};
use rerail_fleet::{FleetOptions, Pool};

use crate::{
    api_faults::brisk,
    shared::{CONDITION, Stage, alone_on},
};

/// Runs that take about two seconds, for policies with a budget of their own.
pub const QUICK: &str = "
  drain: {timeout: 5m, unmanaged: Delete}
  remedies: [{reboot: {method: Command}, timeout: 60s}]
  verify: {ready: 100ms, timeout: 60s}
  attempts: {max: 3, per: 1h, backoff: 1s}";

/// A cluster that leaves all limits to the policies, but for the number of racks.
pub fn wide(max_domains: u32) -> ClusterOptions {
    let config = format!(
        "topologyKeys: [topology.kubernetes.io/zone, node-restriction.kubernetes.io/rack]
maxUnavailable: 100%
minFloor: 1
maxDomains: {max_domains}
"
    );
    ClusterOptions { config: Some(config), fleet: fast(), ..ClusterOptions::default() }
}

/// Machines that boot at once and say so.
pub fn fast() -> FleetOptions {
    FleetOptions { settle_time: Duration::from_millis(50)..=Duration::from_millis(100), ..brisk() }
}

/// Plays a scenario on a cluster of its own with so many racks of so many nodes.
pub fn on_racks<F: Future<Output = ()>>(
    pool: &'static str,
    racks: usize,
    nodes: usize,
    options: ClusterOptions,
    scenario: impl FnOnce(Stage) -> F,
) {
    alone_on(pool, Pool::new(pool, racks * nodes, racks), options, scenario);
}

fn is_sick(node: &Node) -> bool {
    let status = node.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|c| c.type_ == CONDITION && c.status == "True")
}

fn is_cordoned(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false)
}

/// One run, as the truth of its order.
#[derive(Debug, Clone)]
pub struct Admission {
    pub node: String,
    pub domain: String,
    pub admitted: Timestamp,
    pub ended: Option<Timestamp>,
}

impl Stage {
    /// The stage's policy with a budget, `{…}` of YAML; `rest` is the rest of it.
    pub async fn budgeted(&self, budget: &str, rest: &str) {
        self.policy("Enforce", &format!("\n  budget: {budget}{rest}")).await;
    }

    /// Waits until all these nodes are healed.
    pub async fn all_healed<'a>(&self, nodes: impl IntoIterator<Item = &'a String>) {
        for node in nodes {
            self.run_in(node, Step::Succeeded).await;
        }
    }

    /// Nodes that are sick, cordoned, or have a run under way.
    pub async fn not_well(&self) -> BTreeSet<String> {
        let runs = self.cluster().runs().list(&Default::default()).await.unwrap().items;
        let is_open = |run: &&NodeRemediation| match run.status.as_ref().map(|s| &s.step) {
            Some(StepName::Known(step)) => !step.is_terminal(),
            Some(StepName::Unknown(_)) | None => true,
        };
        let open = runs.iter().filter(is_open).map(|run| run.spec.node_name.clone());
        let nodes: Api<Node> = Api::all(self.cluster().client.clone());
        let nodes = nodes.list(&Default::default()).await.unwrap().items;
        let sick = nodes.iter().filter(|node| is_sick(node) || is_cordoned(node));
        open.chain(sick.map(ResourceExt::name_any)).collect()
    }

    /// Waits until all nodes are well.
    pub async fn everything_is_healed(&self) {
        let look = || async {
            let left = self.not_well().await;
            if left.is_empty() { Ok(()) } else { Err(left) }
        };
        wait_for("every node to be healed", PATIENCE, look).await.unwrap();
    }

    /// The runs of the stage's nodes that were admitted so far, in that order.
    pub async fn admissions(&self) -> Vec<Admission> {
        let runs = self.cluster().runs().list(&Default::default()).await.unwrap().items;
        let mut admissions: Vec<_> = runs.iter().filter_map(|run| self.admission(run)).collect();
        admissions.sort_by_key(|admission| admission.admitted);
        admissions
    }

    /// Waits until so many runs were admitted.
    pub async fn admissions_reach(&self, count: usize) -> Vec<Admission> {
        wait_for(&format!("{count} admissions"), PATIENCE, || async {
            let admissions = self.admissions().await;
            if admissions.len() >= count { Ok(admissions) } else { Err(admissions) }
        })
        .await
        .unwrap()
    }

    fn admission(&self, run: &NodeRemediation) -> Option<Admission> {
        if !self.nodes.contains(&run.spec.node_name) {
            return None;
        }
        let status = run.status.as_ref()?;
        let began = |is: &dyn Fn(Step) -> bool| {
            let found = status.steps.iter().find(|record| record.name.parse().is_ok_and(is));
            found.map(|record| record.start_time)
        };
        Some(Admission {
            node: run.spec.node_name.clone(),
            domain: status.failure_domain.clone(),
            admitted: began(&|step| step == Step::Cordoning)?,
            ended: began(&|step: Step| step.is_terminal()),
        })
    }

    /// The most nodes that the truth log has seen out of service at once, by a run.
    pub fn most_out(&self) -> usize {
        let (mut out, mut most) = (BTreeSet::new(), 0);
        let seen = self.cluster().fleet.nodes_seen();
        for seen in seen.iter().filter(|seen| self.nodes.contains(&seen.node)) {
            if seen.cordoned && seen.by.is_some() {
                out.insert(&seen.node);
            } else {
                out.remove(&seen.node);
            }
            most = most.max(out.len());
        }
        most
    }
}
