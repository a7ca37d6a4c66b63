//! A control plane starts, answers under the right names, survives what it should and dies when it should.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rerail_controlplane::{Component, ControlPlane, Error, Instance, Options};

const COMPONENTS: [&str; 5] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"];

#[test]
fn serves_each_identity_what_rbac_allows() {
    let plane = ControlPlane::start(Options { audit: true, ..Options::default() }).unwrap();
    let version = plane.run_kubectl(&["version", "-o", "json"]).unwrap();
    assert_eq!(
        version.matches(r#""gitVersion": "v1.36.3""#).count(),
        2,
        "client and server: {version}"
    );
    assert_eq!(plane.run_kubectl(&["get", "nodes,pods", "-A", "-o", "name"]).unwrap(), "");

    let as_user = |kubeconfig: &Path, args: &[&str]| {
        let mut kubectl = Command::new(plane.kubectl());
        kubectl.arg("--kubeconfig").arg(kubeconfig).args(args);
        kubectl.env("KUBECACHEDIR", plane.dir().join("cache"));
        let out = kubectl.output().unwrap();
        (
            out.status.success(),
            String::from_utf8(out.stdout).unwrap() + std::str::from_utf8(&out.stderr).unwrap(),
        )
    };
    let stranger = plane.kubeconfig_for_user("jane", &["people"]).unwrap();
    let (allowed, said) = as_user(&stranger, &["get", "nodes"]);
    assert!(!allowed && said.contains(r#"User "jane" cannot list resource "nodes""#), "{said}");

    plane.run_kubectl(&["create", "serviceaccount", "robot"]).unwrap();
    plane
        .run_kubectl(&[
            "create",
            "clusterrolebinding",
            "robot",
            "--clusterrole=view",
            "--serviceaccount=default:robot",
        ])
        .unwrap();
    let robot = plane.kubeconfig_for_service_account("default", "robot").unwrap();
    let (_, said) =
        as_user(&robot, &["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]);
    assert_eq!(said, "system:serviceaccount:default:robot");
    assert_eq!(as_user(&robot, &["get", "pods", "-o", "name"]), (true, String::new()));

    let audit = std::fs::read_to_string(plane.audit_log()).unwrap();
    let robots = audit
        .lines()
        .filter(|line| line.contains(r#""username":"system:serviceaccount:default:robot""#));
    assert!(robots.count() >= 2, "the audit log has what the robot did");
}

#[test]
fn components_can_be_stopped_frozen_and_started_again() {
    let plane = ControlPlane::start(Options::default()).unwrap();
    plane.run_kubectl(&["create", "configmap", "kept"]).unwrap();
    let first = plane.pid("kube-apiserver").unwrap();

    plane.stop_component("kube-apiserver").unwrap();
    assert_eq!(plane.pid("kube-apiserver"), None);
    assert!(plane.run_kubectl(&["get", "configmap", "kept"]).is_err());
    plane.start_component("kube-apiserver").unwrap();
    assert_ne!(plane.pid("kube-apiserver"), Some(first));
    plane.run_kubectl(&["get", "configmap", "kept"]).unwrap();

    plane.pause_component("etcd").unwrap();
    assert!(plane.run_kubectl(&["--request-timeout=1s", "create", "configmap", "late"]).is_err());
    plane.resume_component("etcd").unwrap();
    plane.kill_component("kwok").unwrap();
    plane.start_component("kwok").unwrap();
    plane.run_kubectl(&["get", "configmap", "kept"]).unwrap();

    let refused = plane.start_component("kwok").unwrap_err();
    assert!(
        matches!(&refused, Error::Refused { reason, .. } if reason.contains("running already")),
        "{refused}"
    );
}

#[test]
fn a_guest_may_end_and_a_component_may_not() {
    let plane = ControlPlane::start(Options::default()).unwrap();
    let guest = Component {
        name: "guest".to_owned(),
        argv: ["sh", "-c", "echo hello $WHO; exit 3"].map(str::to_owned).to_vec(),
        env: vec!["WHO=world".to_owned()],
        guest: true,
        start_again: true,
    };
    plane.run(&guest).unwrap();
    eventually("the guest has ended", || plane.pid("guest").is_none());
    // One that aborts itself comes back, as a container does.
    let aborts = "echo begins; test -e begun && exec sleep 100; touch begun; kill -ABRT $$";
    let argv = ["sh", "-c", aborts].map(str::to_owned).to_vec();
    plane.run(&Component { name: "aborts".to_owned(), argv, ..guest }).unwrap();
    let log = plane.dir().join("aborts.log");
    eventually("it is there again", || {
        let began = std::fs::read_to_string(&log).unwrap_or_default().lines().count();
        began == 2 && plane.pid("aborts").is_some()
    });
    plane.kill_component("aborts").unwrap();
    assert_eq!(plane.pid("aborts"), None, "whatever is asked to end stays ended");
    assert_eq!(std::fs::read_to_string(plane.dir().join("guest.log")).unwrap(), "hello world\n");
    plane.run_kubectl(&["get", "nodes"]).unwrap();

    let pids = pids_in(plane.dir());
    let etcd = plane.pid("etcd").unwrap();
    assert!(Command::new("kill").args(["-KILL", &etcd.to_string()]).status().unwrap().success());
    eventually("all components are gone", || pids.iter().all(|pid| is_gone(*pid)));
    let gone = plane.pause_component("kwok").unwrap_err();
    assert!(
        matches!(&gone, Error::Gone { reason, .. } if reason.contains("etcd ended on its own")),
        "{gone}"
    );
}

#[test]
fn two_run_side_by_side_and_a_named_one_can_be_left_running() {
    let name = format!("lifecycle-{}", std::process::id());
    let named = Options { name: Some(name.clone()), ..Options::default() };
    let (left, other) = (
        ControlPlane::start(named.clone()).unwrap(),
        ControlPlane::start(Options::default()).unwrap(),
    );
    assert_ne!(left.api_url(), other.api_url());
    left.run_kubectl(&["create", "namespace", "only-here"]).unwrap();
    assert!(other.run_kubectl(&["get", "namespace", "only-here"]).is_err());

    assert!(matches!(ControlPlane::start(named), Err(Error::AlreadyUp { .. })));
    let pids = pids_in(left.dir());
    let instance = left.detach().unwrap();
    assert!(instance.is_ready().unwrap());
    assert!(
        Instance::list()
            .unwrap()
            .iter()
            .any(|found| found.name == name && found.pid == instance.pid)
    );
    let dir = instance.dir.clone();
    instance.down().unwrap();
    assert!(pids.iter().all(|pid| is_gone(*pid)) && !dir.exists());
    assert!(matches!(Instance::named(&name), Err(Error::NotUp { .. })));
}

/// Not a test: the parent that the next two tests kill. It starts the control plane in a thread that ends.
#[test]
#[ignore = "run by the tests below"]
fn parent() {
    let plane = thread::spawn(|| ControlPlane::start(Options::default()).unwrap()).join().unwrap();
    println!("dir={}", plane.dir().display());
    thread::sleep(Duration::from_secs(600));
}

#[test]
fn nothing_survives_a_parent_that_is_killed() {
    let (mut parent, dir) = start_parent();
    let pids = pids_in(&dir);
    parent.kill().unwrap(); // SIGKILL
    parent.wait().unwrap();
    eventually("all components are gone", || pids.iter().all(|pid| is_gone(*pid)));
    eventually("etcd's data is gone", || !dir.join("etcd-data").exists());
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn nothing_survives_a_supervisor_that_is_killed() {
    let (mut parent, dir) = start_parent();
    let pids = pids_in(&dir);
    let supervisor = std::fs::read_to_string(dir.join("supervisor.pid")).unwrap();
    assert!(Command::new("kill").args(["-KILL", supervisor.trim()]).status().unwrap().success());
    eventually("all components are gone", || pids.iter().all(|pid| is_gone(*pid)));
    parent.kill().unwrap();
    parent.wait().unwrap();
    std::fs::remove_dir_all(dir).unwrap();
}

fn start_parent() -> (std::process::Child, PathBuf) {
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "parent", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines().map_while(Result::ok);
    let dir =
        lines.find_map(|line| line.split_once("dir=").map(|(_, dir)| PathBuf::from(dir))).unwrap();
    (parent, dir)
}

/// The process ids of all components, which must be running.
fn pids_in(dir: &Path) -> Vec<u32> {
    let pid = |name: &str| {
        let text = std::fs::read_to_string(dir.join(format!("{name}.pid"))).unwrap();
        text.trim().parse().unwrap()
    };
    let pids: Vec<u32> = COMPONENTS.iter().map(|name| pid(name)).collect();
    assert!(pids.iter().all(|pid| !is_gone(*pid)));
    pids
}

/// A process that ended and was not waited for is gone too: it has no command line left.
fn is_gone(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).map_or(true, |command| command.is_empty())
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..300 {
        if holds() {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("not within 30 s: {what}");
}
