//! Which nodes were taken out of service, and whether they were allowed to be: budgets in every
//! scope, domains, order, and one run per node. What is checked is what was seen of the nodes, not
//! what the operator counted.
//!
//! | property | here |
//! |---|---|
//! | SAFE-4 no start exceeds a limit, in any scope | [`Violation::TooManyOut`], [`Violation::TooManyOpenDomains`] |
//! | SAFE-22 at most one run of a node holds a slot | [`Violation::TwoRunsAtOnce`] |
//! | planner.md, Order: nothing starts before what is more urgent | [`Violation::OutOfOrder`] |

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{EventKind, Limits, RunSummary, TruthEvent, Violation};

/// For how long a machine may be down before everybody has to know: the node controller's patience,
/// and a moment.
const NOTICED: SignedDuration = SignedDuration::from_secs(30);

/// How long the cordon of a person may be on its way to the operator.
const HEARD: SignedDuration = SignedDuration::from_secs(2);

/// How late a cause may have come to be thought of at a start.
const CONSIDERED: SignedDuration = SignedDuration::from_secs(2);

/// How far apart the runs of one admission may begin.
const TOGETHER: SignedDuration = SignedDuration::from_secs(1);

/// What was seen of a node when its cordon had changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSeen {
    /// When, by the clock of the truth log.
    pub t: Timestamp,
    /// Name of the node.
    pub node: String,
    /// UID of the Node object.
    pub node_uid: String,
    /// `spec.unschedulable`.
    pub cordoned: bool,
    /// The run whose mark the node bears.
    pub by: Option<String>,
}

/// Checks what was taken out of service, on these events of the truth log and on what was seen of the
/// same nodes. Events of other nodes than those of `events` are left out.
pub fn check_starts(
    events: &[TruthEvent],
    seen: &[NodeSeen],
    runs: &[RunSummary],
    limits: &Limits,
) -> Vec<Violation> {
    let mut found = Fold::over(events, seen, runs, limits);
    found.extend(two_at_once(runs));
    if limits.in_order {
        found.extend(out_of_order(runs));
    }
    found
}

/// A node as it is at one moment of the story.
#[derive(Debug, Clone, Default)]
struct Node<'a> {
    domain: &'a str,
    pool: &'a str,
    /// Cordoned by this run.
    ours: Option<&'a str>,
    /// Cordoned by somebody else, since then.
    theirs: Option<Timestamp>,
    /// Down or not Ready, since then.
    down: Option<Timestamp>,
}

impl Node<'_> {
    /// Whether a planner that looks now has to count it.
    fn is_out(&self, now: Timestamp) -> bool {
        let longer = |since: Option<Timestamp>, than| {
            since.is_some_and(|since| now.duration_since(since) > than)
        };
        self.ours.is_some() || longer(self.theirs, HEARD) || longer(self.down, NOTICED)
    }
}

struct Fold<'a> {
    nodes: BTreeMap<&'a str, Node<'a>>,
    /// When a run gave its slot back and left its node cordoned.
    held: BTreeMap<&'a str, Timestamp>,
    limits: &'a Limits,
    found: Vec<Violation>,
}

impl<'a> Fold<'a> {
    fn over(
        events: &'a [TruthEvent],
        seen: &'a [NodeSeen],
        runs: &'a [RunSummary],
        limits: &'a Limits,
    ) -> Vec<Violation> {
        let held = runs.iter().filter_map(|run| Some((run.uid.as_str(), run.held?))).collect();
        let mut fold = Fold { nodes: BTreeMap::new(), held, limits, found: Vec::new() };
        let uids: BTreeSet<&str> = events.iter().map(|event| event.node_uid.as_str()).collect();
        let mut seen = seen.iter().filter(|seen| uids.contains(seen.node_uid.as_str())).peekable();
        for event in events {
            while let Some(seen) = seen.next_if(|seen| seen.t <= event.t) {
                fold.see(seen);
            }
            fold.happens(event);
        }
        seen.for_each(|seen| fold.see(seen));
        fold.found
    }

    fn happens(&mut self, event: &'a TruthEvent) {
        let node = self.nodes.entry(&event.node).or_default();
        node.domain = &event.domain;
        node.pool = &event.pool;
        match event.event {
            EventKind::Down | EventKind::NotReady => {
                node.down.get_or_insert(event.t);
            }
            EventKind::Ready => node.down = None,
            EventKind::Created | EventKind::Removed => {
                let (domain, pool) = (node.domain, node.pool);
                *node = Node { domain, pool, ..Node::default() };
            }
            EventKind::Act
            | EventKind::Refused
            | EventKind::Boot
            | EventKind::Pod
            | EventKind::Condition
            | EventKind::Fault => {}
        }
    }

