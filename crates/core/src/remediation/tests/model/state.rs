//! What the model's world consists of.

use crate::{
    facts::NodeFacts,
    reboot_check::Expected,
    remediation::{
        Decision, Memory,
        tests::{admit, at, contract, node, pending_run},
    },
    run::Run,
    sweep::Stray,
};
use jiff::{SignedDuration, Timestamp};

/// How often each fault may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Purse {
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
    /// The run's object is deleted by force.
    pub deletions: u8,
}

/// Rules that can be taken away.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// The Pod compares the kernel's boot ID.
    pub r1: bool,
    /// An attempt is withdrawn before it is given up.
    pub r2: bool,
    /// Every end writes the node.
    pub r4: bool,
    /// The owner of the field says whose cordon it is.
    pub r9: bool,
}

/// Where a process of a reboot Pod is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum At {
    /// Bound to the node, not started.
    Created,
    /// Has read the run.
    ReadRun(Option<crate::reboot_check::RunSeen>),
    /// Has read the node, and may act.
    MayAct,
    /// Started the reboot command.
    Acted,
    /// Over, with this exit code, and a refusal for another boot ID if it was that.
    Over(i32, bool),
}

/// One process of a reboot Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub expected: Expected,
    pub at: At,
    /// Its Pod object is there.
    pub object: bool,
    /// A deletion of the object was asked for.
    pub deleting: bool,
    pub ended: Option<Timestamp>,
}

/// A call that the operator has decided on, with the versions that it was decided on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub decision: Decision,
    /// The sweep's closing write, which lifts the cordon if true.
    pub sweeps: Option<bool>,
    pub run_version: u32,
    pub node_version: u32,
}

/// Everything.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub run: Run,
    pub run_version: u32,
    pub node: NodeFacts,
    pub node_version: u32,
    pub now: Timestamp,
    pub memory: Memory,
    pub in_hand: Option<Call>,
    pub late: Option<Call>,
    pub processes: Vec<Process>,
    /// The kernel's boots; its boot ID is `boot-<n>`.
    pub kernel: u32,
    /// The machine goes down for this attempt of ours; 0 for no attempt of ours.
    pub going_down: Option<u32>,
    pub down: Option<u32>,
    /// The kubelet has something to report.
    pub news: bool,
    /// Boots that attempts of ours have caused.
    pub boots: Vec<u32>,
    /// The run's object is gone, and this is what the sweep knows of it.
    pub stray: Option<Stray>,
    /// The sweep has done its part.
    pub swept: bool,
    /// A person has cordoned the node, and no one has uncordoned it since.
    pub persons_cordon: bool,
    pub purse: Purse,
}

impl State {
    /// A node that a run was just admitted for: a person's run, verified by its boot and Ready alone.
    pub fn new(purse: Purse) -> State {
        let node = node();
        let mut contract = contract();
        contract.verify.ready = SignedDuration::ZERO;
        contract.verify.daemon_sets = false;
        contract.verify.probe_pod = false;
        let pending = Run { causes: vec![], ..pending_run() };
        State {
            run: admit(&pending, &node, &contract, at(0)),
            run_version: 0,
            node,
            node_version: 0,
            now: at(0),
            memory: Memory::default(),
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
            persons_cordon: false,
            purse,
        }
    }

    /// True while nobody else may take the place of the run (P1).
    pub fn holds_slot(&self) -> bool {
        match &self.stray {
            Some(stray) => !self.swept && stray.holds_slot(Some(&self.node), self.now),
            None => self.run.step.holds_slot(),
        }
    }

    pub fn kernel_boot_id(&self) -> String {
        format!("boot-{}", self.kernel)
    }
}
