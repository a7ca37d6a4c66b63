//! The turn of each candidate: what was admitted before it counts.

use std::collections::BTreeMap;

use super::{
    Candidate, Explanation, PairReport, Wait, WaitReason, closing,
    domain::{self, Places},
    gate::{self, Question},
    look::{Entry, Look},
    scope::{Budgets, Use},
};

/// How things stand when a candidate's turn comes.
pub(super) struct Turn<'a> {
    /// Of each scope.
    pub used: Vec<Use>,
    /// Some admitted nodes of each scope.
    pub named: Vec<Vec<&'a str>>,
    pub places: Places,
    /// The admitted nodes, with the policy that takes each.
    nodes: BTreeMap<&'a str, &'a str>,
    /// Runs started by each policy.
    started: Vec<usize>,
    /// The same by condition type.
    of_type: Vec<BTreeMap<&'a str, u32>>,
}

impl<'a> Turn<'a> {
    /// Before anything is admitted.
    pub(super) fn first(look: &Look<'a>, budgets: &Budgets<'a>) -> Self {
        let policies = look.policies.len();
        Turn {
            used: budgets.all.iter().map(|budget| budget.used).collect(),
            named: vec![Vec::new(); budgets.all.len()],
            places: Places::of(look),
            nodes: BTreeMap::new(),
            started: vec![0; policies],
            of_type: vec![BTreeMap::new(); policies],
        }
    }

    pub(super) fn started(&self, policy: usize) -> usize {
        self.started[policy]
    }

    pub(super) fn started_for(&self, policy: usize, condition_type: &str) -> u32 {
        self.of_type[policy].get(condition_type).copied().unwrap_or_default()
    }

    /// One node, one run (SAFE-22): the first pair of a node that passes takes it.
    fn taken(&self, entry: &Entry<'_>) -> Option<Wait> {
        let policy = self.nodes.get(entry.node.name.as_str())?;
        let message = format!("policy {policy} takes this node first");
        Some(Wait::new(WaitReason::ActiveRun, message))
    }

    fn admit(&mut self, look: &Look<'a>, budgets: &Budgets<'a>, entry: &Entry<'a>) {
        let name = entry.node.name.as_str();
        for id in &entry.scopes {
            self.used[*id].slots += 1;
            self.used[*id].out += budgets.taken_by(look, entry, *id);
            if self.named[*id].len() < 3 {
                self.named[*id].push(name);
            }
        }
        if let Some(domain) = entry.domain {
            self.places.take(domain, Some(entry.policy));
        }
        self.nodes.insert(name, &look.policies[entry.policy].policy.name);
        self.started[entry.policy] += 1;
        for cause in &entry.claim.causes {
            let kind = cause.condition.condition_type();
            *self.of_type[entry.policy].entry(kind).or_default() += 1;
        }
    }
}

/// What came of the candidates of one round.
pub(super) struct Outcome<'a> {
    pub admitted: Vec<Candidate>,
    pub reports: Vec<PairReport>,
    /// How things stand afterwards.
    pub turn: Turn<'a>,
    /// How many wait for each budget.
    pub blocked: Vec<usize>,
    /// The candidates that pass every gate before the domain's: priority of the best by domain.
    pub urgency: BTreeMap<usize, crate::priority::Priority>,
}

/// Gives each its turn, in order. `asked` is the pair of which everything is told.
pub(super) fn round<'a>(
    look: &Look<'a>,
    budgets: &Budgets<'a>,
    entries: &[&Entry<'a>],
    asked: &mut Option<Asked<'_>>,
) -> Outcome<'a> {
    let mut turn = Turn::first(look, budgets);
    let question = |turn, entry| gate::alone(&Question { look, budgets, turn, entry });
    let stopped: Vec<_> = entries.iter().map(|entry| question(&turn, entry)).collect();
    let waiting = entries.iter().zip(&stopped).filter(|(_, stopped)| stopped.is_none());
    let waiting: Vec<_> = waiting.map(|(entry, _)| *entry).collect();
    let urgency = closing::urgency(&waiting);
    closing::decide(look, budgets, &waiting, &urgency, &mut turn);
    turn.places.ages_at = domain::ages_at(look, &waiting);
    let mut outcome = Outcome {
        admitted: Vec::new(),
        reports: Vec::new(),
        blocked: vec![0; budgets.all.len()],
        urgency,
        turn,
    };
    for (entry, stopped) in entries.iter().zip(stopped) {
        let turn = &mut outcome.turn;
        let question = Question { look, budgets, turn, entry };
        let wait = turn.taken(entry).or(stopped).or_else(|| gate::shared(&question));
        let policy = &look.policies[entry.policy].policy.name;
        if let Some(asked) = asked.as_mut().filter(|asked| asked.is(&entry.node.name, policy)) {
            asked.answer = Some(Explanation {
                candidate: Some(entry.told(look)),
                wait: wait.clone(),
                gates: gate::all(&question),
            });
        }
        match &wait {
            None => {
                turn.admit(look, budgets, entry);
                outcome.admitted.push(entry.told(look));
            }
            Some(wait) if wait.reason == WaitReason::BudgetExhausted => {
                if let Some((id, _)) = budgets.full(entry, |id| turn.used[id]) {
                    outcome.blocked[id] += 1;
                }
            }
            Some(_) => {}
        }
        outcome.reports.push(PairReport {
            node: entry.node.name.clone(),
            policy: policy.clone(),
            priority: Some(entry.claim.priority),
            wait,
        });
    }
    outcome
}

/// The pair that somebody asks about.
pub(super) struct Asked<'q> {
    pub node: &'q str,
    pub policy: &'q str,
    pub answer: Option<Explanation>,
}

impl Asked<'_> {
    fn is(&self, node: &str, policy: &str) -> bool {
        (node, policy) == (self.node, self.policy) && self.answer.is_none()
    }
}