    fn see(&mut self, seen: &'a NodeSeen) {
        let node = self.nodes.entry(&seen.node).or_default();
        let before = node.ours;
        node.ours = seen.by.as_deref().filter(|_| seen.cordoned);
        node.theirs = match (seen.cordoned, &seen.by) {
            (true, None) => node.theirs.or(Some(seen.t)),
            _ => None,
        };
        if node.ours.is_some() && node.ours != before {
            self.starts(&seen.node, seen.t);
        }
    }

    /// A run has cordoned its node. Each limit is reported once, where it was first passed.
    fn starts(&mut self, name: &str, t: Timestamp) {
        let Some(started) = self.nodes.get(name).cloned() else { return };
        let of_pool = self.limits.out_per_pool.get(started.pool).copied();
        self.count(t, "of all", self.limits.out, &started, |_| true);
        self.count(t, started.pool, of_pool, &started, |node| node.pool == started.pool);
        let in_domain = self.limits.out_per_domain;
        self.count(t, started.domain, in_domain, &started, |node| node.domain == started.domain);
        let Some(limit) = self.limits.open_domains else { return };
        let open = self.nodes.values().filter(|node| self.holds_a_slot(node, t));
        let domains: BTreeSet<&str> = open.map(|node| node.domain).collect();
        let reported = |v: &Violation| matches!(v, Violation::TooManyOpenDomains { .. });
        if domains.len() > limit && !self.found.iter().any(reported) {
            let domains = domains.into_iter().map(str::to_owned).collect();
            self.found.push(Violation::TooManyOpenDomains { t, limit, domains });
        }
    }

    fn count(
        &mut self,
        t: Timestamp,
        scope: &str,
        limit: Option<usize>,
        started: &Node<'_>,
        is_in: impl Fn(&Node<'_>) -> bool,
    ) {
        let Some(limit) = limit else { return };
        // Repairing what is down costs no capacity: only slots count for it.
        let repair = started.down.is_some_and(|since| t.duration_since(since) > NOTICED);
        let counts = |node: &Node<'_>| match repair {
            true => self.holds_a_slot(node, t),
            false => node.is_out(t),
        };
        let out = self.nodes.iter().filter(|(_, node)| is_in(node) && counts(node));
        let nodes: Vec<String> = out.map(|(name, _)| (*name).to_owned()).collect();
        let reported =
            |v: &Violation| matches!(v, Violation::TooManyOut { scope: of, .. } if of == scope);
        if nodes.len() > limit && !self.found.iter().any(reported) {
            let scope = scope.to_owned();
            self.found.push(Violation::TooManyOut { t, scope, limit, nodes });
        }
    }

    fn holds_a_slot(&self, node: &Node<'_>, t: Timestamp) -> bool {
        node.ours.is_some_and(|run| self.held.get(run).is_none_or(|held| *held > t))
    }
}

fn two_at_once(runs: &[RunSummary]) -> Vec<Violation> {
    let mut of_node: BTreeMap<&str, Vec<(Timestamp, &RunSummary)>> = BTreeMap::new();
    for run in runs {
        if let Some(admitted) = run.admitted {
            of_node.entry(&run.node_uid).or_default().push((admitted, run));
        }
    }
    let mut found = Vec::new();
    for runs in of_node.values_mut() {
        runs.sort_by_key(|(admitted, _)| *admitted);
        for pair in runs.windows(2) {
            let [(_, first), (admitted, second)] = pair else { continue };
            if first.ended.is_none_or(|ended| ended > *admitted) {
                found.push(Violation::TwoRunsAtOnce {
                    node_uid: first.node_uid.clone(),
                    first: first.uid.clone(),
                    second: second.uid.clone(),
                    t: *admitted,
                });
            }
        }
    }
    found
}

/// A run that was admitted while a more urgent one had been waiting for a while. Of each such run the
/// first one that it passed is told.
fn out_of_order(runs: &[RunSummary]) -> Vec<Violation> {
    let told = runs.iter().filter_map(|early| {
        let (t, first_priority) = (early.admitted?, early.priority?);
        runs.iter().find_map(|late| {
            let waited = t.duration_since(late.since?) > CONSIDERED;
            let later = late.admitted.is_none_or(|late| late.duration_since(t) > TOGETHER);
            let passed_priority = late.priority.filter(|late| *late < first_priority)?;
            (waited && later).then(|| Violation::OutOfOrder {
                t,
                first: early.uid.clone(),
                first_priority,
                passed: late.uid.clone(),
                passed_priority,
            })
        })
    });
    told.collect()
}

#[cfg(test)]
mod tests;
