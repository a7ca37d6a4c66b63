//! The fleet on a real control plane: nodes as a node controller sees them, and reboot Pods whose
//! rights are those that ship in config/rbac/node.yaml.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in helpers too")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt};
use rerail_controlplane::{ControlPlane, Options};
use rerail_core::reboot_check::{EXIT_COMMAND_FAILED, EXIT_REFUSED, Expected, Refusal, Report};
use rerail_fleet::truth::{Limits, check};
use rerail_fleet::{EventKind, Fault, Fleet, FleetOptions, Pool, Power, Replacement};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(60);

struct World {
    plane: Arc<ControlPlane>,
    fleet: Fleet,
    client: Client,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

async fn config(path: &Path) -> kube::Config {
    let kubeconfig = Kubeconfig::read_from(path).unwrap();
    kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
}

async fn world(pool: Pool) -> World {
    let (plane, kubeconfig) = tokio::task::spawn_blocking(|| {
        let grace = Some(Duration::from_secs(8));
        let options = Options { node_monitor_grace_period: grace, ..Options::default() };
        let plane = ControlPlane::start(options).unwrap();
        for path in
            ["crds/noderemediations.yaml", "config/namespaces.yaml", "config/rbac/node.yaml"]
        {
            plane.apply(&root().join(path)).unwrap();
        }
        plane.apply(&root().join("e2e/fleet/rbac.yaml")).unwrap();
        let kubeconfig = plane.kubeconfig_for_user("rerail-fleet", &[]).unwrap();
        (Arc::new(plane), kubeconfig)
    })
    .await
    .unwrap();
    let options = FleetOptions {
        lease_interval: Duration::from_secs(2),
        truth_log: Some(plane.dir().join("truth.jsonl")),
        ..FleetOptions::default()
    };
    let fleet = Fleet::start(config(&kubeconfig).await, options).unwrap();
    fleet.add_pool(&pool).await.unwrap();
    fleet.wait_ready(LONG).await.unwrap();
    let client = Client::try_from(config(&plane.admin_kubeconfig()).await).unwrap();
    World { plane, fleet, client }
}

impl World {
    fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "rerail-node")
    }

    async fn ready(&self, name: &str) -> String {
        let node = self.nodes().get(name).await.unwrap();
        condition(&node, "Ready").map_or_else(String::new, |condition| condition.0)
    }

    /// What a node controller does that has missed a renewal of the Lease.
    async fn is_called_unknown(&self, name: &str) {
        let unknown =
            json!({ "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown" });
        let patch = Patch::Strategic(json!({ "status": { "conditions": [unknown] } }));
        self.nodes().patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn eventually_ready(&self, name: &str, wanted: &str) {
        for _ in 0..600 {
            if self.ready(name).await == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("Ready of {name} is not {wanted}, but {}", self.ready(name).await);
    }

    /// A run with a reboot intent for the node, and its cordon, as the operator would write them.
    async fn run(&self, name: &str, node: &str) -> Expected {
        let node_object = self.nodes().get(node).await.unwrap();
        let boot_id = boot_id(&node_object);
        let run = self
            .runs()
            .create(
                &PostParams::default(),
                &serde_json::from_value(json!({
                    "apiVersion": "rerail.dev/v1alpha1", "kind": "NodeRemediation",
                    "metadata": {"name": name},
                    "spec": {"nodeName": node, "nodeUID": node_object.uid(), "policyName": "p"},
                }))
                .unwrap(),
            )
            .await
            .unwrap();
        let expected = Expected {
            run_name: name.into(),
            run_uid: run.uid().unwrap(),
            node_name: node.into(),
            node_uid: node_object.uid().unwrap(),
            attempt: 1,
            boot_id_before: boot_id,
        };
        let cordon = json!({
            "metadata": {"annotations": {"rerail.dev/cordoned-by": expected.run_uid}},
            "spec": {"unschedulable": true},
        });
        let params = PatchParams::default();
        self.nodes().patch(node, &params, &Patch::Merge(cordon)).await.unwrap();
        expected
    }

    fn runs(&self) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("rerail.dev", "v1alpha1", "NodeRemediation");
        Api::all_with(self.client.clone(), &ApiResource::from_gvk(&kind))
    }

    async fn intend(&self, expected: &Expected) {
        let intent = json!({"status": {"epoch": 1, "leader": "test-1", "intent": {
            "effect": "Reboot", "step": "Rebooting", "attempt": expected.attempt,
            "nodeUID": expected.node_uid, "bootIDBefore": expected.boot_id_before,
            "epoch": 1, "time": "2026-01-01T00:00:00Z",
        }}});
        let params = PatchParams::default();
        let patch = Patch::Merge(intent);
        self.runs().patch_status(&expected.run_name, &params, &patch).await.unwrap();
    }

    async fn make_pod(&self, name: &str, component: &str, node: &str, args: Vec<String>) -> Pod {
        let rights = json!({ "privileged": component == "reboot" });
        self.make_pod_with(name, component, node, args, rights).await
    }

    async fn make_pod_with(
        &self,
        name: &str,
        component: &str,
        node: &str,
        args: Vec<String>,
        rights: Value,
    ) -> Pod {
        let pod = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {
                "app.kubernetes.io/managed-by": "rerail",
                "app.kubernetes.io/component": component,
            }},
            "spec": {
                "nodeName": node, "serviceAccountName": "rerail-node", "restartPolicy": "Never",
                "activeDeadlineSeconds": 60, "tolerations": [{"operator": "Exists"}],
                "hostPID": component == "reboot",
                "containers": [{
                    "name": "agent", "image": "rerail", "args": args, "securityContext": rights,
                }],
            },
        }))
        .unwrap();
        self.pods().create(&PostParams::default(), &pod).await.unwrap()
    }

    async fn reboot_pod(&self, name: &str, expected: &Expected) {
        self.make_pod(name, "reboot", &expected.node_name, expected.to_args()).await;
    }

    /// Waits for the end of a Pod: phase, reason of the status, exit code and message.
    async fn end_of(&self, name: &str) -> (String, i32, String) {
        for _ in 0..600 {
            let status = self.pods().get(name).await.unwrap().status.unwrap();
            let phase = status.phase.clone().unwrap_or_default();
            if phase == "Succeeded" || phase == "Failed" {
                let containers = status.container_statuses.unwrap();
                let end = containers[0].state.clone().unwrap().terminated.unwrap();
                return (phase, end.exit_code, end.message.unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("Pod {name} does not end");
    }

    async fn refusal_of(&self, name: &str) -> Option<Refusal> {
        let (phase, code, message) = self.end_of(name).await;
        assert_eq!((phase.as_str(), code), ("Failed", EXIT_REFUSED), "{message}");
        serde_json::from_str::<Report>(&message).unwrap().refusal
    }

    fn verify(&self) {
        let limits = Limits { max_parallel: Some(1), ..Limits::default() };
        let violations = check(&self.fleet.truth(), &[], &limits);
        assert_eq!(violations, []);
    }
}

fn boot_id(node: &Node) -> String {
    node.status.as_ref().unwrap().node_info.as_ref().unwrap().boot_id.clone()
}

fn condition(node: &Node, kind: &str) -> Option<(String, String)> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((found.status.clone(), found.reason.clone().unwrap_or_default()))
}

#[tokio::test(flavor = "multi_thread")]
async fn power_is_what_the_node_controller_sees() {
    let world = world(Pool::new("power", 3, 1)).await;
    let (name, other) = ("power-001", "power-002");
    world.eventually_ready(name, "True").await;
    let machine = world.fleet.machine(name).unwrap();
    let before = world.nodes().get(name).await.unwrap();
    world
        .fleet
        .set_condition(name, "AlertManager_Sick", "True", "AlertIsFiring", "[P6] sick")
        .await
        .unwrap();

    machine.power_off().await.unwrap();
    world.eventually_ready(name, "Unknown").await;
    let dark = world.nodes().get(name).await.unwrap();
    assert!(!dark.labels().contains_key(rerail_fleet::KUBELET_LABEL));
    assert_eq!(boot_id(&dark), boot_id(&before));
    assert_eq!(world.ready(other).await, "True", "leases keep the others alive");
    world.is_called_unknown(other).await;
    world.eventually_ready(other, "True").await;

    machine.power_on().await.unwrap();
    world.eventually_ready(name, "True").await;
    let view = machine.view().unwrap();
    let after = world.nodes().get(name).await.unwrap();
    assert_eq!((boot_id(&after), view.boots), (view.kernel_boot_id.clone(), 1));
    assert_ne!(boot_id(&after), boot_id(&before));
    for _ in 0..100 {
        let node = world.nodes().get(name).await.unwrap();
        if condition(&node, "AlertManager_Sick").unwrap().0 == "False" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let healed = world.nodes().get(name).await.unwrap();
    assert_eq!(
        condition(&healed, "AlertManager_Sick"),
        Some(("False".into(), "AlertIsNotFiring".into()))
    );
    assert_eq!(healed.labels()[rerail_fleet::KUBELET_LABEL], "running");
    let taints = |node: &Node| node.spec.clone().unwrap().taints.unwrap_or_default().len();
    for _ in 0..100 {
        if taints(&world.nodes().get(name).await.unwrap()) == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(taints(&world.nodes().get(name).await.unwrap()), 0, "the node controller's");

    hang_and_odd_boots(&world, name, other).await;
    replacement(&world, "power-003").await;
    world.verify();
    let log = std::fs::read_to_string(world.plane.dir().join("truth.jsonl")).unwrap();
    assert_eq!(log.lines().count(), world.fleet.truth().len());
}

async fn hang_and_odd_boots(world: &World, name: &str, other: &str) {
    // A hang looks the same; power_on resets it. A machine that keeps its boot ID keeps only that.
    let machine = world.fleet.machine(name).unwrap();
    let before = boot_id(&world.nodes().get(name).await.unwrap());
    machine.inject(Fault::SameBootId).unwrap();
    machine.hang().await.unwrap();
    assert_eq!(machine.view().unwrap().power, Power::Hung);
    machine.power_on().await.unwrap();
    let view = machine.wait_until("Ready", LONG, |view| view.ready).await.unwrap();
    assert_ne!(view.kernel_boot_id, view.reported_boot_id);
    assert_eq!(boot_id(&world.nodes().get(name).await.unwrap()), before);

    // A node that never boots, and one that is not Ready.
    let machine = world.fleet.machine(other).unwrap();
    machine.inject(Fault::NeverBoots).unwrap();
    machine.power_cycle().await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(machine.view().unwrap().power, Power::Off);
    machine.inject(Fault::StaysNotReady).unwrap();
    machine.power_on().await.unwrap();
    world.eventually_ready(other, "False").await;
    machine.clear_faults().await.unwrap();
    world.eventually_ready(other, "True").await;
}

async fn replacement(world: &World, third: &str) {
    let uid = |node: Node| node.uid().unwrap();
    let old = uid(world.nodes().get(third).await.unwrap());
    let kernel = world.fleet.machine(third).unwrap().view().unwrap().kernel_boot_id;
    world.fleet.replace_node(third, Replacement::SameMachine).await.unwrap();
    world.eventually_ready(third, "True").await;
    let same = world.nodes().get(third).await.unwrap();
    assert_eq!(boot_id(&same), kernel);
    assert_ne!(uid(same), old);
    world.fleet.replace_node(third, Replacement::OtherMachine).await.unwrap();
    world.eventually_ready(third, "True").await;
    assert_ne!(boot_id(&world.nodes().get(third).await.unwrap()), kernel);
}

#[tokio::test(flavor = "multi_thread")]
async fn reboot_pods_pass_the_production_check_with_their_own_rights() {
    let world = world(Pool::new("pods", 2, 1)).await;
    let node = "pods-001";
    let machine = world.fleet.machine(node).unwrap();
    let expected = world.run("run-a", node).await;

    // No intent: nothing happens, and the Pod says why.
    world.reboot_pod("reboot-a-0", &expected).await;
    assert_eq!(world.refusal_of("reboot-a-0").await, Some(Refusal::IntentWithdrawn));
    // Arguments that no operator writes.
    world.make_pod("reboot-bad", "reboot", node, vec!["--run=x".into()]).await;
    assert_eq!(world.end_of("reboot-bad").await.1, 2);
    // Another node's UID.
    let wrong = Expected { node_uid: "another".into(), ..expected.clone() };
    world.intend(&expected).await;
    world.reboot_pod("reboot-a-wrong", &wrong).await;
    assert_eq!(world.refusal_of("reboot-a-wrong").await, Some(Refusal::IntentDiffers));
    assert_eq!(machine.view().unwrap().boots, 0);
    // A command that fails leaves the machine up.
    machine.inject(Fault::RebootCommandFails).unwrap();
    world.reboot_pod("reboot-a-fails", &expected).await;
    assert_eq!(world.end_of("reboot-a-fails").await.1, EXIT_COMMAND_FAILED);
    // One that lacks what its act needs: as a kernel would have it.
    let args = || expected.to_args().into_iter().chain(["--signal".to_owned()]).collect();
    world.make_pod_with("reboot-a-weak", "reboot", node, args(), json!({})).await;
    assert_eq!(world.end_of("reboot-a-weak").await.1, EXIT_COMMAND_FAILED);
    assert_eq!(machine.view().unwrap().boots, 0);

    // The real thing; a second Pod of the attempt finds the machine booted.
    world.reboot_pod("reboot-a-1", &expected).await;
    let booted = |boots| move |view: &rerail_fleet::MachineView| view.boots == boots && view.ready;
    machine.wait_until("booted", LONG, booted(1)).await.unwrap();
    let (phase, code, message) = world.end_of("reboot-a-1").await;
    assert_eq!((phase.as_str(), code), ("Succeeded", 0));
    assert!(serde_json::from_str::<Report>(&message).unwrap().acted);
    world.reboot_pod("reboot-a-late", &expected).await;
    assert_eq!(world.refusal_of("reboot-a-late").await, Some(Refusal::BootIDDiffers));

    world.make_pod("probe-a-1", "probe", node, Vec::new()).await;
    assert_eq!(world.end_of("probe-a-1").await.1, 0);

    // A Pod that the kubelet starts a second time after the boot is stopped by the kernel's boot ID.
    let second = "pods-002";
    let machine = world.fleet.machine(second).unwrap();
    machine.inject(Fault::PodRunsAgain).unwrap();
    let expected = world.run("run-b", second).await;
    world.intend(&expected).await;
    world.reboot_pod("reboot-b", &expected).await;
    machine.wait_until("booted", LONG, booted(1)).await.unwrap();
    assert_eq!(world.refusal_of("reboot-b").await, Some(Refusal::BootIDDiffers));
    hanging_and_late(&world, second).await;
    world.verify();
    let acts = |kind| world.fleet.truth().iter().filter(|event| event.event == kind).count();
    assert_eq!(acts(EventKind::Act), acts(EventKind::Boot));
}

/// A reboot that hangs takes effect when it is let go; a Pod that starts late has lost its intent.
async fn hanging_and_late(world: &World, node: &str) {
    let machine = world.fleet.machine(node).unwrap();
    let before = machine.view().unwrap();
    let expected = world.run("run-hangs", node).await;
    world.intend(&expected).await;
    machine.inject(Fault::RebootHangs).unwrap();
    world.reboot_pod("reboot-hangs", &expected).await;
    assert_eq!(world.end_of("reboot-hangs").await.1, 0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(machine.view().unwrap(), before, "the machine stays up");
    machine.let_go_down().await.unwrap();
    let again =
        move |view: &rerail_fleet::MachineView| view.boots == before.boots + 1 && view.ready;
    machine.wait_until("booted", LONG, again).await.unwrap();

    machine.inject(Fault::RebootPodStartsLate).unwrap();
    let expected = world.run("run-late", node).await;
    world.reboot_pod("reboot-late", &expected).await;
    world.pods().delete("reboot-late", &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(world.pods().get_opt("reboot-late").await.unwrap().is_some(), "its deletion is seen");
    let refused = count(&world.fleet, node, EventKind::Refused);
    machine.clear_faults().await.unwrap();
    eventually("the late Pod to go", || async {
        world.pods().get_opt("reboot-late").await.unwrap().is_none()
    })
    .await;
    assert_eq!(count(&world.fleet, node, EventKind::Refused), refused + 1, "it never started");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_cannot_start_wait_for_their_deadline_and_deleted_ones_go() {
    let world = world(Pool::new("stuck", 1, 1)).await;
    let node = "stuck-001";
    let machine = world.fleet.machine(node).unwrap();
    machine.inject(Fault::PodsDoNotStart).unwrap();
    machine.spontaneous_reboot().await.unwrap();
    world.eventually_ready(node, "True").await;
    machine.wait_until("Ready", LONG, |view| view.ready).await.unwrap();

    let mut short =
        serde_json::to_value(world.make_pod("kept", "probe", node, Vec::new()).await).unwrap();
    short["metadata"] = json!({"name": "short", "labels": short["metadata"]["labels"]});
    short["spec"]["activeDeadlineSeconds"] = json!(2);
    short["spec"]["volumes"] = Value::Null;
    short["spec"]["containers"][0]["volumeMounts"] = Value::Null;
    let short: Pod = serde_json::from_value(short).unwrap();
    world.pods().create(&PostParams::default(), &short).await.unwrap();
    let (phase, code, _) = world.end_of("short").await;
    assert_eq!((phase.as_str(), code), ("Failed", 137));
    let reason = world.pods().get("short").await.unwrap().status.unwrap().reason;
    assert_eq!(reason.as_deref(), Some("DeadlineExceeded"));

    let waiting = world.pods().get("kept").await.unwrap().status.unwrap();
    assert_eq!(waiting.phase.as_deref(), Some("Pending"));
    world.pods().delete("kept", &DeleteParams::default()).await.unwrap();
    let mut gone = false;
    for _ in 0..200 {
        gone = world.pods().get_opt("kept").await.unwrap().is_none();
        if gone {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(gone, "a deleted Pod stays");

    // The same Pod starts once the fault is gone.
    world.make_pod("later", "probe", node, Vec::new()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    machine.clear_faults().await.unwrap();
    assert_eq!(world.end_of("later").await.1, 0);
    world.verify();
}

/// How often the machine told the truth log of something.
fn count(fleet: &Fleet, node: &str, kind: EventKind) -> usize {
    fleet.truth().iter().filter(|event| event.node == node && event.event == kind).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_show_as_they_would_on_real_machines() {
    let world = world(Pool::new("odd", 4, 2)).await;
    let machine = |name: &str| world.fleet.machine(name).unwrap();
    machine("odd-001").inject(Fault::BootsTwice).unwrap();
    machine("odd-002").inject(Fault::Flaps { times: 2 }).unwrap();
    machine("odd-003").inject(Fault::SlowBoot { factor: 4 }).unwrap();
    machine("odd-003").inject(Fault::HangsAtBoot).unwrap();
    machine("odd-004").inject(Fault::DaemonSetsDoNotReturn).unwrap();
    daemon_set(&world).await;
    eventually("every node has its daemon", || async { daemons_ready(&world).await.len() == 4 })
        .await;

    for name in ["odd-001", "odd-002", "odd-003", "odd-004"] {
        machine(name).power_cycle().await.unwrap();
    }
    let booted_twice = |view: &rerail_fleet::MachineView| view.boots == 2 && view.ready;
    machine("odd-001").wait_until("booted twice", LONG, booted_twice).await.unwrap();
    eventually("two flaps", || async {
        count(&world.fleet, "odd-002", EventKind::NotReady) == 2
            && count(&world.fleet, "odd-002", EventKind::Ready) == 4
    })
    .await;
    assert_eq!(machine("odd-003").view().unwrap().power, Power::Hung);
    let began = tokio::time::Instant::now();
    machine("odd-003").inject(Fault::SlowBoot { factor: 4 }).unwrap();
    machine("odd-003").power_on().await.unwrap();
    machine("odd-003").wait_until("Ready", LONG, |view| view.ready).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());

    eventually("all daemons but one are back", || async {
        daemons_ready(&world).await == ["odd-001", "odd-002", "odd-003"]
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(daemons_ready(&world).await, ["odd-001", "odd-002", "odd-003"]);
    machine("odd-004").clear_faults().await.unwrap();
    eventually("the last daemon is back", || async { daemons_ready(&world).await.len() == 4 })
        .await;
}

async fn eventually<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    for _ in 0..300 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("not in time: {what}");
}

async fn daemon_set(world: &World) {
    let sets: Api<k8s_openapi::api::apps::v1::DaemonSet> =
        Api::namespaced(world.client.clone(), "default");
    let labels = json!({"app": "daemon"});
    let set = serde_json::from_value(json!({
        "metadata": {"name": "daemon"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
        },
    }))
    .unwrap();
    sets.create(&PostParams::default(), &set).await.unwrap();
}

/// The nodes whose daemon is Ready.
async fn daemons_ready(world: &World) -> Vec<String> {
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), "default");
    let params = kube::api::ListParams::default().labels("app=daemon");
    let ready = |pod: &Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
    };
    let mut nodes: Vec<String> = pods
        .list(&params)
        .await
        .unwrap()
        .into_iter()
        .filter(ready)
        .filter_map(|pod| pod.spec?.node_name)
        .collect();
    nodes.sort();
    nodes
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_makes_nodes_and_takes_them_away() {
    // One machine of the test's own stays when the program takes its own away.
    let world = world(Pool::new("own", 1, 1)).await;
    let kubeconfig = world.plane.kubeconfig_for_user("rerail-fleet", &[]).unwrap();
    let truth = world.plane.dir().join("program.jsonl");
    let program = std::process::Command::new(env!("CARGO_BIN_EXE_rerail-fleet"))
        .arg("--kubeconfig")
        .arg(&kubeconfig)
        .arg("--truth-log")
        .arg(&truth)
        .args(["--nodes", "4", "--racks", "2", "--pool", "program", "--delete-nodes"])
        .spawn()
        .unwrap();
    let ours = kube::api::ListParams::default().labels("pool=program");
    eventually("four Ready nodes", || async {
        let nodes = world.nodes().list(&ours).await.unwrap();
        let ready = |node: &&Node| condition(node, "Ready").is_some_and(|found| found.0 == "True");
        nodes.iter().filter(ready).count() == 4
    })
    .await;
    let racks = world.nodes().get("worker004").await.unwrap();
    assert_eq!(racks.labels()["node-restriction.kubernetes.io/rack"], "rack-b");
    let id = program.id().to_string();
    // It tells of Ready nodes after it has asked for the signals.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let ended = tokio::task::spawn_blocking(move || {
        let mut program = program;
        program.wait()
    });
    assert!(tokio::time::timeout(LONG, ended).await.unwrap().unwrap().unwrap().success());
    assert_eq!(world.nodes().list(&ours).await.unwrap().items.len(), 0);
    assert!(world.nodes().get_opt("own-001").await.unwrap().is_some());
    let log = std::fs::read_to_string(truth).unwrap();
    assert_eq!(log.lines().filter(|line| line.contains(r#""event":"removed""#)).count(), 4);
}

/// One process keeps many machines alive, for longer than the node controller's patience.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_machines_stay_ready() {
    let world = world(Pool::new("many", 200, 10)).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let nodes = world.nodes().list(&kube::api::ListParams::default()).await.unwrap();
    let ready = nodes.iter().filter(|node| condition(node, "Ready").unwrap().0 == "True").count();
    assert_eq!(ready, 200);
}
