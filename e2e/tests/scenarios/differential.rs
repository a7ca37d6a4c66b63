//! What `rerail simulate` foretells is what the operator does: the same scenario, played in the simulated
//! cluster and on a real control plane, is decided in the same order; and so is what is foretold of the
//! real cluster as it is, before its policy is applied.

use std::{collections::BTreeSet, process::Output, time::Duration};

use jiff::Timestamp;
use rerail_api::duration::GoDuration;
use rerail_core::step::Step;
use rerail_e2e::{ClusterOptions, PATIENCE, wait_for};
use rerail_fleet::{Pool, truth::Limits};
use rerail_sim::world::{Act, Entry, PowerAct, Scene};
use serde_json::{Value, json};

use crate::{
    audit,
    doors::{rerail, rerail_as, words},
    queue::{Admission, fast},
    shared::{Stage, by_itself, on_its_own},
    workloads::Nudger,
};

/// One admission that was foretold.
struct Foretold {
    node: String,
    domain: String,
    seconds_at: i64,
}

/// Between two entries of a timeline: conditions tell their time in whole seconds.
const BETWEEN: Duration = Duration::from_millis(1200);

/// The order as far as it is decided by plans: who is admitted by one plan is admitted in no order. All that
/// are admitted in a row in one domain are taken together if `together`.
fn rounds(order: &[Foretold], together: bool) -> Vec<BTreeSet<String>> {
    let same = |one: &Foretold, next: &Foretold| {
        one.domain == next.domain && (together || one.seconds_at == next.seconds_at)
    };
    let names = |round: &[Foretold]| round.iter().map(|one| one.node.clone()).collect();
    order.chunk_by(same).map(names).collect()
}

/// Nodes in their order, in rounds of these sizes; what is left over is one more.
fn in_rounds(nodes: &[String], like: &[BTreeSet<String>]) -> Vec<BTreeSet<String>> {
    let mut left = nodes.iter().cloned();
    let mut rounds: Vec<BTreeSet<_>> =
        like.iter().map(|round| left.by_ref().take(round.len()).collect()).collect();
    let more: BTreeSet<_> = left.collect();
    rounds.extend((!more.is_empty()).then_some(more));
    rounds
}

fn order(report: &Value) -> Vec<Foretold> {
    let of = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    let all = report["order"].as_array().unwrap().iter();
    all.map(|one| Foretold {
        node: of(one, "node"),
        domain: of(one, "domain"),
        seconds_at: one["secondsAt"].as_i64().unwrap(),
    })
    .collect()
}

/// The machines of the scene, whose one group is all alike.
fn pool(scene: &Scene) -> Pool {
    let [group] = scene.nodes.as_slice() else { panic!("one group") };
    let pool = Pool::new(&group.labels["pool"], group.count, group.racks);
    assert_eq!(pool.prefix, group.prefix, "fake machines are called as their pool");
    Pool { zone: String::new(), ..pool }
}

/// The scene with its policies coming last, as they do in the real cluster; unless it says when they come.
fn policies_last(mut scene: Scene) -> Scene {
    let last = scene.timeline.last().unwrap().at.value().as_secs();
    scene.policies_at.get_or_insert_with(|| format!("{}s", last + 5).parse().unwrap());
    scene
}

/// What happens before the policies are applied, and what while they act.
fn before_and_meanwhile(scene: &Scene) -> (&[Entry], &[Entry]) {
    let applied = scene.policies_at.as_ref().map(GoDuration::value);
    let meanwhile = |entry: &Entry| applied.is_some_and(|applied| entry.at.value() > applied);
    scene.timeline.split_at(scene.timeline.partition_point(|entry| !meanwhile(entry)))
}

/// With what a scene leaves out.
fn whole(mut policy: Value) -> Value {
    policy["apiVersion"] = json!("rerail.dev/v1alpha1");
    policy["kind"] = json!("RemediationPolicy");
    policy
}

/// What is foretold of a scene, by the program that users run.
async fn foretold(stage: &Stage, scene: &Scene) -> Value {
    let path = stage.cluster().plane.dir().join("scenario.yaml");
    std::fs::write(&path, serde_json::to_string(scene).unwrap()).unwrap();
    let path = path.display().to_string();
    simulated(stage, &["--scenario", &path]).await
}

async fn simulated(stage: &Stage, arguments: &[&str]) -> Value {
    let arguments = [&["simulate"], arguments, &["-o", "json"]].concat();
    report(&rerail(stage.cluster(), &arguments).await).unwrap()
}

