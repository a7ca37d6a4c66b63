//! The whole way from the reads to the exit code, against a mock API server.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use rerail_core::reboot_check::{
    EXIT_COMMAND_FAILED, EXIT_REFUSED, EXIT_UNCERTAIN, Expected, Refusal, Report, Verdict,
};
use serde_json::{Value, json};

use super::*;

/// One reply of the mock API server: status, body and how long it takes.
type Reply = (u16, Value, Duration);

/// A client whose every request is answered by `answer(path, number of the request from 1)`.
fn client(answer: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Client {
    let answer = Arc::new(answer);
    let count = Arc::new(AtomicUsize::new(0));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (answer, count) = (answer.clone(), count.clone());
        async move {
            assert_eq!(request.method(), http::Method::GET, "the agent only reads");
            assert!(request.uri().query().unwrap_or("").is_empty(), "{}", request.uri());
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            let (status, body, delay) = answer(request.uri().path(), number);
            tokio::time::sleep(delay).await;
            let body = Body::from(serde_json::to_vec(&body).unwrap());
            Ok::<_, tower::BoxError>(Response::builder().status(status).body(body).unwrap())
        }
    });
    Client::new(service, "default")
}

fn expected() -> Expected {
    Expected {
        run_name: "worker1-0a1b2c3d".into(),
        run_uid: "run-1".into(),
        node_name: "worker1".into(),
        node_uid: "node-1".into(),
        attempt: 2,
        boot_id_before: "boot-1".into(),
    }
}

fn run_object() -> Value {
    json!({
        "apiVersion": "rerail.dev/v1alpha1", "kind": "NodeRemediation",
        "metadata": {"name": "worker1-0a1b2c3d", "uid": "run-1"},
        "status": {"intent": {
            "effect": "Reboot", "attempt": 2, "nodeUID": "node-1", "bootIDBefore": "boot-1",
        }},
    })
}

fn node_object() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": "worker1", "uid": "node-1",
            "annotations": {"rerail.dev/cordoned-by": "run-1"},
        },
        "spec": {"unschedulable": true},
    })
}

fn failure(code: u16, reason: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": reason, "reason": reason, "code": code,
    })
}

const AT_ONCE: Duration = Duration::ZERO;

/// The objects as they should be.
fn good(path: &str) -> Reply {
    match path {
        "/apis/rerail.dev/v1alpha1/noderemediations/worker1-0a1b2c3d" => {
            (200, run_object(), AT_ONCE)
        }
        "/api/v1/nodes/worker1" => (200, node_object(), AT_ONCE),
        other => panic!("the agent asked for {other}"),
    }
}

/// The objects with one changed: an object's value at a pointer, null to take it away.
fn changed(kind: &'static str, pointer: &'static str, value: Value) -> Client {
    client(move |path, _| {
        let (status, mut body, delay) = good(path);
        if path.contains(kind) {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            body.pointer_mut(parent).unwrap()[key] = value.clone();
        }
        (status, body, delay)
    })
}

/// A machine on tokio's clock that remembers whether it was told to reboot.
struct TestHost {
    boot_id: &'static str,
    began: tokio::time::Instant,
    acts: Mutex<Vec<Act>>,
    fails: bool,
}

impl TestHost {
    fn new() -> Self {
        let began = tokio::time::Instant::now();
        Self { boot_id: "boot-1", began, acts: Mutex::default(), fails: false }
    }

    fn acts(&self) -> usize {
        self.acts.lock().unwrap().len()
    }
}

impl Host for TestHost {
    fn kernel_boot_id(&self) -> Result<String, Error> {
        Ok(self.boot_id.to_owned())
    }

    fn uptime(&self) -> Result<Duration, Error> {
        Ok(self.began.elapsed())
    }

    async fn act(&self, act: &Act) -> Result<(), Error> {
        self.acts.lock().unwrap().push(act.clone());
        if self.fails { Err(Error::Act("the command failed".into())) } else { Ok(()) }
    }
}

async fn reboot_with(client: &Client, host: &TestHost) -> Outcome {
    let command = Act::Command(vec!["systemctl".into(), "reboot".into()]);
    reboot(client, &expected(), &command, host).await
}

#[tokio::test(start_paused = true)]
async fn acts_once_when_everything_is_as_intended() {
    let host = TestHost::new();
    let outcome = reboot_with(&client(|path, _| good(path)), &host).await;
    assert_eq!(outcome.exit_code, 0);
    assert!(outcome.report.acted);
    assert_eq!(
        *host.acts.lock().unwrap(),
        [Act::Command(vec!["systemctl".into(), "reboot".into()])]
    );
}

#[tokio::test(start_paused = true)]
async fn refuses_what_the_reads_show() {
    let status = || json!({"reason": "Cancelled"});
    let cases = [
        ("noderemediations", "/metadata/uid", json!("run-2"), Refusal::RunReplaced),
        ("noderemediations", "/status", status(), Refusal::IntentWithdrawn),
        ("noderemediations", "/status/intent", Value::Null, Refusal::IntentWithdrawn),
        ("noderemediations", "/status/intent/effect", json!("PowerOff"), Refusal::IntentWithdrawn),
        ("noderemediations", "/status/intent/attempt", json!(3), Refusal::AttemptDiffers),
        ("noderemediations", "/status/intent/nodeUID", json!("node-2"), Refusal::IntentDiffers),
        ("noderemediations", "/status/intent/bootIDBefore", json!("b"), Refusal::IntentDiffers),
        ("nodes/", "/metadata/uid", json!("node-2"), Refusal::NodeReplaced),
        ("nodes/", "/spec", json!({}), Refusal::NotCordonedByRun),
        ("nodes/", "/metadata/annotations", json!({}), Refusal::NotCordonedByRun),
    ];
    for (kind, pointer, value, refusal) in cases {
        let host = TestHost::new();
        let outcome = reboot_with(&changed(kind, pointer, value), &host).await;
        assert_eq!(outcome.report.refusal, Some(refusal), "{kind} {pointer}");
        assert_eq!((outcome.exit_code, host.acts()), (EXIT_REFUSED, 0));
        let report: Report = serde_json::from_str(&outcome.message()).unwrap();
        assert_eq!(report, outcome.report);
    }
}

