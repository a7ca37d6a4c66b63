//! Asks the servers of one source, each at its own pace, and writes what follows from every answer. A
//! server that hangs holds up no other.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use rerail_alerts::ask::{Answered, AskError, ask};
use rerail_core::{
    alert::{
        Flaw,
        plan::{self, Placed, Settings},
        source::{Answer, Patience, Server, view},
    },
    facts::NodeFacts,
};
use tokio::{sync::Notify, task::JoinSet, time::Instant};

use super::{
    access::{Kept, MayPush},
    pace::Pace,
    placed::Places,
    report::Report,
    source::Source,
    write::{self, Written},
};
use crate::context::Context;

/// The longest that a server may take to answer.
pub const ASK_DEADLINE: Duration = Duration::from_secs(10);

/// What a server said last, beside its alerts.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// Why it gave no good answer; empty if it did.
    pub error: String,
    /// What was wrong with alerts of its last good answer.
    pub flaws: Vec<Flaw>,
    /// How many of its alerts could not be read.
    pub unreadable: usize,
}

/// What came of one question: which server, when it was asked, and what it said.
type Outcome = (usize, Timestamp, Result<Answered, AskError>);

/// The runner of one source.
pub struct Runner {
    context: Arc<Context>,
    source: Arc<Source>,
    bell: Arc<Notify>,
    places: Places,
    /// Replicas together, others each alone.
    groups: Vec<Vec<Server<Placed>>>,
    paces: Vec<Pace>,
    heard: Vec<Heard>,
    access: Kept,
    push: MayPush,
    since: Timestamp,
    boots: Boots,
    rest: Rest,
    report: Report,
}

impl Runner {
    /// A runner that has heard nothing yet.
    pub fn new(context: Arc<Context>, source: Arc<Source>, bell: Arc<Notify>) -> Self {
        let count = source.servers.len();
        let server = Server::default;
        let groups = match source.replicas() {
            true => vec![(0..count).map(|_| server()).collect()],
            false => (0..count).map(|_| vec![server()]).collect(),
        };
        let interval = source.poll_interval.unsigned_abs();
        let (expression, prefix) = (source.expression.clone(), source.prefix.clone());
        let places = Places::new(expression, prefix, source.deadman_alert.clone());
        Runner {
            since: context.now(),
            places,
            groups,
            paces: vec![Pace::new(interval); count],
            heard: vec![Heard::default(); count],
            access: Kept::default(),
            push: MayPush::new(&context.deps.pushes, &source.name, source.push.as_ref()),
            boots: Boots::default(),
            rest: Rest::default(),
            report: Report::default(),
            context,
            source,
            bell,
        }
    }

