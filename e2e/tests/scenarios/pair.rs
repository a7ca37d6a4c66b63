//! Two operators of which one leads, each behind a proxy of its own: what it asks for, and when, is
//! known.

use std::{future::Future, sync::Arc, time::Duration};

use kube::ResourceExt;
use rerail_e2e::{
    Cluster, ClusterOptions, Election, Operator, OperatorOptions, PATIENCE, Terms, judge,
    stale_effects, wait_for,
};
use rerail_fleet::{Pool, truth::Limits};
use rerail_proxy::Proxy;
use tokio::time::Instant;

use crate::shared::{Shared, Stage, by_itself};

/// How a pair is set up.
#[derive(Clone)]
pub struct Pairing {
    pub cluster: ClusterOptions,
    pub machines: Pool,
    pub election: Election,
    /// Whether each takes itself for a Pod that is there, on a node.
    pub pods: bool,
    /// How many operators; two make a pair.
    pub replicas: u8,
}

impl Pairing {
    pub fn of(cluster: ClusterOptions, machines: Pool) -> Self {
        Pairing { cluster, machines, election: Election::SHORT, pods: false, replicas: 2 }
    }
}

/// Two operators, and a stage.
pub struct Pair {
    pub stage: Stage,
    pub operators: Vec<Operator>,
    proxies: Vec<Proxy>,
    homes: Vec<String>,
    pub terms: Terms,
}

/// Plays a scenario with two operators on a cluster of its own.
pub fn pair<F: Future<Output = ()>>(
    pool: &'static str,
    pairing: Pairing,
    scenario: impl FnOnce(Pair) -> F,
) {
    by_itself(async { scenario(Pair::start(pool, pairing).await).await });
}

impl Pair {
    pub async fn start(pool: &'static str, pairing: Pairing) -> Self {
        let cluster = Cluster::start(pairing.cluster).await.unwrap();
        let terms = Terms::watch(&cluster);
        let nodes = cluster.add_pool(&pairing.machines).await.unwrap();
        let replicas = pairing.replicas;
        let pods = match pairing.pods {
            true => cluster.deploy_operator(replicas.into()).await.unwrap(),
            false => Vec::new(),
        };
        let mut pods = pods.into_iter();
        let (mut operators, mut proxies, mut homes) = (Vec::new(), Vec::new(), Vec::new());
        for letter in ["a", "b"].into_iter().take(replicas.into()) {
            let pod = pods.next();
            let proxy = cluster.proxy().await.unwrap();
            let home = pod.as_ref().and_then(|pod| pod.spec.as_ref()?.node_name.clone());
            let home = home.unwrap_or_default();
            let node_name = format!("--node-name={home}");
            let options = OperatorOptions {
                name: format!("rerail-operator-{letter}"),
                pod_name: pod.map(|pod| pod.name_any()),
                through: Some(proxy.url()),
                election: pairing.election,
                arguments: if home.is_empty() { Vec::new() } else { vec![node_name] },
                ..OperatorOptions::default()
            };
            operators.push(Operator::start(&cluster.plane, options).await.unwrap());
            proxies.push(proxy);
            homes.push(home);
        }
        let operator = operators[0].clone();
        let stage = Stage { shared: Arc::new(Shared { cluster, operator }), pool, nodes };
        Pair { stage, operators, proxies, homes, terms }
    }

    /// The node that an operator runs on.
    pub fn node_of(&self, operator: &Operator) -> &str {
        let is = |one: &(&Operator, &String)| one.0.name() == operator.name();
        self.operators.iter().zip(&self.homes).find(is).unwrap().1
    }

    pub fn cluster(&self) -> &Cluster {
        self.stage.cluster()
    }

    /// Waits until one of them leads.
    pub async fn leader(&self) -> &Operator {
        self.led_by(&self.operators, PATIENCE).await
    }

    /// Waits until one of these leads. One that a busy machine kept from renewing in time has ended by
    /// itself, and is started anew meanwhile, as a kubelet would.
    async fn led_by<'a>(&self, these: &'a [Operator], patience: Duration) -> &'a Operator {
        let began = Instant::now();
        loop {
            for one in these {
                if !one.runs(&self.cluster().plane) {
                    one.start_again(&self.cluster().plane).await.unwrap();
                }
            }
            match self.cluster().led_by(these, patience.min(Duration::from_secs(10))).await {
                Ok(leader) => return leader,
                Err(error) if began.elapsed() > patience => panic!("{error}"),
                Err(_) => {}
            }
        }
    }

    /// The other one.
    pub fn other(&self, than: &Operator) -> &Operator {
        self.operators.iter().find(|one| one.name() != than.name()).unwrap()
    }

    /// The proxy of one of them.
    pub fn proxy(&self, of: &Operator) -> &Proxy {
        let is = |one: &(&Operator, &Proxy)| one.0.name() == of.name();
        self.operators.iter().zip(&self.proxies).find(is).unwrap().1
    }

    /// Waits until this one leads.
    pub async fn leads(&self, operator: &Operator, patience: Duration) {
        self.led_by(std::slice::from_ref(operator), patience).await;
    }

    /// Waits until an operator that was stopped past its lease has noticed: its process ends, or it is
    /// well and follows. One that has ended is started again.
    pub async fn gives_up(&self, operator: &Operator) {
        let plane = &self.cluster().plane;
        let look = || async {
            if !operator.runs(plane) {
                return Ok(true);
            }
            // A process that hangs would not answer.
            operator.get("/healthz").await.map(|_| false)
        };
        let ended = wait_for("it to notice", PATIENCE, look).await.unwrap();
        // What it has in hand would be sent by now.
        tokio::time::sleep(Duration::from_millis(500)).await;
        if ended || !operator.runs(plane) {
            operator.start_again(plane).await.unwrap();
        }
    }

    /// Starts an operator anew that has ended, or is about to.
    pub async fn back(&self, operator: &Operator) {
        let plane = &self.cluster().plane;
        let gone = || async { if operator.runs(plane) { Err("it runs") } else { Ok(()) } };
        wait_for("the operator to be gone", PATIENCE, gone).await.unwrap();
        operator.start_again(plane).await.unwrap();
    }

    /// What was done by who did not lead.
    pub fn stale(&self) -> Vec<String> {
        let terms = self.terms.so_far();
        let of = self.operators.iter().zip(&self.proxies);
        of.flat_map(|(operator, proxy)| stale_effects(operator, &proxy.seen(), &terms)).collect()
    }

    /// What really happened is judged, and what was done by who did not lead.
    pub async fn finish(self, limits: Limits) {
        assert_eq!(self.stale(), Vec::<String>::new());
        let events = self.cluster().fleet.truth();
        let look = || async {
            let verdict = judge(self.cluster(), &events, &limits).await;
            let found = verdict.map_err(|error| error.to_string())?.violations;
            if found.is_empty() { Ok(()) } else { Err(found.join("; ")) }
        };
        wait_for("no violation", PATIENCE, look).await.unwrap();
    }
}
