//! What is known of each node, from the objects that the API server shows.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use rerail_api::{NodeRemediation, remediation::StepName};
use rerail_core::step::Step;

use super::scene;

/// How a node looks to a spectator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// Nothing is wrong with it.
    Healthy,
    /// Its alert fires, and its turn has not come; with its priority.
    Waiting(u16),
    /// Cordoned, and its pods are being evicted.
    Draining,
    /// Its machine reboots.
    Rebooting,
    /// Back, and not proven healthy yet.
    Verifying,
    /// Healed and given back.
    Healed,
    /// Its run did not do what it was to do.
    Stuck,
}

impl Face {
    /// True while a run of it is under way.
    pub fn in_work(self) -> bool {
        match self {
            Face::Draining | Face::Rebooting | Face::Verifying => true,
            Face::Healthy | Face::Waiting(_) | Face::Healed | Face::Stuck => false,
        }
    }
}

/// A run that has come to another step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The node.
    pub node: String,
    /// What it looks like now.
    pub face: Face,
    /// What the operator says of it.
    pub says: String,
}

/// One node.
#[derive(Debug, Clone)]
struct Entry {
    rack: String,
    priority: Option<u16>,
    cordoned: bool,
    ready: bool,
    run: Option<NodeRemediation>,
    /// When its alert was seen first.
    sick_at: Option<Timestamp>,
    admitted_at: Option<Timestamp>,
    healed_at: Option<Timestamp>,
}

/// One run, from the alert to its end, as it was seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// The node.
    pub node: String,
    /// Its rack.
    pub rack: String,
    /// Its priority.
    pub priority: u16,
    /// When its alert was seen.
    pub sick: Timestamp,
    /// When its run was admitted.
    pub admitted: Timestamp,
    /// When it was healed; `None` if it was not.
    pub healed: Option<Timestamp>,
}

/// All nodes.
#[derive(Debug, Default)]
pub struct Board {
    nodes: BTreeMap<String, Entry>,
    cordons: Vec<(Timestamp, String, bool)>,
}

impl Board {
    /// A version of a node was seen.
    pub fn see_node(&mut self, t: Timestamp, node: &Node) {
        let name = node.name_any();
        let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let mut firing =
            conditions.clone().filter(|c| c.type_.starts_with(scene::PREFIX) && c.status == "True");
        let priority = firing.next().and_then(|c| prefix(c.message.as_deref().unwrap_or_default()));
        let ready = conditions.clone().any(|c| c.type_ == "Ready" && c.status == "True");
        let rack = node.labels().get("node-restriction.kubernetes.io/rack");
        let entry = self.nodes.entry(name.clone()).or_insert_with(|| Entry {
            rack: rack.cloned().unwrap_or_default(),
            priority: None,
            cordoned: false,
            ready: false,
            run: None,
            sick_at: None,
            admitted_at: None,
            healed_at: None,
        });
        if entry.cordoned != cordoned {
            self.cordons.push((t, name, cordoned));
        }
        if priority.is_some() {
            entry.sick_at.get_or_insert(t);
        }
        (entry.cordoned, entry.ready, entry.priority) = (cordoned, ready, priority);
    }

    /// A version of a run was seen. News, if it looks different now.
    pub fn see_run(&mut self, t: Timestamp, run: NodeRemediation) -> Option<News> {
        let entry = self.nodes.get_mut(&run.spec.node_name)?;
        let before = entry.face();
        let node = run.spec.node_name.clone();
        let says = run.status.as_ref().and_then(|status| status.said());
        let says = says.map(|said| said.message.clone()).unwrap_or_default();
        entry.run = Some(run);
        let face = entry.face();
        if face.in_work() {
            entry.admitted_at.get_or_insert(t);
        }
        if face == Face::Healed {
            entry.healed_at.get_or_insert(t);
        }
        (face != before).then_some(News { node, face, says })
    }

    /// The faces of each rack's nodes.
    pub fn racks(&self) -> BTreeMap<&str, Vec<Face>> {
        let mut racks: BTreeMap<&str, Vec<Face>> = BTreeMap::new();
        for entry in self.nodes.values() {
            racks.entry(&entry.rack).or_default().push(entry.face());
        }
        racks
    }

