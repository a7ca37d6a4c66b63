//! The nodes that the operators themselves run on (hazard H31).

use std::time::Duration;

use kube::ResourceExt;
use rerail_core::step::Step;
use rerail_e2e::{Election, Operator, PATIENCE};
use rerail_fleet::{Pool, truth::Limits};

use crate::{
    pair::{Pair, Pairing, pair},
    plan_command::{file, json},
    queue::{QUICK, wide},
};

fn pairing(pool: &str) -> Pairing {
    // A leader that lost its Lease on a busy machine would not be the one that the scenario is about.
    let election = Election::DEFAULT;
    Pairing { pods: true, election, ..Pairing::of(wide(1), Pool::new(pool, 3, 1)) }
}

/// Evictions of a Pod that an operator has asked for.
fn evicted(pair: &Pair, by: &Operator, pod: &str) -> usize {
    let seen = pair.proxy(by).seen();
    seen.iter().filter(|seen| seen.resource == "pods/eviction" && seen.name == pod).count()
}

#[test]
fn the_leaders_own_node_is_taken_last_and_by_another_leader() {
    pair("own-node", pairing("own-node"), |pair| async move {
        let stage = &pair.stage;
        let leader = pair.leader().await;
        let own = pair.node_of(leader).to_owned();
        // By how long it has waited it would be first; condition times have whole seconds.
        stage.sicken(&own, "[P6] task umount blocked").await;
        tokio::time::sleep(Duration::from_millis(1100)).await;
        for node in stage.nodes.iter().filter(|node| **node != own) {
            stage.sicken(node, "[P6] task umount blocked").await;
        }
        let path = file(stage, "own.yaml", "Enforce", "");
        let plan = json(stage, &["plan", "-f", &path]).await;
        let last = plan["waiting"].as_array().unwrap().last();
        assert_eq!(last.unwrap()["node"], own.as_str(), "a person is told so: {plan:#}");
        stage.budgeted("{maxUnavailable: 1}", QUICK).await;
        stage.all_healed(&stage.nodes).await;
        let order: Vec<_> = stage.admissions().await.into_iter().map(|one| one.node).collect();
        assert_eq!(order.last(), Some(&own), "{order:?}");
        let (pod, next) = (leader.pod_name(), pair.other(leader));
        assert_eq!(evicted(&pair, leader, pod), 0, "it never evicts itself");
        assert!(evicted(&pair, next, pod) > 0, "the next leader does");
        let terms = pair.terms.so_far();
        let released = terms.iter().any(|term| term.holder.is_empty());
        assert!(released, "the Lease was given away, and not waited for: {terms:?}");
        pair.finish(Limits { out: Some(1), ..Limits::default() }).await;
    });
}

/// Nobody could take over: the Pod is left where it is, and comes back with its node.
#[test]
fn an_operator_without_a_standby_leaves_its_own_pod_alone_and_comes_back_with_its_node() {
    let pairing = Pairing { replicas: 1, ..pairing("own-only") };
    pair("own-only", pairing, |pair| async move {
        let (stage, plane) = (&pair.stage, &pair.cluster().plane);
        let operator = pair.leader().await;
        let own = pair.node_of(operator).to_owned();
        stage.budgeted("{maxUnavailable: 1}", QUICK).await;
        stage.sicken(&own, "[P6] task umount blocked").await;
        stage.goes_down(&own).await;
        operator.kill(plane).unwrap();
        let machine = stage.machine(&own);
        machine.wait_until("up again", PATIENCE, |view| view.ready).await.unwrap();
        operator.start_again(plane).await.unwrap();
        stage.run_in(&own, Step::Succeeded).await;
        assert_eq!(stage.boots(&own), 1, "SAFE-1");
        let pods = pair.cluster().operator_pods().await.unwrap();
        let names: Vec<_> = pods.iter().map(ResourceExt::name_any).collect();
        assert_eq!(names, [operator.pod_name()], "the same Pod as before");
        assert_eq!(evicted(&pair, operator, operator.pod_name()), 0);
        pair.finish(Limits { out: Some(1), ..Limits::default() }).await;
    });
}
