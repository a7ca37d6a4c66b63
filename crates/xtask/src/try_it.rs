//! `cargo xtask try`: the main job, shown. A real control plane, 60 fake machines in 6 racks with 400
//! pods on them, the operator as users run it. Alerts fire on 25 nodes, and half-way the leader is
//! killed; all of them are healed before your eyes.

mod board;
mod crew;
mod eyes;
mod picture;
mod scene;
mod screen;
mod show;
mod summary;

use std::time::Duration;

use rerail_e2e::{Cluster, ClusterOptions, Error, judge, wait_for};
use rerail_fleet::{
    Pool,
    truth::{Limits, unavailable_over_time},
};
use serde_json::Value;
use tokio::time::Instant;

use self::{crew::Crew, eyes::Eyes, screen::Screen, show::Tale, summary::Summary};

/// Why the show could not go on.
#[derive(Debug, thiserror::Error)]
pub enum TryError {
    /// Around the cluster.
    #[error(transparent)]
    Cluster(#[from] rerail_e2e::Error),
    /// The machines.
    #[error(transparent)]
    Fleet(#[from] rerail_fleet::Error),
    /// The control plane.
    #[error(transparent)]
    ControlPlane(#[from] rerail_controlplane::Error),
    /// No runtime.
    #[error("cannot start: {0}")]
    Runtime(#[from] std::io::Error),
    /// The operator's metrics.
    #[error("the operator's /metrics cannot be read: {0}")]
    Metrics(String),
}

/// How long the pods may take to start on a busy machine.
const PODS_PATIENCE: Duration = Duration::from_secs(120);

/// Shows everything; `Ok(false)` if a property did not hold, or a node was not healed.
pub fn run() -> Result<bool, TryError> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(show())
}

/// One line of the preparations, with its time.
fn done(began: Instant, what: &str) {
    anstream::println!("\u{1b}[32m✓\u{1b}[0m {what:<66} {:>6.1} s", began.elapsed().as_secs_f64());
}

async fn show() -> Result<bool, TryError> {
    anstream::println!(
        "\u{1b}[1mRerail: {} of {} nodes are sick, on a real Kubernetes {} control plane\u{1b}[0m\n",
        scene::sick().count(),
        scene::NODES,
        rerail_controlplane::KUBERNETES_VERSION
    );
    let cluster = prepare().await?;
    let began = Instant::now();
    let mut crew = Crew::start(&cluster).await?;
    done(began, &format!("operator ready, with its own rights: {}", crew.names().join(", ")));

    let began = Instant::now();
    let eyes = Eyes::open(&cluster.client);
    fire(&cluster).await?;
    done(began, "alerts fire, and stand on the nodes as conditions:");
    for (alert, nodes) in scene::ALERTS {
        let (number, priority) = (nodes.len(), alert.priority);
        anstream::println!("  {number:>4} × {:<41}  [P{priority}]", alert.condition);
    }
    if let Some((node, alert)) = scene::sick().last() {
        anstream::println!("  such as {node}: \"{}\"", alert.message(&node));
    }
    anstream::println!("\nThe policy, with short times so that you need not wait:\n");
    for line in scene::POLICY.lines() {
        anstream::println!("    \u{1b}[36m{line}\u{1b}[0m");
    }
    let allowed = scene::allowed(scene::POLICY, scene::CONFIG, scene::NODES);
    let (nodes, racks) = (allowed.nodes, allowed.racks);
    anstream::println!("\nMost out of service at once: nodes {nodes}, racks {racks}.\n");
    crew.begin_to_count().await?;
    cluster.apply(scene::POLICY).await?;
    let screen = Screen::open();
    let tale = show::perform(&cluster, &mut crew, &screen, eyes, allowed).await?;
    conclude(&cluster, &crew, &tale, allowed).await
}

/// Everything but the operator.
async fn prepare() -> Result<Cluster, TryError> {
    let built = Instant::now();
    tokio::task::spawn_blocking(rerail_controlplane::Binaries::ensure)
        .await
        .map_err(std::io::Error::other)??;
    done(built, "etcd, kube-apiserver, controllers, scheduler, kwok: built");
    let began = Instant::now();
    tokio::task::spawn_blocking(|| rerail_e2e::program("rerail"))
        .await
        .map_err(std::io::Error::other)??;
    done(began, "rerail: built");
    let began = Instant::now();
    let options = ClusterOptions { fleet: scene::machines(), ..ClusterOptions::default() };
    let cluster = Cluster::start(options).await?;
    if let Some(config) = scene::CONFIG {
        cluster.apply(config).await?;
    }
    done(began, "control plane is up, with the CRDs and RBAC that users apply");
    let began = Instant::now();
    let pool = Pool::new(scene::POOL, scene::NODES, scene::RACKS);
    cluster.add_pool(&pool).await?;
    done(began, &format!("{} fake machines in {} racks are Ready", scene::NODES, scene::RACKS));
    let began = Instant::now();
    cluster.apply(&scene::workload()).await?;
    pods_run(&cluster).await?;
    let (pods, apps) = (scene::pods(), scene::deployments());
    done(began, &format!("{pods} pods of {apps} Deployments with PDBs run, and a DaemonSet's"));
    Ok(cluster)
}

/// Waits until the pods of the Deployments and of the DaemonSet are Ready.
async fn pods_run(cluster: &Cluster) -> Result<(), Error> {
    let all = scene::pods() + scene::NODES;
    wait_for(&format!("{all} ready pods"), PODS_PATIENCE, || async {
        let ready = async {
            let deployed = ready(cluster, "Deployment", "/status/readyReplicas").await?;
            Ok::<_, kube::Error>(
                deployed + ready(cluster, "DaemonSet", "/status/numberReady").await?,
            )
        };
        let ready = ready.await.map_err(|error| error.to_string())?;
        if usize::try_from(ready) == Ok(all) { Ok(()) } else { Err(format!("{ready} are ready")) }
    })
    .await
}

/// The sum of a number in the status of all objects of a kind.
async fn ready(cluster: &Cluster, kind: &str, number: &str) -> Result<u64, kube::Error> {
    let gvk = kube::core::GroupVersionKind::gvk("apps", "v1", kind);
    let resource = kube::core::ApiResource::from_gvk(&gvk);
    let api: kube::Api<kube::core::DynamicObject> =
        kube::Api::namespaced_with(cluster.client.clone(), "default", &resource);
    let all = api.list(&kube::api::ListParams::default()).await?;
    let of = |app: &kube::core::DynamicObject| app.data.pointer(number).and_then(Value::as_u64);
    Ok(all.iter().filter_map(of).sum())
}

/// Writes what fires as an alert bridge does, one after another; the bridge itself is not there yet.
async fn fire(cluster: &Cluster) -> Result<(), TryError> {
    for (node, alert) in scene::sick() {
        let message = alert.message(&node);
        let (kind, reason) = (alert.condition, alert.reason);
        cluster.fleet.set_condition(&node, kind, "True", reason, &message).await?;
    }
    Ok(())
}

async fn conclude(
    cluster: &Cluster,
    crew: &Crew<'_>,
    tale: &Tale,
    allowed: scene::Allowed,
) -> Result<bool, TryError> {
    let limits = Limits {
        max_parallel: Some(allowed.nodes),
        max_domains: Some(allowed.racks),
        ..Limits::default()
    };
    let truth = cluster.fleet.truth();
    let mut violations = judge(cluster, &truth, &limits).await?.violations;
    let moments = unavailable_over_time(&truth, tale.board.cordons());
    violations.extend(summary::passed(&moments, allowed));
    let sick = scene::sick().map(|(node, _)| node);
    let unhealed: Vec<_> = sick.filter(|node| !tale.board.is_done(node)).collect();
    summary::print(&Summary {
        tale,
        moments: &moments,
        allowed,
        requests: &crew.requests().await?,
        sick: scene::sick().count(),
        unhealed: &unhealed,
        violations: &violations,
    });
    Ok(violations.is_empty() && unhealed.is_empty())
}
