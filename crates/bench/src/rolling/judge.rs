//! Looks at every start: are the limits kept (SAFE-4), and was it this node's turn? It knows numbers of
//! nodes and racks only, and shares no function with the planner.

use std::collections::{BTreeMap, BTreeSet};

use crate::world::{Limits, rack};

/// Keeps count of who waits and who is out.
pub struct Judge {
    limits: Limits,
    /// Who wants a run and has none, with its priority (a smaller one is more urgent), and since when.
    waiting: BTreeMap<usize, (u16, u64)>,
    /// The latest decision, and the most urgent that waited in each rack before it.
    decision: Option<(u64, BTreeMap<usize, u16>)>,
    out: BTreeSet<usize>,
    most_out: usize,
    most_racks: usize,
    /// Starts while somebody more urgent could have had the place, or had to get it.
    pub inversions: usize,
    violations: Vec<String>,
}

impl Judge {
    /// Nobody waits, nobody is out.
    pub fn new(limits: Limits) -> Self {
        Judge {
            limits,
            waiting: BTreeMap::new(),
            decision: None,
            out: BTreeSet::new(),
            most_out: 0,
            most_racks: 0,
            inversions: 0,
            violations: Vec::new(),
        }
    }

    /// A node comes to want a run at this time, in microseconds since any moment.
    pub fn wants(&mut self, node: usize, urgency: u16, at: u64) {
        self.waiting.insert(node, (urgency, at));
    }

    /// A node does not want a run any more.
    pub fn leaves(&mut self, node: usize) {
        self.waiting.remove(&node);
    }

    /// A node is taken out, by a decision of this time: who came to want a run later was not thought of.
    pub fn starts(&mut self, node: usize, decided: u64) {
        if self.decision.as_ref().is_none_or(|(at, _)| *at != decided) {
            let mut best: BTreeMap<usize, u16> = BTreeMap::new();
            for (node, (urgency, _)) in self.waiting.iter().filter(|(_, (_, at))| *at <= decided) {
                let known = best.entry(rack(*node)).or_insert(*urgency);
                *known = (*known).min(*urgency);
            }
            self.decision = Some((decided, best));
        }
        let Some((urgency, _)) = self.waiting.remove(&node) else {
            self.violations.push(format!("node {node} was started and did not want a run"));
            return;
        };
        if self.is_passed_over(node, urgency, decided) {
            self.inversions += 1;
        }
        self.out.insert(node);
        let (out, racks) = (self.out.len(), self.racks().len());
        self.most_out = self.most_out.max(out);
        self.most_racks = self.most_racks.max(racks);
        if out > self.limits.nodes as usize || racks > self.limits.racks as usize {
            self.violations.push(format!("with node {node} {out} nodes of {racks} racks are out"));
        }
    }

    /// A node is back.
    pub fn ends(&mut self, node: usize) {
        self.out.remove(&node);
    }

    /// The most nodes that were out, and the most racks that were open.
    pub fn most(&self) -> (usize, usize) {
        (self.most_out, self.most_racks)
    }

    /// What went wrong; in the end nobody may be waiting.
    pub fn violations(self) -> Vec<String> {
        let left = self.waiting.len();
        let left = (left > 0).then(|| format!("{left} nodes were never started"));
        self.violations.into_iter().chain(left).collect()
    }

    fn racks(&self) -> BTreeSet<usize> {
        self.out.iter().copied().map(rack).collect()
    }

