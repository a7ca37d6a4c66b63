//! The counterexamples of protocol.md that need two leaders, replayed on a small world: a Lease, runs,
//! nodes, two operators. Deciding is the production code's; each schedule is played with its rule and
//! with the rule taken away, and then has to go wrong.

use super::*;
use crate::lease::{Lost, Mine, Seen, Whose, whose};

/// The rules, one of which a test takes away.
#[derive(Clone, Copy)]
struct Rules {
    /// Every end writes the node (R4).
    closing_write: bool,
    /// Recovery takes only what is under remediation, and adopts everything (R5).
    recovery: bool,
    /// A term has an identity, and an epoch above any other of the same height (R6).
    identity: bool,
    /// A foreign nonce is a foreign Lease (R7).
    nonce: bool,
}

const ALL: Rules = Rules { closing_write: true, recovery: true, identity: true, nonce: true };

#[derive(Clone)]
struct StoredRun {
    run: Run,
    version: u64,
    mark: Option<(i64, String)>,
}

#[derive(Clone, Default)]
struct Node {
    version: u64,
    cordoned_by: Option<String>,
}

#[derive(Clone)]
struct Lease {
    holder: String,
    epoch: i64,
    nonce: String,
    ledger: Ledger,
}

/// One term of an operator.
#[derive(Clone)]
struct Term {
    identity: String,
    epoch: i64,
    nonce: String,
}

/// A node patch that was decided on and not sent yet.
struct Cordon {
    node: String,
    version: u64,
    run: String,
}

/// At most one node may be out.
const LIMIT: usize = 1;

struct World {
    rules: Rules,
    lease: Option<Lease>,
    runs: BTreeMap<String, StoredRun>,
    nodes: BTreeMap<String, Node>,
    terms: u32,
}

impl World {
    fn new(rules: Rules, runs: &[(&str, Step)]) -> Self {
        let stored = |(uid, step): &(&str, Step)| {
            let run = StoredRun { run: a_run(uid, *step), version: 0, mark: None };
            ((*uid).to_owned(), run)
        };
        let node = |(uid, _): &(&str, Step)| (format!("node-of-{uid}"), Node::default());
        World {
            rules,
            lease: None,
            runs: runs.iter().map(stored).collect(),
            nodes: runs.iter().map(node).collect(),
            terms: 0,
        }
    }

    /// R5, points 1 to 5; what an old leader does between the list and the adoption is `meanwhile`.
    fn take_over(&mut self, who: &str, meanwhile: impl FnOnce(&mut World)) -> Term {
        self.terms += 1;
        let before = self.lease.clone();
        let mut term = Term {
            identity: format!("{who}_{}", self.terms),
            epoch: before.as_ref().map_or(0, |lease| lease.epoch) + 1,
            nonce: format!("{who}_{}/1", self.terms),
        };
        let ledger = before.map(|lease| lease.ledger).unwrap_or_default();
        self.write_lease(&term, ledger);
        let listed: Vec<_> = self.runs.values().cloned().collect();
        let marks = listed
            .iter()
            .filter_map(|run| run.mark.as_ref().map(|(epoch, leader)| (*epoch, leader.as_str())));
        if self.rules.identity
            && let Some(higher) = epoch_above(marks, term.epoch, &term.identity)
        {
            term.epoch = higher;
        }
        meanwhile(self);
        for run in &listed {
            self.adopt(&term, run);
        }
        let now = if self.rules.recovery {
            self.runs.values().map(|run| run.run.clone()).collect::<Vec<_>>()
        } else {
            listed.iter().map(|run| run.run.clone()).collect()
        };
        let held = self.lease.as_ref().map(|lease| lease.ledger.clone()).unwrap_or_default();
        let slots = if self.rules.recovery {
            Case::of(now).ask(|known| recovered(&held, known, &BTreeSet::new()))
        } else {
            // The first text of the protocol: "rebuilds the ledger from the runs that are not terminal".
            now.iter().filter(|run| !run.step.is_terminal()).map(Slot::of).collect()
        };
        let change = Change { replace: Some(slots), ..Change::default() };
        self.write_lease(&term, held.after(&change, at(0)));
        term
    }

    fn write_lease(&mut self, term: &Term, ledger: Ledger) {
        let Term { identity, epoch, nonce } = term.clone();
        self.lease = Some(Lease { holder: identity, epoch, nonce, ledger });
    }

