//! The metrics, in OpenMetrics. No label holds the name of a node: their number is bounded.

mod alerts;
mod sciuro;

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use jiff::{SignedDuration, Timestamp};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use rerail_core::invariants::Invariant;

/// Labels of API requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    verb: &'static str,
    resource: String,
}

/// Labels of what happens to runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    policy: String,
    result: &'static str,
    reason: &'static str,
}

/// Labels of steps.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabel {
    step: &'static str,
}

/// Labels of kinds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// Labels of invariants.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InvariantLabel {
    invariant: &'static str,
}

/// Labels of policies.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PolicyLabel {
    policy: String,
}

/// Labels of what waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WaitLabel {
    policy: String,
    reason: &'static str,
}

/// Upper bounds in seconds, from a quick cordon to an hour's drain.
const SECONDS: [f64; 12] =
    [0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0, 3600.0];

struct Inner {
    registry: Registry,
    api_requests: Family<Request, Counter>,
    remediations: Family<Outcome, Counter>,
    steps: Family<StepLabel, Histogram>,
    active: Family<PolicyLabel, Gauge>,
    held: Family<PolicyLabel, Gauge>,
    waiting: Family<WaitLabel, Gauge>,
    errors: Family<StepLabel, Counter>,
    malformed: Family<KindLabel, Counter>,
    violations: Family<InvariantLabel, Counter>,
    swept: Counter,
    clock_skew: Gauge,
    limits: Limits,
    alerts: alerts::Alerts,
    sciuro: OnceLock<sciuro::Sciuro>,
    leader: Gauge,
    epoch: Gauge,
    renewals_failed: Counter,
    frozen: Mutex<Option<String>>,
    ready: AtomicBool,
    last_plan: AtomicI64,
}

/// How far budgets are used, and what breakers stop.
#[derive(Default)]
struct Limits {
    configured: Gauge,
    limit: Family<PolicyLabel, Gauge>,
    used: Family<PolicyLabel, Gauge>,
    breaker: Family<PolicyLabel, Gauge>,
    cluster_limit: Gauge,
    cluster_used: Gauge,
    meltdown: Gauge,
}

impl Limits {
    fn register(registry: &mut Registry) -> Self {
        let all = Limits::default();
        registry.register(
            "config_last_reload_successful",
            "1 while the ConfigMap rerail-config is in force as it stands; 0 while it cannot be read",
            all.configured.clone(),
        );
        registry.register(
            "budget_limit_nodes",
            "Nodes of the policy that may be out at once",
            all.limit.clone(),
        );
        registry.register(
            "budget_used_nodes",
            "Nodes of the policy that are under remediation, not Ready, cordoned or being deleted",
            all.used.clone(),
        );
        registry.register(
            "breaker_open",
            "1 while the policy's breaker, or a meltdown, keeps anything from starting",
            all.breaker.clone(),
        );
        registry.register(
            "cluster_budget_limit_nodes",
            "Nodes of the cluster that may be out at once; 0 without a configuration",
            all.cluster_limit.clone(),
        );
        registry.register(
            "cluster_budget_used_nodes",
            "Nodes of the cluster that are under remediation, not Ready, cordoned or being deleted",
            all.cluster_used.clone(),
        );
        registry.register(
            "meltdown",
            "1 while more than half of all nodes are not Ready, so that nothing starts",
            all.meltdown.clone(),
        );
        all
    }

    fn forget(&self, policy: &PolicyLabel) {
        self.limit.remove(policy);
        self.used.remove(policy);
        self.breaker.remove(policy);
    }
}

