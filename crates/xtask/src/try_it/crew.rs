//! The replicas of the operator, and which of them leads.

use std::path::PathBuf;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use rerail_api::names;
use rerail_e2e::{Cluster, Operator, OperatorOptions, Requests};

use super::{TryError, scene};

/// The Lease of the operators, in the namespace of the operator.
const LEASE: &str = "rerail-operator";

/// A replica that runs.
struct Replica {
    operator: Operator,
    /// What it had asked before the show.
    before: Requests,
}

/// All replicas.
pub struct Crew<'a> {
    cluster: &'a Cluster,
    kubeconfig: PathBuf,
    alive: Vec<Replica>,
    /// What the killed one asked during the show.
    spent: Vec<Requests>,
}

impl<'a> Crew<'a> {
    /// Starts the replicas, one after another, under the operator's own ServiceAccount.
    pub async fn start(cluster: &'a Cluster) -> Result<Self, TryError> {
        let kubeconfig = cluster.plane.kubeconfig_for_service_account(
            names::SYSTEM_NAMESPACE,
            names::OPERATOR_SERVICE_ACCOUNT,
        )?;
        let mut crew = Crew { cluster, kubeconfig, alive: Vec::new(), spent: Vec::new() };
        for name in scene::REPLICAS {
            let operator = crew.hire(name).await?;
            crew.alive.push(Replica { operator, before: Requests::default() });
        }
        Ok(crew)
    }

    /// Starts one more; it counts once it is [`Crew::welcome`].
    pub fn hire(
        &self,
        name: &'static str,
    ) -> impl Future<Output = Result<Operator, rerail_e2e::Error>> + use<'a> {
        let options = OperatorOptions {
            name: name.to_owned(),
            election: scene::ELECTION,
            kubeconfig: Some(self.kubeconfig.clone()),
            ..OperatorOptions::default()
        };
        let cluster = self.cluster;
        async move { Operator::start(&cluster.plane, options).await }
    }

    /// A new replica is ready.
    pub fn welcome(&mut self, operator: Operator) {
        self.alive.push(Replica { operator, before: Requests::default() });
    }

    /// Requests are counted from now on.
    pub async fn begin_to_count(&mut self) -> Result<(), TryError> {
        for replica in &mut self.alive {
            replica.before = replica.operator.api_requests().await.map_err(TryError::Metrics)?;
        }
        Ok(())
    }

    /// Who may be the leader: names of the replicas that run.
    pub fn names(&self) -> Vec<&str> {
        self.alive.iter().map(|replica| replica.operator.name()).collect()
    }

    /// Kills a replica with SIGKILL, after a last look at what it has asked.
    pub async fn kill(&mut self, name: &str) -> Result<(), TryError> {
        let Some(place) = self.alive.iter().position(|one| one.operator.name() == name) else {
            return Ok(());
        };
        let Replica { operator, before } = self.alive.remove(place);
        let asked = operator.api_requests().await.map_err(TryError::Metrics)?;
        self.cluster.plane.kill_component(operator.name())?;
        self.spent.push(asked.since(&before));
        Ok(())
    }

    /// What all replicas asked since the count began, watches apart.
    pub async fn requests(&self) -> Result<Requests, TryError> {
        let mut all = self.spent.clone();
        for Replica { operator, before } in &self.alive {
            all.push(operator.api_requests().await.map_err(TryError::Metrics)?.since(before));
        }
        Ok(sum(all))
    }
}

fn sum(all: Vec<Requests>) -> Requests {
    let mut total = Requests::default();
    for (kind, count) in all.into_iter().flat_map(|requests| requests.0) {
        *total.0.entry(kind).or_default() += count;
    }
    total
}

/// The name of the replica that leads: the holder of the Lease, as the API server has it now.
pub async fn leader(cluster: &Cluster, alive: &[&str]) -> Result<Option<String>, kube::Error> {
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), names::SYSTEM_NAMESPACE);
    let lease = leases.get_opt(LEASE).await?;
    let holder = lease.and_then(|lease| lease.spec).and_then(|spec| spec.holder_identity);
    Ok(holds(holder.as_deref(), alive))
}

/// A holder is a pod's name and more. Without a Lease the only replica leads.
fn holds(holder: Option<&str>, alive: &[&str]) -> Option<String> {
    let leads = match (holder, alive) {
        (Some(holder), alive) => alive.iter().find(|name| holder.starts_with(**name)),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    leads.map(|name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leader_is_a_replica_that_lives_and_holds_the_lease() {
        let two = ["operator-a", "operator-b"];
        let found = holds(Some("operator-b_1f3c"), &two);
        assert_eq!(found.as_deref(), Some("operator-b"));
        assert_eq!(holds(Some("operator-c_1f3c"), &two), None, "it was killed");
        assert_eq!(holds(Some(""), &two), None, "it was given up");
        assert_eq!(holds(None, &two), None);
        assert_eq!(holds(None, &two[..1]).as_deref(), Some("operator-a"));
    }

    #[test]
    fn requests_of_all_replicas_are_added() {
        let count =
            |verb: &str, number| Requests([((verb.to_owned(), "nodes".to_owned()), number)].into());
        let all = sum(vec![count("get", 2), count("get", 3), count("patch", 1)]);
        assert_eq!((all.total(), all.by_verb()["get"]["nodes"]), (6, 5));
    }
}
