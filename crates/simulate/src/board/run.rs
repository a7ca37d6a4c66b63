//! Runs, as their status has them.

use jiff::{SignedDuration, Timestamp};
use rerail_core::{reason::Reason, step::Step};
use serde_json::Value;

use super::{Admission, Board, Seen, Tone, condition, text};

/// A run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Run {
    /// Name of the NodeRemediation.
    pub name: String,
    /// Its UID, by which it is the same run though its Node is made anew.
    uid: String,
    /// Where it stands; `None` for a step that this version does not know.
    pub step: Option<Step>,
    /// Why, in one word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
    /// Its priority.
    pub priority: Option<u16>,
    /// Reboots begun.
    pub attempt: u64,
    /// When it was admitted.
    pub admitted: Option<Timestamp>,
    /// Something that must always hold did not.
    pub frozen: Option<String>,
}

/// A drain that was refused for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// The node.
    pub node: String,
    /// Name of its run.
    pub run: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when; `None` while it is.
    pub until: Option<Timestamp>,
    /// The step that the run went to when it ended; `None` where the drain went on.
    pub gave_up: Option<Step>,
    /// Who refused, and why, in a sentence.
    pub message: String,
}

impl Run {
    fn of(object: &Value) -> Run {
        let said = condition(object, "Succeeded");
        let said = |pointer| said.map(|said| text(said, pointer).to_owned()).unwrap_or_default();
        let step = match text(object, "/status/step") {
            "" => Some(Step::Pending),
            name => name.parse().ok(),
        };
        let number = |pointer| object.pointer(pointer).and_then(Value::as_u64);
        Run {
            name: text(object, "/metadata/name").to_owned(),
            uid: text(object, "/metadata/uid").to_owned(),
            step,
            reason: said("/reason"),
            message: said("/message"),
            priority: number("/status/priority").and_then(|number| u16::try_from(number).ok()),
            attempt: number("/status/attempt").unwrap_or(0),
            admitted: None,
            frozen: object
                .pointer("/status/frozen")
                .filter(|frozen| !frozen.is_null())
                .map(|frozen| text(frozen, "/message").to_owned()),
        }
    }

    /// An eviction is refused.
    pub fn is_blocked(&self) -> bool {
        self.step == Some(Step::Draining) && self.reason == Reason::DrainBlocked.name()
    }

    fn is_under_way(&self) -> bool {
        self.step.is_some_and(Step::holds_slot)
    }
}

impl Board {
    pub(super) fn see_run(&mut self, seen: &Seen<'_>) {
        let node = text(seen.object, "/spec/nodeName").to_owned();
        let mut run = Run::of(seen.object);
        if seen.gone {
            let name = run.name.clone();
            self.unblock(seen.at, |blocked| blocked.run == name);
        }
        let Some(entry) = self.nodes.get_mut(&node) else { return };
        let before = entry.run.take();
        let same = before.as_ref().is_some_and(|before| before.name == run.name);
        if seen.gone {
            // A later run of the node is not concerned.
            if !same {
                entry.run = before;
            }
            return;
        }
        let before = before.filter(|before| before.name == run.name);
        run.admitted = self.admitted.get(&run.uid).copied();
        if run.is_under_way() && run.admitted.is_none() {
            run.admitted = Some(seen.at);
            self.admitted.insert(run.uid.clone(), seen.at);
            let (rack, domain) = (entry.rack.clone(), entry.domain.clone());
            let (node, priority) = (node.clone(), run.priority);
            self.admissions.push(Admission { at: seen.at, node, rack, domain, priority });
        }
        if let Some(entry) = self.nodes.get_mut(&node) {
            entry.run = Some(run.clone());
        }
        self.note_blocked(seen.at, &node, before.as_ref(), &run);
        self.tell_of_run(seen.at, &node, before.as_ref(), &run);
    }

    /// Keeps the record of drains that are refused.
    fn note_blocked(&mut self, at: Timestamp, node: &str, before: Option<&Run>, run: &Run) {
        self.note_given_up(at, node, before, run);
        let last = self.blocked.iter_mut().rev().find(|blocked| blocked.run == run.name);
        let open = last.filter(|blocked| blocked.until.is_none());
        match (open, run.is_blocked()) {
            (None, true) => self.blocked.push(Blocked {
                node: node.to_owned(),
                run: run.name.clone(),
                since: at,
                until: None,
                gave_up: None,
                message: run.message.clone(),
            }),
            (Some(blocked), false) => {
                let goes_on = matches!(run.step, Some(Step::Draining | Step::Rebooting));
                blocked.until = Some(at);
                blocked.gave_up = run.step.filter(|_| !goes_on);
            }
            _ => {}
        }
    }