    /// True if somebody strictly more urgent could have started in place of `node`, or waits for the only
    /// open rack to close while that rack goes on. Whether a rack goes on is decided before anything is
    /// started, by the most urgent that waits in it then (planner.md, Domains).
    fn is_passed_over(&self, node: usize, urgency: u16, decided: u64) -> bool {
        let open = self.racks();
        let known = || self.waiting.iter().filter(|(_, (_, at))| *at <= decided);
        let waiting = || known().map(|(other, (urgency, _))| (*other, *urgency));
        let mut more_urgent = waiting().filter(|(_, other)| *other < urgency);
        let fits = |other: usize| {
            let racks = open.len() + usize::from(!open.contains(&rack(other)));
            self.out.len() < self.limits.nodes as usize && racks <= self.limits.racks as usize
        };
        let elsewhere = waiting().filter(|(other, _)| !open.contains(&rack(*other)));
        let outside = elsewhere.map(|(_, urgency)| urgency).min();
        let before = |rack: usize| {
            let best = self.decision.as_ref().and_then(|(_, best)| best.get(&rack).copied());
            best.unwrap_or(u16::MAX)
        };
        // Of several open racks the least urgent closes for somebody outside; who waits in it waits on.
        let closes = |other: usize| {
            let place = rack(other);
            open.contains(&place)
                && place != rack(node)
                && before(rack(node)) <= before(place)
                && outside.is_some_and(|outside| outside < before(place))
        };
        if more_urgent.any(|(other, _)| fits(other) && !closes(other)) {
            return true;
        }
        let only = self.limits.racks == 1 && open.contains(&rack(node));
        only && outside.is_some_and(|outside| outside < before(rack(node)).min(urgency))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(nodes: u32, racks: u32, waiting: &[(usize, u16)]) -> Judge {
        let mut judge = Judge::new(Limits { nodes, racks });
        waiting.iter().for_each(|(node, urgency)| judge.wants(*node, *urgency, 0));
        judge
    }

    #[test]
    fn a_start_before_somebody_more_urgent_who_fits_is_an_inversion() {
        let mut order = judge(2, 2, &[(0, 5), (1, 4), (20, 3)]);
        order.starts(20, 8);
        order.starts(0, 8);
        assert_eq!(order.inversions, 1);
    }

    #[test]
    fn of_two_racks_the_less_urgent_one_closes_for_somebody_outside() {
        // Racks 0 and 1 are open; somebody waits outside.
        let open = |outside| {
            let mut order = judge(9, 2, &[(0, 1), (20, 1)]);
            order.starts(0, 8);
            order.starts(20, 8);
            for (node, urgency) in [(1, 3), (2, 8), (21, 5), (40, outside)] {
                order.wants(node, urgency, 9);
            }
            order
        };
        let mut order = open(4);
        order.starts(1, 9);
        order.starts(2, 9);
        assert_eq!(order.inversions, 0, "rack 1 closes for the one outside");
        let mut order = open(6);
        order.starts(1, 9);
        order.starts(2, 9);
        assert_eq!(order.inversions, 1, "nothing closes rack 1, whose P5 goes before the P8");
        let mut order = open(2);
        order.starts(21, 9);
        assert_eq!(order.inversions, 1, "rack 1 is the less urgent one, and goes on");
    }

    #[test]
    fn who_does_not_fit_is_not_passed_over_but_closes_the_only_rack() {
        let mut order = judge(2, 1, &[(0, 5), (1, 5), (2, 5), (20, 5)]);
        order.starts(0, 8);
        order.starts(1, 8);
        assert_eq!(order.inversions, 0);
        order.wants(21, 4, 7);
        order.ends(0);
        order.starts(2, 8);
        assert_eq!((order.inversions, order.most()), (1, (2, 1)));
        assert_eq!(order.violations(), ["2 nodes were never started"]);
    }

    #[test]
    fn a_rack_that_goes_on_for_its_most_urgent_takes_the_others_along() {
        let mut order = judge(3, 1, &[(0, 1), (1, 9), (2, 9), (20, 5)]);
        order.starts(0, 8);
        order.starts(1, 8);
        assert_eq!(order.inversions, 0);
        // By the next decision only less urgent ones wait in it.
        order.starts(2, 9);
        assert_eq!(order.inversions, 1);
    }

    #[test]
    fn who_came_after_the_decision_or_wants_nothing_any_more_is_not_passed_over() {
        let mut order = judge(2, 2, &[(0, 5), (1, 5), (2, 3)]);
        order.leaves(2);
        order.wants(20, 1, 9);
        order.starts(0, 8);
        assert_eq!(order.inversions, 0);
        order.starts(1, 9);
        assert_eq!(order.inversions, 1);
    }

    #[test]
    fn more_nodes_or_racks_than_allowed_are_told() {
        let mut nodes = judge(1, 2, &[(0, 5), (1, 5)]);
        nodes.starts(0, 8);
        nodes.starts(1, 8);
        assert_eq!(nodes.violations(), ["with node 1 2 nodes of 1 racks are out"]);
        let mut racks = judge(2, 1, &[(0, 5), (20, 5)]);
        racks.starts(0, 8);
        racks.starts(20, 8);
        assert_eq!(racks.violations(), ["with node 20 2 nodes of 2 racks are out"]);
    }
}