    /// How many nodes look like this.
    pub fn count(&self, is: impl Fn(Face) -> bool) -> usize {
        self.nodes.values().filter(|entry| is(entry.face())).count()
    }

    /// How many nodes are out of service now.
    pub fn unavailable(&self) -> usize {
        self.nodes.values().filter(|entry| entry.cordoned || !entry.ready).count()
    }

    /// True when this node is healed and back in service, its alert is silent, and nothing of its run is
    /// left to do.
    pub fn is_done(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|entry| {
            let closed = entry.run.as_ref().is_some_and(|run| run.finalizers().is_empty());
            let in_service = !entry.cordoned && entry.ready && entry.priority.is_none();
            entry.face() == Face::Healed && closed && in_service
        })
    }

    /// Rack and priority of a node.
    pub fn who(&self, node: &str) -> (&str, Option<u16>) {
        self.nodes.get(node).map_or(("", None), |entry| (&entry.rack, entry.asked_priority()))
    }

    /// When nodes were cordoned (true) and uncordoned.
    pub fn cordons(&self) -> impl Iterator<Item = (Timestamp, &str, bool)> {
        self.cordons.iter().map(|(t, node, cordoned)| (*t, node.as_str(), *cordoned))
    }

    /// The runs that were admitted, in the order in which they were.
    pub fn stories(&self) -> Vec<Story> {
        let story = |(node, entry): (&String, &Entry)| {
            Some(Story {
                node: node.clone(),
                rack: entry.rack.clone(),
                priority: entry.asked_priority()?,
                sick: entry.sick_at?,
                admitted: entry.admitted_at?,
                healed: entry.healed_at,
            })
        };
        let mut stories: Vec<Story> = self.nodes.iter().filter_map(story).collect();
        stories.sort_by(|a, b| (a.admitted, &a.node).cmp(&(b.admitted, &b.node)));
        by_decision(stories)
    }
}

/// Statuses of runs that were admitted by one decision are written side by side, so that the times on
/// them are in no order: within one decision the runs are told as it took them, by priority.
fn by_decision(mut stories: Vec<Story>) -> Vec<Story> {
    let apart = |a: &Story, b: &Story| b.admitted.duration_since(a.admitted) > ONE_DECISION;
    for decision in stories.chunk_by_mut(|a, b| !apart(a, b)) {
        decision.sort_by(|a, b| (a.priority, a.sick, &a.node).cmp(&(b.priority, b.sick, &b.node)));
    }
    stories
}

/// Runs of one decision are admitted no further apart; between two decisions a run ends.
const ONE_DECISION: SignedDuration = SignedDuration::from_millis(300);

impl Entry {
    fn face(&self) -> Face {
        let waiting = || self.priority.map_or(Face::Healthy, Face::Waiting);
        let status = self.run.as_ref().map(|run| run.status.clone().unwrap_or_default());
        match status.map(|status| status.step) {
            None => waiting(),
            Some(StepName::Unknown(_)) => Face::Stuck,
            Some(StepName::Known(step)) => match step {
                Step::Pending => waiting(),
                Step::Cordoning | Step::Draining => Face::Draining,
                Step::Rebooting | Step::Withdrawing => Face::Rebooting,
                Step::Verifying | Step::Uncordoning | Step::Settling => Face::Verifying,
                Step::Succeeded => Face::Healed,
                Step::RollingBack | Step::Held | Step::Cancelled | Step::Failed => Face::Stuck,
            },
        }
    }

    /// The priority that its run has, or that it waits with.
    fn asked_priority(&self) -> Option<u16> {
        let status = self.run.as_ref().and_then(|run| run.status.as_ref());
        let given = status.and_then(|status| status.priority);
        given.and_then(|priority| u16::try_from(priority).ok()).or(self.priority)
    }
}

