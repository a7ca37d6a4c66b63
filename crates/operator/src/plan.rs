//! PLAN: the planner's loop. It builds a world from the caches, asks the core who is next, looks
//! again at what matters, and admits. One loop, at its own pace: admission is one decision.

mod admit;
pub mod lists;
pub mod meltdown;
mod pending;
pub mod storms;
mod unreadable;
pub mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use kube::{Resource, ResourceExt, runtime::events::EventType};
use rerail_api::{RemediationPolicy, convert};
use rerail_core::{
    invariants::{self, Violation},
    ledger::Change,
    mutant,
    plan::{Candidate, Memo, Plan, Wait, WaitReason, World, plan, plan_with},
};
use tokio::sync::watch;

use crate::{
    act, check,
    context::Context,
    observe::objects::Entry,
    record::policy_status::{self, Statuses},
    sweep,
};

/// Events of a busy moment are planned together.
const DEBOUNCE: Duration = Duration::from_millis(5);

/// How many nodes are admitted in one write of the ledger. Whoever is in it is decided on, and somebody
/// more urgent who comes while their runs are being created waits for the next.
const SET_AT_MOST: usize = 32;

/// The planner looks at least this often, whatever the watches say.
const AT_LEAST_EVERY: Duration = Duration::from_secs(30);

/// After this many failed admissions in a row a node lets others pass, for up to [`REST_AT_MOST`]:
/// what is wrong with one node must not keep the others from being helped (SAFE-17).
const FAILURES_BORNE: u32 = 3;

/// Events of one turn; the others wait for the next, so that many nodes at once do not fill the queue.
const EVENTS_A_TURN: usize = 20;

/// The longest rest of a node whose admission fails.
const REST_AT_MOST: Duration = Duration::from_secs(60);

/// Failed admissions of a node in a row.
struct Failures {
    count: u32,
    until: Timestamp,
    error: String,
}

/// The planner's own memory: what it has told already, and what has failed.
pub struct Planner {
    context: Arc<Context>,
    statuses: Statuses,
    announced: BTreeSet<String>,
    unreadable: BTreeMap<String, String>,
    failures: BTreeMap<String, Failures>,
    memo: Memo,
}

impl Planner {
    /// A planner that has told nothing yet, but what the policies' statuses say already: that was told
    /// by the operator before this one.
    pub fn new(context: Arc<Context>) -> Self {
        Planner {
            statuses: Statuses::default(),
            announced: good(context.policies.snapshot()).flat_map(|p| told(&p)).collect(),
            context,
            unreadable: BTreeMap::new(),
            failures: BTreeMap::new(),
            memo: Memo::default(),
        }
    }

    /// Plans until the operator stops.
    pub async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        while !*shutdown.borrow() {
            let recheck = self.turn().await;
            let now = self.context.now();
            let pause = recheck.map_or(AT_LEAST_EVERY, |at| {
                Duration::try_from(at.duration_since(now)).unwrap_or_default().min(AT_LEAST_EVERY)
            });
            tokio::select! {
                biased;
                _ = shutdown.changed() => break,
                () = self.context.wakers.planner.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            tokio::time::sleep(DEBOUNCE).await;
        }
    }

    /// One turn: plan, admit, tell. Returns when to plan again at the latest.
    async fn turn(&mut self) -> Option<Timestamp> {
        let context = self.context.clone();
        let settled = admit::settle(&context).await;
        let now = context.now();
        let (world, release) = world::from_caches(&context, now);
        self.suspect(&world);
        let mut decided = plan_with(&mut self.memo, &world);
        context.meltdown.observe(decided.meltdown.is_some(), now);
        context.metrics_of(&decided);
        context.deps.metrics.clock_skew(world.clock_skew);
        let soon = || now.saturating_add(Duration::from_secs(1)).ok();
        let mut recheck = decided.recheck_at;
        for name in &decided.discard {
            self.discard(name).await;
        }
        let unrecorded = self.record_storms(&world, &decided).await;
        if !self.recorded_meltdown().await
            || !self.admit(&world, &decided, release, &unrecorded).await
            || !unrecorded.is_empty()
            || !settled
        {
            recheck = soon();
        }
        self.failures.retain(|node, _| world.nodes.contains_key(node));
        let resting = self.failures.values().map(|failures| failures.until);
        recheck = recheck.into_iter().chain(resting.filter(|until| *until > now)).min();
        self.tell_of_failures(&mut decided, now);
        self.isolate_unreadable();
        context.deps.metrics.planned(now);
        if !self.announce(&decided) {
            recheck = recheck.min(soon()).or_else(soon);
        }
        if pending::tell(&context, &world, &decided).await.is_err() {
            recheck = recheck.min(soon()).or_else(soon);
        }
        if policy_status::write(&context, &mut self.statuses, &world, &decided).await.is_err() {
            recheck = recheck.min(soon()).or_else(soon);
        }
        recheck
    }

