//! Priority rules over domains (planner.md, Domains): a place is kept for the most urgent, and an open
//! domain that keeps a more urgent node elsewhere waiting is closed: it finishes what it began and
//! starts nothing. Nothing of it is remembered; each plan decides it anew, before it admits anything.
//! The details are in design note 014.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    domain::{Places, Reservation, limits},
    gate::Question,
    look::{Entry, Look},
    pace,
    scope::{Budgets, Use},
    turn::Turn,
};
use crate::priority::Priority;

/// The most urgent candidate of each domain. A domain without one is least urgent.
pub(super) fn urgency(waiting: &[&Entry<'_>]) -> BTreeMap<usize, Priority> {
    let mut urgency: BTreeMap<usize, Priority> = BTreeMap::new();
    for entry in waiting {
        if let Some(domain) = entry.domain {
            let best = urgency.entry(domain).or_insert(entry.claim.effective);
            *best = entry.claim.effective.min(*best);
        }
    }
    urgency
}

/// Decides which domains are closed, and for whom places are kept. `waiting` is in order.
pub(super) fn decide<'a>(
    look: &Look<'a>,
    budgets: &Budgets<'a>,
    waiting: &[&Entry<'a>],
    urgency: &BTreeMap<usize, Priority>,
    turn: &mut Turn<'a>,
) {
    let mut freed = Freed { budgets, of: BTreeMap::new() };
    // Least urgent first, since they are closed in this order.
    let mut victims: Vec<usize> = turn.places.open.iter().copied().collect();
    let rank = |domain: &usize| urgency.get(domain).map_or(u32::MAX, |urgency| urgency.0.into());
    victims.sort_by_key(|domain| (std::cmp::Reverse(rank(domain)), *domain));
    let mut settled: BTreeSet<(usize, usize)> = BTreeSet::new();
    for entry in waiting {
        let Some(domain) = entry.domain else { continue };
        let pair = (entry.policy, domain);
        let is_open = turn.places.open_of[entry.policy].contains(&domain);
        if is_open || settled.contains(&pair) || turn.places.closed.contains_key(&domain) {
            continue;
        }
        if pace::gate(&Question { look, budgets, turn, entry }).wait().is_some() {
            continue;
        }
        let place = Place { look, places: &turn.places, entry, domain };
        let victim = if place.is_free(None) {
            if !place.suits(None) || !freed.fits(entry, None) {
                continue;
            }
            None
        } else {
            let less_urgent = |victim: &usize| {
                let urgency = urgency.get(victim);
                urgency.is_none_or(|urgency| *urgency > entry.claim.effective)
                    && !turn.places.closed.contains_key(victim)
                    && *victim != domain
            };
            let found = victims.iter().copied().filter(less_urgent).find(|victim| {
                let victim = Some(*victim);
                place.is_free(victim) && place.suits(victim) && freed.fits(entry, victim)
            });
            if found.is_none() {
                continue;
            }
            found
        };
        settled.insert(pair);
        let node = entry.node.name.clone();
        turn.places.closed.extend(victim.map(|victim| (victim, node.clone())));
        turn.places.reserved.push(Reservation { policy: entry.policy, domain, node });
    }
}

/// A place that a candidate would need.
struct Place<'p, 'a> {
    look: &'p Look<'a>,
    places: &'p Places,
    entry: &'p Entry<'a>,
    domain: usize,
}

impl Place<'_, '_> {
    /// The limits leave a place for it, after those that are kept already, when `victim` is gone. Each
    /// closed domain is on its way out, and its place is one of those that are kept.
    fn is_free(&self, victim: Option<usize>) -> bool {
        let policy = self.entry.policy;
        let (max, own_max) = limits(self.look, policy);
        let reserved = self.places.reserved.iter();
        let own = reserved.clone().filter(|reserved| reserved.policy == policy);
        self.fits(&self.places.open, reserved.map(|r| r.domain), victim, max)
            && self.fits(&self.places.open_of[policy], own.map(|r| r.domain), victim, own_max)
    }

    fn fits(
        &self,
        open: &BTreeSet<usize>,
        reserved: impl Iterator<Item = usize>,
        victim: Option<usize>,
        max: usize,
    ) -> bool {
        let leaves =
            |domain: &&usize| self.places.closed.contains_key(domain) || Some(**domain) == victim;
        if open.contains(&self.domain) {
            let stay =
                open.len() - usize::from(victim.is_some_and(|victim| open.contains(&victim)));
            return stay <= max;
        }
        let stay = open.iter().filter(|domain| !leaves(domain)).count();
        let kept: BTreeSet<_> =
            reserved.filter(|domain| !open.contains(domain) && *domain != self.domain).collect();
        stay + kept.len() < max
    }

    /// At most one node without topology labels is under remediation.
    fn suits(&self, victim: Option<usize>) -> bool {
        let unlabelled = |domain: &usize| self.look.domains.get(*domain).is_unlabelled();
        let reserved = self.places.reserved.iter().map(|reserved| reserved.domain);
        let mut others = self.places.open.iter().copied().chain(reserved);
        !unlabelled(&self.domain)
            || !others
                .any(|other| other != self.domain && Some(other) != victim && unlabelled(&other))
    }
}

/// What the budgets would be without the slots of one domain.
struct Freed<'b, 'a> {
    budgets: &'b Budgets<'a>,
    /// By domain: how many nodes leave each scope.
    of: BTreeMap<usize, Vec<usize>>,
}

impl Freed<'_, '_> {
    fn fits(&mut self, entry: &Entry<'_>, victim: Option<usize>) -> bool {
        let budgets = self.budgets;
        let gone =
            victim.map(|victim| self.of.entry(victim).or_insert_with(|| leaving(budgets, victim)));
        let used = |id: usize| {
            let gone = gone.as_ref().and_then(|gone| gone.get(id)).copied().unwrap_or_default();
            let Use { slots, out } = budgets.all[id].used;
            Use { slots: slots.saturating_sub(gone), out: out.saturating_sub(gone) }
        };
        budgets.full(entry, used).is_none()
    }
}

/// A node that also holds a slot in another domain stays.
fn leaving(budgets: &Budgets<'_>, victim: usize) -> Vec<usize> {
    let mut gone = vec![0; budgets.all.len()];
    for (_, scopes) in budgets.held.iter().filter(|(domains, _)| *domains == [victim]) {
        scopes.iter().for_each(|id| gone[*id] += 1);
    }
    gone
}