    /// A compare-and-swap; a conflict is read again and tried again.
    fn adopt(&mut self, term: &Term, listed: &StoredRun) {
        let uid = listed.run.uid.clone();
        let foreign = match &listed.mark {
            None => true,
            Some((epoch, _)) if !self.rules.identity => *epoch < term.epoch,
            Some((epoch, leader)) => (*epoch, leader) != (term.epoch, &term.identity),
        };
        if listed.run.step.is_terminal() || !foreign {
            return;
        }
        if !self.write_status(term, &uid, listed.version, listed.run.step) && self.rules.recovery {
            let again = self.runs[&uid].clone();
            self.write_status(term, &uid, again.version, again.run.step);
        }
    }

    /// The API server's side of a status write: its version, and the rule at the schema's root.
    fn write_status(&mut self, term: &Term, uid: &str, version: u64, step: Step) -> bool {
        let rules = self.rules;
        let stored = self.runs.get_mut(uid).unwrap();
        let allowed = stored.mark.as_ref().is_none_or(|(epoch, leader)| {
            term.epoch > *epoch
                || (term.epoch == *epoch && (!rules.identity || *leader == term.identity))
        });
        if stored.version != version || !allowed {
            return false;
        }
        stored.version += 1;
        stored.run.step = step;
        stored.mark = Some((term.epoch, term.identity.clone()));
        true
    }

    fn moves(&mut self, term: &Term, uid: &str, step: Step) -> bool {
        let version = self.runs[uid].version;
        self.write_status(term, uid, version, step)
    }

    /// Decides the cordon of a run: what is sent may land much later.
    fn decide_cordon(&self, uid: &str) -> Cordon {
        assert!(self.has_right(uid), "SAFE-4: without a slot nothing is decided");
        let node = format!("node-of-{uid}");
        Cordon { version: self.nodes[&node].version, node, run: uid.to_owned() }
    }

    /// The patch tests the version that it was decided on.
    fn lands(&mut self, cordon: &Cordon) -> bool {
        let node = self.nodes.get_mut(&cordon.node).unwrap();
        let landed = node.version == cordon.version;
        if landed {
            node.version += 1;
            node.cordoned_by = Some(cordon.run.clone());
        }
        landed
    }

    /// Cancelled before its cordon was seen: the end of a run.
    fn cancels(&mut self, term: &Term, uid: &str) {
        if self.rules.closing_write {
            let node = self.nodes.get_mut(&format!("node-of-{uid}")).unwrap();
            node.version += 1;
            node.cordoned_by = None;
        }
        assert!(self.moves(term, uid, Step::Cancelled));
    }

    /// Releases what may go, and admits the run if there is room: one write of the ledger, one of the
    /// status.
    fn admits(&mut self, term: &Term, uid: &str) -> bool {
        let held = self.lease.clone().unwrap().ledger;
        let runs: Vec<_> = self.runs.values().map(|run| run.run.clone()).collect();
        let release = Case::of(runs).ask(|known| releasable(&held, known));
        let after = held.after(&Change { release, ..Change::default() }, at(0));
        let room = after.slots.iter().filter(|slot| slot.run_uid != uid).count() < LIMIT;
        let add = if room { vec![slot(uid)] } else { Vec::new() };
        self.write_lease(term, after.after(&Change { add, ..Change::default() }, at(0)));
        room && self.moves(term, uid, Step::Cordoning)
    }

    fn has_right(&self, uid: &str) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.ledger.holds(uid))
    }

    fn out(&self) -> usize {
        self.nodes.values().filter(|node| node.cordoned_by.is_some()).count()
    }
}

fn nothing(_: &mut World) {}

/// A decided the cordon and paused; B adopts, the run is cancelled, and another is admitted; then A's
/// patch is sent.
fn w4(rules: Rules) -> usize {
    let mut world = World::new(rules, &[("r0", Step::Pending), ("r1", Step::Pending)]);
    let a = world.take_over("a", nothing);
    assert!(world.admits(&a, "r0"));
    let late = world.decide_cordon("r0");
    let b = world.take_over("b", nothing);
    world.cancels(&b, "r0");
    assert!(world.admits(&b, "r1"));
    let cordon = world.decide_cordon("r1");
    assert!(world.lands(&cordon));
    world.lands(&late);
    world.out()
}