    /// Polls until it is aborted.
    pub async fn run(mut self) {
        let bell = self.bell.clone();
        let mut questions: JoinSet<Outcome> = JoinSet::new();
        loop {
            self.push.refresh(&self.context, &self.source.name).await;
            self.ask_those_due(&mut questions).await;
            let next = self.next();
            let timer = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(answer) = questions.join_next() => {
                    let mut next = Some(answer);
                    // All that has been said meanwhile counts before anything is written.
                    while let Some(answer) = next {
                        let Ok(outcome) = answer else {
                            // Its server is asked again when everything begins anew.
                            tracing::error!(source = self.source.name, "a question broke down");
                            return;
                        };
                        self.hear(outcome).await;
                        next = questions.try_join_next();
                    }
                    self.settle().await;
                }
                () = bell.notified() => self.paces.iter_mut().for_each(Pace::push),
                () = timer => {}
            }
        }
    }

    fn next(&self) -> Option<Instant> {
        let now = Instant::now();
        self.paces.iter().filter_map(|pace| pace.next(now)).chain(self.push.next()).min()
    }

    async fn ask_those_due(&mut self, questions: &mut JoinSet<Outcome>) {
        let now = Instant::now();
        let due: Vec<usize> = (0..self.paces.len())
            .filter(|index| self.paces[*index].next(now).is_some_and(|next| next <= now))
            .collect();
        if due.is_empty() {
            return;
        }
        let access = self.access.get(&self.context, &self.source.name, &self.source.access).await;
        for index in due {
            self.paces[index].asks(now);
            let asked_at = self.context.now();
            match &access {
                Ok(access) => {
                    let (fetch, mut access) = (self.context.deps.fetch.clone(), access.clone());
                    let source = self.source.clone();
                    if let Some(login) = source.logins.get(&source.servers[index]) {
                        access.authorization = Some(login.clone());
                    }
                    questions.spawn(async move {
                        let url = &source.servers[index];
                        let asking = ask(&*fetch, &source.question, url, &access);
                        let answer = tokio::time::timeout(ASK_DEADLINE, asking).await;
                        (index, asked_at, answer.unwrap_or(Err(AskError::Deadline(ASK_DEADLINE))))
                    });
                }
                Err(error) => self.failed(index, asked_at, error.to_string()),
            }
        }
        if access.is_err() {
            self.settle().await;
        }
    }

    fn failed(&mut self, index: usize, at: Timestamp, error: String) {
        self.asked(index, at, false);
        self.heard[index].error = error;
        self.server(index).failed();
    }

    /// A question is answered, or will not be.
    fn asked(&mut self, index: usize, at: Timestamp, good: bool) {
        self.paces[index].answered();
        let took = self.context.now().duration_since(at);
        let (source, url) = (&self.source.name, &self.source.servers[index]);
        self.context.deps.metrics.alerts_asked(source, url, good, took);
    }

    fn server(&mut self, index: usize) -> &mut Server<Placed> {
        match self.source.replicas() {
            true => &mut self.groups[0][index],
            false => &mut self.groups[index][0],
        }
    }

    async fn hear(&mut self, (index, at, answer): Outcome) {
        let answered = match answer {
            Ok(answered) => answered,
            Err(error) => {
                if error.is_about_access() {
                    self.access.refused();
                }
                return self.failed(index, at, error.to_string());
            }
        };
        let warm = answered.up_for.is_none_or(|up| up >= self.source.warm_up);
        let intake = self.places.intake(answered).await;
        self.heard[index] =
            Heard { error: String::new(), flaws: intake.flaws, unreadable: intake.unreadable };
        self.asked(index, at, true);
        let alerts = intake.alerts;
        self.server(index).answered(Answer { at, alerts, sees: intake.sees, warm });
    }

    /// Writes what has to be written by what is known now, and says how the source stands.
    async fn settle(&mut self) {
        let nodes = self.context.nodes.snapshot();
        self.places.set_nodes(nodes.keys().map(String::as_str), &mut self.groups).await;
        self.places.tidy(&self.groups);
        let now = self.context.now();
        let (stale_after, warm_up) = (self.source.stale_after, self.source.warm_up);
        let patience = Patience { stale_after, warm_up, since: self.since };
        self.boots.look(&nodes, now);
        let view = view(&self.groups, patience, now);
        let absence = view.absence;
        let settings = Settings {
            prefix: &self.source.prefix,
            linger: self.source.linger,
            heartbeat_interval: self.source.heartbeat_interval,
        };
        let booted_at = |node: &str| self.boots.booted_at(node);
        let (changes, counts) = plan::changes(&nodes, &view, settings, booted_at, now);
        if self.rest.is_over() {
            let written = write::write(&self.context, changes).await;
            self.rest.after(written, &self.source.name);
        }
        let (context, source) = (&self.context, &self.source);
        self.report.push_error.clone_from(&self.push.error);
        self.report.settled(context, source, &self.groups, &self.heard, absence, counts).await;
    }
}

/// Rest from writing after writes that failed: an API server that refuses or is slow is not asked the same
/// thousand things after every answer of every server.
#[derive(Debug, Default)]
struct Rest {
    until: Option<Instant>,
    length: Duration,
}

impl Rest {
    /// The longest rest.
    const LONGEST: Duration = Duration::from_secs(60);

    fn is_over(&self) -> bool {
        self.until.is_none_or(|until| until <= Instant::now())
    }

    fn after(&mut self, written: Written, source: &str) {
        if written.failed == 0 {
            *self = Rest::default();
            return;
        }
        self.length = (self.length * 2).clamp(Duration::from_secs(1), Rest::LONGEST);
        self.until = Some(Instant::now() + self.length);
        let (failed, left, rest) = (written.failed, written.left, self.length.as_secs());
        tracing::warn!(
            source,
            failed,
            left,
            rest,
            "conditions were not written; resting for seconds"
        );
    }
}

/// When nodes were seen to have booted. Of those that were up when this began nothing is known.
#[derive(Default)]
struct Boots(BTreeMap<String, (String, Option<Timestamp>)>);

impl Boots {
    fn look(&mut self, nodes: &BTreeMap<String, Arc<NodeFacts>>, now: Timestamp) {
        self.0.retain(|name, _| nodes.contains_key(name));
        for (name, facts) in nodes.iter().filter(|(_, facts)| !facts.boot_id.is_empty()) {
            match self.0.get_mut(name) {
                Some((boot_id, _)) if *boot_id == facts.boot_id => {}
                Some(known) => *known = (facts.boot_id.clone(), Some(now)),
                None => {
                    self.0.insert(name.clone(), (facts.boot_id.clone(), None));
                }
            }
        }
    }

    fn booted_at(&self, node: &str) -> Option<Timestamp> {
        self.0.get(node)?.1
    }
}