fn report(answer: &Output) -> Result<Value, String> {
    serde_json::from_slice(&answer.stdout).map_err(|error| format!("{error}: {}", words(answer)))
}

/// Who asks what would happen in the cluster, and may do no more than look at it.
const VIEWER: &str = "viewer";

/// What is foretold of the cluster as it is, with these policies.
async fn foretold_of_cluster(stage: &Stage, policies: &str) -> Value {
    let plane = &stage.cluster().plane;
    let viewer = plane.kubeconfig_for_user(VIEWER, &[]).unwrap();
    for role in ["view", "rerail-view"] {
        let (name, of) = (format!("{VIEWER}-{role}"), format!("--clusterrole={role}"));
        let user = format!("--user={VIEWER}");
        plane.run_kubectl(&["create", "clusterrolebinding", &name, &of, &user]).unwrap();
    }
    let arguments = ["simulate", "--from-cluster", "-f", policies, "-o", "json"];
    let told = wait_for("the viewer to have the rights", PATIENCE, || async {
        report(&rerail_as(&viewer, &arguments).await)
    });
    let told = told.await.unwrap();
    let asked = audit::by(stage.cluster(), VIEWER);
    let verbs: BTreeSet<_> = asked.iter().map(|request| request.verb.as_str()).collect();
    assert_eq!(verbs, BTreeSet::from(["get", "list"]), "it only looks");
    told
}

/// Sets up on the real cluster what the scene has.
async fn set_up(stage: &Stage, scene: &Scene) {
    let others = |object: &Value| {
        !["ConfigMap", "RemediationPolicy"].contains(&object["kind"].as_str().unwrap())
    };
    for object in scene.objects().iter().filter(|object| others(object)) {
        stage.cluster().apply(&object.to_string()).await.unwrap();
    }
    let wanted: usize = scene.deployments.iter().map(|one| one.replicas as usize).sum();
    let nudger = Nudger::default();
    let run = || async {
        let pods = stage.default_pods().list(&Default::default()).await.unwrap().items;
        let ready = pods.iter().filter(|pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            phase == Some("Running")
        });
        let ready = ready.count();
        if ready >= wanted {
            return Ok(());
        }
        nudger.nudge(&stage.default_pods(), &pods).await;
        Err(format!("{ready} of {wanted} run"))
    };
    wait_for("the Pods of the scenario", PATIENCE, run).await.unwrap();
}

/// Does on the real cluster what the timeline says.
async fn play(stage: &Stage, entries: &[Entry]) {
    for entry in entries {
        for node in entry.act.nodes() {
            befall(stage, node, &entry.act).await;
        }
        tokio::time::sleep(BETWEEN).await;
    }
}

/// Does one thing to one machine.
async fn befall(stage: &Stage, node: &str, act: &Act) {
    match act {
        Act::Sicken { with, .. } => {
            let fleet = &stage.cluster().fleet;
            let set =
                fleet.set_condition(node, &with.condition, "True", &with.reason, &with.message);
            set.await.unwrap();
        }
        Act::Power { to: PowerAct::Off, .. } => {
            stage.machine(node).power_off().await.unwrap();
            stage.is_not_ready(node).await;
        }
        Act::Taint { key, effect: Some(effect), .. } => {
            stage.taint(node, &format!("{key}:{effect}"));
        }
        act => panic!("{act:?} is not played here"),
    }
}

/// The real cluster, with the times of the scene.
fn options(scene: &Scene) -> ClusterOptions {
    let mut options =
        ClusterOptions { config: scene.config.clone(), fleet: fast(), ..ClusterOptions::default() };
    options.plane.audit = true;
    let time = |given: &Option<GoDuration>| {
        given.as_ref().map(|given| Duration::try_from(given.value()).unwrap())
    };
    options.plane.node_monitor_grace_period = time(&scene.times.grace);
    options.fleet.lease_interval = time(&scene.times.lease).unwrap_or(options.fleet.lease_interval);
    options
}

/// How many nodes may be under remediation at once, where the scene expects that of the whole cluster; dark ones
/// are out of service, and under none.
fn parallel(scene: &Scene) -> Option<usize> {
    let dark = |entry: &&Entry| matches!(entry.act, Act::Power { .. });
    let dark = scene.timeline.iter().filter(dark).count();
    scene.expect.max_unavailable.map(|most| most - dark)
}

/// How many nodes were under remediation at once, at most.
fn most_at_once(all: &[Admission]) -> usize {
    let at = |moment: Timestamp| {
        let runs = |one: &&Admission| {
            one.admitted <= moment && one.ended.is_none_or(|ended| ended > moment)
        };
        all.iter().filter(runs).count()
    };
    all.iter().map(|one| at(one.admitted)).max().unwrap_or_default()
}

