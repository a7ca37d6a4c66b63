//! What several servers say together: which alerts fire, and whether an alert that none of them shows
//! is really over. Absence is not health: a server that does not answer, that has just begun, or that
//! has lost sight of what it watches shows no alert, either (hazard H09).

use jiff::{SignedDuration, Timestamp};

use crate::{mutant, trigger::add};

/// One answer of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<A> {
    /// When it was asked.
    pub at: Timestamp,
    /// Every alert that it shows as firing.
    pub alerts: Vec<A>,
    /// True when the deadman alert is among them, or none is wanted.
    pub sees: bool,
    /// True unless the server has begun only just now, and knows of nothing yet. Alertmanager keeps no
    /// alerts over a restart, and Prometheus sends every firing alert anew a minute after the last time, at
    /// its next evaluation (`--rules.alert.resend-delay` and `evaluation_interval`, a minute each by
    /// default).
    pub warm: bool,
}

impl<A> Answer<A> {
    /// True when an alert that is not in this answer does not fire.
    pub fn tells_absence(&self) -> bool {
        let sees = self.sees || mutant!("alert-blind-believed");
        let warm = self.warm || mutant!("alert-cold-believed");
        sees && warm
    }
}

/// What is known of one server. A bad answer changes nothing but `failing`: what was said last holds
/// until it is too old.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server<A> {
    /// Its last good answer.
    pub last: Option<Answer<A>>,
    /// When it was last asked and its silence meant something.
    absence_at: Option<Timestamp>,
    /// True when the last try gave no good answer.
    pub failing: bool,
}

impl<A> Default for Server<A> {
    fn default() -> Self {
        Server { last: None, absence_at: None, failing: false }
    }
}

impl<A> Server<A> {
    /// Takes a good answer in.
    pub fn answered(&mut self, answer: Answer<A>) {
        if answer.tells_absence() {
            self.absence_at = Some(answer.at);
        }
        self.failing = false;
        self.last = Some(answer);
    }

    /// The last try gave no good answer.
    pub fn failed(&mut self) {
        self.failing = true;
    }

    /// True when it answers and sees, and has only just begun.
    fn warms_up(&self) -> bool {
        let last = self.last.as_ref().filter(|_| !self.failing);
        last.is_some_and(|answer| answer.sees && !answer.tells_absence())
    }

    /// True when its last try was good and its silence meant something.
    fn tells_absence_now(&self) -> bool {
        !self.failing && self.last.as_ref().is_some_and(Answer::tells_absence)
    }
}

/// Servers that are expected to show the same alerts. Alertmanagers of one source are replicas of each
/// other; of Prometheus servers each stands alone.
pub type Replicas<A> = Vec<Server<A>>;

/// How long what was said holds.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// What was said holds for so long.
    pub stale_after: SignedDuration,
    /// While a server warms up, it holds for so much longer.
    pub warm_up: SignedDuration,
    /// Since when the servers have been asked: until then nothing was said.
    pub since: Timestamp,
}

/// What an alert that nobody shows means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// It does not fire.
    NotFiring {
        /// As of when.
        at: Timestamp,
    },
    /// Somebody who could show it has not spoken just now: what was said last holds.
    Held,
    /// Somebody who could show it has not spoken for too long.
    Unknown,
}

/// What the servers say together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View<'a, A> {
    /// Every alert that fires, and when it was last seen to. One that several servers show is there
    /// several times.
    pub firing: Vec<(&'a A, Timestamp)>,
    /// What it means when an alert is not among them.
    pub absence: Absence,
}

/// What all groups of servers say together at this time. An alert fires if any server shows it whose
/// answer is not too old. It does not fire if in every group at least one server could show it, has
/// just answered, and does not.
pub fn view<A>(groups: &[Replicas<A>], patience: Patience, now: Timestamp) -> View<'_, A> {
    let servers = groups.iter().flat_map(|replicas| match mutant!("alert-one-replica") {
        true => replicas.get(..1).unwrap_or(replicas),
        false => replicas,
    });
    let firing = servers
        .filter_map(|server| server.last.as_ref())
        .filter(|answer| add(answer.at, patience.stale_after) >= now)
        .flat_map(|answer| answer.alerts.iter().map(move |alert| (alert, answer.at)))
        .collect();
    View { firing, absence: absence(groups, patience, now) }
}

fn absence<A>(groups: &[Replicas<A>], patience: Patience, now: Timestamp) -> Absence {
    let each = groups.iter().map(|replicas| of_group(replicas, patience, now));
    each.reduce(weaker).unwrap_or(Absence::Unknown)
}

/// Of two the one that says less.
fn weaker(a: Absence, b: Absence) -> Absence {
    match (a, b) {
        (Absence::NotFiring { at: a }, Absence::NotFiring { at: b }) => {
            Absence::NotFiring { at: a.min(b) }
        }
        (Absence::Unknown, _) | (_, Absence::Unknown) => Absence::Unknown,
        _ => Absence::Held,
    }
}

