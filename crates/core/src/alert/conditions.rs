//! Which conditions of a node have to be written, so that they say what its alerts say. Only types with
//! the source's prefix are ours; no other is ever touched, so that no report of a kubelet is undone.
//! Unknown starts no run and is no recovery: that is the trigger's business ([`crate::trigger`]), and
//! here it is said whenever it is so (hazard H09).

use std::collections::{BTreeMap, BTreeSet};

use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};

use super::{Alert, source::Absence};
use crate::{facts::cut_message, trigger::add};

/// Reason of a condition whose alert fires. Sciuro's words, since policies name them.
pub const FIRING: &str = "AlertIsFiring";
/// Reason of a condition whose alert does not fire.
pub const NOT_FIRING: &str = "AlertIsNotFiring";
/// Reason of a condition whose alert nobody can tell of.
pub const UNAVAILABLE: &str = "AlertsUnavailable";

/// Alerts of one node that become conditions; of more the most urgent do. A node has room for as many
/// conditions as an object of etcd has (1.5 MiB), and every watcher of nodes pays for each (SAFE-16).
pub const FIRING_KEPT: usize = 64;
/// Conditions of one node that are kept: of more, those go first that have not been firing the longest.
pub const KEPT: usize = 128;

/// New words for a condition that fires on are written at most so often.
const NEW_WORDS: SignedDuration = SignedDuration::from_mins(1);

/// The status of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Its alert fires.
    True,
    /// It does not.
    False,
    /// Nobody can tell.
    Unknown,
}

impl Status {
    /// As Kubernetes spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::True => "True",
            Status::False => "False",
            Status::Unknown => "Unknown",
        }
    }
}

/// A condition as the node has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reported<'a> {
    /// Its type.
    pub condition_type: &'a str,
    /// Its status, whoever wrote what.
    pub status: &'a str,
    /// Its reason.
    pub reason: &'a str,
    /// Its message, or the first [`crate::facts::MESSAGE_LIMIT`] bytes of it.
    pub message: &'a str,
    /// When it was last written.
    pub heartbeat: Option<Timestamp>,
    /// Since when it has its status.
    pub transition: Option<Timestamp>,
}

/// A condition as it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Its status.
    pub status: Status,
    /// Its reason.
    pub reason: &'static str,
    /// Its message.
    pub message: String,
    /// When its server last said so. Whole seconds, as the API keeps them.
    pub heartbeat: Timestamp,
    /// Since when it has its status.
    pub transition: Timestamp,
}

/// What to do to a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It gets these words and times.
    Set(Condition),
    /// It goes.
    Remove,
}

/// What the source asks for.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Types that begin so are ours. Not empty.
    pub prefix: &'a str,
    /// A condition that has not been firing for longer than this goes; zero: it stays for ever.
    pub linger: SignedDuration,
    /// What has not changed is written anew when its report is at least this old.
    pub heartbeat_every: SignedDuration,
    /// When the node was seen to have booted: reports from before it are written anew as soon as there
    /// are newer ones, since who verifies the node waits for them.
    pub booted_at: Option<Timestamp>,
}

impl Rules<'_> {
    /// True when a report that says the same as the one before is worth a write.
    fn is_due(
        &self,
        before: Option<Timestamp>,
        after: Timestamp,
        new_words: bool,
        now: Timestamp,
    ) -> bool {
        let Some(before) = before else { return true };
        let every =
            if new_words { self.heartbeat_every.min(NEW_WORDS) } else { self.heartbeat_every };
        let since_boot = self.booted_at.is_some_and(|boot| before < boot && boot <= after);
        since_boot || add(before, every) <= now || is_ahead(before, now)
    }
}

/// True for a time that no clock near ours can have written. Left alone it would stand for a report that
/// is fresh until then.
fn is_ahead(time: Timestamp, now: Timestamp) -> bool {
    time > add(now, SignedDuration::from_mins(1))
}

