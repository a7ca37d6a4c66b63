//! What came of a play: the shape that `rerail simulate -o json` prints, and what its tables are made of.
//! Fields are only added; what is here keeps its name and meaning while `version` stays the same.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rerail_core::words::one_line;
use rerail_sim::world::{Expect, Scene};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    board::{Board, Entry, Face, Most},
    expect,
    play::Played,
    what_if::Acting,
};

/// Seconds: a drain that goes on sooner was only paced.
const BRIEF: i64 = 60;

/// Characters of others' words that are told: what a condition or a budget says must not move a terminal's cursor.
pub const SENTENCE: usize = 500;

/// The version of the shape.
pub const VERSION: u32 = 1;

/// What came of it. Times are by the cluster's clock, in whole seconds; those that end in `At` are from the
/// beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Version of the shape.
    pub version: u32,
    /// Name of the scenario.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// No violation, all was done that the scenario wants to happen, and everything is as it expects it.
    pub as_expected: bool,
    /// The scenario expects something.
    pub expects: bool,
    /// What is not as the scenario expects it, one sentence each.
    pub missed: Vec<String>,
    /// What the scenario wanted to happen and could not, such as an edit that the API server refused, each with
    /// its place. Not as expected, either.
    pub not_done: Vec<String>,
    /// What is to be known beside it, such as what of a cluster is left out.
    pub notes: Vec<String>,
    /// What must never be, and was; one sentence each, with the property. Always empty, unless Rerail has a
    /// bug.
    pub violations: Vec<String>,
    /// How it ended.
    pub ending: Ending,
    /// How long it was played.
    pub played_seconds: i64,
    /// How many nodes there are.
    pub nodes: usize,
    /// How many of them were in trouble at some time: sick by a condition, not Ready, or cordoned.
    pub troubled: usize,
    /// How many were healed by a run.
    pub healed: usize,
    /// From the first trouble until every node was healthy and in service; absent if that was never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cleared_after_seconds: Option<i64>,
    /// From a node's alert to its health, of runs that healed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_alert: Option<Lengths>,
    /// From a node's admission, which its cordon follows at once, to its health, of runs that healed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_cordon: Option<Lengths>,
    /// Nodes out of service in the whole cluster: not Ready, or cordoned by anybody.
    pub unavailable: MostView,
    /// Nodes under remediation in the whole cluster.
    pub under_remediation: MostView,
    /// Failure domains in which runs were under way.
    pub domains_open: MostView,
    /// Budgets of policies.
    pub policies: Vec<PolicyReport>,
    /// Storms: conditions that were on many nodes at once, so that a detector was suspected and nothing, or little,
    /// started for them. In the order in which they began.
    pub storms: Vec<StormReport>,
    /// Failure domains in which a node was out of service.
    pub domains: Vec<DomainReport>,
    /// Who was admitted, in that order.
    pub order: Vec<Admitted>,
    /// Drains that were refused for a minute or longer at a stretch, or that were given up for it.
    pub blocked_drains: Vec<BlockedDrain>,
    /// How many drains were refused for less than a minute, as a budget does that lets one Pod go at a time.
    pub briefly_blocked_drains: usize,
    /// Nodes that are not healthy and in service in the end.
    pub left: Vec<Left>,
}

/// How a play ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Ending {
    /// Nothing more can happen by itself.
    Settled,
    /// What can heal had not healed a day after the last event.
    GaveUp,
    /// The scenario is played no longer.
    Stopped,
}

/// Lengths of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lengths {
    /// Half of them were not longer.
    pub median_seconds: i64,
    /// None was longer.
    pub longest_seconds: i64,
}

/// The most of something at any one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MostView {
    /// The most that there was.
    pub most: usize,
    /// What the limit is in the end.
    pub limit: usize,
}

