//! ALERTS: firing alerts become conditions of nodes (goals 1 to 8). Which alert belongs to which node is
//! an expression (`rerail_alerts`); what has to be written is decided in `rerail_core::alert`. Here are
//! the questions, the writes, and what is said about both.
//!
//! A condition is a report, and no act on a machine: it is written without a last look. That a report
//! which cannot be trusted starts nothing is the business of triggers (SAFE-5): what a source cannot tell
//! is Unknown here, or grows stale there.
//!
//! | module | does |
//! |---|---|
//! | `alone` | the same without the rest of the operator |
//! | `source` | an AlertSource, checked |
//! | `runner` | asks the servers of one source, and writes what follows |
//! | `pace` | when whom to ask next |
//! | `placed` | alerts with the nodes that they belong to |
//! | `write` | conditions of nodes |
//! | `access` | credentials from Secrets |
//! | [`Pushes`] | who asks for a poll now |
//! | `report` | the status of a source, Events, metrics |

mod access;
mod alone;
mod pace;
mod placed;
mod pushes;
mod report;
mod runner;
mod source;
mod write;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kube::ResourceExt;
use rerail_api::AlertSource;
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::Instant,
};

use crate::{client::CALL_DEADLINE, context::Context, observe::objects::Entry};
pub use alone::run_alone;
pub use pushes::{Answer, Presented, Pushes};
pub use source::{Source, SourceError};

/// Pause before a source whose polling broke down is polled anew (hazard H39).
const AFTER_A_BREAKDOWN: Duration = Duration::from_secs(5);

/// What did not succeed is tried again after so long.
const AT_LEAST_EVERY: Duration = Duration::from_secs(30);

/// A source that is polled.
struct Polled {
    source: Arc<Source>,
    task: AbortHandle,
    /// When it is begun anew, if it broke down.
    again: Option<Instant>,
}

/// What is polled, and what was.
struct Polling {
    context: Arc<Context>,
    origin: Origin,
    tasks: JoinSet<()>,
    polled: BTreeMap<String, Polled>,
    checked: source::Checked,
    refused: BTreeMap<String, String>,
    /// What the conditions of each source begin with that was worked with.
    prefixes: BTreeMap<String, String>,
    /// Prefixes that no source has any more.
    leaving: BTreeMap<String, Leaving>,
}

/// When the conditions of a source that is gone are taken off: at once, and once more later, since a write
/// that was under way may have landed after the first time.
struct Leaving {
    at: Instant,
    last: bool,
}

impl Drop for Polling {
    /// Who does not lead any more says nothing of what fires.
    fn drop(&mut self) {
        self.context.deps.pushes.polls(false);
        for (name, polled) in &self.polled {
            self.context.deps.pushes.forget(name);
            self.context.deps.metrics.forget_alert_source(name, &polled.source.servers);
        }
    }
}

/// Where sources come from.
#[derive(Clone)]
pub enum Origin {
    /// From AlertSources of the cluster.
    Objects,
    /// This one, and no other: the cluster need not know AlertSources.
    Given(Arc<Source>),
}

