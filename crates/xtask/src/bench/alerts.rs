//! `cargo xtask bench alerts`: from an alert to the condition of a node, with a real Alertmanager and a real
//! API server; what it costs while nothing changes; and how long one cycle computes, without either.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client, ResourceExt};
use rerail_bench::alerts::{Cycles, Record as Computed};
use rerail_controlplane::Options;
use rerail_e2e::{
    Cluster, ClusterOptions, Operator, OperatorOptions, PATIENCE, cargo, free_port,
    monitoring::{AlertmanagerOptions, Alertmanagers, alert, alert_source, ended},
    post, wait_for,
};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    BenchError,
    conditions::Conditions,
    figures::Series,
    nodes::{
        padded,
        process::{Usage, usage},
    },
    observer::{Object, Observer},
    progress, queue,
    sheet::{Sheet, number},
    table, write_json,
};

/// What is measured.
#[derive(Debug, Args)]
pub struct AlertsArguments {
    /// Nodes of the cluster, of the size of real ones.
    #[arg(long, default_value_t = 1000)]
    nodes: usize,
    /// Alerts that fire at once, each on a node of its own.
    #[arg(long, default_value_t = 500)]
    alerts: usize,
    /// Pushes that are timed.
    #[arg(long, default_value_t = 100)]
    pushes: usize,
    /// Alerts that a poll finds, timed.
    #[arg(long, default_value_t = 30)]
    polls: usize,
    /// Seconds between polls, while they are timed.
    #[arg(long, default_value_t = 2)]
    interval: u64,
    /// For how many seconds nothing changes.
    #[arg(long, default_value_t = 600)]
    quiet: u64,
    /// Print the tables as Markdown.
    #[arg(long)]
    markdown: bool,
    /// Where the figures are written as JSON, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct Figures {
    conditions: Conditions,
    nodes: usize,
    alerts: usize,
    interval_seconds: u64,
    /// From sending a webhook to the condition.
    push: Series,
    /// From the moment at which Alertmanager knows to the condition, by poll.
    poll: Series,
    /// From the push to the last of the conditions of many alerts: they begin and end in turn.
    burst: Series,
    quiet: Quiet,
    /// Resident memory of `rerail alerts` alone, in MiB.
    alone_mib: f64,
    computed: Vec<Cycles>,
}

/// What it costs that nothing changes.
#[derive(Debug, Serialize)]
struct Quiet {
    seconds: f64,
    /// Patches of nodes' status.
    writes: u64,
    /// Requests to the API server, watches and the Lease apart.
    requests: u64,
    /// Of one core, in percent.
    cpu: f64,
    /// Resident memory of `rerail operator`, in MiB.
    resident_mib: f64,
}

/// Measures and prints.
pub async fn run(root: &Path, arguments: &AlertsArguments) -> Result<bool, BenchError> {
    let mut conditions = Conditions::of(root);
    conditions.build = "release profile; observer: dev".to_owned();
    conditions.policy = "none".to_owned();
    let computed = computed(root)?;
    let program = queue::program(true).await?;
    let mut scene = Scene::start(program, arguments).await?;
    let push = scene.pushes(arguments.pushes).await?;
    let poll = scene.polls(arguments.polls, arguments.interval).await?;
    let burst = scene.burst(arguments.alerts).await?;
    let quiet = scene.quiet(arguments.alerts, Duration::from_secs(arguments.quiet)).await?;
    let alone_mib = scene.alone().await?;
    let figures = Figures {
        conditions,
        nodes: arguments.nodes,
        alerts: arguments.alerts,
        interval_seconds: arguments.interval,
        push,
        poll,
        burst,
        quiet,
        alone_mib,
        computed,
    };
    show(&figures, arguments.markdown);
    if let Some(path) = &arguments.json {
        write_json(path, &figures)?;
    }
    Ok(true)
}

/// Cycles without servers, optimised, in a process of its own.
fn computed(root: &Path) -> Result<Vec<Cycles>, BenchError> {
    progress::stage("cycles, optimised");
    let output = cargo()
        .args(["run", "--quiet", "--release", "--locked", "-p", "rerail-bench", "--", "alerts"])
        .current_dir(root)
        .stderr(std::process::Stdio::inherit())
        .output()?;
    let record: Computed = serde_json::from_slice(&output.stdout).map_err(std::io::Error::from)?;
    Ok(record.cycles)
}