/// The number in `[P6] …`.
fn prefix(message: &str) -> Option<u16> {
    message.strip_prefix("[P")?.split_once(']')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn node(name: &str, alert: &str, cordoned: bool) -> Node {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "labels": {"node-restriction.kubernetes.io/rack": "rack-a"}},
            "spec": {"unschedulable": cordoned},
            "status": {"conditions": [
                {"type": "Ready", "status": "True"},
                {"type": "AlertManager_X", "status": alert, "message": "[P6] node x"},
            ]},
        }))
        .unwrap()
    }

    fn run(node: &str, step: &str) -> NodeRemediation {
        let mut run: NodeRemediation = serde_json::from_value(serde_json::json!({
            "apiVersion": "rerail.dev/v1alpha1",
            "kind": "NodeRemediation",
            "metadata": {"name": node},
            "spec": {"nodeName": node, "nodeUID": "u", "policyName": "p"},
        }))
        .unwrap();
        let status = run.status.get_or_insert_default();
        status.step = serde_json::from_value(step.into()).unwrap();
        status.priority = Some(6);
        run
    }

    #[test]
    fn a_node_looks_like_the_step_of_its_run() {
        let mut board = Board::default();
        board.see_node(at(0), &node("n1", "False", false));
        let face = |board: &Board| board.racks()["rack-a"][0];
        assert_eq!(face(&board), Face::Healthy);
        board.see_node(at(1), &node("n1", "True", false));
        assert_eq!(face(&board), Face::Waiting(6));
        for (step, expected) in [
            ("Pending", Face::Waiting(6)),
            ("Cordoning", Face::Draining),
            ("Draining", Face::Draining),
            ("Rebooting", Face::Rebooting),
            ("Verifying", Face::Verifying),
            ("Uncordoning", Face::Verifying),
            ("Held", Face::Stuck),
            ("FromTheFuture", Face::Stuck),
            ("Succeeded", Face::Healed),
        ] {
            board.see_run(at(2), run("n1", step));
            assert_eq!(face(&board), expected, "{step}");
        }
    }

    #[test]
    fn news_come_only_when_a_node_looks_different() {
        let mut board = Board::default();
        assert_eq!(board.see_run(at(0), run("n1", "Cordoning")), None, "of an unknown node");
        board.see_node(at(0), &node("n1", "True", false));
        assert_eq!(board.see_run(at(0), run("n1", "Pending")), None);
        let news = board.see_run(at(1), run("n1", "Cordoning")).unwrap();
        assert_eq!((news.node.as_str(), news.face), ("n1", Face::Draining));
        assert_eq!(board.see_run(at(2), run("n1", "Draining")), None);
    }

    #[test]
    fn done_is_healed_given_back_and_in_service() {
        let mut board = Board::default();
        board.see_node(at(0), &node("n1", "True", true));
        assert_eq!(board.unavailable(), 1);
        board.see_run(at(1), run("n1", "Draining"));
        board.see_run(at(4), run("n1", "Succeeded"));
        assert!(!board.is_done("n1"), "it is cordoned");
        board.see_node(at(5), &node("n1", "True", false));
        assert!(!board.is_done("n1"), "its alert fires");
        board.see_node(at(6), &node("n1", "False", false));
        assert!(board.is_done("n1"));
        assert_eq!(board.unavailable(), 0);
        let cordons: Vec<_> = board.cordons().map(|(t, _, is)| (t, is)).collect();
        assert_eq!(cordons, [(at(0), true), (at(5), false)]);
        let mut open = run("n1", "Succeeded");
        open.metadata.finalizers = Some(vec!["rerail.dev/cleanup".into()]);
        board.see_run(at(7), open);
        assert!(!board.is_done("n1"), "the run has something to undo");
    }

    #[test]
    fn stories_are_told_in_the_order_of_their_admission() {
        let mut board = Board::default();
        for name in ["n1", "n2", "n3"] {
            board.see_node(at(0), &node(name, "True", false));
        }
        board.see_run(at(5), run("n1", "Cordoning"));
        board.see_run(at(2), run("n2", "Cordoning"));
        board.see_run(at(3), run("n2", "Rebooting"));
        board.see_run(at(9), run("n2", "Succeeded"));
        let told: Vec<_> =
            board.stories().into_iter().map(|s| (s.node, s.sick, s.admitted, s.healed)).collect();
        let expected = [("n2", 2, Some(at(9))), ("n1", 5, None)];
        assert_eq!(told, expected.map(|(n, a, h)| (n.to_owned(), at(0), at(a), h)));
    }
}