    /// A drain that ends while no budget refuses anything, for Pods that do not go or may not be evicted, was
    /// blocked all the same.
    fn note_given_up(&mut self, at: Timestamp, node: &str, before: Option<&Run>, run: &Run) {
        let drained = before.is_some_and(|before| before.step == Some(Step::Draining));
        let why = [Reason::DrainTimeout, Reason::DrainRefused, Reason::DrainForbidden];
        let gave_up = drained
            && run.step != Some(Step::Draining)
            && why.iter().any(|reason| reason.name() == run.reason);
        if !gave_up {
            return;
        }
        match self.blocked.iter_mut().rev().find(|blocked| blocked.run == run.name) {
            // Ends in a moment, by the same step.
            Some(last) if last.until.is_none() => {}
            Some(last) => {
                last.until = Some(at);
                last.gave_up = run.step;
                last.message.clone_from(&run.message);
            }
            None => self.blocked.push(Blocked {
                node: node.to_owned(),
                run: run.name.clone(),
                since: before.and_then(|before| before.admitted).unwrap_or(at),
                until: Some(at),
                gave_up: run.step,
                message: run.message.clone(),
            }),
        }
    }

    /// What is on record as refused is not any more: its run is gone, or its node.
    pub(super) fn unblock(&mut self, at: Timestamp, is: impl Fn(&Blocked) -> bool) {
        for blocked in self.blocked.iter_mut().filter(|blocked| is(blocked)) {
            blocked.until.get_or_insert(at);
        }
    }

    fn tell_of_run(&mut self, at: Timestamp, node: &str, before: Option<&Run>, run: &Run) {
        if let Some(frozen) = &run.frozen
            && before.is_none_or(|before| before.frozen.is_none())
        {
            self.violated(at, format!("{}: {frozen}", run.name));
        }
        let step = before.map_or(Some(Step::Pending), |before| before.step);
        if step == run.step {
            if run.is_blocked() && before.is_none_or(|before| !before.is_blocked()) {
                self.tell(at, Tone::Held, node, format!("drain blocked: {}", run.message));
            }
            return;
        }
        let Some((tone, what)) = news(run) else { return };
        if run.step == Some(Step::Succeeded) {
            self.healed(at, node, run, what);
        } else {
            self.tell(at, tone, node, what);
        }
    }

    fn healed(&mut self, at: Timestamp, node: &str, run: &Run, what: String) {
        let since = |time: Option<Timestamp>| time.map(|time| at.duration_since(time));
        let took = since(run.admitted);
        let sick = self.nodes.get_mut(node).and_then(|entry| {
            entry.healed += 1;
            entry.sick_since.take()
        });
        self.took.extend(took);
        self.suffered.extend(since(sick));
        let took = took.map(|took| format!(", {} after the cordon", length(took)));
        self.tell(at, Tone::Good, node, format!("{what}{}", took.unwrap_or_default()));
    }
}

/// What is told when a run comes to its step; nothing for what the step before said already.
fn news(run: &Run) -> Option<(Tone, String)> {
    let message = &run.message;
    let Some(step) = run.step else {
        return Some((Tone::Held, "its run is in a step that is not known here".to_owned()));
    };
    Some(match step {
        Step::Pending | Step::Draining | Step::Uncordoning | Step::Settling => return None,
        Step::Cordoning => (Tone::Work, "its turn: cordoned and drained".to_owned()),
        Step::Rebooting => match run.attempt {
            0 | 1 => (Tone::Boot, "empty: reboots".to_owned()),
            attempt => (Tone::Boot, format!("reboots, attempt {attempt}")),
        },
        Step::Withdrawing => (Tone::Boot, format!("reboot withdrawn: {message}")),
        Step::Verifying => (Tone::Work, "booted: is it healthy?".to_owned()),
        Step::RollingBack => (Tone::Held, format!("gives back: {message}")),
        Step::Held => (Tone::Held, format!("held: {message}")),
        Step::Succeeded => (Tone::Good, "healed, in service".to_owned()),
        Step::Cancelled => (Tone::Calm, format!("given back: {message}")),
        Step::Failed => (Tone::Held, format!("given back unhealed: {message}")),
    })
}

/// A length of time in at most two units: `45s`, `12m30s`, `5h30m`.
pub fn length(length: SignedDuration) -> String {
    let seconds = length.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, 0) => format!("{minutes}m"),
        (0, minutes, seconds) => format!("{minutes}m{seconds:02}s"),
        (hours, 0, _) => format!("{hours}h"),
        (hours, minutes, _) => format!("{hours}h{minutes:02}m"),
    }
}
