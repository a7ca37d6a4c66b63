//! Properties of the world, checked against the truth log and not against the operator's belief.
//!
//! | property | here |
//! |---|---|
//! | SAFE-1 at most one boot per attempt | [`Violation::BootedTwice`] |
//! | SAFE-3 no boot without a Pod that passed the check | [`Violation::BootWithoutAct`] |
//! | SAFE-6, SAFE-21 only a node cordoned by that run goes down | [`Violation::NotCordonedByRun`] |
//! | SAFE-13 identity | [`Violation::WrongNode`] |
//! | SAFE-8 never a control-plane node, unless allowed | [`Violation::ControlPlane`] |
//! | SAFE-4 no more machines or domains down at a time than allowed | [`Violation::TooManyDown`], [`Violation::TooManyDomains`] |
//! | SAFE-20 no claim of a boot that never was | [`Violation::ClaimWithoutBoot`] |
//!
//! What was taken out of service, and whether it was allowed to be, is checked by `starts.rs`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{EventKind, TruthEvent};

/// What a test allows the operator.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// The most machines that the operator may have down at any time; `None` for no limit.
    pub max_parallel: Option<usize>,
    /// The most domains (zone and rack) in which it may have machines down at any time.
    pub max_domains: Option<usize>,
    /// Whether it may reboot control-plane nodes.
    pub control_plane: bool,
    /// The most nodes out of service when a run takes one more, that one included; whoever took the
    /// others.
    pub out: Option<usize>,
    /// The same among the nodes with the same label `pool`, by its value.
    pub out_per_pool: BTreeMap<String, usize>,
    /// The same in one domain (zone and rack).
    pub out_per_domain: Option<usize>,
    /// The most domains in which runs hold slots.
    pub open_domains: Option<usize>,
    /// Whether each run has to be admitted before all less urgent ones: where nothing but a limit
    /// keeps any of them back.
    pub in_order: bool,
}

/// What the operator says of one of its runs in the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunSummary {
    /// UID of the NodeRemediation.
    pub uid: String,
    /// UID of the node that the run is for.
    pub node_uid: String,
    /// True when the run claims that it rebooted the node (condition Rebooted is True).
    pub claims_boot: bool,
    /// How urgent it is, if it says so.
    pub priority: Option<i32>,
    /// Since when its cause is there.
    pub since: Option<Timestamp>,
    /// When it got its slot.
    pub admitted: Option<Timestamp>,
    /// When it was held, if it was, and so gave its slot back.
    pub held: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
}

