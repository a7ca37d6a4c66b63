//! What lies between all operators of a run and the API server: it numbers requests, says what becomes
//! of each, and keeps the trace.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::Method;
use rerail_sim::{Server, property::Judge};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{
    branch::Branching, draw::Draw, fault::Spoil, process::Process, signal::Signal, trace::Trace,
};

/// What happens to the sender of a request, and when in its life.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
#[value(rename_all = "kebab-case")]
pub enum Moment {
    /// Before it is sent.
    Before,
    /// After it was done, before its answer comes.
    After,
    /// It does not die: the request is done, and its answer is lost.
    ReplyLost,
    /// It does not die: the request is done when its sender has given it up already.
    RequestLate,
    /// It does not die: the answer comes when what was asked for may be over.
    ReplyLate,
}

impl Moment {
    /// Those in which something is lost: a process, or an answer.
    pub const LOSSES: [Moment; 3] = [Moment::Before, Moment::After, Moment::ReplyLost];

    /// Those in which something is late only.
    pub const DELAYS: [Moment; 2] = [Moment::RequestLate, Moment::ReplyLate];
}

/// A request at which something happens to its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KillPoint {
    /// The request's number, from 1.
    pub request: u64,
    /// When.
    pub moment: Moment,
}

impl KillPoint {
    /// Every loss at all of these requests, in their order.
    pub fn all(requests: RangeInclusive<u64>) -> impl Iterator<Item = KillPoint> + Send {
        requests.flat_map(|request| Moment::LOSSES.map(|moment| KillPoint { request, moment }))
    }

    /// Every delay at all of these requests, in their order.
    pub fn late(requests: RangeInclusive<u64>) -> impl Iterator<Item = KillPoint> + Send {
        requests.flat_map(|request| Moment::DELAYS.map(|moment| KillPoint { request, moment }))
    }
}

/// How requests are spoiled.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// What is drawn from.
    pub seed: u64,
    /// So many of a thousand requests are spoiled.
    pub thousandths: u64,
    /// In these ways.
    pub spoils: Vec<Spoil>,
    /// Whatever falls on one of these is not spoiled, so that all else stays as it is.
    pub without: Vec<Spoil>,
    /// Only requests of paths with this in them.
    pub aim: Option<&'static str>,
    /// Requests from this number to that one only.
    pub requests: (u64, u64),
    /// Until then, from the beginning.
    pub until: Duration,
    /// Where processes die, or replies are lost.
    pub kills: Vec<KillPoint>,
    /// How long a process that was killed so is away.
    pub back_after: Duration,
    /// The history branches at each request behind this one.
    pub branches_behind: Option<u64>,
}

/// How the way between one operator and the API server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Way {
    /// No request gets through.
    pub no_requests: bool,
    /// No answer gets through.
    pub no_replies: bool,
    /// All answers are late by this.
    pub delay: Duration,
    /// All requests are spoiled like this.
    pub spoil: Option<Spoil>,
    /// All writes fail: etcd is full.
    pub no_writes: bool,
}

/// What becomes of one request.
#[derive(Debug, Clone)]
pub struct Fate {
    /// Its number, from 1.
    pub number: u64,
    /// What happens to its sender.
    pub kill: Option<Moment>,
    /// What is done to it.
    pub spoil: Option<Spoil>,
    /// Decides details of that.
    pub draw: Draw,
    /// etcd is full.
    pub no_writes: bool,
}

struct State {
    requests: u64,
    spoiled: BTreeMap<Spoil, u64>,
    trace: Trace,
    /// Who is told of replies that are lost.
    judge: Option<Judge>,
    branching: Option<Branching>,
}

/// All ways; clones are the same.
#[derive(Clone)]
pub struct Net {
    inner: Arc<Inner>,
}

struct Inner {
    server: Server,
    rules: Rules,
    began: Instant,
    state: Mutex<State>,
    ways: BTreeMap<String, Signal<Way>>,
}

