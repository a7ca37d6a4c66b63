//! What the world consists of: one run, its node and machine, the reboot Pods, an operator.

use jiff::Timestamp;
use rerail_core::{
    doubt::Doubt,
    facts::NodeFacts,
    reboot_check::{Expected, RunSeen},
    remediation::{Decision, Memory, admit},
    run::Run,
    sweep::Stray,
};

use crate::{
    check::Broken,
    given::{at, contract, node, pending},
};

/// How often each fault may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Purse {
    /// The operator forgets everything but what is on record.
    pub crashes: u8,
    /// A call's sender gives up, and the call lands at any later time.
    pub late: u8,
    /// A person cancels the run.
    pub cancels: u8,
    /// A person uncordons or cordons the node.
    pub people: u8,
    /// A Pod's object is deleted by force; its process lives on.
    pub lost_pods: u8,
    /// The kubelet starts a Pod again after the machine has booted.
    pub reruns: u8,
    /// The machine boots by itself.
    pub own_boots: u8,
    /// The Node object is made anew for the same machine.
    pub replaced: u8,
    /// The kubelet reports that the node is not Ready.
    pub unready: u8,
    /// The run's object is deleted by force.
    pub deletions: u8,
    /// Another controller claims the node, or takes its claim back.
    pub claims: u8,
    /// The label `rerail.dev/hold` is set or taken off.
    pub holds: u8,
    /// Somebody writes the mark of a run that never was.
    pub forged: u8,
    /// Somebody takes our mark off, and leaves the cordon.
    pub unmarked: u8,
}

impl Purse {
    /// What may go wrong, for people.
    pub fn told(&self) -> String {
        let entries = [
            (self.crashes, "crashes"),
            (self.late, "late calls"),
            (self.cancels, "cancels"),
            (self.people, "people's cordons"),
            (self.lost_pods, "lost Pods"),
            (self.reruns, "Pods run again"),
            (self.own_boots, "own boots"),
            (self.replaced, "nodes replaced"),
            (self.unready, "nodes not Ready"),
            (self.deletions, "runs deleted"),
            (self.claims, "claims"),
            (self.holds, "hold labels"),
            (self.forged, "forged marks"),
            (self.unmarked, "marks removed"),
        ];
        let faults: Vec<_> = entries
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, name)| format!("{count} {name}"))
            .collect();
        if faults.is_empty() { "no faults".to_owned() } else { faults.join(", ") }
    }
}

/// Rules that can be taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The Pod compares the kernel's boot ID.
    pub r1: bool,
    /// An attempt is withdrawn before it is given up.
    pub r2: bool,
    /// Where a Pod's object vanished, its longest life is waited out.
    pub r2c: bool,
    /// A run that is gone keeps its slot while anything of it can act.
    pub r3: bool,
    /// Every end writes the node.
    pub r4: bool,
    /// The owner of the field says whose cordon it is.
    pub r9: bool,
    /// Marks of runs that are gone are swept.
    pub r10: bool,
    /// Before an effect, a status write that is in doubt is overtaken.
    pub r11: bool,
    /// A run whose node was made anew waits until none of its Pods can act.
    pub replaced: bool,
    /// What other controllers and people say on the node counts.
    pub respect: bool,
    /// A mark that names another run is not ours.
    pub own_marks: bool,
}

impl Rules {
    /// All of them.
    pub const ALL: Rules = Rules {
        r1: true,
        r2: true,
        r2c: true,
        r3: true,
        r4: true,
        r9: true,
        r10: true,
        r11: true,
        replaced: true,
        respect: true,
        own_marks: true,
    };
}

/// Where a process of a reboot Pod is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum At {
    /// Bound to the node, not started.
    Created,
    /// Has read the run.
    ReadRun(Option<RunSeen>),
    /// Has read the node, and may act.
    MayAct,
    /// Started the reboot command.
    Acted,
    /// Over, with this exit code, and a refusal for another boot ID if it was that.
    Over(i32, bool),
}