/// A property that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// One attempt booted a machine more than once.
    #[error("SAFE-1: attempt {attempt} of run {run} caused {boots} boots of {node}")]
    BootedTwice {
        /// UID of the run.
        run: String,
        /// The attempt.
        attempt: u32,
        /// Name of the node.
        node: String,
        /// How many boots.
        boots: usize,
    },
    /// A machine went down or booted in the name of a Pod that never acted on it.
    #[error(
        "SAFE-3: {node} went {what} at {t} for attempt {attempt} of run {run}, but no Pod of that \
         attempt acted on it before"
    )]
    BootWithoutAct {
        /// When.
        t: Timestamp,
        /// Name of the node.
        node: String,
        /// `down` or `up`.
        what: &'static str,
        /// UID of the run.
        run: String,
        /// The attempt.
        attempt: u32,
    },
    /// A Pod acted on a node whose cordon was not its run's.
    #[error(
        "SAFE-6/21: run {run} acted on {node} at {t} while the node was {state}; a run reboots \
         only a node that it has cordoned itself"
    )]
    NotCordonedByRun {
        /// When.
        t: Timestamp,
        /// Name of the node.
        node: String,
        /// UID of the run.
        run: String,
        /// What the node looked like.
        state: String,
    },
    /// A Pod acted on another node object than its run is for.
    #[error("SAFE-13: run {run} is for node UID {wanted}, but acted on {node} with UID {found}")]
    WrongNode {
        /// UID of the run.
        run: String,
        /// Name of the node.
        node: String,
        /// The UID the run is for.
        wanted: String,
        /// The UID of the node it acted on.
        found: String,
    },
    /// A Pod acted on a control-plane node.
    #[error("SAFE-8: run {run} acted on the control-plane node {node} at {t}")]
    ControlPlane {
        /// When.
        t: Timestamp,
        /// Name of the node.
        node: String,
        /// UID of the run.
        run: String,
    },
    /// More machines were down by the operator than allowed.
    #[error(
        "SAFE-4: at {t} the operator had {} machines down, {limit} allowed: {}",
        nodes.len(), nodes.join(", ")
    )]
    TooManyDown {
        /// When the limit was first passed.
        t: Timestamp,
        /// The limit.
        limit: usize,
        /// The machines.
        nodes: Vec<String>,
    },
    /// Machines were down by the operator in more domains than allowed.
    #[error(
        "SAFE-4: at {t} the operator had machines down in {} domains, {limit} allowed: {}",
        domains.len(), domains.join(", ")
    )]
    TooManyDomains {
        /// When the limit was first passed.
        t: Timestamp,
        /// The limit.
        limit: usize,
        /// The domains.
        domains: Vec<String>,
    },
    /// A run took a node out of service, and more were out than allowed.
    #[error(
        "SAFE-4: at {t} {} nodes {scope} were out of service, {limit} allowed: {}",
        nodes.len(), nodes.join(", ")
    )]
    TooManyOut {
        /// When the limit was first passed.
        t: Timestamp,
        /// `of all`, or the value of the label `pool`, or the domain.
        scope: String,
        /// The limit.
        limit: usize,
        /// The nodes.
        nodes: Vec<String>,
    },
    /// Runs held slots in more domains than allowed.
    #[error(
        "SAFE-4: at {t} runs were under way in {} domains, {limit} allowed: {}",
        domains.len(), domains.join(", ")
    )]
    TooManyOpenDomains {
        /// When the limit was first passed.
        t: Timestamp,
        /// The limit.
        limit: usize,
        /// The domains.
        domains: Vec<String>,
    },
    /// Two runs of one node held slots at once.
    #[error(
        "SAFE-22: run {second} of node UID {node_uid} began at {t}, before run {first} had ended"
    )]
    TwoRunsAtOnce {
        /// UID of the node.
        node_uid: String,
        /// UID of the earlier run.
        first: String,
        /// UID of the later one.
        second: String,
        /// When it began.
        t: Timestamp,
    },
    /// A run was admitted before a more urgent one that had been waiting.
    #[error(
        "order: run {first} of priority {first_priority} was admitted at {t}, before run {passed} of \
         priority {passed_priority}, which had been waiting"
    )]
    OutOfOrder {
        /// When.
        t: Timestamp,
        /// UID of the run that was admitted.
        first: String,
        /// Its priority.
        first_priority: i32,
        /// UID of the run that was passed.
        passed: String,
        /// Its priority.
        passed_priority: i32,
    },
    /// A run claims a boot that never was.
    #[error(
        "SAFE-20: run {run} says that it rebooted node UID {node_uid}, which never booted for it"
    )]
    ClaimWithoutBoot {
        /// UID of the run.
        run: String,
        /// UID of the node.
        node_uid: String,
    },
}

/// Checks all properties. `runs` is what the operator says in the end; runs that are not in it
/// (deleted ones) are only judged by what they did. The events may be those of some nodes only.
pub fn check(events: &[TruthEvent], runs: &[RunSummary], limits: &Limits) -> Vec<Violation> {
    let mut found = boots_per_attempt(events);
    found.extend(boots_without_act(events));
    found.extend(events.iter().filter_map(cordon));
    found.extend(identity(events, runs));
    if !limits.control_plane {
        found.extend(events.iter().filter_map(control_plane));
    }
    found.extend(parallel(events, limits));
    found.extend(claims(events, runs));
    found
}

fn boots_per_attempt(events: &[TruthEvent]) -> Vec<Violation> {
    // An attempt belongs to one node; counting over all nodes finds one that booted two machines.
    let mut boots: BTreeMap<(&str, u32), Vec<&TruthEvent>> = BTreeMap::new();
    for event in events.iter().filter(|event| event.event == EventKind::Boot) {
        if let Some(attempt) = event.pod_cause() {
            boots.entry(attempt).or_default().push(event);
        }
    }
    let twice = |((run, attempt), boots): ((&str, u32), Vec<&TruthEvent>)| {
        let nodes: BTreeSet<&str> = boots.iter().map(|boot| boot.node.as_str()).collect();
        (boots.len() > 1).then(|| Violation::BootedTwice {
            run: run.to_owned(),
            attempt,
            node: nodes.into_iter().collect::<Vec<_>>().join(", "),
            boots: boots.len(),
        })
    };
    boots.into_iter().filter_map(twice).collect()
}