fn of_group<A>(replicas: &[Server<A>], patience: Patience, now: Timestamp) -> Absence {
    let fresh = |at: Timestamp| add(at, patience.stale_after) >= now;
    let now_told = replicas.iter().filter(|server| server.tells_absence_now());
    let told_at = now_told.filter_map(|server| server.absence_at).max();
    if let Some(at) = told_at.filter(|at| fresh(*at)) {
        return Absence::NotFiring { at };
    }
    // While one warms up, everything is on its way back, and will be told soon.
    let warm_up =
        if replicas.iter().any(Server::warms_up) { patience.warm_up } else { SignedDuration::ZERO };
    let last = replicas.iter().filter_map(|server| server.absence_at).max();
    let until = add(add(last.unwrap_or(patience.since), patience.stale_after), warm_up);
    if until >= now { Absence::Held } else { Absence::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALE_AFTER: i64 = 180;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn answer(second: i64, alerts: &[&'static str]) -> Answer<&'static str> {
        Answer { at: at(second), alerts: alerts.to_vec(), sees: true, warm: true }
    }

    /// A server that gave these answers; `None` is one that failed.
    fn server(
        answers: impl IntoIterator<Item = Option<Answer<&'static str>>>,
    ) -> Server<&'static str> {
        let mut server = Server::default();
        for answer in answers {
            match answer {
                Some(answer) => server.answered(answer),
                None => server.failed(),
            }
        }
        server
    }

    fn seen(groups: &[Replicas<&'static str>], now: i64) -> (Vec<(&'static str, i64)>, Absence) {
        let patience = Patience {
            stale_after: SignedDuration::from_secs(STALE_AFTER),
            warm_up: SignedDuration::from_secs(STALE_AFTER),
            since: at(0),
        };
        let view = view(groups, patience, at(now));
        let firing = view.firing.iter().map(|(alert, time)| (**alert, time.as_second()));
        (firing.collect(), view.absence)
    }

    #[test]
    fn before_the_first_answer_nothing_is_known_and_what_was_said_before_holds_for_a_while() {
        let groups = [vec![server([])]];
        assert_eq!(seen(&groups, STALE_AFTER), (vec![], Absence::Held));
        assert_eq!(seen(&groups, STALE_AFTER + 1), (vec![], Absence::Unknown));
        assert_eq!(seen(&[], 1), (vec![], Absence::Unknown));
    }

    #[test]
    fn a_server_that_fails_keeps_its_word_until_it_is_stale() {
        let groups = [vec![server([Some(answer(100, &["a"])), None])]];
        assert_eq!(seen(&groups, 280), (vec![("a", 100)], Absence::Held));
        assert_eq!(seen(&groups, 281), (vec![], Absence::Unknown));
    }

    #[test]
    fn of_replicas_one_that_shows_an_alert_is_enough_and_one_that_answers_tells_its_end() {
        let silent = server([None]);
        let lagging = server([Some(answer(100, &["a"])), None]);
        let good = server([Some(answer(200, &[]))]);
        assert_eq!(
            seen(&[vec![silent.clone(), good.clone()]], 200),
            (vec![], Absence::NotFiring { at: at(200) })
        );
        assert_eq!(
            seen(&[vec![lagging.clone(), good.clone()]], 200),
            (vec![("a", 100)], Absence::NotFiring { at: at(200) })
        );
        // What the silent one said is forgotten in time; the good one has gone on.
        let good = server([Some(answer(300, &[]))]);
        assert_eq!(seen(&[vec![lagging, good]], 300), (vec![], Absence::NotFiring { at: at(300) }));
    }

    #[test]
    fn of_servers_that_stand_alone_each_has_to_answer() {
        let good = || vec![server([Some(answer(500, &[]))])];
        let older = vec![server([Some(answer(490, &["b"]))])];
        let held = vec![server([Some(answer(400, &[])), None])];
        let gone = vec![server([Some(answer(100, &["c"])), None])];
        assert_eq!(
            seen(&[good(), older], 500),
            (vec![("b", 490)], Absence::NotFiring { at: at(490) })
        );
        assert_eq!(seen(&[good(), held.clone()], 500), (vec![], Absence::Held));
        assert_eq!(seen(&[good(), held, gone], 500), (vec![], Absence::Unknown));
    }

    /// Hazard H09: Alertmanager lives, Prometheus does not, and every alert resolves.
    #[test]
    fn without_its_deadman_alert_a_server_shows_what_fires_and_proves_no_absence() {
        let blind = Answer { sees: false, ..answer(200, &["a"]) };
        let groups = [vec![server([Some(answer(100, &["b"])), Some(blind.clone())])]];
        assert_eq!(seen(&groups, 200), (vec![("a", 200)], Absence::Held));
        let groups = [vec![server([Some(blind)])]];
        assert_eq!(seen(&groups, 200), (vec![("a", 200)], Absence::Unknown));
    }

    #[test]
    fn a_server_that_has_just_begun_proves_no_absence() {
        let cold = || Answer { warm: false, ..answer(200, &[]) };
        let old = server([Some(answer(150, &["a"])), Some(cold())]);
        assert_eq!(seen(&[vec![old]], 200), (vec![], Absence::Held));
        // It has been away and warms up: nothing that it showed before becomes Unknown meanwhile.
        let away = server([Some(answer(10, &["a"])), None, Some(cold())]);
        assert_eq!(seen(&[vec![away.clone()]], 10 + 360), (vec![], Absence::Held));
        assert_eq!(seen(&[vec![away]], 10 + 361), (vec![], Absence::Unknown));
    }
}
