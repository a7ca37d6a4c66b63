//! Kill points: at every request of a scene the process that sends it dies, before or after it was done,
//! or its answer is lost, or it or its answer is late; and two losses in one run.

use std::fmt;

use crate::{
    draw::Draw,
    net::{KillPoint, Moment},
    plan::{Mode, Plan, Settings},
    play::{Keep, PlayError, play},
};

/// Seed of kill points; what the scene draws is drawn from it.
pub const SEED: u64 = 1;

/// Which of all pairs of kill points are played: one in so many, drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// In so many.
    pub one_in: u64,
    /// From this seed.
    pub seed: u64,
}

impl Share {
    /// Whether it has the pair of this number.
    fn has(self, number: u64) -> bool {
        self.one_in <= 1 || Draw::new(self.seed, "pairs", number).below(self.one_in) == 0
    }
}

/// A scene that is killed, and with how many operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Story {
    /// The scene's name.
    pub scene: &'static str,
    /// Operators.
    pub operators: usize,
    /// What each of its runs shows once, whoever dies when; names of the "sometimes" list.
    pub shows: &'static [&'static str],
}

/// The single-run and the two-leader scenario of the safety document; and a run that is deleted by force
/// in its second reboot: what only the operator knows of it then has to outlive it.
pub const STORIES: [Story; 3] = [
    Story { scene: "single", operators: 1, shows: &["run-succeeds"] },
    Story { scene: "single", operators: 2, shows: &["run-succeeds"] },
    Story { scene: "deleted", operators: 1, shows: &["second-attempt", "run-deleted"] },
];

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.operators == 1 { "" } else { "s" };
        write!(f, "{}, {} operator{plural}", self.scene, self.operators)
    }
}

impl Story {
    /// The run with these kill points.
    pub fn settings(&self, kills: &[KillPoint]) -> Settings {
        Settings {
            scene: Some(self.scene.to_owned()),
            operators: Some(self.operators),
            mode: Some(Mode::Liveness),
            calm: true,
            // From the beginning everything may heal; in the scene itself somebody falls sick later.
            faults_until: Some(20),
            kills: kills.to_vec(),
            ..Settings::default()
        }
    }

    /// How many requests the scene has when nobody dies.
    pub fn requests(&self) -> Result<u64, PlayError> {
        Ok(play(&Plan::new(SEED, &self.settings(&[])), Keep::default())?.requests)
    }

    /// All runs with one kill point, among so many requests.
    pub fn singles(&self, requests: u64) -> impl Iterator<Item = Settings> + Send + use<> {
        let story = *self;
        KillPoint::all(1..=requests).map(move |kill| story.settings(&[kill]))
    }

    /// All runs in which one request, or its answer, is late, among so many requests; and those in which the
    /// answers to two in a row are.
    pub fn late(&self, requests: u64) -> impl Iterator<Item = Settings> + Send + use<> {
        let story = *self;
        let once = KillPoint::late(1..=requests).map(move |late| story.settings(&[late]));
        once.chain(self.twice(requests, Moment::ReplyLate))
    }

    /// Runs in which the answers to two requests in a row are lost: often those to a write and to the look
    /// at what became of it.
    pub fn in_a_row(&self, requests: u64) -> impl Iterator<Item = Settings> + Send + use<> {
        self.twice(requests, Moment::ReplyLost)
    }

    fn twice(
        &self,
        requests: u64,
        moment: Moment,
    ) -> impl Iterator<Item = Settings> + Send + use<> {
        let story = *self;
        (1..requests).map(move |first| {
            let at = |request| KillPoint { request, moment };
            story.settings(&[at(first), at(first + 1)])
        })
    }

    /// All runs in which something happens at one request, or the same is lost or late at two in a row.
    pub fn all(&self, requests: u64) -> impl Iterator<Item = Settings> + Send + use<> {
        self.singles(requests).chain(self.in_a_row(requests)).chain(self.late(requests))
    }

    /// What branches are played of: all runs with one kill point, and those with two lost answers in a row.
    /// Every so many, from the one of this number, from 0.
    pub fn trunks(
        &self,
        requests: u64,
        part: u64,
        of: u64,
    ) -> impl Iterator<Item = Settings> + Send + use<> {
        let trunks = (0..).zip(self.singles(requests).chain(self.in_a_row(requests)));
        trunks.filter(move |(number, _)| number % of.max(1) == part).map(|(_, said)| said)
    }

    /// Runs with two kill points, a share of all. The second one may lie behind the end of the scene without
    /// kills: what was killed has more to do.
    pub fn pairs(
        &self,
        requests: u64,
        share: Share,
    ) -> impl Iterator<Item = Settings> + Send + use<> {
        let story = *self;
        let pairs = KillPoint::all(1..=requests).flat_map(move |first| {
            let seconds = KillPoint::all(first.request + 1..=requests + requests / 2);
            seconds.map(move |second| [first, second])
        });
        (0..)
            .zip(pairs)
            .filter(move |(number, _)| share.has(*number))
            .map(move |(_, kills)| story.settings(&kills))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_points_are_there_and_a_part_of_all_pairs() {
        let story = STORIES[0];
        assert_eq!(story.singles(10).count(), 30);
        assert_eq!(story.in_a_row(10).count(), 9);
        assert_eq!(story.late(10).count(), 29);
        let drawn = |one_in| Share { one_in, seed: 0 };
        let all = story.pairs(10, drawn(1)).count();
        // The first at request 1..=10, the second behind it, up to 15.
        assert_eq!(all, (5..=14).map(|behind| 9 * behind).sum::<usize>());
        let some = story.pairs(10, drawn(10)).count();
        assert!(some > all / 20 && some < all / 5, "{some} of {all}");
        let part = |part| story.trunks(10, part, 7).map(|run| run.kills);
        let mut parts: Vec<_> = (0..7).flat_map(part).collect();
        parts.sort();
        let trunks = story.singles(10).chain(story.in_a_row(10));
        let mut trunks: Vec<_> = trunks.map(|run| run.kills).collect();
        trunks.sort();
        assert_eq!(parts, trunks);
    }
}