/// All metrics of an operator; clones are the same metrics.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("rerail");
        let api_requests = Family::default();
        registry.register("api_requests", "Requests to the API server", api_requests.clone());
        let remediations = Family::default();
        registry.register("remediations", "Runs that ended, or were held", remediations.clone());
        let steps =
            Family::<StepLabel, Histogram>::new_with_constructor(|| Histogram::new(SECONDS));
        registry.register("step_duration_seconds", "How long runs stayed in a step", steps.clone());
        let active = Family::default();
        registry.register("remediations_active", "Runs that hold a slot", active.clone());
        let held = Family::default();
        registry.register("remediations_held", "Runs that wait for a person", held.clone());
        let waiting = Family::default();
        registry.register(
            "waiting_nodes",
            "Nodes with a trigger that do not start now",
            waiting.clone(),
        );
        let errors = Family::default();
        registry.register(
            "run_errors",
            "Looks at a run that failed and are tried again",
            errors.clone(),
        );
        let malformed = Family::default();
        registry.register(
            "malformed_objects",
            "Objects that could not be read and are left alone",
            malformed.clone(),
        );
        let violations = Family::default();
        registry.register(
            "invariant_violations",
            "Runs that were frozen, since something that must always hold did not",
            violations.clone(),
        );
        let swept = Counter::default();
        registry.register(
            "nodes_swept",
            "Nodes that were given back after their run was deleted by force",
            swept.clone(),
        );
        let clock_skew = clock_skew(&mut registry);
        let limits = Limits::register(&mut registry);
        let alerts = alerts::Alerts::register(&mut registry);
        let (leader, epoch, renewals_failed) = leadership(&mut registry);
        Metrics(Arc::new(Inner {
            registry,
            api_requests,
            remediations,
            steps,
            active,
            held,
            waiting,
            errors,
            malformed,
            violations,
            swept,
            clock_skew,
            limits,
            alerts,
            sciuro: OnceLock::new(),
            leader,
            epoch,
            renewals_failed,
            frozen: Mutex::default(),
            ready: AtomicBool::new(false),
            last_plan: AtomicI64::new(0),
        }))
    }
}

fn clock_skew(registry: &mut Registry) -> Gauge {
    let skew = Gauge::default();
    registry.register(
        "clock_skew_seconds",
        "The API server's clock less the operator's; 0 while they differ by no more than is allowed",
        skew.clone(),
    );
    skew
}

/// Who leads, and how well.
fn leadership(registry: &mut Registry) -> (Gauge, Gauge, Counter) {
    let (leader, epoch, failed) = (Gauge::default(), Gauge::default(), Counter::default());
    registry.register("leader", "1 while this operator leads, else 0", leader.clone());
    registry.register("leader_epoch", "Number of this operator's latest term", epoch.clone());
    let help = "Writes of the Lease that failed and are tried again";
    registry.register("lease_writes_failed", help, failed.clone());
    (leader, epoch, failed)
}

impl Metrics {
    /// Metrics with one sample of each, for the reference page: those without a sample are not served.
    pub fn example() -> Self {
        let metrics = Metrics::default();
        metrics.api_request("get", "nodes");
        metrics.outcome("example", "Succeeded", "Healed");
        metrics.step_ended("Draining", SignedDuration::ZERO);
        metrics.policy_runs("example", 0, 0);
        metrics.policy_budget("example", 0, 0);
        metrics.policy_breaker("example", false);
        metrics.waiting("example", "BudgetExhausted");
        metrics.run_error("Draining");
        metrics.malformed("RemediationPolicy");
        metrics.alerts_example();
        metrics.violated(Invariant::Intent);
        metrics
    }

    /// The page that `/metrics` serves, in OpenMetrics text.
    pub fn page(&self) -> Result<String, std::fmt::Error> {
        let mut page = String::new();
        text::encode_registry(&mut page, &self.0.registry)?;
        if let Some(sciuro) = self.0.sciuro.get() {
            text::encode_registry(&mut page, &sciuro.registry)?;
        }
        text::encode_eof(&mut page)?;
        Ok(page)
    }

    pub(crate) fn api_request(&self, verb: &'static str, resource: &str) {
        let labels = Request { verb, resource: resource.to_owned() };
        self.0.api_requests.get_or_create(&labels).inc();
    }

    pub(crate) fn step_ended(&self, step: &'static str, lasted: SignedDuration) {
        self.0.steps.get_or_create(&StepLabel { step }).observe(lasted.as_secs_f64());
    }

    pub(crate) fn outcome(&self, policy: &str, result: &'static str, reason: &'static str) {
        let labels = Outcome { policy: policy.to_owned(), result, reason };
        self.0.remediations.get_or_create(&labels).inc();
    }

