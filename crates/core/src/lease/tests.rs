use proptest::prelude::*;

use super::*;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn seen(holder: &str, nonce: &str) -> Seen {
    Seen { holder: holder.into(), duration: Some(ms(15_000)), nonce: nonce.into() }
}

fn observed(holder: &str, since: u64) -> Observed {
    Observed { seen: Some(seen(holder, "n")), since: ms(since) }
}

fn mine() -> Mine {
    Mine {
        identity: "me_1".into(),
        acknowledged: "me_1/4".into(),
        attempted: vec!["me_1/5".into()],
        renewed: ms(100_000),
    }
}

#[test]
fn a_lease_is_taken_when_it_is_free_and_when_its_version_was_seen_for_its_duration() {
    let times = Times::default();
    let ask = |now, observed: &Observed| stand_by(ms(now), &times, observed, Duration::ZERO);
    let absent = Observed { seen: None, since: ms(0) };
    assert_eq!(ask(0, &absent), Decision::Acquire);
    assert_eq!(ask(0, &observed("", 0)), Decision::Acquire, "released");
    assert_eq!(ask(7_000, &observed("a", 5_000)), Decision::Wait { until: ms(20_000) });
    assert_eq!(ask(19_999, &observed("a", 5_000)), Decision::Wait { until: ms(20_000) });
    assert_eq!(ask(20_000, &observed("a", 5_000)), Decision::Acquire);
    let given_away = stand_by(ms(0), &times, &observed("", 0), ms(60_000));
    assert_eq!(given_away, Decision::Wait { until: ms(60_000) });
}

#[test]
fn an_edited_duration_shortens_nothing_and_a_holders_longer_one_counts() {
    let with =
        |duration| Observed { seen: Some(Seen { duration, ..seen("a", "n") }), since: ms(0) };
    for (duration, until) in [
        (Some(ms(1_000)), 15_000),
        (None, 15_000),
        (Some(ms(40_000)), 40_000),
        (Some(Duration::from_secs(u64::MAX)), 15_000),
    ] {
        let decision = stand_by(ms(1), &Times::default(), &with(duration), Duration::ZERO);
        assert_eq!(decision, Decision::Wait { until: ms(until) }, "{duration:?}");
    }
}

#[test]
fn a_leader_renews_in_time_and_steps_down_when_it_could_not() {
    let times = Times::default();
    let ask = |now| lead(ms(now), &times, None, &mine());
    assert_eq!(ask(104_999), Decision::Wait { until: ms(105_000) });
    assert_eq!(ask(105_000), Decision::Renew);
    assert_eq!(ask(109_999), Decision::Renew);
    assert_eq!(ask(110_000), Decision::StepDown(Lost::Deadline));
}

#[test]
fn a_leader_knows_its_writes_by_their_nonce_and_nothing_else() {
    assert_eq!(whose(&seen("me_1", "me_1/4"), &mine()), Whose::Acknowledged);
    assert_eq!(whose(&seen("me_1", "me_1/5"), &mine()), Whose::Attempted);
    for (holder, nonce, lost) in [
        ("me_1", "me_1/3", Lost::Foreign),
        ("me_1", "", Lost::Foreign),
        ("b_1", "me_1/4", Lost::Holder("b_1".into())),
        ("", "me_1/4", Lost::Holder(String::new())),
    ] {
        assert_eq!(whose(&seen(holder, nonce), &mine()), Whose::Foreign(lost.clone()), "{nonce}");
        let look = Observed { seen: Some(seen(holder, nonce)), since: ms(0) };
        let decision = lead(ms(101_000), &Times::default(), Some(&look), &mine());
        assert_eq!(decision, Decision::StepDown(lost));
    }
    let none = Observed { seen: None, since: ms(0) };
    let decision = lead(ms(101_000), &Times::default(), Some(&none), &mine());
    assert_eq!(decision, Decision::StepDown(Lost::Gone));
}

#[test]
fn times_that_are_no_election_are_refused() {
    let new = |a, b, c| Times::new(ms(a), ms(b), ms(c));
    assert_eq!(new(15_000, 10_000, 5_000), Ok(Times::default()));
    assert!(new(3_000, 2_000, 1_000).is_ok());
    for (a, b, c) in [
        (10_000, 10_000, 5_000),
        (15_000, 6_000, 5_000),
        (15_000, 10_000, 0),
        (4_000_000, 10_000, 5_000),
    ] {
        assert!(new(a, b, c).is_err(), "{a} {b} {c}");
    }
}

#[test]
fn the_leaders_own_pod_goes_only_when_another_operator_is_ready_elsewhere() {
    let ask = |own: Option<&'static str>, peers: &[&'static str]| {
        own_pod(own, "n1", peers.iter().copied())
    };
    assert_eq!(ask(Some("n2"), &["n3"]), OwnPod::Elsewhere);
    assert_eq!(ask(None, &["n3"]), OwnPod::Elsewhere);
    assert_eq!(ask(Some("n1"), &["n1", "n3"]), OwnPod::StepDown);
    assert_eq!(ask(Some("n1"), &["n1"]), OwnPod::Leave);
    assert_eq!(ask(Some("n1"), &[]), OwnPod::Leave);
}