/// How urgent the alerts are.
const PRIORITY: u8 = 6;

/// The token of the webhook.
const TOKEN: &str = "a-token-of-the-webhook";

/// A source is polled at most once a second; pushes are farther apart.
const APART: Duration = Duration::from_millis(1200);

/// Type of the conditions of many alerts at once.
const MANY: &str = "AlertManager_Many";

/// Seconds between polls where it is pushed.
const SELDOM: u64 = 60;

/// How long a process is left alone before its memory is read.
const SETTLE: Duration = Duration::from_secs(10);

struct Scene {
    cluster: Cluster,
    alertmanagers: Alertmanagers,
    operator: Operator,
    observer: Observer,
    program: PathBuf,
    /// Where webhooks go.
    webhook: String,
    /// Alerts that were told so far: each has a name of its own.
    told: usize,
    nodes: usize,
}

impl Scene {
    async fn start(program: PathBuf, arguments: &AlertsArguments) -> Result<Self, BenchError> {
        progress::stage("control plane and Alertmanager");
        let plane = Options {
            // Nobody renews the Leases of nodes that are only there.
            node_monitor_grace_period: Some(Duration::from_secs(24 * 3600)),
            ..Options::default()
        };
        let cluster = Cluster::start(ClusterOptions { plane, ..ClusterOptions::default() }).await?;
        let admin = rerail_e2e::config(&cluster.plane.admin_kubeconfig()).await?;
        let admin = Client::try_from(admin)?;
        padded::create(&Api::<Node>::all(admin.clone()), 0..arguments.nodes).await?;
        let alertmanagers =
            Alertmanagers::start(&cluster.plane, AlertmanagerOptions::default()).await?;
        let webhook = format!("127.0.0.1:{}", free_port()?);
        let options = OperatorOptions {
            program: Some(program.clone()),
            arguments: vec![format!("--alerts-listen={webhook}")],
            ..OperatorOptions::default()
        };
        let operator = Operator::start(&cluster.plane, options).await?;
        let observer = Observer::start(&admin);
        let in_namespace = |arguments: &[&str]| {
            let all = [["--namespace", "rerail-system"].as_slice(), arguments].concat();
            cluster.plane.run_kubectl(&all).map(drop)
        };
        let token = format!("--from-literal=token={TOKEN}");
        in_namespace(&["create", "secret", "generic", "hook", &token])?;
        in_namespace(&["annotate", "secret", "hook", "rerail.dev/alert-sources=main"])?;
        let nodes = arguments.nodes;
        Ok(Scene { cluster, alertmanagers, operator, observer, program, webhook, told: 0, nodes })
    }

    /// The source, polled so often, and ready.
    async fn source(&self, seconds: u64) -> Result<(), BenchError> {
        let rest = format!(
            "  pollInterval: {seconds}s\n  warmUp: 0s\n  push: {{bearerTokenSecretName: hook}}"
        );
        self.cluster.apply(&alert_source("main", &self.alertmanagers.urls, &rest)).await?;
        wait_for("the source to be pushed", PATIENCE, || self.push()).await?;
        // Its first polls may come right after this, and the next one a second later.
        tokio::time::sleep(3 * APART).await;
        Ok(())
    }

    async fn push(&self) -> Result<(), String> {
        post(&self.webhook, "/v1/alertsources/main", Some(TOKEN), "{}").await.map(drop)
    }

    async fn tell(&self, alerts: &[Value]) -> Result<(), BenchError> {
        self.alertmanagers.tell(0, alerts).await.map_err(BenchError::Metrics)
    }

    /// The next alert, on the next node.
    fn alert(&mut self) -> (String, String, Value) {
        let node = padded::name(self.told % self.nodes);
        self.told += 1;
        let name = format!("Alert{}", self.told);
        let alert = alert(&name, &node, PRIORITY);
        (format!("AlertManager_{name}"), node, alert)
    }

    /// When a condition was seen.
    async fn seen(&mut self, node: String, kind: &str) -> Result<Instant, BenchError> {
        self.all_seen([node].into(), kind, "True").await
    }

    async fn pushes(&mut self, count: usize) -> Result<Series, BenchError> {
        self.source(SELDOM).await?;
        let bar = progress::bar("pushes", count);
        let mut series = Series::default();
        for done in 0..count {
            let (kind, node, alert) = self.alert();
            self.tell(&[alert]).await?;
            let sent = Instant::now();
            self.push().await.map_err(BenchError::Metrics)?;
            series.add(self.seen(node, &kind).await?.duration_since(sent));
            bar.at(done + 1, count);
            tokio::time::sleep(APART).await;
        }
        bar.end();
        Ok(series)
    }

