//! Two Alertmanagers, replicas of each other, which the operator asks over no network but this. Each has its
//! moods; in all of them it says nothing that a real one could not say.

use std::{
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use jiff::Timestamp;
use rerail_operator::deps::{Access, Fetch, FetchError, Fetched};
use rerail_sim::world::World;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{draw::Draw, process::Process};

/// How many there are. Their addresses are `http://alertmanager-0` and so on.
const SERVERS: usize = 2;

/// What a server does for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// It cannot be reached.
    Silent,
    /// It takes the question, and does not answer.
    Hangs,
    /// It answers 500, or what is no answer at all.
    Garbage,
    /// It has begun anew, and knows of nothing until it is told, which takes up to two minutes; of the deadman
    /// alert it is told first.
    Forgetful,
    /// What it knows is up to a minute old.
    Late,
    /// Prometheus is gone: what it knew has ended by itself, the deadman alert, too.
    Blind,
    /// Among its alerts are some without a name, of nodes of another cluster, twice, with labels and
    /// priorities that are none, and what is no alert.
    Poisoned,
}

const MOODS: [Mood; 7] = [
    Mood::Silent,
    Mood::Hangs,
    Mood::Garbage,
    Mood::Forgetful,
    Mood::Late,
    Mood::Blind,
    Mood::Poisoned,
];

/// A mood from then until then, since the beginning.
#[derive(Debug, Clone, Copy)]
struct Spell {
    mood: Mood,
    from: Duration,
    until: Duration,
}

/// Alerts as they were from some time on.
type Known = Vec<(String, String, String)>;

/// What fired at every look from then until then.
#[derive(Debug)]
struct Seen {
    from: Instant,
    until: Instant,
    known: Known,
}

/// Between two looks nothing else is taken to have been so if they are no farther apart.
const APART: Duration = Duration::from_secs(10);

/// A server that has begun anew is told of something after so long.
const FIRST_TOLD: Duration = Duration::from_secs(5);

/// The latest that a server may be, and then some.
const KEPT: Duration = Duration::from_secs(120);

/// The Alertmanagers of a run.
pub struct Alertmanagers {
    world: World,
    began: Instant,
    spells: [Vec<Spell>; SERVERS],
    /// What fired, as far back as somebody may be late.
    history: Mutex<Vec<Seen>>,
}

impl Alertmanagers {
    /// With moods until then, drawn from a seed; without any if it is at once.
    pub fn new(world: &World, seed: u64, moods_until: Duration) -> Arc<Self> {
        let mut spells = [0, 1].map(|number| drawn(seed, number, moods_until));
        // Both at once, for longer than what they said holds.
        let mut draw = Draw::new(seed, "no Alertmanager answers", 0);
        if moods_until > Duration::from_mins(5) && draw.chance(500) {
            let most = moods_until.as_secs() - 240;
            let from = Duration::from_secs(draw.between(30, most));
            let until = from + Duration::from_secs(draw.between(90, 200));
            for all in &mut spells {
                all.insert(0, Spell { mood: Mood::Silent, from, until });
            }
        }
        Arc::new(Alertmanagers {
            world: world.clone(),
            began: Instant::now(),
            spells,
            history: Mutex::default(),
        })
    }

    /// What a process of an operator asks by.
    pub fn asked_by(self: &Arc<Self>, process: &Process) -> Arc<dyn Fetch> {
        Arc::new(Asked { all: self.clone(), process: process.clone() })
    }

    fn spell(&self, server: usize, at: Duration) -> Option<Spell> {
        let mut spells = self.spells.get(server)?.iter();
        spells.find(|spell| spell.from <= at && at < spell.until).copied()
    }

    /// When a server began last: before the world, or when it forgot.
    fn up_since(&self, server: usize, at: Duration, now: Timestamp) -> Timestamp {
        let spells = self.spells.get(server).into_iter().flatten();
        let began = spells.filter(|spell| spell.mood == Mood::Forgetful && spell.from <= at);
        let ago = began.map(|spell| at.saturating_sub(spell.from)).min();
        now.saturating_sub(ago.unwrap_or(Duration::from_hours(1))).unwrap_or(now)
    }

    /// Takes note of what fires now.
    fn look(&self) {
        let (now, known) = (Instant::now(), self.world.alerts());
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.retain(|seen| now.duration_since(seen.until) < KEPT);
        match history.last_mut() {
            Some(last) if last.known == known && now.duration_since(last.until) < APART => {
                last.until = now;
            }
            _ => history.push(Seen { from: now, until: now, known }),
        }
    }

    /// What fired so long ago; now, where nobody looked at that time.
    fn known(&self, ago: Duration) -> Known {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let at = Instant::now().checked_sub(ago).unwrap_or(self.began);
        let then = history.iter().rev().find(|seen| seen.from <= at && at <= seen.until + APART);
        then.or(history.last()).map(|seen| seen.known.clone()).unwrap_or_default()
    }

