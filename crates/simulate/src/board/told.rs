//! What is worth a line.

use jiff::SignedDuration;

/// What kind of news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// An alert fires.
    Sick,
    /// A node waits.
    Waits,
    /// A run goes on.
    Work,
    /// A machine reboots.
    Boot,
    /// A node is healed.
    Good,
    /// A node is held, or given back as it was.
    Held,
    /// A storm, and what becomes of it.
    Storm,
    /// Somebody else did something.
    Others,
    /// For the record.
    Calm,
    /// What must never be.
    Bad,
}

impl Tone {
    /// In one short word, for lines that have no colour.
    pub fn word(self) -> &'static str {
        match self {
            Tone::Sick => "alert",
            Tone::Waits => "waits",
            Tone::Work => "run",
            Tone::Boot => "reboot",
            Tone::Good => "healed",
            Tone::Held => "held",
            Tone::Storm => "storm",
            Tone::Others => "others",
            Tone::Calm => "",
            Tone::Bad => "ERROR",
        }
    }
}

/// One piece of news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Since the beginning, by the cluster's clock.
    pub after: SignedDuration,
    /// What kind.
    pub tone: Tone,
    /// The node; empty for what is of no node.
    pub node: String,
    /// Its rack.
    pub rack: String,
    /// What happened.
    pub what: String,
    /// How many more nodes it happened to at the same time.
    pub more: usize,
    /// By what it is known that something is the same, of another node; empty if nothing ever is.
    pub same: String,
}

/// What happens within this time is at the same time.
pub const AT_ONCE: SignedDuration = SignedDuration::from_secs(2);

impl Told {
    /// Another node to which the same happened at the same time.
    pub(super) fn takes_in(&mut self, other: &Told) -> bool {
        let same = !self.same.is_empty() && self.same == other.same;
        let taken = same && self.tone == other.tone && other.after - self.after < AT_ONCE;
        self.more += usize::from(taken);
        taken
    }

    /// What happened, and to how many.
    pub fn text(&self) -> String {
        match self.more {
            0 => self.what.clone(),
            1 => format!("{} (and 1 more node)", self.what),
            more => format!("{} (and {more} more nodes)", self.what),
        }
    }
}
