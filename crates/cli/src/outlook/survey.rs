//! The cluster as it is, or as it would be: reads, policies from files, and the moment asked for.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use kube::ResourceExt;
use rerail_api::{NodeRemediation, RemediationPolicy, convert};
use rerail_core::{plan::World, trigger};
use rerail_operator::{
    client::{CallError, Clients},
    deps::{Clock, SteadyClock},
    observe::objects::Entry,
    plan::{
        lists::{self, Unread},
        meltdown::Watched,
        world,
    },
    record::metrics::Metrics,
};

use super::{
    OutlookArguments, files, moment, preview, view,
    words::{Dial, length},
};
use crate::{CommandError, connect};

/// What an answer is made of.
pub struct Survey {
    /// The world at the moment asked for.
    pub world: World,
    /// When the cluster was read.
    pub read_at: Timestamp,
    /// Names of policies that come from files.
    pub previewed: BTreeSet<String>,
    /// Reason and sentence of each run as its status has them: what its drain waits for, most of all.
    pub said: BTreeMap<String, (String, String)>,
    /// What is to be said beside the answer.
    pub notes: Vec<String>,
    /// How times are told.
    pub dial: Dial,
}

impl Survey {
    /// Reads everything that the arguments ask for.
    pub async fn take(arguments: &OutlookArguments) -> Result<Self, CommandError> {
        let found = files::read(&arguments.files)?;
        let config = connect::config(arguments.kubeconfig.as_deref()).await?;
        let clients = Clients::new(config, &Metrics::default()).map_err(Box::new)?;
        let (clock, zone) = (SteadyClock::start(), TimeZone::system());
        let asked = arguments.at.as_deref();
        let moment = |now| asked.map(|at| moment::parse(at, now, &zone)).transpose();
        // Before the reads: what is no time needs no cluster.
        moment(clock.now())?;
        let now = || by_its_clock(&clients, clock.now());
        let read = lists::read(&clients, now).await.map_err(unreadable)?;
        let lists::Lists { mut known, unread, installed, not_configured, frozen } = read;
        if !installed && found.policies.is_empty() {
            return Err(CommandError::NotInstalled);
        }
        let mut notes: Vec<_> = unread.iter().map(missing).collect();
        notes.extend(not_configured.map(|error| {
            format!(
                "{error}; an operator that has read a good one since its start goes by that, and \
                 another one starts nothing"
            )
        }));
        notes.extend(frozen);
        notes.extend(clients.server_clock.skew(clock.now()).map(skewed));
        let at = moment(known.now)?;
        let mut previewed = BTreeSet::new();
        for policy in &found.policies {
            notes.extend(preview::put(&clients.act, &mut known.policies, policy).await?);
            previewed.insert(policy.policy.name_any());
        }
        notes.extend(found.ignored);
        notes.extend(known.policies.iter().filter_map(invalid));
        let read_at = known.now;
        let said = known.runs.iter().filter_map(said).collect();
        let (world, _) = world::world(known, &Watched::default());
        let world = match at {
            Some(at) => moment::at(world, at),
            None => world,
        };
        let dial = Dial { at: world.now, zone };
        Ok(Survey { world, read_at, previewed, said, notes, dial })
    }

    /// A first sentence, which must not be taken for one about this moment.
    pub fn when(&self, sentence: String) -> String {
        match self.world.now > self.read_at {
            true => format!("At {}: {sentence}", self.dial.moment()),
            false => sentence,
        }
    }

    /// What both answers begin with.
    pub fn frame(&self) -> view::Frame {
        view::Frame {
            version: view::VERSION,
            read_time: self.read_at,
            plan_time: self.world.now,
            assumptions: assumptions(&self.world, self.read_at),
            notes: self.notes.clone(),
        }
    }
}

/// What an answer about another moment takes for granted.
pub fn assumptions(world: &World, read_at: Timestamp) -> Vec<String> {
    if world.now <= read_at {
        return Vec::new();
    }
    let mut all = vec![
        "no condition, label or cordon changes until then, and whoever reports now goes on \
         reporting"
            .to_owned(),
    ];
    let open = world.open_runs.iter().filter(|run| run.step.holds_slot()).count();
    if open > 0 {
        all.push("the runs under way now are still under way then".to_owned());
    }
    all.push("nothing else starts until then".to_owned());
    all
}

/// What the API server's clock says where this machine's is not like it: the operator goes by one that
/// is, and whether ours is right says nothing about what it will do.
fn by_its_clock(clients: &Clients, now: Timestamp) -> Timestamp {
    clients.server_clock.skew(now).map_or(now, |skew| trigger::add(now, skew))
}

fn skewed(skew: SignedDuration) -> String {
    let (by, direction) = (length(skew.abs()), if skew.is_negative() { "ahead" } else { "behind" });
    format!("this machine's clock is {by} {direction}: times are by the API server's clock")
}

fn said(entry: &Entry<NodeRemediation>) -> Option<(String, (String, String))> {
    let Entry::Good(run) = entry else { return None };
    let said = run.status.as_ref()?.said().filter(|said| !said.message.is_empty())?;
    Some((run.name_any(), (said.reason.clone(), said.message.clone())))
}

fn missing(unread: &Unread) -> String {
    let rights = match unread.error.code() {
        Some(403) => "; the ClusterRole rerail-view has the right to it",
        Some(_) | None => "",
    };
    format!("{} could not be read ({}): {}{rights}", unread.what, unread.error, unread.instead)
}

fn unreadable(error: CallError) -> CommandError {
    match error.code() {
        Some(403) => CommandError::Forbidden(error),
        Some(_) | None => CommandError::Call(error),
    }
}

/// What is wrong with a policy that is applied, which therefore starts nothing.
fn invalid(entry: &Entry<RemediationPolicy>) -> Option<String> {
    let (name, error) = match entry {
        Entry::Malformed(bad) => (bad.object.name_any(), bad.error.clone()),
        Entry::Good(policy) => {
            (policy.name_any(), convert::policy::policy(policy).err()?.to_string())
        }
    };
    Some(format!("policy {name} is not valid and starts nothing: {error}"))
}