/// Plays it in both worlds, and compares. `together`: in which order the nodes of a rack are taken is not
/// told. `at_once`: so many are under remediation at once, at most and in fact.
fn same_order(text: &str, together: bool, at_once: Option<usize>) {
    let scene = Scene::parse(text).unwrap();
    let options = options(&scene);
    let name: &'static str = scene.nodes[0].labels["pool"].clone().leak();
    let machines = pool(&scene);
    by_itself(on_its_own(name, machines, options, |stage| async move {
        let of_scene = foretold(&stage, &policies_last(scene.clone())).await;
        assert_eq!(of_scene["violations"], json!([]), "{of_scene:#}");
        assert_eq!(of_scene["asExpected"], json!(true), "{of_scene:#}");
        let of_scene = rounds(&order(&of_scene), together);
        assert!(!of_scene.is_empty(), "nothing is admitted: nothing would be compared");
        let (before, meanwhile) = before_and_meanwhile(&scene);
        set_up(&stage, &scene).await;
        play(&stage, before).await;

        let policies: Vec<_> =
            scene.policies.iter().map(|policy| whole(policy.clone()).to_string()).collect();
        let file = stage.cluster().plane.dir().join("policies.yaml");
        std::fs::write(&file, policies.join("\n---\n")).unwrap();
        let file = file.display().to_string();
        let of_cluster = foretold_of_cluster(&stage, &file).await;
        assert_eq!(of_cluster["violations"], json!([]), "{of_cluster:#}");
        let of_cluster = rounds(&order(&of_cluster), together);
        assert!(stage.cluster().runs().list(&Default::default()).await.unwrap().items.is_empty());

        for policy in &policies {
            stage.cluster().apply(policy).await.unwrap();
        }
        if !meanwhile.is_empty() {
            stage.admissions_reach(1).await;
            play(&stage, meanwhile).await;
        }
        let all = stage.admissions_reach(of_scene.iter().map(BTreeSet::len).sum()).await;
        for one in &all {
            let ended = |step: Step| step.is_terminal() || step == Step::Held;
            let is = |status: &rerail_api::remediation::NodeRemediationStatus| matches!(status.step, rerail_api::remediation::StepName::Known(step) if ended(step));
            stage.run_when(&one.node, "its end", is).await;
        }
        let all = stage.admissions().await;
        if let Some(most) = at_once {
            assert_eq!(most_at_once(&all), most, "{all:?}");
        }
        let real: Vec<String> = all.into_iter().map(|one| one.node).collect();
        assert_eq!(in_rounds(&real, &of_scene), of_scene, "the scenario, simulated");
        // Nobody could know before who comes meanwhile.
        let later: BTreeSet<_> = meanwhile.iter().flat_map(|entry| entry.act.nodes()).collect();
        let known: Vec<_> = real.into_iter().filter(|node| !later.contains(node)).collect();
        assert_eq!(in_rounds(&known, &of_cluster), of_cluster, "the cluster, simulated");
        stage.finish_within(Limits { max_parallel: parallel(&scene), ..Limits::default() }).await;
    }));
}

#[test]
fn one_at_a_time_by_priority_and_rack() {
    same_order(include_str!("differential/priorities.yaml"), false, Some(1));
}

#[test]
fn a_rack_at_a_time_with_several_nodes_at_once() {
    same_order(include_str!("differential/racks.yaml"), true, Some(3));
}

/// More sick nodes in a rack than may be taken at once: the order within it shows.
#[test]
fn two_at_a_time_by_priority_within_a_rack() {
    same_order(include_str!("differential/mixed.yaml"), false, Some(2));
}

#[test]
fn a_blocked_drain_gives_up_and_the_others_have_their_turn() {
    same_order(include_str!("differential/blocked.yaml"), false, None);
}

/// Were the dark node not counted, two others would be out beside it.
#[test]
fn a_dark_node_is_not_admitted_and_counts() {
    same_order(include_str!("differential/dark.yaml"), false, None);
}

/// Who becomes sick while somebody is under way, and is more urgent than who waits, is next.
#[test]
fn who_comes_meanwhile_and_is_more_urgent_goes_first() {
    same_order(include_str!("differential/meanwhile.yaml"), false, Some(1));
}

/// One order for all policies: what is urgent counts, not whose it is.
#[test]
fn two_policies_share_one_queue() {
    same_order(include_str!("differential/policies.yaml"), false, Some(1));
}