    pub(crate) fn run_error(&self, step: &'static str) {
        self.0.errors.get_or_create(&StepLabel { step }).inc();
    }

    pub(crate) fn malformed(&self, kind: &'static str) {
        self.0.malformed.get_or_create(&KindLabel { kind }).inc();
    }

    pub(crate) fn violated(&self, invariant: Invariant) {
        let label = InvariantLabel { invariant: invariant.name() };
        self.0.violations.get_or_create(&label).inc();
    }

    pub(crate) fn clock_skew(&self, skew: Option<SignedDuration>) {
        self.0.clock_skew.set(skew.map_or(0, |skew| skew.as_secs()));
    }

    pub(crate) fn policy_budget(&self, policy: &str, limit: i64, used: i64) {
        let label = PolicyLabel { policy: policy.to_owned() };
        self.0.limits.limit.get_or_create(&label).set(limit);
        self.0.limits.used.get_or_create(&label).set(used);
    }

    pub(crate) fn policy_breaker(&self, policy: &str, open: bool) {
        let label = PolicyLabel { policy: policy.to_owned() };
        self.0.limits.breaker.get_or_create(&label).set(open.into());
    }

    /// Limit and use of the cluster's budget, if it is configured, and whether it is a meltdown.
    pub(crate) fn cluster(&self, budget: Option<(i64, i64)>, meltdown: bool) {
        let (limit, used) = budget.unwrap_or_default();
        self.0.limits.cluster_limit.set(limit);
        self.0.limits.cluster_used.set(used);
        self.0.limits.meltdown.set(meltdown.into());
    }

    pub(crate) fn configured(&self, in_force: bool) {
        self.0.limits.configured.set(in_force.into());
    }

    pub(crate) fn swept(&self) {
        self.0.swept.inc();
    }

    pub(crate) fn policy_runs(&self, policy: &str, active: i64, held: i64) {
        let label = PolicyLabel { policy: policy.to_owned() };
        self.0.active.get_or_create(&label).set(active);
        self.0.held.get_or_create(&label).set(held);
    }

    pub(crate) fn reset_waiting(&self) {
        self.0.waiting.clear();
    }

    pub(crate) fn waiting(&self, policy: &str, reason: &'static str) {
        self.0.waiting.get_or_create(&WaitLabel { policy: policy.to_owned(), reason }).inc();
    }

    pub(crate) fn forget_policy(&self, policy: &str) {
        let label = PolicyLabel { policy: policy.to_owned() };
        self.0.limits.forget(&label);
        self.0.active.remove(&label);
        self.0.held.remove(&label);
    }

    /// Whether this process can lead, or does: what `/readyz` says. An operator that stands by with warm
    /// caches is ready, too.
    ///
    /// # Errors
    /// Why not, in a sentence.
    pub fn ready(&self) -> Result<(), String> {
        let frozen = self.0.frozen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match frozen {
            Some(why) => Err(why),
            None if self.0.ready.load(Ordering::Relaxed) => Ok(()),
            None => Err("not everything is known yet".to_owned()),
        }
    }

    /// The ledger cannot be read, and nobody may act.
    pub(crate) fn set_frozen(&self, why: Option<String>) {
        *self.0.frozen.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    pub(crate) fn leads(&self, epoch: i64) {
        self.0.leader.set(1);
        self.0.epoch.set(epoch);
    }

    /// A term is over; nobody plans here until the next.
    pub(crate) fn stands_by(&self) {
        self.0.leader.set(0);
        self.0.last_plan.store(0, Ordering::Relaxed);
    }

    pub(crate) fn renewal_failed(&self) {
        self.0.renewals_failed.inc();
    }

    pub(crate) fn set_ready(&self) {
        self.0.ready.store(true, Ordering::Relaxed);
    }

    pub(crate) fn planned(&self, now: Timestamp) {
        self.0.last_plan.store(now.as_second(), Ordering::Relaxed);
    }

    /// False when the planner has not run for two minutes, though it runs at least every 30 s: what
    /// `/healthz` says. Before the first plan the process counts as alive.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        let last = self.0.last_plan.load(Ordering::Relaxed);
        last == 0 || now.as_second() - last < 120
    }
}