    async fn polls(&mut self, count: usize, interval: u64) -> Result<Series, BenchError> {
        self.source(interval).await?;
        let bar = progress::bar("polls", count);
        let mut series = Series::default();
        for done in 0..count {
            let (kind, node, alert) = self.alert();
            self.tell(&[alert]).await?;
            let known = Instant::now();
            series.add(self.seen(node, &kind).await?.duration_since(known));
            bar.at(done + 1, count);
            // At every part of an interval.
            let part = u32::try_from(done % 7).unwrap_or(0);
            tokio::time::sleep(Duration::from_secs(interval) * part / 7).await;
        }
        bar.end();
        Ok(series)
    }

    async fn burst(&mut self, count: usize) -> Result<Series, BenchError> {
        self.source(SELDOM).await?;
        progress::stage("many at once");
        let nodes: Vec<_> = (0..count).map(|number| padded::name(number % self.nodes)).collect();
        let mut series = Series::default();
        for round in 0..6 {
            let status = if round % 2 == 0 { "True" } else { "False" };
            self.tell(&self.many(count, status == "False")).await?;
            let sent = Instant::now();
            self.push().await.map_err(BenchError::Metrics)?;
            let last = self.all_seen(nodes.iter().cloned().collect(), MANY, status).await?;
            series.add(last.duration_since(sent));
            tokio::time::sleep(APART).await;
        }
        // They fire while nothing changes.
        self.tell(&self.many(count, false)).await?;
        self.push().await.map_err(BenchError::Metrics)?;
        self.all_seen(nodes.into_iter().collect(), MANY, "True").await?;
        Ok(series)
    }

    /// One alert on each of so many nodes; their ends.
    fn many(&self, count: usize, end: bool) -> Vec<Value> {
        let nodes = (0..count).map(|number| padded::name(number % self.nodes));
        let alerts = nodes.map(|node| alert("Many", &node, PRIORITY));
        if end { alerts.map(ended).collect() } else { alerts.collect() }
    }

    /// When the last of these nodes was seen with this condition.
    async fn all_seen(
        &mut self,
        mut missing: BTreeSet<String>,
        kind: &str,
        status: &str,
    ) -> Result<Instant, BenchError> {
        let look = async {
            while let Some(seen) = self.observer.events.recv().await {
                let Object::Node(object) = &seen.object else { continue };
                if status_of(object, kind) == Some(status) {
                    missing.remove(&object.name_any());
                }
                if missing.is_empty() {
                    return Some(seen.at);
                }
            }
            None
        };
        let last = tokio::time::timeout(PATIENCE, look).await.ok().flatten();
        let unseen = || missing.first().cloned().unwrap_or_default();
        last.ok_or_else(|| BenchError::Unseen { node: unseen(), what: "its condition" })
    }

    /// With the default interval, and the default time between two writes that say the same. Alertmanager
    /// is told of the alerts again and again, as Prometheus does it.
    async fn quiet(&mut self, count: usize, time: Duration) -> Result<Quiet, BenchError> {
        self.source(5).await?;
        // The single ones would end by themselves meanwhile.
        let single = (0..self.told).map(|number| {
            let node = padded::name(number % self.nodes);
            ended(alert(&format!("Alert{}", number + 1), &node, PRIORITY))
        });
        self.tell(&single.collect::<Vec<_>>()).await?;
        tokio::time::sleep(SETTLE).await;
        progress::stage("nothing changes");
        let pid = self.cluster.plane.pid(self.operator.name());
        let pid = pid.ok_or_else(|| BenchError::Metrics("its process is not known".into()))?;
        tokio::time::sleep(SETTLE).await;
        let asked = || async { self.operator.api_requests().await.map_err(BenchError::Metrics) };
        let (before, used, began) = (asked().await?, usage(pid)?, Instant::now());
        while began.elapsed() < time {
            tokio::time::sleep(Duration::from_secs(60).min(time)).await;
            self.tell(&self.many(count, false)).await?;
        }
        let seconds = began.elapsed().as_secs_f64();
        let (asked, after) = (asked().await?.since(&before), usage(pid)?);
        let of = |wanted: &str| -> u64 {
            let counts = asked.0.iter().filter(|((_, resource), _)| resource == wanted);
            counts.map(|(_, count)| count).sum()
        };
        Ok(Quiet {
            seconds,
            writes: of("nodes/status"),
            requests: asked.total() - of("leases"),
            cpu: 100.0 * (after.cpu - used.cpu).as_secs_f64() / seconds,
            resident_mib: mib(&after),
        })
    }