#[test]
fn w4_a_cordon_that_an_old_leader_decided_is_refused_after_the_closing_write() {
    assert_eq!(w4(ALL), 1);
    assert_eq!(w4(Rules { closing_write: false, ..ALL }), 2, "the rule carries no weight");
}

/// The Lease is deleted while one run is under way and another Pending.
fn w5(rules: Rules) -> (bool, bool) {
    let mut world = World::new(rules, &[("r0", Step::Pending), ("r1", Step::Pending)]);
    let a = world.take_over("a", nothing);
    assert!(world.admits(&a, "r0"));
    world.lease = None;
    world.take_over("b", nothing);
    (world.has_right("r0"), world.has_right("r1"))
}

#[test]
fn w5_a_deleted_lease_gives_no_slot_to_a_pending_run() {
    assert_eq!(w5(ALL), (true, false));
    assert_eq!(w5(Rules { recovery: false, ..ALL }), (true, true), "the rule carries no weight");
}

/// The old leader's status write lands between the list and the adoption.
fn w6(rules: Rules) -> (Step, bool, bool) {
    let mut world = World::new(rules, &[("r0", Step::Pending)]);
    let a = world.take_over("a", nothing);
    let version = world.runs["r0"].version;
    world.lease = None;
    let b = world.take_over("b", |world| {
        assert!(world.write_status(&a, "r0", version, Step::Cordoning));
    });
    let stored = &world.runs["r0"];
    let adopted = stored.mark == Some((b.epoch, b.identity));
    (stored.run.step, adopted, world.has_right("r0"))
}

#[test]
fn w6_an_admission_that_lands_during_the_adoption_is_adopted_with_its_slot() {
    assert_eq!(w6(ALL), (Step::Cordoning, true, true));
    let (step, adopted, _) = w6(Rules { recovery: false, ..ALL });
    assert_eq!((step, adopted), (Step::Cordoning, false), "the rule carries no weight");
}

/// Two terms that both began from nothing: the first lives on, and goes on with its run.
fn w6b(rules: Rules) -> (i64, bool) {
    let mut world = World::new(rules, &[("r0", Step::Pending)]);
    let a = world.take_over("a", nothing);
    assert!(world.admits(&a, "r0"));
    world.lease = None;
    let b = world.take_over("b", nothing);
    (b.epoch, world.moves(&a, "r0", Step::Draining))
}

#[test]
fn w6b_of_two_terms_that_began_from_nothing_only_the_second_may_move_a_run() {
    assert_eq!(w6b(ALL), (2, false));
    assert_eq!(w6b(Rules { identity: false, ..ALL }), (1, true), "the rule carries no weight");
}

/// The Lease is restored from a copy that bears our own name and epoch, and an older ledger.
fn w7(rules: Rules) -> usize {
    let mut world = World::new(rules, &[("r0", Step::Pending), ("r1", Step::Pending)]);
    let mut a = world.take_over("a", nothing);
    let copy = world.lease.clone();
    a.nonce = format!("{}/2", a.identity);
    assert!(world.admits(&a, "r0"));
    let cordon = world.decide_cordon("r0");
    assert!(world.lands(&cordon));
    world.lease = copy;
    let lease = world.lease.clone().unwrap();
    let seen = Seen { holder: lease.holder.clone(), duration: None, nonce: lease.nonce.clone() };
    let mine = Mine {
        identity: a.identity.clone(),
        acknowledged: a.nonce.clone(),
        attempted: Vec::new(),
        renewed: std::time::Duration::ZERO,
    };
    let ours = if rules.nonce {
        let whose = whose(&seen, &mine);
        assert_eq!(whose, Whose::Foreign(Lost::Foreign));
        false
    } else {
        (lease.holder, lease.epoch) == (a.identity.clone(), a.epoch)
    };
    let term = if ours { a } else { world.take_over("a", nothing) };
    if world.admits(&term, "r1") {
        let cordon = world.decide_cordon("r1");
        assert!(world.lands(&cordon));
    }
    world.out()
}

#[test]
fn w7_a_restored_lease_is_foreign_whatever_name_and_epoch_it_bears() {
    assert_eq!(w7(ALL), 1);
    assert_eq!(w7(Rules { nonce: false, ..ALL }), 2, "the rule carries no weight");
}
