//! Drives one run: look, decide, check, act, record; then wait for the next thing to happen. All
//! deciding is `rerail_core::remediation::step`.

mod freeze;
mod look;
mod perform;
mod report;
mod right;
pub mod turns;
mod urgency;

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use rerail_api::{
    NodeRemediation,
    convert::{self, run::RunError, status},
    remediation::{NodeRemediationStatus, StepName},
};
use rerail_core::{
    doubt::Doubt,
    drain::progress::{DrainPlan, DrainProgress},
    invariants, mutant,
    remediation::{Action, Decision, Effect, Memory, step},
    run::Run,
    step::Step,
};
use tokio::sync::{Notify, watch};

use crate::{
    act, act::node::NodeWriteError, check, client::CallError, context::Context, lead::LeadError,
    observe::pods::NodePods,
};
use look::AfterWrite;

/// A last look counts for this long: nothing is done on older reads (SAFE-9), and a drain goes on with
/// one for as long.
const LOOK_LASTS: SignedDuration = SignedDuration::from_secs(5);

/// The longest pause after looks that failed; a run waits no longer than this when an outage is over.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The answer to a call of our own is as good as a fresh read for this long.
const ANSWER_LASTS: SignedDuration = SignedDuration::from_secs(1);

/// How long a cache that shows something else than a fresh read is given to catch up.
const LAG: Duration = Duration::from_millis(250);

