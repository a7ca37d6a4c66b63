//! The ledger of held slots: who has the right to act (planner.md, The ledger). It lives in the
//! operator's Lease, so that admitting is one compare-and-swap whoever leads (SAFE-4).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One held slot. It names the node, so that the rule for releasing it can be applied when the run is
/// gone (protocol R3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Slot {
    /// UID of the run.
    #[serde(rename = "runUID")]
    pub run_uid: String,
    /// The node.
    pub node_name: String,
    /// UID of the node.
    #[serde(rename = "nodeUID")]
    pub node_uid: String,
}

/// One start, for the pace of a policy (`maxStarts`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    /// When.
    pub time: Timestamp,
    /// The policy that started.
    pub policy: String,
}

/// What is held, and what has started lately.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    /// The held slots.
    pub slots: Vec<Slot>,
    /// Recent starts, oldest first.
    pub starts: Vec<Start>,
}
