//! Alerts with the nodes that they belong to.

use std::sync::Arc;

use rerail_alerts::{
    ask::Answered,
    expression::Expression,
    matching::{Matched, Matcher, NodeNames, Trial},
};
use rerail_core::alert::{self, Alert, Flaw, NAME_LABEL, plan::Placed, source::Server};

/// What one answer holds.
#[derive(Debug)]
pub struct Intake {
    /// Alerts that can be used.
    pub alerts: Vec<Placed>,
    /// What is wrong with some.
    pub flaws: Vec<Flaw>,
    /// How many could not be read at all.
    pub unreadable: usize,
    /// True if everything could be read, and the deadman alert is there or not wanted.
    pub sees: bool,
}

/// Places alerts.
#[derive(Debug)]
pub struct Places {
    matcher: Matcher,
    prefix: String,
    deadman: Option<String>,
}

impl Places {
    /// By an expression.
    pub fn new(expression: Arc<Expression>, prefix: String, deadman: Option<String>) -> Self {
        Places { matcher: Matcher::new(expression), prefix, deadman }
    }

    /// Takes an answer in. An answer of which a part cannot be read shows what fires, and proves no end.
    pub async fn intake(&mut self, answered: Answered) -> Intake {
        let named = |name: &String| {
            answered.alerts.iter().any(|alert| alert.labels.get(NAME_LABEL) == Some(name))
        };
        let unreadable = answered.unreadable;
        let sees = self.deadman.as_ref().is_none_or(named) && unreadable == 0;
        let (mut alerts, mut flaws) = (Vec::new(), Vec::new());
        for shown in answered.alerts {
            let (usable, flaw) = alert::read(shown.labels, shown.summary.as_deref(), &self.prefix);
            flaws.extend(flaw);
            alerts.extend(usable);
        }
        let trial = self.matcher.trial(alerts.iter().map(|alert| &alert.labels));
        self.carry_out(trial).await;
        let place = |alert: Alert| {
            let Matched { nodes, failed } = self.matcher.nodes_of(&alert.labels);
            Placed { alert, nodes, failed }
        };
        Intake { alerts: alerts.into_iter().map(place).collect(), flaws, unreadable, sees }
    }

    /// From now on these are the nodes; alerts that were placed before are placed anew.
    pub async fn set_nodes<'a, N: Iterator<Item = &'a str> + Clone>(
        &mut self,
        names: N,
        groups: &mut [Vec<Server<Placed>>],
    ) {
        if self.matcher.names().are(names.clone()) {
            return;
        }
        let trial = self.matcher.set_names(NodeNames::new(names));
        self.carry_out(trial).await;
        let answers = groups.iter_mut().flatten().filter_map(|server| server.last.as_mut());
        for placed in answers.flat_map(|answer| &mut answer.alerts) {
            let matched = self.matcher.nodes_of(&placed.alert.labels);
            (placed.nodes, placed.failed) = (matched.nodes, matched.failed);
        }
    }

    /// It may take long: others have their turn in between, and an end of the term ends it.
    async fn carry_out(&mut self, mut trial: Trial) {
        while trial.step(&mut self.matcher) {
            tokio::task::yield_now().await;
        }
    }

    /// Forgets what nobody shows any more.
    pub fn tidy(&mut self, groups: &[Vec<Server<Placed>>]) {
        if !self.matcher.remembers() {
            return;
        }
        let shown: std::collections::BTreeSet<_> = groups
            .iter()
            .flatten()
            .filter_map(|server| server.last.as_ref())
            .flat_map(|answer| &answer.alerts)
            .map(|placed| &placed.alert.labels)
            .collect();
        self.matcher.keep_tried(|labels| shown.contains(labels));
    }
}