/// The API server's side: a compare-and-swap on a version.
#[derive(Default)]
struct Server {
    version: u64,
    lease: Option<Seen>,
}

impl Server {
    fn put(&mut self, base: u64, lease: &Seen) -> bool {
        let landed = base == self.version;
        if landed {
            self.version += 1;
            self.lease = Some(lease.clone());
        }
        landed
    }
}

/// A write under way.
#[derive(Clone)]
struct Call {
    base: u64,
    lease: Seen,
}

/// When unanswered writes were sent, by nonce.
type Sent = Vec<(String, Duration)>;

/// A process with a clock of its own, whose zero is anywhere.
struct Process {
    name: char,
    offset: u64,
    terms: u64,
    writes: u64,
    observed: Option<(u64, Observed)>,
    /// What it knows of its term, the version that it builds on, and when unanswered writes were sent.
    term: Option<(Mine, u64, Sent)>,
    /// It counts from what it takes for the Lease's own time, and not from its own observation.
    credulous: bool,
}

/// What becomes of a write.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Answered,
    ReplyLost,
    /// It lands, if ever, at a later step.
    Late,
}

impl Process {
    fn now(&self, time: u64) -> Duration {
        ms(self.offset + time)
    }

    /// The end of what it may still be doing, on the true clock.
    fn acts_until(&self, times: &Times) -> Option<u64> {
        let (mine, ..) = self.term.as_ref()?;
        let end = times.limits(mine.renewed).end.as_millis();
        u64::try_from(end).ok()?.checked_sub(self.offset)
    }

    fn step(
        &mut self,
        time: u64,
        times: &Times,
        server: &mut Server,
        fate: Fate,
        late: &mut Vec<Call>,
    ) {
        let now = self.now(time);
        let Some((mine, base, sent)) = &mut self.term else {
            return self.stand_by(time, times, server, fate, late);
        };
        match lead(now, times, None, mine) {
            Decision::StepDown(_) => self.term = None,
            Decision::Renew => {
                self.writes += 1;
                let nonce = format!("{}/{}", mine.identity, self.writes);
                let call = Call { base: *base, lease: seen(&mine.identity.clone(), &nonce) };
                mine.attempted.push(nonce.clone());
                sent.push((nonce, now));
                let landed = send(server, &call, fate, late);
                if landed != Some(true) {
                    self.look(server);
                } else if let Some((mine, base, sent)) = &mut self.term {
                    mine.acknowledged.clone_from(&call.lease.nonce);
                    (mine.renewed, *base) = (now, server.version);
                    (mine.attempted, *sent) = (Vec::new(), Vec::new());
                }
            }
            Decision::Wait { .. } | Decision::Acquire => {}
        }
    }

    /// Reads the Lease back after a write without an answer.
    fn look(&mut self, server: &Server) {
        let Some((mine, base, sent)) = &mut self.term else { return };
        match server.lease.as_ref().map(|lease| whose(lease, mine)) {
            Some(Whose::Acknowledged) => {}
            Some(Whose::Attempted) => {
                let nonce =
                    server.lease.as_ref().map(|lease| lease.nonce.clone()).unwrap_or_default();
                let at = sent.iter().find(|(known, _)| *known == nonce).unwrap().1;
                (mine.acknowledged, mine.renewed, *base) =
                    (nonce, mine.renewed.max(at), server.version);
                (mine.attempted, *sent) = (Vec::new(), Vec::new());
            }
            Some(Whose::Foreign(_)) | None => self.term = None,
        }
    }

    fn stand_by(
        &mut self,
        time: u64,
        times: &Times,
        server: &mut Server,
        fate: Fate,
        late: &mut Vec<Call>,
    ) {
        let now = self.now(time);
        if self.observed.as_ref().is_none_or(|(version, _)| *version != server.version) {
            self.observed =
                Some((server.version, Observed { seen: server.lease.clone(), since: now }));
            return; // it decides at its next step: a watch is never quicker than that
        }
        let Some((version, observed)) = &self.observed else { return };
        let own_time = Observed { since: Duration::ZERO, ..observed.clone() };
        let observed = if self.credulous { &own_time } else { observed };
        if super::stand_by(now, times, observed, Duration::ZERO) != Decision::Acquire {
            return;
        }
        self.terms += 1;
        let identity = format!("{}_{}", self.name, self.terms);
        let nonce = format!("{identity}/0");
        let call = Call { base: *version, lease: seen(&identity, &nonce) };
        let answered = send(server, &call, fate, late) == Some(true);
        // A reply that was lost is read back at once.
        let landed = answered || server.lease.as_ref().is_some_and(|lease| lease.nonce == nonce);
        if landed {
            let mine = Mine { identity, acknowledged: nonce, attempted: Vec::new(), renewed: now };
            self.term = Some((mine, server.version, Vec::new()));
        }
    }
}

