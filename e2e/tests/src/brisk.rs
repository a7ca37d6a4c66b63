//! A cluster in which a run takes about a second: machines that boot in a moment and a policy that
//! waits for nothing that is not there to be seen. For what needs very many runs.

use std::time::Duration;

use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use rerail_api::{NodeRemediation, remediation::StepName};
use rerail_controlplane::Options;
use rerail_fleet::{FleetOptions, Pool};

use crate::{Cluster, ClusterOptions, Error, PATIENCE, wait_for};

/// Value of the label `pool` of all nodes.
const POOL: &str = "brisk";

const DAEMON_SET: &str = "apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: default}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      nodeSelector: {pool: brisk}
      containers: [{name: c, image: i}]";

/// How the run of a node goes, if nothing disturbs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Story {
    /// It is drained, rebooted, verified and given back.
    Healed,
    /// Its drain meets pods that must stay, and everything is undone.
    TurnedBack,
}

impl Story {
    fn label(self) -> &'static str {
        match self {
            Story::Healed => "healed",
            Story::TurnedBack => "turned-back",
        }
    }
}

/// The policy of nodes whose run is turned back: pods that nobody would make anew are not deleted,
/// which is the default. No run follows soon.
const TURNS_BACK: &str = "apiVersion: rerail.dev/v1alpha1
kind: RemediationPolicy
metadata: {name: turns-back}
spec:
  mode: Enforce
  nodes: {selector: {matchLabels: {pool: brisk, story: turned-back}}}
  triggers: [{condition: {type: KernelDeadlock}}]
  drain: {timeout: 60s}
  attempts: {max: 3, per: 24h, backoff: 24h}
  budget: {maxStarts: {count: 1000, per: 1h}}";

/// A brisk cluster. Each node is used for one run, and bears one pod of a DaemonSet, which has to be
/// Ready again after the boot.
pub struct Brisk {
    /// The cluster.
    pub cluster: Cluster,
}

impl Brisk {
    /// The condition that its policy looks for.
    pub const CONDITION: &str = "KernelDeadlock";

    /// The policy of nodes that are healed.
    pub const POLICY: &str = "apiVersion: rerail.dev/v1alpha1
kind: RemediationPolicy
metadata: {name: brisk}
spec:
  mode: Enforce
  nodes: {selector: {matchLabels: {pool: brisk, story: healed}}}
  triggers: [{condition: {type: KernelDeadlock}}]
  drain: {timeout: 60s, unmanaged: Delete}
  remedies: [{reboot: {method: Command}, timeout: 60s}]
  verify: {ready: 0s, timeout: 60s}
  attempts: {max: 3, per: 1h, backoff: 1s}
  budget: {maxStarts: {count: 1000, per: 1h}}";

    /// Starts the cluster. There is no operator yet.
    pub async fn start() -> Result<Self, Error> {
        let cluster = Cluster::start(options()).await?;
        let all = [Self::POLICY, TURNS_BACK, DAEMON_SET];
        cluster.apply(&all.join("\n---\n")).await?;
        Ok(Brisk { cluster })
    }

    /// Adds machines, and waits until each is Ready with its pod of the DaemonSet. `kind` is part of
    /// their names.
    pub async fn add_nodes(
        &self,
        kind: &str,
        story: Story,
        nodes: usize,
    ) -> Result<Vec<String>, Error> {
        let pool = Pool::new(POOL, nodes, 1).label("story", story.label());
        let pool = Pool { prefix: format!("{kind}-"), ..pool };
        let names = self.cluster.add_pool(&pool).await?;
        let sets: Api<DaemonSet> = Api::namespaced(self.cluster.client.clone(), "default");
        let all = self.cluster.fleet.machines().len();
        wait_for("a Ready pod of the DaemonSet on each node", PATIENCE, || async {
            let set = sets.get("agent").await.map_err(|error| error.to_string())?;
            let ready = set.status.map_or(0, |status| status.number_ready);
            if usize::try_from(ready) == Ok(all) {
                Ok(())
            } else {
                Err(format!("{ready} of {all}"))
            }
        })
        .await?;
        Ok(names)
    }

    /// Puts pods on a node that a drain has to evict.
    pub async fn furnish(&self, node: &str, pods: usize) -> Result<(), Error> {
        for number in 1..=pods {
            let yaml = format!(
                "apiVersion: v1
kind: Pod
metadata: {{name: {node}-{number}, namespace: default}}
spec: {{nodeName: {node}, containers: [{{name: c, image: i}}]}}"
            );
            self.cluster.apply(&yaml).await?;
        }
        Ok(())
    }

    /// Waits until so many pods of ours run on the node: from then on nobody has more to do there.
    pub async fn settled(&self, node: &str, pods: usize) -> Result<(), Error> {
        let api: Api<Pod> = Api::namespaced(self.cluster.client.clone(), "default");
        let there =
            ListParams::default().fields(&format!("spec.nodeName={node},status.phase=Running"));
        wait_for(&format!("{pods} running pods on {node}"), PATIENCE, || async {
            let found = api.list(&there).await.map_err(|error| error.to_string())?.items;
            let ours = found.iter().filter(|pod| pod.owner_references().is_empty()).count();
            if ours == pods { Ok(()) } else { Err(format!("{ours} run")) }
        })
        .await
    }

    /// A node gets the condition; its reboot heals it.
    pub async fn sicken(&self, node: &str) -> Result<(), Error> {
        let message = "[P6] task umount blocked for more than 120 seconds";
        let fleet = &self.cluster.fleet;
        Ok(fleet.set_condition(node, Self::CONDITION, "True", "DeadlockDetected", message).await?)
    }

    /// Waits until the node has had a run, and every run of it has ended and left nothing to undo.
    pub async fn ended(&self, node: &str, what: &str) -> Result<(), Error> {
        wait_for(&format!("the run of {node} to end ({what})"), PATIENCE, || async {
            let runs = self.cluster.runs_of(node).await.map_err(|error| error.to_string())?;
            let ended = !runs.is_empty() && runs.iter().all(has_ended);
            if ended { Ok(()) } else { Err(format!("{runs:?}")) }
        })
        .await
    }

    /// Takes a node and its runs away: what nobody needs any more only makes lists long.
    pub async fn remove(&self, node: &str) -> Result<(), Error> {
        for run in self.cluster.runs_of(node).await? {
            self.cluster.runs().delete(&run.name_any(), &DeleteParams::default()).await?;
        }
        Ok(self.cluster.fleet.delete_node(node).await?)
    }
}

fn has_ended(run: &NodeRemediation) -> bool {
    let step = run.status.as_ref().map(|status| &status.step);
    matches!(step, Some(StepName::Known(step)) if step.is_terminal()) && run.finalizers().is_empty()
}

fn options() -> ClusterOptions {
    let moment = || Duration::from_millis(20)..=Duration::from_millis(60);
    ClusterOptions {
        // Machines are many, and nobody looks at their Leases: those are renewed rarely.
        plane: Options {
            node_monitor_grace_period: Some(Duration::from_secs(3600)),
            ..Options::default()
        },
        fleet: FleetOptions {
            boot_time: moment(),
            shutdown_time: moment(),
            ready_time: moment(),
            settle_time: moment(),
            lease_interval: Duration::from_secs(600),
            // After a boot that no operator saw, a trigger is clear only with the writer's next word.
            condition_interval: Duration::from_millis(200),
            ..FleetOptions::default()
        },
        ..ClusterOptions::default()
    }
}
