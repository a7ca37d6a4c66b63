//! How long one cycle takes: an answer of Alertmanager is read, its alerts are placed on nodes, and it is
//! decided what has to be written.

use std::{collections::BTreeMap, hint::black_box, sync::Arc, time::Instant};

use jiff::SignedDuration;
use rerail_alerts::{
    expression::{self, Expression},
    matching::{Matcher, NodeNames},
    shown,
};
use rerail_core::{
    alert::{
        self, Alert,
        conditions::Change,
        plan::{NodeChanges, Placed, Settings, changes},
        source::{Answer, Patience, Server, view},
    },
    facts::NodeFacts,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::world;

/// Nodes and alerts.
const SIZES: [(usize, usize); 3] = [(1_000, 500), (5_000, 500), (5_000, 2_000)];

/// An expression in which no node's name can be found: every alert is tried on every node.
const TRIED: &str = r#"labels["instance"].matches("^" + ShortName + "(:[0-9]+)?$")"#;

/// Cycles of each kind.
const CYCLES: usize = 20;

/// Times of one kind of cycle.
#[derive(Debug, Serialize, Deserialize)]
pub struct Cycles {
    /// Nodes that there are.
    pub nodes: usize,
    /// Alerts that fire, each on one node.
    pub alerts: usize,
    /// How their nodes are found.
    pub by: String,
    /// What is decided.
    pub what: String,
    /// Nodes to be written.
    pub writes: usize,
    /// The times of all cycles, in milliseconds.
    pub milliseconds: Vec<f64>,
}

/// All that is measured of alerts.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    /// How it was compiled.
    pub profile: String,
    /// The cycles.
    pub cycles: Vec<Cycles>,
}

/// Measures.
pub fn measure() -> Record {
    let optimised = if cfg!(debug_assertions) { "dev, not optimised" } else { "release" };
    let by_name = SIZES.map(|(nodes, alerts)| of("name", expression::DEFAULT, nodes, alerts));
    // Every alert on every node at first: one size tells enough.
    let tried = of("trial", TRIED, 5_000, 500);
    let cycles = by_name.into_iter().flatten().chain(tried).collect();
    Record { profile: optimised.to_owned(), cycles }
}

/// An answer as Alertmanager gives it.
fn answer(alerts: usize, nodes: &[String]) -> String {
    let alert = |number: usize| {
        let node = &nodes[number * nodes.len() / alerts];
        json!({
            "labels": {
                "alertname": format!("Alert{}", number % 20), "node": node, "priority": "6",
                "instance": format!("{node}:9100"), "job": "node-exporter", "cluster": "main",
                "notify": "node-condition-k8s", "severity": "warning",
            },
            "annotations": {
                "summary": format!("Something of {node} is not as it should be"),
                "dashboard": "https://grafana.example.com/d/abcdefgh/node-overview?orgId=1",
            },
            "startsAt": "2026-01-01T00:00:00Z", "endsAt": "2026-01-01T01:00:00Z",
            "updatedAt": "2026-01-01T00:00:00Z", "fingerprint": format!("{number:016x}"),
            "generatorURL": "https://prometheus.example.com/graph?g0.expr=up+%3D%3D+0",
            "receivers": [{ "name": "node-condition-k8s" }],
            "status": { "inhibitedBy": [], "mutedBy": [], "silencedBy": [], "state": "active" },
        })
    };
    (0..alerts).map(alert).collect::<serde_json::Value>().to_string()
}

/// What lasts from cycle to cycle.
struct Bridge {
    nodes: BTreeMap<String, Arc<NodeFacts>>,
    matcher: Matcher,
    servers: Vec<Vec<Server<Placed>>>,
}

impl Bridge {
    fn new(expression: &str, nodes: usize) -> Option<Self> {
        let facts = (0..nodes).map(|index| world::node(index, None));
        let nodes: BTreeMap<_, _> =
            facts.map(|facts| (facts.name.clone(), Arc::new(facts))).collect();
        let mut matcher = Matcher::new(Expression::parse(expression).ok()?);
        let names = NodeNames::new(nodes.keys().map(String::as_str));
        matcher.set_names(names).finish(&mut matcher);
        Some(Bridge { nodes, matcher, servers: vec![vec![Server::default()]] })
    }