/// What the alerts of one node ask for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wants<'a> {
    /// Conditions by type.
    pub conditions: BTreeMap<&'a str, Wanted<'a>>,
    /// Types whose alerts fire, and for which there is no room. Nothing is said of them.
    pub left_out: BTreeSet<&'a str>,
}

/// What the alerts of one node ask for: one condition per name, the lowest number wins, and of equals the
/// one whose labels come first. Where there are too many, there is room for the most urgent.
pub fn wanted<'a>(firing: impl IntoIterator<Item = (&'a Alert, Timestamp)>) -> Wants<'a> {
    let mut all: BTreeMap<&str, Wanted<'_>> = BTreeMap::new();
    for (alert, seen_at) in firing {
        let wanted = all.entry(&alert.condition_type).or_insert(Wanted { alert, seen_at });
        if (alert.priority, alert) < (wanted.alert.priority, wanted.alert) {
            wanted.alert = alert;
        }
        wanted.seen_at = wanted.seen_at.max(seen_at);
    }
    let mut left_out = BTreeSet::new();
    if all.len() > FIRING_KEPT {
        let mut by_urgency: Vec<_> =
            all.iter().map(|(kind, w)| (w.alert.priority, *kind)).collect();
        by_urgency.sort_unstable();
        for (_, kind) in by_urgency.split_off(FIRING_KEPT) {
            all.remove(kind);
            left_out.insert(kind);
        }
    }
    Wants { conditions: all, left_out }
}

/// A condition that an alert asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The alert that gives its message.
    pub alert: &'a Alert,
    /// When an alert of this name was last seen to fire.
    pub seen_at: Timestamp,
}

/// What has to be written of one node's conditions, by type; empty when everything is as it should be.
/// When anything is written, what has a newer heartbeat is written with it, so that a node costs one
/// write per [`Rules::heartbeat_every`] however many alerts it has.
///
/// A condition that bears our prefix and another one's reason is another one's, and stays as it is.
pub fn changes<'a>(
    reported: impl IntoIterator<Item = Reported<'a>>,
    wants: &Wants<'a>,
    absence: Absence,
    rules: Rules<'_>,
    now: Timestamp,
) -> BTreeMap<&'a str, Change> {
    let (mut ours, mut foreign) = (BTreeMap::new(), BTreeSet::new());
    for condition in reported.into_iter().filter(|c| c.condition_type.starts_with(rules.prefix)) {
        if is_ours(condition.condition_type, condition.reason, rules.prefix) {
            ours.entry(condition.condition_type).or_insert(condition);
        } else {
            foreign.insert(condition.condition_type);
        }
    }
    let free = |kind: &&&'a str| !foreign.contains(**kind);
    let wanted = &wants.conditions;
    let mut changes = BTreeMap::new();
    let (mut due, mut heartbeats) = (false, Vec::new());
    for (kind, before) in ours.iter().filter(|(kind, _)| free(kind)) {
        if wants.left_out.contains(kind) {
            continue;
        }
        match next(before, wanted.get(kind), absence, rules, now) {
            Next::Stays => {}
            Next::Heartbeat(condition) => {
                let new_words = before.message != cut_message(&condition.message);
                due |= rules.is_due(before.heartbeat, condition.heartbeat, new_words, now);
                heartbeats.push((*kind, condition));
            }
            Next::Change(change) => {
                changes.insert(*kind, change);
            }
        }
    }
    let new = wanted.iter().filter(|(kind, _)| !ours.contains_key(*kind) && free(kind));
    for (kind, wanted) in new {
        let at = whole_seconds(wanted.seen_at);
        changes.insert(*kind, Change::Set(firing(wanted, at)));
    }
    remove_excess(&ours, wants, &mut changes);
    if due || !changes.is_empty() {
        for (kind, condition) in heartbeats {
            changes.entry(kind).or_insert(Change::Set(condition));
        }
    }
    changes
}