/// One process of a reboot Pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Process {
    /// What it was made for.
    pub expected: Expected,
    /// How far it is.
    pub at: At,
    /// Its Pod object is there.
    pub object: bool,
    /// A deletion of the object was asked for.
    pub deleting: bool,
    /// When it ended.
    pub ended: Option<Timestamp>,
}

/// What the operator has decided on, with the versions that it was decided on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Call {
    /// What to do.
    pub what: What,
    /// Version of the run.
    pub run_version: u32,
    /// Version of the node.
    pub node_version: u32,
}

/// A call, and who makes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum What {
    /// The run's driver.
    Driven(Decision),
    /// The sweep's closing write for the run; lifts the cordon if true.
    Swept(bool),
    /// The sweep's closing write for a mark that somebody forged.
    Unforged(bool),
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// The run.
    pub run: Run,
    /// Its version.
    pub run_version: u32,
    /// The node.
    pub node: NodeFacts,
    /// Its version.
    pub node_version: u32,
    /// The one clock; time passes only when the operator waits for it.
    pub now: Timestamp,
    /// What the operator remembers of the run.
    pub memory: Memory,
    /// A status write of the operator that may still land, as far as it knows.
    pub doubt: Doubt<u32>,
    /// A call that is decided and not sent.
    pub in_hand: Option<Call>,
    /// A call whose sender gave up on it.
    pub late: Option<Call>,
    /// Processes of reboot Pods.
    pub processes: Vec<Process>,
    /// The kernel's boots; its boot ID is `boot-<n>`.
    pub kernel: u32,
    /// The machine goes down for this attempt of ours; 0 for no attempt of ours.
    pub going_down: Option<u32>,
    /// The machine is down.
    pub down: Option<u32>,
    /// The kubelet has something to report.
    pub news: bool,
    /// Boots that attempts of ours have caused.
    pub boots: Vec<u32>,
    /// The run's object is gone, and this is what the sweep knows of it.
    pub stray: Option<Stray>,
    /// The sweep has done its part.
    pub swept: bool,
    /// A mark that somebody forged, as the sweep knows it.
    pub forged: Option<Stray>,
    /// Somebody else has cordoned the node, and no one has uncordoned it since.
    pub others_cordon: bool,
    /// What may still go wrong.
    pub purse: Purse,
    /// A property that does not hold.
    pub broken: Option<Broken>,
}

/// UID of the run.
pub const RUN: &str = "run-1";

/// UID of a run that never was.
pub const NOBODY: &str = "nobody";

impl State {
    /// A node for which a person's run was just admitted.
    pub fn new(purse: Purse) -> State {
        let node = node("n1");
        let pending = pending(RUN, &node);
        State {
            run: admit(&pending, &node, &contract(), at(0)),
            run_version: 0,
            node,
            node_version: 0,
            now: at(0),
            memory: Memory::default(),
            doubt: Doubt::Nothing,
            in_hand: None,
            late: None,
            processes: vec![],
            kernel: 1,
            going_down: None,
            down: None,
            news: false,
            boots: vec![],
            stray: None,
            swept: false,
            forged: None,
            others_cordon: false,
            purse,
            broken: None,
        }
    }

    /// True while nobody else may take the place of the run (P1).
    pub fn holds_slot(&self, rules: Rules) -> bool {
        match &self.stray {
            Some(stray) => rules.r3 && !self.swept && stray.holds_slot(Some(&self.node), self.now),
            None => self.run.step.holds_slot(),
        }
    }

    /// What the kernel says of its boot.
    pub fn kernel_boot_id(&self) -> String {
        format!("boot-{}", self.kernel)
    }

    /// This state, in which a property does not hold.
    pub fn breaks(mut self, property: &'static str, why: impl Into<String>) -> State {
        self.broken = Some(Broken::new(property, why));
        self
    }
}
