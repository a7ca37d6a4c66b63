//! How a node looks to a spectator.

use rerail_core::step::Step;

use super::Entry;

/// How a node looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Face {
    /// Nothing is wrong with it.
    Healthy,
    /// Something is wrong with it, and its turn has not come; with its priority.
    Waiting(u16),
    /// It is being cordoned, or its pods are being evicted.
    Draining,
    /// An eviction is refused.
    Blocked,
    /// Its machine reboots.
    Rebooting,
    /// Back, and not proven healthy yet.
    Verifying,
    /// Healed and given back.
    Healed,
    /// Given back without a reboot, or not healed.
    GivenBack,
    /// Cordoned, and waits for a person.
    Held,
    /// Not Ready, and not by our doing.
    Down,
    /// Cordoned by somebody else.
    Foreign,
}

impl Face {
    /// The face of a node.
    pub(super) fn of(entry: &Entry) -> Face {
        let step = entry.run.as_ref().map(|run| run.step);
        match step {
            Some(Some(step)) if step.holds_slot() => Face::in_step(step, entry.blocked()),
            Some(Some(Step::Held) | None) => Face::Held,
            Some(Some(_)) | None if !entry.ready => Face::Down,
            Some(Some(_)) | None if entry.cordoned => Face::Foreign,
            Some(Some(step)) => match entry.priority() {
                Some(priority) => Face::Waiting(priority),
                None => Face::ended(step),
            },
            None => entry.priority().map_or(Face::Healthy, Face::Waiting),
        }
    }

    fn in_step(step: Step, blocked: bool) -> Face {
        match step {
            Step::Cordoning | Step::Draining if blocked => Face::Blocked,
            Step::Cordoning | Step::Draining => Face::Draining,
            Step::Rebooting | Step::Withdrawing => Face::Rebooting,
            Step::Verifying | Step::Uncordoning | Step::Settling => Face::Verifying,
            Step::RollingBack => Face::GivenBack,
            Step::Held => Face::Held,
            Step::Pending | Step::Succeeded | Step::Cancelled | Step::Failed => Face::ended(step),
        }
    }

    fn ended(step: Step) -> Face {
        match step {
            Step::Succeeded => Face::Healed,
            Step::Cancelled | Step::Failed => Face::GivenBack,
            Step::Held => Face::Held,
            Step::Pending
            | Step::Cordoning
            | Step::Draining
            | Step::Rebooting
            | Step::Withdrawing
            | Step::Verifying
            | Step::Uncordoning
            | Step::Settling
            | Step::RollingBack => Face::Healthy,
        }
    }

    /// True while a run of it is under way.
    pub fn in_work(self) -> bool {
        match self {
            Face::Draining | Face::Blocked | Face::Rebooting | Face::Verifying => true,
            Face::Healthy
            | Face::Waiting(_)
            | Face::Healed
            | Face::GivenBack
            | Face::Held
            | Face::Down
            | Face::Foreign => false,
        }
    }

    /// The letter, which says it without any colour.
    pub fn letter(self) -> char {
        match self {
            Face::Healthy => '·',
            Face::Waiting(priority @ 0..=9) => {
                char::from(b'0' + u8::try_from(priority).unwrap_or(9))
            }
            Face::Waiting(_) => '+',
            Face::Draining => 'D',
            Face::Blocked => 'B',
            Face::Rebooting => 'R',
            Face::Verifying => 'V',
            Face::Healed => '✓',
            Face::GivenBack => '-',
            Face::Held => 'H',
            Face::Down => '!',
            Face::Foreign => 'x',
        }
    }

    /// What it means, in a word or two.
    pub fn meaning(self) -> &'static str {
        match self {
            Face::Healthy => "healthy",
            Face::Waiting(_) => "waits, by priority",
            Face::Draining => "drains",
            Face::Blocked => "drain blocked",
            Face::Rebooting => "reboots",
            Face::Verifying => "is verified",
            Face::Healed => "healed",
            Face::GivenBack => "given back as it was",
            Face::Held => "held for a person",
            Face::Down => "not Ready",
            Face::Foreign => "cordoned by others",
        }
    }
}