/// Why a look at a run led to nothing; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The API server did not answer as hoped.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The node was not written.
    #[error(transparent)]
    Node(#[from] NodeWriteError),
    /// The run cannot be read; it stays as it is.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The reads of the last look took so long that they say nothing about now.
    #[error(
        "the last look took {0} s, and counts for 5 s only: nothing is done; is the API server slow?"
    )]
    SlowLook(i64),
    /// The right to act was not confirmed, or the run got no slot.
    #[error(transparent)]
    Lead(#[from] LeadError),
    /// Our own annotation could not be written as JSON.
    #[error("the annotation rerail.dev/last-remediation could not be written: {0}")]
    Annotation(#[from] serde_json::Error),
}

/// What to do after one pass.
enum Next {
    /// Look again at once.
    Again,
    /// Wait for the bell, at most until then.
    Wait(Option<Timestamp>),
    /// The run has ended.
    Ended,
}

/// The driver of one run. It dies with its task; whoever starts another carries on by observation.
pub struct Driver {
    context: Arc<Context>,
    name: String,
    bell: Arc<Notify>,
    memory: Memory,
    /// The run as it was at the last pass, unless it was written or could not be read since: then
    /// versions may have been passed over, and a comparison proves nothing.
    last: Option<Run>,
    progress: Option<DrainProgress>,
    pods: Option<NodePods>,
    looked_at: Option<Timestamp>,
    written_at: Option<Timestamp>,
    /// What a write of the node has shown, for the change of status that follows it.
    after_write: Option<AfterWrite>,
    /// A status write that may still land.
    doubt: Doubt<Option<String>>,
}

impl Driver {
    /// A driver for the run with this name on this node. `anew` where another one broke down: what that had
    /// written, or was about to, it cannot say any more.
    pub fn new(context: Arc<Context>, name: &str, node: &str, anew: bool) -> Self {
        let bell = context.wakers.register(name, node);
        Driver {
            context,
            name: name.to_owned(),
            bell,
            memory: Memory::default(),
            last: None,
            progress: None,
            pods: None,
            looked_at: None,
            written_at: None,
            after_write: None,
            doubt: if anew { Doubt::Unknown } else { Doubt::Nothing },
        }
    }

    /// Drives until the run has ended or the operator stops. A stop lets the pass under way finish:
    /// its calls have deadlines, and what it did is on record.
    pub async fn drive(mut self, mut shutdown: watch::Receiver<bool>) {
        let mut failures = 0u32;
        while !*shutdown.borrow() {
            let until = match self.pass_in_turn().await {
                Ok(Next::Ended) => break,
                Ok(Next::Again) => {
                    failures = 0;
                    continue;
                }
                Ok(Next::Wait(until)) => {
                    failures = 0;
                    until
                }
                Err(error) => {
                    self.last = None;
                    failures += 1;
                    self.failed(&error, failures)
                }
            };
            self.rest(until, failures > 0, &mut shutdown).await;
        }
        self.context.wakers.forget(&self.name);
    }

    fn failed(&self, error: &DriveError, failures: u32) -> Option<Timestamp> {
        let step =
            self.context.runs.get(&self.name).map_or("Unknown", |object| match object.status {
                Some(NodeRemediationStatus { step: StepName::Known(step), .. }) => step.name(),
                _ => "Unknown",
            });
        self.context.deps.metrics.run_error(step);
        tracing::warn!(remediation = %self.name, step, failures, %error, "a look at the run failed; trying again");
        let pause = Duration::from_millis(250 << failures.min(7)).min(LONGEST_PAUSE);
        self.context.now().saturating_add(pause).ok()
    }

    /// After an error the pause is kept, whatever rings: the API server may be the one in trouble.
    async fn rest(
        &self,
        until: Option<Timestamp>,
        deaf: bool,
        shutdown: &mut watch::Receiver<bool>,
    ) {
        let now = self.context.now();
        let pause =
            until.map(|until| Duration::try_from(until.duration_since(now)).unwrap_or_default());
        let timer = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = shutdown.changed() => {}
            () = self.bell.notified(), if !deaf => {}
            () = timer => {}
        }
    }

    async fn pass_in_turn(&mut self) -> Result<Next, DriveError> {
        let context = self.context.clone();
        let object = context.runs.get(&self.name);
        let step = object.as_ref().and_then(|object| object.status.as_ref()).map(|s| &s.step);
        let cordons = step == Some(&StepName::Known(Step::Cordoning));
        let _turn = context.turns.wait(cordons).await;
        self.pass().await
    }

    async fn pass(&mut self) -> Result<Next, DriveError> {
        let Some(object) = self.context.runs.get(&self.name) else {
            return Ok(Next::Ended);
        };
        let run = convert::run::run(&object)?;
        if self.last.as_ref().is_some_and(|last| last.uid != run.uid) {
            return Ok(Next::Ended); // another run has this name now, and gets a driver of its own
        }
        if run.step.is_terminal() {
            self.delete_pods(&run).await;
            let written = act::run::set_finalizer(
                &self.context.clients.act,
                &object,
                false,
                self.context.now(),
            )
            .await;
            return match written {
                Ok(object) => {
                    self.context.runs.put(object, None);
                    Ok(Next::Ended)
                }
                Err(error) => self.refresh(&object, error).await,
            };
        }
        if self.context.is_superseded_by(&object) {
            return Ok(Next::Wait(None));
        }
        if self.is_foreign(&object) {
            return self.write(&object, &run, &run, None).await;
        }
        if run.frozen.is_some() {
            return self.frozen(&object).await;
        }
        if let Some(violation) = self.violation(&run) {
            return self.freeze(&object, &run, violation).await;
        }
        self.last = Some(run.clone());
        self.watch_pods(&run);
        let cached = self.look_cached(&run);
        let decision = step(&run, &cached.observation(&self.memory));
        match &decision.action {
            Action::Wait => self.wait(&object, &run, &decision, cached.drain.as_ref()).await,
            // During a drain the last look counts for a while, and the UID protects each eviction.
            Action::Do(Effect::Evict(_)) if self.looked_lately() => {
                let Action::Do(effect) = decision.action else { return Ok(Next::Again) };
                self.perform(&object, &run, effect, &cached).await
            }
            Action::Change(_) => {
                let now = self.context.now();
                self.checked(object, now, &decision).await
            }
            Action::Do(_) => match self.run_now().await? {
                Some((object, asked)) => self.checked(object, asked, &decision).await,
                None => Ok(Next::Ended),
            },
        }
    }

    /// The run by a fresh read, and since when. The answer to the write that committed an intent a
    /// moment ago is one.
    async fn run_now(&self) -> Result<Option<(Arc<NodeRemediation>, Timestamp)>, CallError> {
        let answered = self.context.runs.answered(&self.name);
        let lasts = mutant!("run-not-read-again");
        if let Some(known) = answered.filter(|(_, asked)| lasts || self.is_recent(*asked)) {
            return Ok(Some(known));
        }
        let now = self.context.now();
        Ok(check::run(&self.context, &self.name).await?.map(|object| (object, now)))
    }

    /// Another term has written this run; it has to be adopted first. One that nobody has written is
    /// nobody's.
    fn is_foreign(&self, object: &NodeRemediation) -> bool {
        let adopted = self.context.is_adopted(object) || mutant!("adoption-skipped");
        object.status.is_some() && !adopted
    }

    fn looked_lately(&self) -> bool {
        let lasts = mutant!("look-lasts");
        let recent = |at| lasts || self.context.now().duration_since(at) < LOOK_LASTS;
        self.looked_at.is_some_and(recent)
    }

    /// Decides again on fresh reads, and does what comes out now. What is read depends on the kind of
    /// the decision, so that another kind is decided on once more with the reads that it needs; a
    /// cache that lags behind can thus not make it spin.
    async fn checked(
        &mut self,
        mut object: Arc<NodeRemediation>,
        mut began: Timestamp,
        planned: &Decision,
    ) -> Result<Next, DriveError> {
        let mut planned = planned.clone();
        for _ in 0..2 {
            let run = convert::run::run(&object)?;
            if run.step.is_terminal() || self.is_foreign(&object) {
                return Ok(Next::Again);
            }
            let fresh = self.look_fresh(&run, &planned).await?;
            let decision = step(&run, &fresh.observation(&self.memory));
            match (decision.action.clone(), &planned.action) {
                (Action::Wait, _) => {
                    return self.wait(&object, &run, &decision, fresh.drain.as_ref()).await;
                }
                (Action::Change(next), Action::Change(_)) => {
                    let drain = fresh.drain.as_ref();
                    return self.change(&object, &run, &next, &decision, drain).await;
                }
                (Action::Do(effect), Action::Do(_)) => {
                    self.confirm_right(&effect, &fresh).await?;
                    // Only what was read before such an effect counts for the evictions that follow: the
                    // Lease too.
                    if right::needs_lease(&effect) {
                        self.looked_at = Some(began);
                    }
                    let took = self.context.now().duration_since(began);
                    if took >= LOOK_LASTS {
                        return Err(DriveError::SlowLook(took.as_secs()));
                    }
                    return self.perform(&object, &run, effect, &fresh).await;
                }
                (Action::Change(_), _) => (planned, began) = (decision, self.context.now()),
                (Action::Do(_), _) => {
                    planned = decision;
                    match self.run_now().await? {
                        Some(found) => (object, began) = found,
                        None => return Ok(Next::Ended),
                    }
                }
            }
        }
        Ok(Next::Wait(self.context.now().saturating_add(LAG).ok()))
    }

    async fn change(
        &mut self,
        object: &NodeRemediation,
        run: &Run,
        next: &Run,
        decision: &Decision,
        drain: Option<&DrainPlan>,
    ) -> Result<Next, DriveError> {
        if let Some(violation) =
            invariants::of_change(run, next).or_else(|| invariants::of_run(next))
        {
            return self.freeze(object, run, violation).await;
        }
        if next.step.holds_slot() && !self.has_right(run).await? {
            return Ok(Next::Again);
        }
        if (run.step, next.step) == (Step::Draining, Step::Rebooting)
            && self.steps_down(run).await?
        {
            return Ok(Next::Wait(None));
        }
        let result = self.write(object, run, next, Some((decision, drain))).await?;
        let moved = run.step != next.step || run.attempt != next.attempt;
        // A write that was refused has moved nothing; one whose reply was lost has.
        if moved && self.is_on_record(next) {
            self.announce(object, run, next);
        }
        Ok(result)
    }

    /// Writes the run's status: the one place where a run moves.
    async fn write(
        &mut self,
        object: &NodeRemediation,
        run: &Run,
        next: &Run,
        said: Option<(&Decision, Option<&DrainPlan>)>,
    ) -> Result<Next, DriveError> {
        self.last = None;
        self.written_at = Some(self.context.now());
        if run.step != next.step {
            // The first effect of a step has a look of its own.
            self.looked_at = None;
        }
        let message = said.map_or(run.message.as_str(), |(decision, _)| decision.message.as_str());
        let reason = said.map_or(run.reason, |(decision, _)| decision.reason);
        let mut status = self.context.status_of(object, next, status::Note { reason, message });
        if let Some((_, Some(plan))) = said {
            status.drain = Some(status::drain(plan));
        }
        if let Some(cause) = self.more_urgent(object, next) {
            urgency::follow(&mut status, cause);
        }
        let asked = self.context.now();
        match act::run::replace_status(&self.context.clients.act, object, status).await {
            Ok(written) => {
                self.context.learn_answer(&written, asked);
                Ok(Next::Again)
            }
            Err(error) => {
                if error.is_in_doubt() {
                    self.doubt.add(object.resource_version());
                }
                self.refresh(object, error).await
            }
        }
    }

    /// Moves the run's version where a status write got no answer: it cannot land any more, and no effect
    /// is on its way in a step that the run has left meanwhile (protocol R11, SAFE-3). `None` where there
    /// is no such write.
    async fn overtake(&mut self, object: &NodeRemediation) -> Option<Result<Next, DriveError>> {
        if !self.doubt.may_land_on(&object.resource_version()) {
            return None;
        }
        let asked = self.context.now();
        Some(match act::run::touch(&self.context.clients.act, object, asked).await {
            Ok(object) => {
                self.doubt = Doubt::Nothing;
                self.context.learn_answer(&object, asked);
                Ok(Next::Again)
            }
            Err(error) => self.refresh(object, error).await,
        })
    }

    /// After a write that may or may not have been done: look, before anything else. Where the object
    /// has moved, the reply was lost or somebody else was faster, and the next look tells which.
    async fn refresh(
        &self,
        written: &NodeRemediation,
        error: CallError,
    ) -> Result<Next, DriveError> {
        let found = check::run(&self.context, &self.name).await?;
        match found {
            None => Ok(Next::Ended),
            Some(found) if found.resource_version() != written.resource_version() => {
                tracing::info!(remediation = %self.name, %error, "written, or somebody else wrote it; looking again");
                Ok(Next::Again)
            }
            Some(_) => Err(error.into()),
        }
    }

    /// Whether this is where the run stands by the last answer of the API server.
    fn is_on_record(&self, next: &Run) -> bool {
        self.context.runs.get(&self.name).is_some_and(|object| {
            self.context.is_adopted(&object)
                && convert::run::run(&object)
                    .is_ok_and(|run| (run.step, run.attempt) == (next.step, next.attempt))
        })
    }

    /// From the cordon on: before it the pods say nothing that matters, and where many nodes wait to be
    /// cordoned these lists would be in their way.
    fn watch_pods(&mut self, run: &Run) {
        let uncordoned = run.step == Step::Cordoning && self.after_write.is_none();
        if run.step == Step::Pending || uncordoned {
            return;
        }
        let client = &self.context.clients.read;
        let pods = self
            .pods
            .get_or_insert_with(|| NodePods::watch(client, &run.node_name, self.bell.clone()));
        if run.step == Step::Draining {
            pods.watch_budgets();
        } else {
            pods.leave_budgets();
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.context.wakers.forget(&self.name);
    }
}