    /// What only a look at the whole shows; each driver looks at its own run.
    fn suspect(&self, world: &World) {
        // One that cannot be read is left alone as it is, and told of elsewhere.
        let readable = |violation: &Violation| {
            let run = self.context.runs.get(&violation.run);
            run.is_some_and(|run| convert::run::run(&run).is_ok())
        };
        let found: Vec<_> = invariants::check(world).into_iter().filter(readable).collect();
        for violation in &found {
            self.context.wakers.run(&violation.run);
        }
        self.context.suspects.replace(found);
    }

    /// The policies for which nothing may start, since how far their storms are is not on record.
    async fn record_storms(&mut self, world: &World, decided: &Plan) -> BTreeSet<String> {
        if mutant!("storm-not-recorded") {
            return BTreeSet::new();
        }
        policy_status::record_storms(&self.context, &mut self.statuses, world, decided).await
    }

    /// Nothing starts before it is on record: who leads next has to know of it.
    async fn recorded_meltdown(&self) -> bool {
        let recorded = meltdown::record(&self.context).await;
        if let Err(error) = &recorded {
            tracing::warn!(%error, "the last meltdown was not put on record; trying again");
        }
        recorded.is_ok()
    }

    /// Admits the set that is next, and releases the slots that may go. False when something failed,
    /// and is to be tried again soon.
    async fn admit(
        &mut self,
        world: &World,
        decided: &Plan,
        release: BTreeSet<String>,
        unrecorded: &BTreeSet<String>,
    ) -> bool {
        let context = self.context.clone();
        let (mut set, resting) = self.next(world, decided);
        set.retain(|candidate| !unrecorded.contains(&candidate.policy));
        set.truncate(SET_AT_MOST);
        if set.is_empty() {
            return self.release(release).await;
        }
        let outcome = match admit::admit(&context, &mut self.memo, &set, &resting).await {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::warn!(nodes = set.len(), %error, "nothing was admitted; trying again");
                return false;
            }
        };
        for node in &outcome.admitted {
            self.failures.remove(node);
        }
        let all = outcome.failed.is_empty();
        for (node, error) in outcome.failed {
            tracing::warn!(%node, %error, "not admitted; trying again");
            self.failed(node, &error, world.now);
        }
        self.forget_done();
        all
    }

    /// Releases the slots that may go, where no admission does it in the same write.
    async fn release(&self, release: BTreeSet<String>) -> bool {
        let released = release_slots(&self.context, release).await;
        self.forget_done();
        released
    }

    fn forget_done(&self) {
        let ledger = self.context.term.lease.ledger();
        self.context.strays.keep_done(|uid| ledger.holds(uid));
    }

    /// Whom to admit: the planner's choice, or, while nodes of it rest after failures, the choice
    /// without the nodes that rest, and which those are.
    fn next(&self, world: &World, decided: &Plan) -> (Vec<Candidate>, BTreeSet<String>) {
        let rests = |name: &String| {
            let failures = self.failures.get(name);
            failures.is_some_and(|f| f.count >= FAILURES_BORNE && f.until > world.now)
        };
        if !decided.admit.iter().any(|candidate| rests(&candidate.node)) {
            return (decided.admit.clone(), BTreeSet::new());
        }
        let resting: BTreeSet<_> = world.nodes.keys().filter(|name| rests(name)).cloned().collect();
        let mut world = world.clone();
        world::look_away(&mut world, &resting);
        (plan(&world).admit, resting)
    }

    /// A node that rests after failed admissions has a stated reason like any other (LIVE-6).
    fn tell_of_failures(&self, decided: &mut Plan, now: Timestamp) {
        for pair in decided.report.iter_mut().filter(|pair| pair.wait.is_none()) {
            let failures = self.failures.get(&pair.node);
            if let Some(failures) = failures.filter(|f| f.count >= FAILURES_BORNE && f.until > now)
            {
                pair.wait = Some(Wait {
                    reason: WaitReason::AdmissionFailing,
                    message: failures.error.clone(),
                    recheck_at: None,
                });
            }
        }
    }

    fn failed(&mut self, node: String, error: &admit::AdmitError, now: Timestamp) {
        let fresh = Failures { count: 0, until: now, error: String::new() };
        let failures = self.failures.entry(node).or_insert(fresh);
        failures.error = format!("the run could not be admitted: {error}");
        failures.count = failures.count.saturating_add(1);
        let rest = Duration::from_secs(1 << failures.count.min(6)).min(REST_AT_MOST);
        failures.until = now.saturating_add(rest).unwrap_or(now);
    }

    /// Deletes a Pending run of ours whose node is no candidate any more.
    async fn discard(&self, name: &str) {
        let Some(object) = self.context.runs.get(name) else { return };
        tracing::info!(
            remediation = name,
            "the node is no candidate any more; its pending run is deleted"
        );
        let client = &self.context.clients.act;
        let deleted =
            match act::run::set_finalizer(client, &object, false, self.context.now()).await {
                Ok(object) => act::run::delete(client, &object).await,
                Err(error) => Err(error),
            };
        match deleted {
            Ok(()) => {
                if let Some(gone) = self.context.runs.gone(name) {
                    sweep::vanished(&self.context, &gone, sweep::End::Seen);
                }
            }
            // Only a list shows that it is gone.
            Err(error) if error.is_not_found() => {
                let _ = check::run(&self.context, name).await;
            }
            Err(error) => {
                tracing::warn!(remediation = name, %error, "the pending run was not deleted; trying again")
            }
        }
    }

    /// Used-up attempts are announced once; DryRun's choices once for each node and policy.
    /// Returns false when some are left for the next turn.
    fn announce(&mut self, plan: &Plan) -> bool {
        let exhausted = plan.report.iter().filter_map(|pair| {
            let wait =
                pair.wait.as_ref().filter(|wait| wait.reason == WaitReason::AttemptsExhausted)?;
            Some((pair.node.clone(), pair.policy.clone(), wait.reason.name(), wait.message.clone()))
        });
        let would = plan.would_start.values().flatten().map(|candidate| {
            let message = format!(
                "would be remediated now, {}; the policy's mode is DryRun",
                candidate.priority
            );
            (candidate.node.clone(), candidate.policy.clone(), "WouldStart", message)
        });
        let current: Vec<_> = exhausted.chain(would).collect();
        let keys = current.iter().map(|(node, policy, reason, _)| key(reason, policy, node));
        let keys: BTreeSet<String> = keys.collect();
        self.announced.retain(|key| keys.contains(key));
        let mut left = EVENTS_A_TURN;
        for (node, policy, reason, message) in current {
            let key = key(reason, &policy, &node);
            if self.announced.contains(&key) {
                continue;
            }
            if left == 0 {
                return false;
            }
            left -= 1;
            self.announced.insert(key);
            if let Some(object) = self.context.policies.get(&policy) {
                let message = format!("node {node}: {message}");
                let kind =
                    if reason == "WouldStart" { EventType::Normal } else { EventType::Warning };
                let about = object.object_ref(&());
                self.context.events.publish(kind, "Plan", reason, &message, &about, None);
            }
        }
        true
    }
}