/// `None`: no answer came.
fn send(server: &mut Server, call: &Call, fate: Fate, late: &mut Vec<Call>) -> Option<bool> {
    match fate {
        Fate::Answered => Some(server.put(call.base, &call.lease)),
        Fate::ReplyLost => {
            server.put(call.base, &call.lease);
            None
        }
        Fate::Late => {
            late.push(call.clone());
            None
        }
    }
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![4 => Just(Fate::Answered), 1 => Just(Fate::ReplyLost), 1 => Just(Fate::Late)]
}

/// What the property below looks for is found when the rule is taken away.
#[test]
fn two_may_act_at_once_when_one_of_them_does_not_go_by_its_own_observation() {
    let acting = |credulous: bool| {
        let process = |name, offset, credulous| Process {
            name,
            offset,
            terms: 0,
            writes: 0,
            observed: None,
            term: None,
            credulous,
        };
        let (mut server, mut late, times) = (Server::default(), Vec::new(), Times::default());
        let mut processes = [process('a', 0, false), process('b', 1_000_000, credulous)];
        for time in [0, 1, 2] {
            for process in &mut processes {
                process.step(time, &times, &mut server, Fate::Answered, &mut late);
            }
        }
        processes.iter().filter(|p| p.acts_until(&times).is_some_and(|end| 2 < end)).count()
    };
    assert_eq!((acting(false), acting(true)), (1, 2));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// SAFE-2: whatever the clocks show, whoever is paused, whatever calls are lost or come late, no two
    /// may act at the same time; and once things are well one of them leads.
    #[test]
    fn no_two_processes_may_act_at_the_same_time_and_one_of_them_leads_in_the_end(
        offsets in prop::collection::vec(0..1_000_000_000u64, 3),
        steps in prop::collection::vec((0..3usize, 0..6_000u64, fate(), any::<bool>()), 1..300),
    ) {
        let times = Times::default();
        let mut server = Server::default();
        let mut late: Vec<Call> = Vec::new();
        let mut time = 0;
        let mut processes: Vec<_> = "abc".chars().zip(&offsets).map(|(name, offset)| Process {
            name, offset: *offset, terms: 0, writes: 0, observed: None, term: None, credulous: false,
        }).collect();
        let check = |processes: &[Process], time: u64| {
            let acting = processes.iter().filter(|p| p.acts_until(&times).is_some_and(|end| time < end));
            acting.map(|p| p.name).collect::<Vec<_>>()
        };
        for (who, after, fate, lands) in steps {
            time += after;
            if lands && let Some(call) = late.pop() {
                server.put(call.base, &call.lease);
            }
            processes[who].step(time, &times, &mut server, fate, &mut late);
            let acting = check(&processes, time);
            prop_assert!(acting.len() <= 1, "at {time}: {acting:?}");
        }
        // No faults any more: within a lease and a few seconds somebody leads, and goes on to.
        for _ in 0..60 {
            time += 500;
            for who in 0..processes.len() {
                processes[who].step(time, &times, &mut server, Fate::Answered, &mut late);
                prop_assert!(check(&processes, time).len() <= 1);
            }
        }
        prop_assert_eq!(check(&processes, time).len(), 1);
    }
}

#[test]
fn a_term_knows_its_own_writes_and_their_order() {
    let ours = nonce("rerail-operator-abc_2", 17);
    assert_eq!(write_of("rerail-operator-abc_2", &ours), Some(17));
    for foreign in
        ["rerail-operator-abc_2", "rerail-operator-abc_21/3", "x/1", "", "rerail-operator-abc_2/x"]
    {
        assert_eq!(write_of("rerail-operator-abc_2", foreign), None, "{foreign}");
    }
}

#[test]
fn a_last_look_confirms_only_a_lease_that_is_ours_and_not_older_than_was_acknowledged() {
    let read = |holder: &str, nonce: &str| Seen {
        holder: holder.into(),
        duration: None,
        nonce: nonce.into(),
    };
    let confirmed = |seen: &Seen| confirms(Some(seen), "a_1", 3);
    assert!(confirmed(&read("a_1", "a_1/3")) && confirmed(&read("a_1", "a_1/4")));
    for other in [read("a_1", "a_1/2"), read("b_1", "a_1/3"), read("", "a_1/3"), read("a_1", "")] {
        assert!(!confirmed(&other), "{other:?}");
    }
    assert!(!confirms(None, "a_1", 3));
}

#[test]
fn a_term_is_superseded_by_another_one_that_is_not_older() {
    assert!(supersedes((4, "b_1"), 4, "a_1") && supersedes((5, "b_1"), 4, "a_1"));
    assert!(!supersedes((3, "b_1"), 4, "a_1"), "an older one");
    assert!(!supersedes((4, "a_1"), 4, "a_1"), "itself");
    assert!(!supersedes((4, ""), 4, "a_1"), "nobody");
}