    /// Memory of the bridge alone, in place of the operator.
    async fn alone(&mut self) -> Result<f64, BenchError> {
        progress::stage("the bridge alone");
        let plane = &self.cluster.plane;
        plane.stop_component(self.operator.name())?;
        let rights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/alerts/rbac.yaml");
        plane.apply(&rights)?;
        let account = plane.kubeconfig_for_service_account("rerail-system", "rerail-alerts")?;
        let options = OperatorOptions {
            command: "alerts",
            name: "rerail-alerts".into(),
            kubeconfig: Some(account),
            program: Some(self.program.clone()),
            ..OperatorOptions::default()
        };
        let bridge = Operator::start(plane, options).await?;
        let pid = plane.pid(bridge.name());
        let pid = pid.ok_or_else(|| BenchError::Metrics("its process is not known".into()))?;
        tokio::time::sleep(3 * SETTLE).await;
        Ok(mib(&usage(pid)?))
    }
}

fn mib(usage: &Usage) -> f64 {
    u32::try_from(usage.resident_kib).map_or(f64::NAN, f64::from) / 1024.0
}

fn status_of<'a>(node: &'a Node, kind: &str) -> Option<&'a str> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == kind)?;
    Some(found.status.as_str())
}

fn show(figures: &Figures, markdown: bool) {
    table::machine(&figures.conditions);
    let mut times = Sheet::new("alert to condition, in ms", &["", "n", "p50", "p99", "max"]);
    let many = format!("{} alerts at once, push -> last condition", figures.alerts);
    let poll =
        format!("Alertmanager knows -> condition, by a poll every {} s", figures.interval_seconds);
    for (name, series) in [
        ("push -> condition", &figures.push),
        (poll.as_str(), &figures.poll),
        (many.as_str(), &figures.burst),
    ] {
        let cells = [50, 99, 100].map(|percent| number(series.percentile(percent), 1));
        times.row([name.to_owned(), series.len().to_string()].into_iter().chain(cells));
    }
    times.note(format!("{} nodes of the size of real ones.", figures.nodes));
    times.print(markdown);
    let quiet = &figures.quiet;
    let mut costs = Sheet::new("nothing changes", &["", "figure"]);
    let hourly =
        |count: u64| u32::try_from(count).map_or(f64::NAN, f64::from) * 3600.0 / quiet.seconds;
    for (name, figure, decimals) in [
        ("writes of conditions an hour", hourly(quiet.writes), 0),
        (
            "of these for each node with a condition",
            hourly(quiet.writes) / u32::try_from(figures.alerts).map_or(f64::NAN, f64::from),
            1,
        ),
        ("requests an hour, without watches and the Lease", hourly(quiet.requests), 0),
        ("of a core, %", quiet.cpu, 2),
        ("`rerail operator`, MiB", quiet.resident_mib, 1),
        ("`rerail alerts` alone, MiB", figures.alone_mib, 1),
    ] {
        costs.row([name.to_owned(), number(Some(figure), decimals)]);
    }
    costs.note(format!(
        "{} alerts fire on as many nodes, polled every 5 s, for {:.0} s.",
        figures.alerts, quiet.seconds
    ));
    costs.print(markdown);
    let columns = ["nodes", "alerts", "found by", "what", "writes", "n", "p50", "max"];
    let mut cycles = Sheet::new("one cycle, in ms", &columns);
    for cycle in &figures.computed {
        let times = Series { milliseconds: cycle.milliseconds.clone() };
        let counts = [cycle.nodes, cycle.alerts].map(|count| count.to_string()).into_iter();
        let words = [cycle.by.clone(), cycle.what.clone(), cycle.writes.to_string()];
        let ends = [50, 100].map(|percent| number(times.percentile(percent), 1));
        cycles.row(counts.chain(words).chain([times.len().to_string()]).chain(ends));
    }
    cycles.note(
        "An answer is read, its alerts are placed on nodes, and it is decided what to write.",
    );
    cycles.print(markdown);
}
