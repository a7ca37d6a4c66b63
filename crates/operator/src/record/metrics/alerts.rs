//! Metrics of alert sources.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use rerail_core::{
    alert::conditions::Change,
    facts::{ConditionFact, NodeFacts},
};

use super::Metrics;

/// Labels of a source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    source: String,
}

/// Labels of a server of a source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServerLabel {
    source: String,
    server: String,
}

/// Labels of what is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WrittenLabel {
    status: &'static str,
}

/// Labels of pushes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PushLabel {
    result: &'static str,
}

/// Upper bounds in seconds, from a server beside us to one that hangs.
const SECONDS: [f64; 8] = [0.005, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

pub(super) struct Alerts {
    up: Family<ServerLabel, Gauge>,
    failed: Family<ServerLabel, Counter>,
    took: Family<SourceLabel, Histogram>,
    firing: Family<SourceLabel, Gauge>,
    matched: Family<SourceLabel, Gauge>,
    written: Family<WrittenLabel, Counter>,
    pushes: Family<PushLabel, Counter>,
}

impl Alerts {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let all = Alerts {
            up: Family::default(),
            failed: Family::default(),
            took: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            firing: Family::default(),
            matched: Family::default(),
            written: Family::default(),
            pushes: Family::default(),
        };
        registry.register(
            "alert_source_up",
            "1 while this server of an AlertSource answers, else 0",
            all.up.clone(),
        );
        registry.register(
            "alert_source_polls_failed",
            "Questions to this server of an AlertSource that got no good answer",
            all.failed.clone(),
        );
        registry.register(
            "alert_source_poll_duration_seconds",
            "How long servers of an AlertSource took to answer",
            all.took.clone(),
        );
        registry.register(
            "alerts_firing",
            "Alerts of an AlertSource that fire, whether or not they belong to a node",
            all.firing.clone(),
        );
        registry.register(
            "alerts_matched",
            "Alerts of an AlertSource that fire and belong to a node",
            all.matched.clone(),
        );
        registry.register(
            "alert_conditions_written",
            "Conditions of nodes that were written from alerts, by their new status, or Removed",
            all.written.clone(),
        );
        registry.register(
            "alert_pushes",
            "Webhooks that had an AlertSource polled (Polled), were not allowed to (Denied), came to an operator that does not lead or has just begun to (NotHere), were too many that were not allowed to (TooMany), or did not get through the TLS handshake (NoHandshake)",
            all.pushes.clone(),
        );
        all
    }

    fn forget(&self, source: &str, servers: &[String]) {
        for server in servers {
            let label = ServerLabel { source: source.to_owned(), server: server.clone() };
            self.up.remove(&label);
            self.failed.remove(&label);
        }
        let label = SourceLabel { source: source.to_owned() };
        self.took.remove(&label);
        self.firing.remove(&label);
        self.matched.remove(&label);
    }
}

impl Metrics {
    /// A server of a source was asked.
    pub(crate) fn alerts_asked(
        &self,
        source: &str,
        server: &str,
        good: bool,
        took: SignedDuration,
    ) {
        let alerts = &self.0.alerts;
        let label = ServerLabel { source: source.to_owned(), server: server.to_owned() };
        alerts.up.get_or_create(&label).set(good.into());
        let failed = alerts.failed.get_or_create(&label);
        if let Some(sciuro) = self.0.sciuro.get() {
            sciuro.asked(good, took);
        }
        if good {
            let label = SourceLabel { source: source.to_owned() };
            alerts.took.get_or_create(&label).observe(took.as_secs_f64());
        } else {
            failed.inc();
        }
    }

    /// A webhook came, and this came of it.
    pub fn alert_pushed(&self, result: &'static str) {
        self.0.alerts.pushes.get_or_create(&PushLabel { result }).inc();
    }

    /// One sample of each.
    pub(super) fn alerts_example(&self) {
        self.alerts_asked("example", "http://alertmanager:9093", true, SignedDuration::ZERO);
        self.alert_source("example", 0, 0);
        self.alert_pushed("Polled");
        self.conditions_written(&[(String::new(), Change::Remove)].into(), None);
    }

    /// What fires, by a source.
    pub(crate) fn alert_source(&self, source: &str, firing: usize, matched: usize) {
        let label = SourceLabel { source: source.to_owned() };
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.0.alerts.firing.get_or_create(&label).set(number(firing));
        self.0.alerts.matched.get_or_create(&label).set(number(matched));
        if let Some(sciuro) = self.0.sciuro.get() {
            sciuro.fires(source, number(firing));
        }
    }

    /// A source is not polled any more.
    pub(crate) fn forget_alert_source(&self, source: &str, servers: &[String]) {
        self.0.alerts.forget(source, servers);
        if let Some(sciuro) = self.0.sciuro.get() {
            sciuro.forget(source);
        }
    }

    /// Conditions of a node were written, which were these before.
    pub(crate) fn conditions_written(
        &self,
        changes: &BTreeMap<String, Change>,
        before: Option<&NodeFacts>,
    ) {
        for (kind, change) in changes {
            if let Some(sciuro) = self.0.sciuro.get() {
                let before = before.and_then(|facts| facts.conditions.get(kind));
                sciuro.written(before.map(ConditionFact::status), change);
            }
            let status = match change {
                Change::Set(condition) => condition.status.as_str(),
                Change::Remove => "Removed",
            };
            self.0.alerts.written.get_or_create(&WrittenLabel { status }).inc();
        }
    }
}
