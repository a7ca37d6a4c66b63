//! Boards for tests, from objects as an API server has them.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Board, Seen};

/// When it begins: 2026-01-01T00:00:00Z.
pub fn start() -> Timestamp {
    Timestamp::constant(1_767_225_600, 0)
}

/// A board that is shown objects at seconds since the beginning.
pub struct Fixture {
    /// The board.
    pub board: Board,
}

impl Default for Fixture {
    fn default() -> Self {
        Fixture::new()
    }
}

impl Fixture {
    /// Nothing has been shown.
    pub fn new() -> Self {
        Fixture { board: Board::new(start()) }
    }

    /// Somebody writes an object.
    pub fn by(&mut self, by: &str, second: i64, resource: &str, object: &Value) {
        let at = start().saturating_add(SignedDuration::from_secs(second)).unwrap_or_default();
        self.board.see(&Seen { at, by, resource, object, gone: false });
    }

    /// A node is deleted.
    pub fn deleted(&mut self, second: i64, name: &str) {
        let at = start().saturating_add(SignedDuration::from_secs(second)).unwrap_or_default();
        let object = json!({ "metadata": { "name": name } });
        self.board.see(&Seen { at, by: "", resource: "nodes", object: &object, gone: true });
    }

    /// A node is written.
    pub fn node(&mut self, second: i64, name: &str, rack: &str, node: &Node) {
        let mut conditions = vec![
            json!({ "type": "Ready", "status": if node.down { "Unknown" } else { "True" } }),
            json!({ "type": "MemoryPressure", "status": "False" }),
        ];
        if let Some(message) = node.alert {
            conditions
                .push(json!({ "type": "AlertManager_X", "status": "True", "message": message }));
        }
        let mut object = json!({
            "metadata": { "name": name, "labels": {
                "topology.kubernetes.io/zone": "zone-1",
                "node-restriction.kubernetes.io/rack": rack,
            }, "annotations": {} },
            "spec": { "unschedulable": node.cordon.is_some() },
            "status": { "conditions": conditions },
        });
        if node.cordon == Some(true) {
            object["metadata"]["annotations"]["rerail.dev/cordoned-by"] = json!("run/uid");
        }
        self.by("", second, "nodes", &object);
    }

    /// A run is written.
    pub fn run(&mut self, second: i64, node: &str, step: &str, reason: &str, message: &str) {
        let object = json!({
            "metadata": { "name": format!("{node}-0a1b"), "uid": format!("uid-{node}") },
            "spec": { "nodeName": node },
            "status": {
                "step": step, "priority": 6, "attempt": 1,
                "conditions": [{ "type": "Succeeded", "status": "Unknown", "reason": reason, "message": message }],
            },
        });
        self.by("", second, "noderemediations", &object);
    }

    /// A policy is written.
    pub fn policy(&mut self, second: i64, generation: i64, status: &Value) {
        let object = json!({
            "metadata": { "name": "generic-workers", "generation": generation },
            "spec": { "mode": "Enforce" }, "status": status,
        });
        let mut object = object;
        object["status"]["observedGeneration"] = json!(generation);
        self.by("ann", second, "remediationpolicies", &object);
    }
}

/// What a node shows.
#[derive(Default)]
pub struct Node {
    /// Message of its one alert.
    pub alert: Option<&'static str>,
    /// It is not Ready.
    pub down: bool,
    /// It is cordoned; `true` by us.
    pub cordon: Option<bool>,
}