impl Net {
    /// The ways of these operators.
    pub fn new(server: &Server, rules: Rules, operators: &[String], keep_lines: bool) -> Self {
        let way = |name: &String| (name.clone(), Signal::new(Way::default()));
        let ways = operators.iter().map(way).collect();
        let trace = Trace::new(keep_lines);
        let branching = rules.branches_behind.map(Branching::behind);
        let state = State { requests: 0, spoiled: BTreeMap::new(), trace, judge: None, branching };
        let state = Mutex::new(state);
        let began = Instant::now();
        Net { inner: Arc::new(Inner { server: server.clone(), rules, began, state, ways }) }
    }

    /// The API server.
    pub fn server(&self) -> &Server {
        &self.inner.server
    }

    /// When the run began.
    pub fn began(&self) -> Instant {
        self.inner.began
    }

    /// How long the run has lasted.
    pub fn elapsed(&self) -> Duration {
        self.inner.began.elapsed()
    }

    /// How long a process that was killed at a request is away.
    pub fn back_after(&self) -> Duration {
        self.inner.rules.back_after
    }

    /// Tells this judge of replies that are lost.
    pub fn lost_replies_are_told_to(&self, judge: Judge) {
        self.lock().judge = Some(judge);
    }

    /// The reply to a write that was done is lost.
    pub fn reply_lost(&self) {
        if let Some(judge) = &self.lock().judge {
            judge.saw("reply-lost");
        }
    }

    /// Where this history has left the one that it was copied from; `None` in that one.
    pub fn left_at(&self) -> Option<KillPoint> {
        self.lock().branching.as_ref()?.left_at()
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.lock().requests
    }

    /// How often each way of spoiling was used so far.
    pub fn spoiled(&self) -> BTreeMap<Spoil, u64> {
        self.lock().spoiled.clone()
    }

    /// Changes the way of an operator.
    pub fn change(&self, operator: &str, change: impl FnOnce(&mut Way)) {
        if let Some(way) = self.inner.ways.get(operator) {
            way.modify(change);
        }
    }

    /// The way of an operator at this moment.
    pub fn way(&self, operator: &str) -> Way {
        self.inner.ways.get(operator).map(Signal::get).unwrap_or_default()
    }

    /// Resolves when the way is as wanted.
    pub async fn when(&self, operator: &str, wanted: impl FnMut(&Way) -> bool) {
        if let Some(way) = self.inner.ways.get(operator) {
            way.when(wanted).await;
        }
    }

    /// One more line of the trace, with the time before it.
    pub fn note(&self, line: std::fmt::Arguments<'_>) {
        let at = self.elapsed().as_millis();
        self.lock().trace.add(format_args!("{at} {line}"));
    }

    /// The trace so far; what follows goes into an empty one.
    pub fn take_trace(&self) -> Trace {
        std::mem::take(&mut self.lock().trace)
    }

    /// Numbers a request, and says what becomes of it.
    pub fn fate(&self, process: &Process, method: &Method, path: &str, is_watch: bool) -> Fate {
        let way = self.way(process.operator());
        let rules = &self.inner.rules;
        let on_time = self.elapsed() < rules.until;
        let mut state = self.lock();
        state.requests += 1;
        let number = state.requests;
        let kill = rules.kills.iter().find(|kill| kill.request == number).map(|kill| kill.moment);
        let kill = kill.or_else(|| state.branching.as_mut()?.at(number));
        let mut draw = Draw::new(rules.seed, "request", number);
        let here = (rules.requests.0..=rules.requests.1).contains(&number)
            && rules.aim.is_none_or(|part| path.contains(part));
        let spoiled = draw.chance(rules.thousandths) && on_time && here;
        let fits = |spoil: &&Spoil| spoil.fits(method, is_watch);
        let fitting: Vec<Spoil> = rules.spoils.iter().filter(fits).copied().collect();
        let drawn = draw.one_of(&fitting).copied().filter(|_| spoiled);
        let drawn = drawn.filter(|spoil| !rules.without.contains(spoil));
        let spoil = way.spoil.filter(|spoil| fits(&spoil)).or(drawn).filter(|_| kill.is_none());
        if let Some(spoil) = spoil {
            *state.spoiled.entry(spoil).or_default() += 1;
        }
        let no_writes = way.no_writes && method != Method::GET;
        Fate { number, kill, spoil, draw, no_writes }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