    /// One cycle, as the operator has it after each answer.
    fn cycle(&mut self, body: &str) -> Vec<NodeChanges> {
        let now = world::began();
        let shown = shown::alertmanager(body.as_bytes()).map(|answer| answer.alerts);
        let read = |shown: shown::Shown| {
            alert::read(shown.labels, shown.summary.as_deref(), alert::DEFAULT_PREFIX).0
        };
        let alerts: Vec<Alert> = shown.into_iter().flatten().filter_map(read).collect();
        let trial = self.matcher.trial(alerts.iter().map(|alert| &alert.labels));
        trial.finish(&mut self.matcher);
        let place = |alert: Alert| {
            let matched = self.matcher.nodes_of(&alert.labels);
            Placed { alert, nodes: matched.nodes, failed: matched.failed }
        };
        let alerts = alerts.into_iter().map(place).collect();
        self.servers[0][0].answered(Answer { at: now, alerts, sees: true, warm: true });
        let minutes = SignedDuration::from_mins;
        let patience = Patience { stale_after: minutes(3), warm_up: minutes(3), since: now };
        let settings = Settings {
            prefix: alert::DEFAULT_PREFIX,
            linger: SignedDuration::from_hours(96),
            heartbeat_interval: minutes(5),
        };
        let view = view(&self.servers, patience, now);
        changes(&self.nodes, &view, settings, |_| None, now).0
    }

    /// As if everything had been written.
    fn write(&mut self, all: &[NodeChanges]) {
        for NodeChanges { node, changes, .. } in all {
            let Some(facts) = self.nodes.get_mut(node).map(Arc::make_mut) else { continue };
            for (kind, change) in changes {
                let Change::Set(condition) = change else { continue };
                let mut fact =
                    world::condition(kind, condition.status.as_str(), &condition.message);
                fact.reason = condition.reason.into();
                facts.conditions.insert(fact);
            }
        }
    }
}

/// What comes of some work, and how long it took in milliseconds.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the time of the machine")]
fn took<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let began = Instant::now();
    let done = work();
    (done, began.elapsed().as_secs_f64() * 1e3)
}

fn of(by: &str, expression: &str, nodes: usize, alerts: usize) -> Vec<Cycles> {
    eprintln!("  {nodes} nodes, {alerts} alerts, by {by}");
    let Some(mut bridge) = Bridge::new(expression, nodes) else { return Vec::new() };
    let names: Vec<String> = bridge.nodes.keys().cloned().collect();
    let body = answer(alerts, &names);
    let timed = |what: &str, cycles: usize, bridge: &mut Bridge| {
        let (mut milliseconds, mut all) = (Vec::new(), Vec::new());
        for _ in 0..cycles {
            let (found, time) = took(|| black_box(bridge.cycle(&body)));
            all = found;
            milliseconds.push(time);
        }
        let (by, what) = (by.to_owned(), what.to_owned());
        (Cycles { nodes, alerts, by, what, writes: all.len(), milliseconds }, all)
    };
    let mut found = Vec::new();
    if by == "trial" {
        found.push(timed("seen for the first time", 1, &mut bridge).0);
    }
    let (new, all) = timed("all are new", CYCLES, &mut bridge);
    bridge.write(&all);
    let (same, _) = timed("nothing has changed", CYCLES, &mut bridge);
    found.extend([new, same]);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_writes_what_is_new_and_then_nothing() {
        for (by, expression) in [("name", expression::DEFAULT), ("trial", TRIED)] {
            let found = of(by, expression, 100, 40);
            let writes: Vec<_> = found.iter().map(|cycles| cycles.writes).collect();
            let expected: &[usize] = if by == "trial" { &[40, 40, 0] } else { &[40, 0] };
            assert_eq!(writes, expected, "{by}");
        }
    }
}