/// One policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyReport {
    /// Its name.
    pub name: String,
    /// Its mode.
    pub mode: String,
    /// Its nodes out of service, by its budget.
    pub unavailable: MostView,
    /// Condition types that it suspects to be a detector's fault in the end.
    pub storms: Vec<String>,
}

/// A storm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StormReport {
    /// The policy whose breaker stopped it.
    pub policy: String,
    /// The condition's type.
    pub condition: String,
    /// When it began.
    pub seconds_at: i64,
    /// When it was over; absent if it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over_at: Option<i64>,
}

/// One failure domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainReport {
    /// Its name.
    pub name: String,
    /// How many nodes there are in it.
    pub nodes: usize,
    /// The most of them that were out of service at any one time.
    pub most_unavailable: usize,
}

/// One admission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Admitted {
    /// When.
    pub seconds_at: i64,
    /// The node.
    pub node: String,
    /// Its failure domain.
    pub domain: String,
    /// Its priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u16>,
}

/// A drain that was refused for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockedDrain {
    /// The node.
    pub node: String,
    /// When it began.
    pub seconds_at: i64,
    /// For how long.
    pub for_seconds: i64,
    /// What became of it.
    pub then: Then,
    /// Who refused, and why.
    pub message: String,
}

/// What became of a drain that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Then {
    /// It went on.
    WentOn,
    /// The run gave up, and gave the node back or holds it.
    GaveUp,
    /// It is refused still.
    StillBlocked,
}

/// A node that is not healthy and in service in the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Left {
    /// The node.
    pub node: String,
    /// How it looks.
    pub state: String,
    /// Why, in a sentence; empty where nobody says.
    pub why: String,
}

pub(crate) fn of(scene: &Scene, seed: u64, played: &Played) -> Report {
    let board = &played.board;
    let start = board.start();
    let left = left(scene, board);
    let (blocked_drains, brief): (Vec<_>, Vec<_>) = blocked(board, start)
        .into_iter()
        .partition(|drain| drain.for_seconds >= BRIEF || drain.then != Then::WentOn);
    let mut report = Report {
        version: VERSION,
        scenario: one_line(&scene.name, SENTENCE),
        seed,
        as_expected: false,
        expects: scene.expect != Expect::default(),
        missed: Vec::new(),
        not_done: played.not_done.clone(),
        notes: Vec::new(),
        violations: board.violations().to_vec(),
        ending: played.ending,
        played_seconds: board.elapsed().as_secs(),
        nodes: board.nodes().len(),
        troubled: played.troubled.len(),
        healed: board.nodes().values().filter(|entry| entry.healed > 0).count(),
        cleared_after_seconds: cleared(played).filter(|_| left.is_empty()),
        from_alert: lengths(board.times().1),
        from_cordon: lengths(board.times().0),
        unavailable: most(board.out()),
        under_remediation: most(board.under_remediation()),
        domains_open: most(board.racks_open()),
        policies: policies(board),
        storms: storms(board, start),
        domains: domains(board),
        order: order(board, start),
        blocked_drains,
        briefly_blocked_drains: brief.len(),
        left,
    };
    report.missed = expect::missed(&scene.expect, &report);
    let good = report.missed.is_empty() && report.not_done.is_empty();
    report.as_expected = good && report.violations.is_empty();
    report
}

/// From the first trouble to the last.
fn cleared(played: &Played) -> Option<i64> {
    let first = played.first_trouble?;
    let last = played.troubled.values().max()?;
    Some(last.duration_since(first).as_secs().saturating_add(1))
}

fn lengths(all: &[SignedDuration]) -> Option<Lengths> {
    let mut sorted = all.to_vec();
    sorted.sort();
    Some(Lengths {
        median_seconds: sorted.get(sorted.len() / 2)?.as_secs(),
        longest_seconds: sorted.last()?.as_secs(),
    })
}

fn most(most: Most) -> MostView {
    MostView { most: most.most, limit: most.allowed }
}