fn boots_without_act(events: &[TruthEvent]) -> Vec<Violation> {
    let mut acted: BTreeSet<(&str, u32, &str)> = BTreeSet::new();
    let mut found = Vec::new();
    for event in events {
        let Some((run, attempt)) = event.pod_cause() else { continue };
        let what = match event.event {
            EventKind::Act => {
                acted.insert((run, attempt, &event.node));
                continue;
            }
            EventKind::Down => "down",
            EventKind::Boot => "up",
            _ => continue,
        };
        if !acted.contains(&(run, attempt, event.node.as_str())) {
            found.push(Violation::BootWithoutAct {
                t: event.t,
                node: event.node.clone(),
                what,
                run: run.to_owned(),
                attempt,
            });
        }
    }
    found
}

fn act(event: &TruthEvent) -> Option<&str> {
    (event.event == EventKind::Act).then(|| event.pod_cause().map(|(run, _)| run)).flatten()
}

fn cordon(event: &TruthEvent) -> Option<Violation> {
    let run = act(event)?;
    let state = match (event.cordoned, event.cordoned_by.as_deref()) {
        (Some(true), Some(owner)) if owner == run => return None,
        (Some(true), Some(owner)) => format!("cordoned by {owner}"),
        (Some(true), None) => "cordoned by nobody of ours".to_owned(),
        (Some(false), _) => "schedulable".to_owned(),
        // The fixture could not read the node: a property that nobody saw hold does not hold.
        (None, _) => "in an unknown state, because the fleet could not read it".to_owned(),
    };
    Some(Violation::NotCordonedByRun {
        t: event.t,
        node: event.node.clone(),
        run: run.to_owned(),
        state,
    })
}

fn control_plane(event: &TruthEvent) -> Option<Violation> {
    let run = act(event)?;
    event.control_plane.then(|| Violation::ControlPlane {
        t: event.t,
        node: event.node.clone(),
        run: run.to_owned(),
    })
}

fn identity(events: &[TruthEvent], runs: &[RunSummary]) -> Vec<Violation> {
    let wanted: BTreeMap<&str, &str> =
        runs.iter().map(|run| (run.uid.as_str(), run.node_uid.as_str())).collect();
    let wrong = |event: &TruthEvent| {
        let run = act(event)?;
        let wanted = *wanted.get(run)?;
        (wanted != event.node_uid).then(|| Violation::WrongNode {
            run: run.to_owned(),
            node: event.node.clone(),
            wanted: wanted.to_owned(),
            found: event.node_uid.clone(),
        })
    };
    events.iter().filter_map(wrong).collect()
}

/// Counts machines from the act to the first Ready after it. One that never comes back stays
/// counted until it is removed: it is out because of the operator. Each limit is reported once,
/// where it was first passed.
fn parallel(events: &[TruthEvent], limits: &Limits) -> Vec<Violation> {
    // Domain, and whether the machine has gone down since the act: a Ready before that is of the
    // time before the boot.
    let mut down: BTreeMap<&str, (&str, bool)> = BTreeMap::new();
    let (mut machines, mut domains) = (None, None);
    for event in events {
        match event.event {
            EventKind::Act if event.pod_cause().is_some() => {
                down.entry(&event.node).or_insert((&event.domain, false));
            }
            EventKind::Down => {
                down.entry(&event.node).and_modify(|(_, gone)| *gone = true);
                continue;
            }
            EventKind::Ready => {
                if down.get(event.node.as_str()).is_some_and(|(_, gone)| *gone) {
                    down.remove(event.node.as_str());
                }
                continue;
            }
            EventKind::Removed => {
                down.remove(event.node.as_str());
                continue;
            }
            _ => continue,
        }
        if let Some(limit) = limits.max_parallel.filter(|limit| down.len() > *limit) {
            let nodes = down.keys().map(|node| (*node).to_owned()).collect();
            machines.get_or_insert(Violation::TooManyDown { t: event.t, limit, nodes });
        }
        let open: BTreeSet<&str> = down.values().map(|(domain, _)| *domain).collect();
        if let Some(limit) = limits.max_domains.filter(|limit| open.len() > *limit) {
            let open = open.into_iter().map(str::to_owned).collect();
            domains.get_or_insert(Violation::TooManyDomains { t: event.t, limit, domains: open });
        }
    }
    machines.into_iter().chain(domains).collect()
}

fn claims(events: &[TruthEvent], runs: &[RunSummary]) -> Vec<Violation> {
    let booted = |run: &RunSummary| {
        events.iter().any(|event| {
            event.event == EventKind::Boot
                && event.node_uid == run.node_uid
                // A machine that booted by other hands during the run did boot.
                && event.pod_cause().is_none_or(|(uid, _)| uid == run.uid)
        })
    };
    runs.iter()
        .filter(|run| run.claims_boot && !booted(run))
        .map(|run| Violation::ClaimWithoutBoot {
            run: run.uid.clone(),
            node_uid: run.node_uid.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
