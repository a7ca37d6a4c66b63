//! SAFE-4: no start exceeds a limit (planner.md, Budgets and Domains). Counted anew, on the truth at
//! the write of the ledger. What somebody else changed a moment before may be counted either way.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    court::{Court, Seen},
    node::NodeTruth,
    past::earlier,
    policy::{PolicyTruth, UNLABELLED, allowed, domain},
};

type Doubts = BTreeMap<String, Vec<(&'static str, String)>>;

/// One run that is to begin.
struct Start {
    uid: String,
    node: String,
    policy: String,
}

/// Who is out, as far as a limit is concerned.
struct Out {
    /// Nodes with a slot: node, policy of the run, domain at admission.
    held: Vec<(String, String, Option<Vec<String>>)>,
    held_nodes: BTreeSet<String>,
}

impl Court {
    /// The failure domain of a node by the labels that it has.
    pub(super) fn domain_of(&self, node: &str) -> Option<Vec<String>> {
        let keys = &self.limits.get().as_ref()?.keys;
        domain(keys, self.nodes.get(node)?.labels.get(), node)
    }

    /// What is wrong with each of these starts, which came in one write; the ledger has them already.
    pub(super) fn budgets_of(&mut self, seen: &Seen, admitted: &[String]) -> Doubts {
        self.vanished.retain(|(at, ..)| *at >= seen.old);
        let starts: Vec<Start> = admitted
            .iter()
            .filter_map(|uid| {
                let run = self.runs.get(uid)?;
                Some(Start { uid: uid.clone(), node: run.node.clone(), policy: run.policy.clone() })
            })
            .collect();
        let out = self.under_remediation();
        let mut doubts = Doubts::new();
        let mut doubt = |uid: &str, message: String| {
            doubts.entry(uid.to_owned()).or_default().push(("SAFE-4", message));
        };
        let mut full = false;
        for start in &starts {
            let Some(node) = self.nodes.get(&start.node) else { continue };
            if node.control_plane {
                doubt(&start.uid, format!("node {} is of the control plane", start.node));
            }
            let mut tell = |scope: String, used: usize, limit: usize| {
                full |= used >= limit;
                if used > limit {
                    doubt(
                        &start.uid,
                        format!(
                            "{used} nodes are out or under remediation in {scope}, {limit} are allowed"
                        ),
                    );
                }
            };
            self.cluster(seen, node, &out, &mut tell);
            for (name, policy) in &self.policies {
                let versions: Vec<_> = policy.within(seen.old).flatten().collect();
                let bounds = policy.throughout(seen.old, |version| {
                    version.as_ref().is_some_and(|version| {
                        version.enforces()
                            && node.labels.throughout(seen.old, |labels| version.selects(labels))
                    })
                });
                if bounds {
                    self.scope(seen, start, node, (name, &versions), &out, &mut tell);
                }
            }
        }
        if full {
            self.saw("budget-full");
        }
        for start in &starts {
            for message in self
                .crowded(seen, start, admitted)
                .into_iter()
                .chain(self.paced(seen, start, &starts))
            {
                doubts.entry(start.uid.clone()).or_default().push(("SAFE-4", message));
            }
        }
        doubts
    }

    fn under_remediation(&self) -> Out {
        let mut held = Vec::new();
        for (uid, slot) in &self.lease.slots {
            let policy = self.runs.get(uid).map(|run| run.policy.clone()).unwrap_or_default();
            held.push((slot.node.clone(), policy, slot.domain.clone()));
        }
        let unlisted = self
            .runs
            .iter()
            .filter(|(uid, run)| run.is_active() && !self.lease.slots.contains_key(*uid));
        for (_, run) in unlisted {
            held.push((run.node.clone(), run.policy.clone(), self.domain_of(&run.node)));
        }
        let held_nodes = held.iter().map(|(node, ..)| node.clone()).collect();
        Out { held, held_nodes }
    }

    fn cluster(
        &self,
        seen: &Seen,
        node: &NodeTruth,
        out: &Out,
        tell: &mut impl FnMut(String, usize, usize),
    ) {
        let total = self.nodes.len() + self.vanished.len();
        let limits = self.limits.within(seen.from).flatten();
        let limit = limits.map(|limits| allowed(&limits.unavailable, total, limits.floor)).max();
        let slots = out.held_nodes.len();
        let others = self.out_since(seen.old, out).count();
        let used = slots + if is_in_service(node, seen.from) { others } else { 0 };
        tell("the cluster".to_owned(), used, limit.unwrap_or(0));
    }

    /// Nodes without a slot that have been out for a while.
    fn out_since<'a>(
        &'a self,
        from: Timestamp,
        out: &'a Out,
    ) -> impl Iterator<Item = (&'a String, &'a NodeTruth)> {
        self.nodes.iter().filter(move |(name, node)| {
            !out.held_nodes.contains(*name) && node.out.throughout(from, |out| *out)
        })
    }

    fn scope(
        &self,
        seen: &Seen,
        start: &Start,
        node: &NodeTruth,
        (name, versions): (&str, &[&PolicyTruth]),
        out: &Out,
        tell: &mut impl FnMut(String, usize, usize),
    ) {
        let selected = |labels: &Value| versions.iter().any(|version| version.selects(labels));
        let surely = |node: &NodeTruth| {
            !node.control_plane
                && node.labels.throughout(seen.old, |labels| {
                    versions.iter().all(|version| version.selects(labels))
                })
        };
        let in_service = is_in_service(node, seen.from);
        let budget = |version: &&PolicyTruth| version.spec.budget.clone();
        let is_held = |held: &&(String, String, Option<Vec<String>>)| {
            held.1 == name || self.nodes.get(&held.0).is_some_and(&surely)
        };
        let count = |labels: &mut dyn Iterator<Item = bool>| labels.filter(|fits| *fits).count();
        let members = self.nodes.values().map(|node| {
            !node.control_plane && node.labels.at_some_time(seen.old, |labels| selected(labels))
        });
        let total =
            count(&mut members.chain(self.vanished.iter().map(|(_, labels, _)| selected(labels))));
        let held: BTreeSet<&String> =
            out.held.iter().filter(is_held).map(|(node, ..)| node).collect();
        let others = self.out_since(seen.old, out).filter(|(_, node)| surely(node)).count();
        let limit = versions
            .iter()
            .map(budget)
            .map(|budget| allowed(&budget.max_unavailable, total, budget.min_floor));
        let used = held.len() + if in_service { others } else { 0 };
        tell(format!("policy {name}"), used, limit.max().unwrap_or(0));
        let Some(home) = self.home(seen.from, &start.node, node) else { return };
        let lives_there = |name: &String, node: &NodeTruth| {
            self.homes(seen.old, name, &node.labels.within(seen.old).cloned().collect::<Vec<_>>())
                .contains(&home)
        };
        let total = self.nodes.iter().filter(|(name, node)| {
            !node.control_plane
                && node.labels.at_some_time(seen.old, |labels| selected(labels))
                && lives_there(name, node)
        });
        let vanished = self.vanished.iter().filter(|(_, labels, name)| {
            selected(labels)
                && self.homes(seen.old, name, std::slice::from_ref(labels)).contains(&home)
        });
        let total = total.count() + vanished.count();
        let here = out.held.iter().filter(is_held).filter(|held| held.2.as_ref() == Some(&home));
        let here: BTreeSet<&String> = here.map(|(node, ..)| node).collect();
        let others = self.out_since(seen.old, out).filter(|(name, node)| {
            surely(node) && self.home(seen.old, name, node).as_ref() == Some(&home)
        });
        let used = here.len() + if in_service { others.count() } else { 0 };
        let limit = versions
            .iter()
            .map(budget)
            .map(|budget| allowed(&budget.max_unavailable_per_domain, total, budget.min_floor));
        tell(format!("policy {name} in domain {home:?}"), used, limit.max().unwrap_or(0));
    }

    /// Every domain that a node may be thought to be in.
    fn homes(&self, from: Timestamp, name: &str, labels: &[Arc<Value>]) -> BTreeSet<Vec<String>> {
        let keys = self.limits.within(from).flatten().map(|limits| &limits.keys);
        keys.flat_map(|keys| labels.iter().filter_map(|labels| domain(keys, labels, name)))
            .collect()
    }

    /// The domain of a node, if there can be no two opinions.
    fn home(&self, from: Timestamp, name: &str, node: &NodeTruth) -> Option<Vec<String>> {
        let labels: Vec<_> = node.labels.within(from).cloned().collect();
        let mut homes = self.homes(from, name, &labels);
        if homes.len() == 1 { homes.pop_first() } else { None }
    }

    /// Too many failure domains are open, and this start opens one more.
    fn crowded(&self, seen: &Seen, start: &Start, admitted: &[String]) -> Option<String> {
        let home = self.home(seen.from, &start.node, self.nodes.get(&start.node)?)?;
        let held = || {
            let slots = self.lease.slots.iter().filter(|(uid, _)| !admitted.contains(uid));
            slots.filter_map(|(uid, slot)| {
                Some((self.runs.get(uid).map(|run| &run.policy), slot.domain.as_ref()?))
            })
        };
        let before: BTreeSet<_> = held().map(|(_, domain)| domain).collect();
        let of_policy = held().filter(|(policy, _)| *policy == Some(&start.policy));
        let own_before: BTreeSet<_> = of_policy.map(|(_, domain)| domain).collect();
        let new = admitted.iter().filter_map(|uid| {
            let (slot, run) = (self.lease.slots.get(uid)?, self.runs.get(uid)?);
            Some((&run.policy, slot.domain.as_ref()?))
        });
        let new: Vec<_> = new.collect();
        let all: BTreeSet<_> =
            before.iter().copied().chain(new.iter().map(|(_, domain)| *domain)).collect();
        let own_new =
            new.iter().filter(|(policy, _)| **policy == start.policy).map(|(_, domain)| *domain);
        let own: BTreeSet<_> = own_before.iter().copied().chain(own_new).collect();
        let most = self.limits.within(seen.from).flatten().map(|limits| limits.domains).max()?;
        if !before.contains(&home) && all.len() > most as usize {
            return Some(format!("{} failure domains are open, {most} may be: {all:?}", all.len()));
        }
        let policy = self.policies.get(&start.policy)?;
        let most = policy
            .within(seen.from)
            .flatten()
            .map(|policy| policy.spec.budget.max_domains)
            .max()?;
        if !own_before.contains(&home) && own.len() > most as usize {
            return Some(format!(
                "{} failure domains are open for its policy, {most} may be",
                own.len()
            ));
        }
        let unlabelled =
            |domain: &&&Vec<String>| domain.first().is_some_and(|first| first == UNLABELLED);
        if unlabelled(&&&home) && all.iter().filter(unlabelled).count() > 1 {
            return Some("two nodes without topology labels are under remediation".to_owned());
        }
        None
    }

    /// Too many starts of the policy within its window.
    fn paced(&self, seen: &Seen, start: &Start, starts: &[Start]) -> Option<String> {
        let policy = self.policies.get(&start.policy)?;
        let new = starts.iter().filter(|other| other.policy == start.policy).count();
        let before = self.starts.get(&start.policy).map(Vec::as_slice).unwrap_or_default();
        let over = |policy: &PolicyTruth| {
            let pace = &policy.spec.budget.max_starts;
            let opened = earlier(seen.from, pace.per.value());
            // By the operator's own clock the window may have moved on a little.
            let opened = super::past::later(opened, self.lag().saturating_mul(2));
            let all = before.iter().filter(|at| **at > opened).count() + new;
            (all > pace.count as usize).then_some((all, pace.count))
        };
        let over: Vec<_> = policy.within(seen.from).flatten().map(over).collect();
        let all: Option<Vec<_>> = over.into_iter().collect();
        let (all, most) = all?.first().copied()?;
        Some(format!("{all} runs were started within maxStarts.per, {most} may be"))
    }
}

fn is_in_service(node: &NodeTruth, from: Timestamp) -> bool {
    node.out.throughout(from, |out| !*out)
}