/// True for a condition that alerts are written to. Whose type merely begins so, such as one of
/// node-problem-detector, has a reason of its
/// own; without any it was written by hand.
pub fn is_ours(condition_type: &str, reason: &str, prefix: &str) -> bool {
    condition_type.starts_with(prefix) && ["", FIRING, NOT_FIRING, UNAVAILABLE].contains(&reason)
}

/// What becomes of one condition that is there.
enum Next {
    /// Nobody has anything new to say of it.
    Stays,
    /// Somebody has said the same again.
    Heartbeat(Condition),
    /// Somebody says something else.
    Change(Change),
}

fn next(
    before: &Reported<'_>,
    wanted: Option<&Wanted<'_>>,
    absence: Absence,
    rules: Rules<'_>,
    now: Timestamp,
) -> Next {
    let mut after = match (wanted, absence) {
        (Some(wanted), _) => firing(wanted, whole_seconds(wanted.seen_at)),
        (None, Absence::NotFiring { at }) => {
            quiet(Status::False, NOT_FIRING, "", whole_seconds(at))
        }
        (None, Absence::Held) => return Next::Stays,
        // What it said last is what a person wants to know who finds it Unknown.
        (None, Absence::Unknown) => {
            quiet(Status::Unknown, UNAVAILABLE, before.message, whole_seconds(now))
        }
    };
    let same_status = before.status == after.status.as_str();
    if let Some(since) = before.transition.filter(|_| same_status) {
        let lingered = !rules.linger.is_zero() && add(since, rules.linger) < now;
        if after.status == Status::False && lingered {
            return Next::Change(Change::Remove);
        }
        after.transition = since;
    }
    // Who puts a measured value into a summary has a new one at every evaluation: the words of a condition
    // that fires as urgently as before are no news.
    let same_words = match wanted {
        Some(wanted) => before.message.starts_with(&format!("[P{}]", wanted.alert.priority)),
        None => before.message == after.message,
    };
    let same =
        same_status && before.transition.is_some() && before.reason == after.reason && same_words;
    match (same, before.heartbeat) {
        (false, _) => Next::Change(Change::Set(after)),
        (true, Some(last)) if last >= after.heartbeat && !is_ahead(last, now) => Next::Stays,
        (true, _) => Next::Heartbeat(after),
    }
}

fn firing(wanted: &Wanted<'_>, at: Timestamp) -> Condition {
    quiet(Status::True, FIRING, &wanted.alert.message, at)
}

fn quiet(status: Status, reason: &'static str, message: &str, at: Timestamp) -> Condition {
    Condition { status, reason, message: message.to_owned(), heartbeat: at, transition: at }
}

/// Of more than [`KEPT`] those go that have not been firing the longest: alerts with ever new names must
/// not make a node grow without end (SAFE-16).
fn remove_excess<'a>(
    ours: &BTreeMap<&'a str, Reported<'a>>,
    wants: &Wants<'a>,
    changes: &mut BTreeMap<&'a str, Change>,
) {
    let removed = changes.values().filter(|change| **change == Change::Remove).count();
    let wanted = &wants.conditions;
    let new = wanted.keys().filter(|kind| !ours.contains_key(*kind)).count();
    let excess = (ours.len() + new).saturating_sub(removed + KEPT);
    let removable = ours.iter().filter(|(kind, _)| {
        !wanted.contains_key(*kind)
            && !wants.left_out.contains(*kind)
            && changes.get(*kind) != Some(&Change::Remove)
    });
    let mut oldest: Vec<_> =
        removable.map(|(kind, c)| (c.status != "False", c.transition, *kind)).collect();
    oldest.sort_unstable();
    for (_, _, kind) in oldest.into_iter().take(excess) {
        changes.insert(kind, Change::Remove);
    }
}

/// The API keeps whole seconds; a time with a fraction would seem to differ from what is there for ever.
fn whole_seconds(time: Timestamp) -> Timestamp {
    let round = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Floor);
    time.round(round).unwrap_or(time)
}

#[cfg(test)]
mod tests;