#[tokio::test(start_paused = true)]
async fn absent_objects_are_refusals() {
    for (kind, refusal) in [("noderemediations", Refusal::RunGone), ("nodes/", Refusal::NodeGone)] {
        let client = client(move |path, _| match path.contains(kind) {
            true => (404, failure(404, "NotFound"), AT_ONCE),
            false => good(path),
        });
        let verdict = check(&client, &expected(), "boot-1".into()).await.unwrap();
        assert_eq!(verdict, Verdict::Refuse(refusal));
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_has_booted_is_left_alone() {
    let host = TestHost { boot_id: "boot-2", ..TestHost::new() };
    let outcome = reboot_with(&client(|path, _| good(path)), &host).await;
    assert_eq!(outcome.report.refusal, Some(Refusal::BootIDDiffers));
    assert_eq!(host.acts(), 0);
}

#[tokio::test(start_paused = true)]
async fn errors_are_no_absence_and_are_repeated_until_time_is_up() {
    for code in [401, 403, 500, 503] {
        let host = TestHost::new();
        let client = client(move |_, _| (code, failure(code, "Trouble"), AT_ONCE));
        let outcome = reboot_with(&client, &host).await;
        assert_eq!((outcome.exit_code, host.acts()), (EXIT_UNCERTAIN, 0), "{code}");
        assert_eq!(outcome.report.refusal, None);
        assert!(outcome.report.message.contains("NodeRemediation worker1-0a1b2c3d"));
        let took = host.began.elapsed();
        assert!(took >= RETRY_FOR && took < RETRY_FOR + CALL_DEADLINE, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_trouble_is_survived() {
    let host = TestHost::new();
    let client = client(|path, number| match number {
        1..=4 => (500, failure(500, "InternalError"), AT_ONCE),
        _ => good(path),
    });
    let outcome = reboot_with(&client, &host).await;
    assert_eq!((outcome.exit_code, host.acts()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_ends_in_uncertainty() {
    let host = TestHost::new();
    let client = client(|path, _| {
        let (status, body, _) = good(path);
        (status, body, Duration::from_secs(3600))
    });
    let outcome = reboot_with(&client, &host).await;
    assert_eq!((outcome.exit_code, host.acts()), (EXIT_UNCERTAIN, 0));
    assert!(outcome.report.message.contains("no answer"), "{}", outcome.report.message);
}

#[tokio::test(start_paused = true)]
async fn old_knowledge_is_no_permission() {
    // Each read is answered within its deadline, but both together take longer than the answer of
    // the first may be relied on; a later look is quick.
    let slow = |path: &str| {
        let (status, body, _) = good(path);
        (status, body, Duration::from_millis(1500))
    };
    let host = TestHost::new();
    let outcome = reboot_with(&client(move |path, _| slow(path)), &host).await;
    assert_eq!((outcome.exit_code, host.acts()), (EXIT_UNCERTAIN, 0));
    assert!(outcome.report.message.contains("old"), "{}", outcome.report.message);

    let host = TestHost::new();
    let once = client(move |path, number| if number <= 2 { slow(path) } else { good(path) });
    assert_eq!(reboot_with(&once, &host).await.exit_code, 0);
    assert_eq!(host.acts(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_intent_that_cannot_be_read_is_no_withdrawn_one() {
    for (pointer, value) in [
        ("/status/intent/attempt", json!("2")),
        ("/status/intent/attempt", json!(-1)),
        ("/status/intent/nodeUID", Value::Null),
        ("/status/intent/bootIDBefore", Value::Null),
        ("/status/intent/effect", Value::Null),
    ] {
        let client = changed("noderemediations", pointer, value);
        let error = look(&client, &expected(), "boot-1".into()).await.unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{pointer}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_that_fails_is_not_tried_again() {
    let host = TestHost { fails: true, ..TestHost::new() };
    let outcome = reboot_with(&client(|path, _| good(path)), &host).await;
    assert_eq!((outcome.exit_code, host.acts()), (EXIT_COMMAND_FAILED, 1));
    assert!(!outcome.report.acted);
}

#[tokio::test]
async fn the_report_is_left_where_the_kubelet_looks() {
    let path = std::env::temp_dir().join(format!("rerail-agent-{}", std::process::id()));
    let host = TestHost { boot_id: "boot-2", ..TestHost::new() };
    let client = client(|path, _| good(path));
    let code = run(&client, &expected(), &Act::Command(vec!["true".into()]), &host, &path).await;
    let report: Report = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!((code, report.refusal), (EXIT_REFUSED, Some(Refusal::BootIDDiffers)));
    // A path that cannot be written changes nothing about the exit code.
    let nowhere = std::path::Path::new("/no/such/directory/log");
    assert_eq!(
        run(&client, &expected(), &Act::Command(vec!["true".into()]), &host, nowhere).await,
        EXIT_REFUSED
    );
}
