//! A scene at play: the simulated cluster, the unchanged operator in it, a judge, and a spectator. All of
//! it lives in one thread, within a `LocalSet`, on tokio's paused clock.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use rerail_api::duration::GoDuration;
use rerail_sim::{
    Server,
    observe::{Happening, Observer, What},
    property::Judge,
    store::{Commit, Store},
    world::{Error, Scene, World},
};

use crate::{
    board::{Board, Face, Seen},
    crew::{Crew, CrewError},
    settled::{Verdict, Watch},
};

/// Everything that is at play.
pub struct Stage {
    server: Server,
    world: World,
    crew: Crew,
    judge: Judge,
    watch: Watch,
    /// How many violations are known.
    known: usize,
    /// The world was judged at rest.
    rested: bool,
    /// What could not be done of the scene.
    not_done: Arc<Mutex<Vec<String>>>,
}

impl Stage {
    /// Opens a scene. `see` is told of every change; `seed` is what everything is drawn from that looks
    /// random; nodes that rest after a run that failed are waited for until `rest` after the last event.
    pub fn raise(
        scene: Scene,
        seed: u64,
        rest: SignedDuration,
        see: impl FnMut(&Seen<'_>) + Send + 'static,
    ) -> Result<Self, Error> {
        let server = Server::new(rerail_sim::Options { seed, ..Default::default() });
        let not_done = Arc::default();
        server.observe(Spectator { see, not_done: Arc::clone(&not_done) });
        let judge = Judge::default();
        server.observe(judge.clone());
        let watch = Watch::new(script_ends(&scene, server.now()), rest);
        let world = World::open(&server, scene, seed)?;
        let crew = Crew::start(&server);
        Ok(Stage { server, world, crew, judge, watch, known: 0, rested: false, not_done })
    }

    /// What could not be done of the scene, each with its place and why.
    pub fn not_done(&self) -> Vec<String> {
        self.not_done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The API server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// True when an operator has ended by itself, which it never should.
    pub fn is_broken(&self) -> bool {
        self.crew.is_broken()
    }

    /// Looks how it stands, and tells the board what must never be. With `to_its_end` the world is judged at
    /// rest, too, as soon as it is; where people may change it then, it should not be.
    pub fn look(&mut self, board: &mut Board, to_its_end: bool) -> Verdict {
        board.tick(self.server.now());
        let verdict = self.watch.look(board);
        if to_its_end && verdict == Verdict::Settled && !self.rested {
            self.rested = true;
            self.server.with(|store, now| self.judge.at_rest(store, &curable(board), now));
            for complaint in self.world.complaints() {
                board.violated(self.server.now(), format!("WORLD {complaint}"));
            }
        }
        for violation in self.judge.violations().into_iter().skip(self.known) {
            let what =
                format!("{} {}: {}", violation.property, violation.subject, violation.message);
            board.violated(violation.at, what);
            self.known += 1;
        }
        verdict
    }

    /// Stops the operators in order.
    pub async fn strike(self) -> Result<(), CrewError> {
        self.crew.stop().await
    }
}

/// Nodes with which nothing may be wrong when nothing is under way any more: all but those that are left
/// for people.
fn curable(board: &Board) -> BTreeSet<String> {
    let well = |face| matches!(face, Face::Healthy | Face::Healed);
    let nodes = board.nodes().iter().filter(|(_, entry)| well(entry.face()));
    nodes.map(|(name, _)| name.clone()).collect()
}

fn script_ends(scene: &Scene, start: Timestamp) -> Timestamp {
    let entries = scene.timeline.iter().map(|entry| &entry.at);
    let dice = scene.random.iter().filter_map(|random| random.until.as_ref());
    let all = entries.chain(dice).chain(&scene.policies_at).map(GoDuration::value);
    // Dice that never end are thrown as long as the scene is played.
    let endless = scene.random.iter().any(|random| random.until.is_none());
    let until = scene.until.as_ref().filter(|_| endless).map(GoDuration::value);
    let last = all.chain(until).max().unwrap_or_default();
    start.saturating_add(last).unwrap_or(Timestamp::MAX)
}

/// Hands every change on, and keeps what could not be done.
struct Spectator<See> {
    see: See,
    not_done: Arc<Mutex<Vec<String>>>,
}

impl<See: FnMut(&Seen<'_>) + Send> Observer for Spectator<See> {
    fn committed(&mut self, store: &Store, commit: &Commit) {
        (self.see)(&Seen {
            at: commit.at,
            by: &commit.by,
            resource: &store.resource(commit.resource).plural,
            object: &commit.change.after,
            gone: commit.change.gone,
        });
    }

    fn happened(&mut self, _: &Store, happening: &Happening) {
        if let What::Fault(what) = &happening.what
            && let Some(why) = what.strip_prefix("not done: ")
        {
            let mut not_done = self.not_done.lock().unwrap_or_else(PoisonError::into_inner);
            not_done.push(format!("{}: {why}", happening.subject));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::fixture::{Fixture, Node};

    #[test]
    fn what_is_left_for_people_need_not_be_cured() {
        let mut fixture = Fixture::new();
        for (name, down) in [("healthy", false), ("healed", false), ("held", false), ("gone", true)]
        {
            fixture.node(0, name, "rack-a", &Node { down, ..Node::default() });
        }
        fixture.run(1, "healed", "Succeeded", "Healed", "");
        fixture.run(2, "held", "Held", "NoBoot", "");
        let nodes = curable(&fixture.board);
        assert_eq!(nodes.iter().map(String::as_str).collect::<Vec<_>>(), ["healed", "healthy"]);
    }
}
