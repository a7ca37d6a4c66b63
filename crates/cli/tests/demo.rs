//! `rerail demo` as its users run it: to the end, with bad words, and with clients in other processes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in helpers too")]

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    time::Duration,
};

use kube::{
    Api, Client, Config,
    api::{DynamicObject, ListParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    discovery::ApiResource,
};
use rerail_api::RemediationPolicy;

fn rerail() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rerail"));
    command.env_remove("KUBECONFIG").stdin(Stdio::null());
    command
}

fn demo(arguments: &[&str]) -> Output {
    rerail().arg("demo").args(arguments).output().unwrap()
}

fn small() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/small.yaml").to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What it says of bad words.
fn refused(arguments: &[&str]) -> String {
    let output = demo(arguments);
    assert!(!output.status.success(), "{arguments:?} was taken");
    assert_eq!(text(&output.stdout), "", "nothing is shown");
    text(&output.stderr)
}

#[test]
fn bad_words_are_refused_with_what_to_do() {
    for (speed, says) in [("0", "not possible"), ("-1x", "not possible"), ("fast", "such as `60x`")]
    {
        let error = refused(&[&format!("--speed={speed}")]);
        assert!(error.contains(says), "{error}");
    }
    let error = refused(&["--scenario", "/nowhere/scene.yaml"]);
    assert!(error.contains("--scenario /nowhere/scene.yaml: No such file"), "{error}");
    let error = refused(&["--scenario", "/dev/null/"]);
    assert!(error.contains("--scenario /dev/null/"), "{error}");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("scene.yaml");
    for (bad, says) in [
        ("nodes: [", "cannot be read"),
        (
            "apiVersion: scenario.rerail.dev/v1alpha1\nkind: Scenario\nname: x\nnodes: []\nweather: bad\n",
            "weather",
        ),
        ("name: x\nnodes: []\n", "neither `apiVersion` nor `kind`"),
        ("just a text", "cannot be read"),
    ] {
        std::fs::write(&file, bad).unwrap();
        let error = refused(&["--scenario", &file.display().to_string()]);
        assert!(error.contains(says) && error.contains("scene.yaml"), "{error}");
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let error = refused(&["--port", &port, "--scenario", &small()]);
    assert!(error.contains("choose another --port"), "{error}");
}

#[test]
fn a_scene_of_ones_own_is_played_to_its_end() {
    let output = demo(&["--once", "--plain", "--speed", "max", "--scenario", &small()]);
    let told = text(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", text(&output.stderr));
    let lines = |word: &str| told.lines().filter(|line| line.contains(word)).count();
    assert_eq!(lines("healed, in service"), 3, "{told}");
    assert_eq!(lines("All that can heal has healed."), 1, "{told}");
    assert_eq!(lines("violations: 0"), 1, "{told}");
    assert!(!told.contains('\u{1b}'), "no colours in a pipe: {told}");
}

#[test]
fn the_story_of_the_demo_is_told_to_its_end() {
    let output = demo(&["--once", "--plain", "--speed", "max"]);
    let told = text(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", text(&output.stderr));
    let must = [
        "has too many Calico interfaces",
        "drain blocked: pod default/ledger",
        "on many nodes at once: nothing starts for it",
        "one node is tried",
        "held: the machine reported no new boot ID",
        "AlertManager_DiskAlmostFull: over",
        "21 nodes healed;",
        "violations: 0",
    ];
    for what in must {
        assert!(told.contains(what), "{what}: {told}");
    }
}

/// A demo that runs until it is told to stop.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    kubeconfig: PathBuf,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut command = rerail();
        command.args(["demo", "--plain", "--scenario", &small()]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        out.read_line(&mut first).unwrap();
        let (_, path) = first.trim().split_once("KUBECONFIG=").unwrap();
        Running { child, out, kubeconfig: path.into() }
    }

    async fn client(&self) -> Client {
        let file = Kubeconfig::read_from(&self.kubeconfig).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(file, &options).await.unwrap();
        Client::try_from(config).unwrap()
    }

    /// Sends a signal; everything that is still said, and whether it ended well.
    fn stop(mut self, signal: &str) -> (String, bool) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        (rest, self.child.wait().unwrap().success())
    }
}

/// What `rerail` says of the demo's cluster.
fn ask(kubeconfig: &Path, arguments: &[&str]) -> String {
    let output = rerail().args(arguments).arg("--kubeconfig").arg(kubeconfig).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[tokio::test]
async fn others_see_and_change_the_cluster() {
    let demo = Running::start(&["--speed", "20x"]);
    let client = demo.client().await;
    let nodes: Api<DynamicObject> = {
        let kind = ApiResource {
            group: String::new(),
            version: "v1".to_owned(),
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            plural: "nodes".to_owned(),
        };
        Api::all_with(client.clone(), &kind)
    };
    assert_eq!(nodes.list(&ListParams::default()).await.unwrap().items.len(), 6);
    let policies: Api<RemediationPolicy> = Api::all(client);
    let wider = serde_json::json!({ "spec": { "budget": { "maxUnavailable": 1 } } });
    policies.patch("pool-a", &PatchParams::default(), &Patch::Merge(&wider)).await.unwrap();
    let limit = || async {
        policies.get("pool-a").await.unwrap().status.map_or(0, |status| status.budget.limit)
    };
    while limit().await != 1 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let plan = ask(&demo.kubeconfig, &["plan"]);
    assert!(plan.contains("times are by the API server's clock"), "{plan}");
    assert!(plan.contains("policy pool-a") && !plan.contains("ClockSkew"), "{plan}");
    let why = ask(&demo.kubeconfig, &["explain", "node", "n-001"]);
    assert!(why.contains("n-001"), "{why}");
    let kubeconfig = demo.kubeconfig.clone();
    let (rest, well) = demo.stop("-TERM");
    assert!(well, "{rest}");
    assert!(rest.contains("violations: 0") && rest.contains("Next"), "{rest}");
    assert!(rest.contains("policy pool-a changed"), "{rest}");
    assert!(!kubeconfig.exists());
}