    fn answer(&self, server: usize, path: &str) -> Result<Fetched, FetchError> {
        self.look();
        let (at, now) = (self.began.elapsed(), self.world.server().now());
        let mood = self.spell(server, at).map(|spell| spell.mood);
        let said =
            |status, body: String| Ok(Fetched { status, date: Some(now), body: Bytes::from(body) });
        match mood {
            Some(Mood::Silent | Mood::Hangs) => {
                return Err(FetchError::Unreachable("connection refused".to_owned()));
            }
            Some(Mood::Garbage) => {
                let even = at.as_secs() % 2 == 0;
                let body = if even { "<html>Bad Gateway</html>" } else { "[{\"labels\"" };
                return said(if even { 502 } else { 200 }, body.to_owned());
            }
            _ => {}
        }
        if path.ends_with("/status") {
            let since = self.up_since(server, at, now);
            return said(200, json!({ "uptime": since.to_string() }).to_string());
        }
        let ago = match mood {
            Some(Mood::Late) => Duration::from_secs(20 + at.as_secs() % 40),
            _ => Duration::ZERO,
        };
        let mut alerts = match mood {
            Some(Mood::Forgetful | Mood::Blind) => Vec::new(),
            _ => self.known(ago).iter().map(alert).collect(),
        };
        if mood == Some(Mood::Poisoned) {
            poison(&mut alerts);
        }
        let spell = self.spell(server, at);
        let told_already = spell.is_some_and(|spell| at.saturating_sub(spell.from) > FIRST_TOLD);
        if mood != Some(Mood::Blind) && (mood != Some(Mood::Forgetful) || told_already) {
            alerts.push(json!({ "labels": { "alertname": "Watchdog" } }));
        }
        said(200, Value::from(alerts).to_string())
    }
}

fn drawn(seed: u64, number: u64, until: Duration) -> Vec<Spell> {
    let mut draw = Draw::new(seed, "moods of an Alertmanager", number);
    let mut spells = Vec::new();
    let mut from = Duration::from_secs(draw.between(20, 120));
    while from < until {
        let mood = draw.one_of(&MOODS).copied().unwrap_or(Mood::Silent);
        let seconds = match mood {
            Mood::Silent | Mood::Hangs => draw.between(10, 150),
            Mood::Garbage => draw.between(5, 60),
            Mood::Forgetful => draw.between(20, 120),
            Mood::Late | Mood::Blind | Mood::Poisoned => draw.between(30, 200),
        };
        let ends = (from + Duration::from_secs(seconds)).min(until);
        spells.push(Spell { mood, from, until: ends });
        from = ends + Duration::from_secs(draw.between(10, 180));
    }
    spells
}

fn alert((node, kind, message): &(String, String, String)) -> Value {
    let name = kind.strip_prefix("AlertManager_").unwrap_or(kind);
    // As the condition will say it: `[P3] summary`.
    let parts = message.strip_prefix("[P").and_then(|rest| rest.split_once("] "));
    let (priority, summary) = parts.unwrap_or(("9", message));
    json!({
        "labels": { "alertname": name, "node": node, "priority": priority },
        "annotations": { "summary": summary },
    })
}

fn poison(alerts: &mut Vec<Value>) {
    let mut more: Vec<Value> = alerts.clone();
    for alert in &mut more {
        alert["labels"]["instance"] = json!("a second one");
        alert["labels"]["priority"] = json!("P-none");
    }
    let long = "x".repeat(400);
    let (number, name) = (json!(7), json!({ "labels": { "node": "worker-001" } }));
    let elsewhere = json!({ "labels": { "alertname": "Hot", "node": "of-another-cluster" } });
    let endless = json!({ "labels": { "alertname": long, "node": "worker-001" } });
    more.extend([number, name, elsewhere, endless]);
    alerts.extend(more);
}

/// The question of one process.
struct Asked {
    all: Arc<Alertmanagers>,
    process: Process,
}

impl Fetch for Asked {
    fn get<'a>(
        &'a self,
        url: &'a str,
        _: &'a Access,
    ) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        Box::pin(async move {
            self.process.proceed().await;
            let rest = url.strip_prefix("http://alertmanager-").unwrap_or_default();
            let server = rest.split('/').next().and_then(|number| number.parse().ok());
            let server = server.unwrap_or(0);
            // On its way, and back.
            sleep(Duration::from_millis(3)).await;
            let mood = self.all.spell(server, self.all.began.elapsed()).map(|spell| spell.mood);
            if mood == Some(Mood::Hangs) {
                self.all.look();
                return pending().await;
            }
            let path = rest.split('?').next().unwrap_or_default();
            let answer = self.all.answer(server, path);
            sleep(Duration::from_millis(3)).await;
            self.process.proceed().await;
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moods_end_in_time_and_come_one_after_the_other() {
        let until = Duration::from_mins(20);
        for seed in 0..50 {
            let spells = drawn(seed, 0, until);
            assert!(!spells.is_empty());
            assert!(spells.iter().all(|spell| spell.from < spell.until && spell.until <= until));
            assert!(spells.windows(2).all(|pair| pair[0].until < pair[1].from));
        }
        assert!(drawn(1, 0, Duration::ZERO).is_empty());
    }

    #[test]
    fn an_alert_says_what_its_condition_will() {
        let of = |message: &str| alert(&("n".into(), "AlertManager_Hot".into(), message.into()));
        assert_eq!(of("[P3] it burns")["labels"]["priority"], "3");
        assert_eq!(of("[P3] it burns")["annotations"]["summary"], "it burns");
        assert_eq!(of("it burns")["labels"]["priority"], "9");
        assert_eq!(of("x")["labels"]["alertname"], "Hot");
    }
}