/// Names one thing to be announced.
fn key(reason: &str, policy: &str, node: &str) -> String {
    format!("{reason}/{policy}/{node}")
}

/// What a policy's status has told of its nodes.
fn told(policy: &RemediationPolicy) -> Vec<String> {
    let name = policy.name_any();
    let status = policy.status.iter();
    let nodes = status.flat_map(|status| status.waiting.iter().chain(&status.would_start));
    nodes.map(|told| key(&told.reason, &name, &told.node)).collect()
}

impl Context {
    /// The gauges of what waits.
    fn metrics_of(&self, plan: &Plan) {
        let metrics = &self.deps.metrics;
        metrics.reset_waiting();
        for pair in &plan.report {
            if let Some(wait) = &pair.wait {
                metrics.waiting(&pair.policy, wait.reason.name());
            }
        }
    }
}

/// The readable objects of a snapshot.
pub(crate) fn good<K>(entries: Vec<Entry<K>>) -> impl Iterator<Item = Arc<K>> {
    entries.into_iter().filter_map(|entry| match entry {
        Entry::Good(object) => Some(object),
        Entry::Malformed(_) => None,
    })
}

/// Releases every slot that may go, where nothing is planned any more (LIVE-5). False when that failed, or
/// what became of an earlier write is not known yet; it is tried again.
pub async fn give_slots_back(context: &Context) -> bool {
    let settled = admit::settle(context).await;
    let (_, release) = world::from_caches(context, context.now());
    settled & (mutant!("release-all-keeps-slots") || release_slots(context, release).await)
}

async fn release_slots(context: &Context, release: BTreeSet<String>) -> bool {
    let change = Change { release, ..Change::default() };
    let released = context.term.lease.change(change).await;
    if let Err(error) = &released {
        tracing::warn!(%error, "slots were not released; trying again");
    }
    released.is_ok()
}