fn policies(board: &Board) -> Vec<PolicyReport> {
    let of = |(name, policy): (&String, &crate::board::Policy)| PolicyReport {
        name: name.clone(),
        mode: policy.mode.clone(),
        unavailable: most(policy.budget),
        storms: policy.storms.iter().map(|storm| storm.condition.clone()).collect(),
    };
    board.policies().iter().map(of).collect()
}

fn storms(board: &Board, start: Timestamp) -> Vec<StormReport> {
    let after = |time: Timestamp| time.duration_since(start).as_secs();
    let of = |was: &crate::board::WasStorm| StormReport {
        policy: was.policy.clone(),
        condition: one_line(&was.condition, SENTENCE),
        seconds_at: after(was.since),
        over_at: was.until.map(after),
    };
    board.storms().iter().map(of).collect()
}

fn domains(board: &Board) -> Vec<DomainReport> {
    let of = |(name, most): (&String, &Most)| DomainReport {
        name: name.clone(),
        nodes: most.allowed,
        most_unavailable: most.most,
    };
    board.out_by_domain().iter().filter(|(_, most)| most.most > 0).map(of).collect()
}

fn order(board: &Board, start: Timestamp) -> Vec<Admitted> {
    let of = |admission: &crate::board::Admission| Admitted {
        seconds_at: admission.at.duration_since(start).as_secs(),
        node: admission.node.clone(),
        domain: admission.domain.clone(),
        priority: admission.priority,
    };
    board.admissions().iter().map(of).collect()
}

fn blocked(board: &Board, start: Timestamp) -> Vec<BlockedDrain> {
    let of = |blocked: &crate::board::Blocked| BlockedDrain {
        node: blocked.node.clone(),
        seconds_at: blocked.since.duration_since(start).as_secs(),
        for_seconds: blocked.until.unwrap_or(board.now()).duration_since(blocked.since).as_secs(),
        then: match (blocked.until, blocked.gave_up) {
            (None, _) => Then::StillBlocked,
            (Some(_), None) => Then::WentOn,
            (Some(_), Some(_)) => Then::GaveUp,
        },
        message: one_line(&blocked.message, SENTENCE),
    };
    board.blocked().iter().map(of).collect()
}

fn left(scene: &Scene, board: &Board) -> Vec<Left> {
    let queue: BTreeMap<_, _> =
        board.queue().into_iter().map(|waits| (waits.node.as_str(), waits)).collect();
    let acting = Acting::of(scene);
    let is_ignored = |name: &str, entry: &Entry| {
        acting.as_ref().is_some_and(|acting| {
            !entry.troubles.iter().any(|trouble| acting.on(name, &trouble.condition))
        })
    };
    let is_left = |entry: &Entry| !matches!(entry.face(), Face::Healthy | Face::Healed);
    let of = |(name, entry): (&String, &Entry)| {
        let face = entry.face();
        let run =
            entry.run.as_ref().map(|run| run.message.as_str()).filter(|words| !words.is_empty());
        let waits = queue.get(name.as_str()).map(|waits| waits.message.as_str());
        let trouble = entry.troubles.first();
        let message = trouble.map(|trouble| trouble.message.as_str());
        let (state, why) = match face {
            Face::Waiting(_) if is_ignored(name, entry) => {
                let kind = trouble.map_or("its condition", |trouble| trouble.condition.as_str());
                ("sick", Some(format!("no policy acts on {kind}")))
            }
            Face::Waiting(_) => ("waits", waits.or(run).or(message).map(str::to_owned)),
            Face::Down | Face::Foreign => (face.meaning(), run.or(waits).map(str::to_owned)),
            face => (face.meaning(), run.map(str::to_owned)),
        };
        let why = one_line(&why.unwrap_or_default(), SENTENCE);
        Left { node: name.clone(), state: state.to_owned(), why }
    };
    board.nodes().iter().filter(|(_, entry)| is_left(entry)).map(of).collect()
}