/// Keeps a runner for every source that can be worked with, until told to stop. `alone`: nothing else is done
/// in this process, and whether it is alive is told by this.
pub(crate) async fn run(
    context: Arc<Context>,
    origin: Origin,
    alone: bool,
    mut stopping: watch::Receiver<bool>,
) {
    let mut polling = Polling {
        context: context.clone(),
        origin,
        tasks: JoinSet::new(),
        polled: BTreeMap::new(),
        checked: source::Checked::default(),
        refused: BTreeMap::new(),
        prefixes: BTreeMap::new(),
        leaving: BTreeMap::new(),
    };
    while !*stopping.borrow() {
        if alone {
            context.deps.metrics.planned(context.now());
        }
        tokio::select! {
            biased;
            _ = stopping.changed() => return,
            () = polling.attend() => {}
        }
        let next = polling.next();
        tokio::select! {
            biased;
            _ = stopping.changed() => return,
            Some(_) = polling.tasks.join_next() => {}
            () = context.wakers.alerts.notified() => {}
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

impl Polling {
    /// When there is something to do by itself.
    fn next(&self) -> Instant {
        let again = self.polled.values().filter_map(|polled| polled.again);
        let times = again.chain(self.leaving.values().map(|leaving| leaving.at));
        let idle = Instant::now() + AT_LEAST_EVERY;
        times.fold(idle, Instant::min)
    }

    /// Brings the runners in line with the sources that are there.
    async fn attend(&mut self) {
        let entries = self.context.alert_sources.snapshot();
        let wanted = match &self.origin {
            Origin::Given(source) => [(source.name.clone(), Ok(source.clone()))].into(),
            Origin::Objects if self.context.alert_sources.synced() => self.checked.all(&entries),
            Origin::Objects => return,
        };
        self.end(&wanted).await;
        self.notice_leaving(&wanted);
        self.leave(&wanted).await;
        self.refused.retain(|name, _| matches!(wanted.get(name), Some(Err(_))));
        for (name, source) in wanted {
            match source {
                Ok(source) => self.poll(&name, source),
                Err(error) => self.refuse(&entries, &name, &error).await,
            }
        }
        self.context.deps.pushes.polls(true);
    }

    /// Ends the runners of sources that are gone or have changed.
    async fn end(&mut self, wanted: &BTreeMap<String, Result<Arc<Source>, SourceError>>) {
        let changed = |name: &String, polled: &Polled| match wanted.get(name) {
            Some(Ok(source)) => *source != polled.source,
            _ => true,
        };
        let gone: Vec<String> = self
            .polled
            .iter()
            .filter(|(name, polled)| changed(name, polled))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            let Some(ended) = self.polled.remove(&name) else { continue };
            ended.task.abort();
            // What it does must not come after what is done below.
            while !ended.task.is_finished() && self.tasks.join_next().await.is_some() {}
            self.context.deps.pushes.forget(&name);
            self.context.deps.metrics.forget_alert_source(&name, &ended.source.servers);
        }
    }

    /// Takes note of prefixes whose source is gone, or has another one. One that cannot be worked with is still
    /// there: what it said grows stale.
    fn notice_leaving(&mut self, wanted: &BTreeMap<String, Result<Arc<Source>, SourceError>>) {
        let (leaving, now) = (&mut self.leaving, Instant::now());
        self.prefixes.retain(|name, prefix| {
            let stays = match wanted.get(name) {
                None => false,
                Some(Ok(source)) => source.prefix == *prefix,
                Some(Err(_)) => true,
            };
            if !stays {
                leaving.insert(prefix.clone(), Leaving { at: now, last: false });
            }
            stays
        });
        for source in wanted.values().flatten() {
            self.prefixes.insert(source.name.clone(), source.prefix.clone());
        }
    }

    /// Takes the conditions of sources that are gone off, twice.
    async fn leave(&mut self, wanted: &BTreeMap<String, Result<Arc<Source>, SourceError>>) {
        let now = Instant::now();
        for (prefix, leaving) in std::mem::take(&mut self.leaving) {
            let mut others = wanted.values().flatten().map(|source| &*source.prefix);
            if others.any(|other| other == prefix) {
                continue;
            }
            if leaving.at > now {
                self.leaving.insert(prefix, leaving);
                continue;
            }
            let others: Vec<_> = wanted.values().flatten().map(|source| &*source.prefix).collect();
            write::forget(&self.context, &prefix, &others).await;
            if !leaving.last {
                // Longer than a write that was under way can take.
                let at = now + CALL_DEADLINE + Duration::from_secs(1);
                self.leaving.insert(prefix, Leaving { at, last: true });
            }
        }
    }

    /// Polls a source, if that is not done already.
    fn poll(&mut self, name: &str, source: Arc<Source>) {
        let now = Instant::now();
        if let Some(polled) = self.polled.get_mut(name) {
            if !polled.task.is_finished() {
                return;
            }
            let again = *polled.again.get_or_insert_with(|| {
                tracing::error!(
                    source = name,
                    "its polling broke down; it is begun anew after a pause"
                );
                now + AFTER_A_BREAKDOWN
            });
            if again > now {
                return;
            }
        }
        tracing::info!(source = name, servers = source.servers.len(), "polling alerts");
        let bell = self.context.deps.pushes.register(name);
        let runner = runner::Runner::new(self.context.clone(), source.clone(), bell);
        let task = self.tasks.spawn(runner.run());
        self.polled.insert(name.to_owned(), Polled { source, task, again: None });
    }

    /// Says of a source that it cannot be worked with, once.
    async fn refuse(&mut self, entries: &[Entry<AlertSource>], name: &str, error: &SourceError) {
        let words = error.to_string();
        if self.refused.get(name) == Some(&words) {
            return;
        }
        let object = entries.iter().find_map(|entry| match entry {
            Entry::Good(object) if object.name_any() == name => Some(object),
            _ => None,
        });
        let said = match object {
            Some(object) => report::stalled(&self.context, object, error).await,
            None => {
                self.context.deps.metrics.malformed("AlertSource");
                true
            }
        };
        if said {
            tracing::error!(source = name, error = words, "this AlertSource is not worked with");
            self.refused.insert(name.to_owned(), words);
        }
    }
}
