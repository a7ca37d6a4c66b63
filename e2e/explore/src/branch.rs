//! Histories that begin alike are played once up to where they part: at each request behind the first kill
//! point the process is copied, once for each way in which the sender of that request may fare, and the
//! copy goes on to its own end while the original waits (design note 020).
//!
//! A process is copied whole, so that each copy is what it would have been alone; a test plays some of them
//! anew and compares their traces.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use rerail_simpin::Branch;
use serde::{Deserialize, Serialize};

use crate::{
    crew,
    net::{KillPoint, Moment},
    outcome::Outcome,
    plan::{Plan, Settings},
    play::{self, PlayError},
    tier::Tally,
};

/// What came of one of them, as a line of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct Line {
    /// Where it left the original; `None` for that one.
    pub left_at: Option<KillPoint>,
    /// What came of it, or why nobody knows.
    pub outcome: Result<Outcome, String>,
}

/// Whether a history branches, or is a copy.
pub(crate) struct Branching {
    behind: u64,
    left_at: Option<KillPoint>,
}

impl Branching {
    /// At each request behind this one.
    pub(crate) fn behind(behind: u64) -> Self {
        Branching { behind, left_at: None }
    }

    pub(crate) fn left_at(&self) -> Option<KillPoint> {
        self.left_at
    }

    /// What happens to the sender of this request: nothing in the original, and in each of its copies, which
    /// begin here, one of the losses.
    pub(crate) fn at(&mut self, request: u64) -> Option<Moment> {
        if self.left_at.is_some() || request <= self.behind {
            return None;
        }
        for moment in Moment::LOSSES {
            let here = KillPoint { request, moment };
            match rerail_simpin::branch() {
                Ok(Branch::Original) => {}
                Ok(Branch::Copy) => {
                    self.left_at = Some(here);
                    return Some(moment);
                }
                // Who cannot tell this either is found out by the missing line.
                Err(error) => {
                    let _ = tell(&Line { left_at: Some(here), outcome: Err(error.to_string()) });
                }
            }
        }
        None
    }
}

/// Ends a copy, with what came of it.
pub(crate) fn told(left_at: KillPoint, outcome: Outcome) -> ! {
    let told = tell(&Line { left_at: Some(left_at), outcome: Ok(outcome) });
    rerail_simpin::end(told.is_ok())
}

fn tell(line: &Line) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&text)?;
    out.flush()
}

/// Plays a run and its branches behind its last kill point, and tells of each on standard output.
pub fn play_and_tell(seed: u64, said: &Settings) -> Result<(), PlayError> {
    // Without one, other things would be drawn for the run than for its branches.
    let Some(behind) = said.last_kill() else {
        let why = "branches begin behind a kill point: name one, as in `--kill 12:after`";
        return Err(PlayError::Branch(why.to_owned()));
    };
    let outcome = play::play_branching(&Plan::new(seed, said), behind)?;
    tell(&Line { left_at: None, outcome: Ok(outcome) })
        .map_err(|error| PlayError::Branch(format!("what came of it cannot be told: {error}")))
}

/// The same in a process of its own: `program` is this one's own. A line for each branch and, in the end, for
/// the run itself; and one for whatever was to be heard of and was not.
pub fn lines(program: &Path, seed: u64, said: &Settings) -> Vec<Line> {
    let mut command = Command::new(program);
    command.args(["branch", &seed.to_string()]).args(said.to_string().split_whitespace());
    let mut child = match command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => return vec![lost(format!("{}: {error}", program.display()))],
    };
    let read = |line: std::io::Result<String>| {
        let line = line.map_err(|error| error.to_string());
        let line = line.and_then(|text| {
            serde_json::from_str(&text).map_err(|error| format!("{error} in {text}"))
        });
        line.unwrap_or_else(lost)
    };
    let out = child.stdout.take().map(BufReader::new);
    let mut lines: Vec<Line> = out.into_iter().flat_map(BufRead::lines).map(read).collect();
    let missing = missing(&lines, said);
    lines.extend(missing);
    match child.wait() {
        Ok(status) if status.success() => {}
        Ok(status) => lines.push(lost(format!("its process ended before it did: {status}"))),
        Err(error) => lines.push(lost(error.to_string())),
    }
    lines
}

fn lost(why: String) -> Line {
    Line { left_at: None, outcome: Err(why) }
}

/// Whether a line is missing: there is one for each moment of each request behind the last kill point, and
/// then the run's own.
fn missing(lines: &[Line], said: &Settings) -> Option<Line> {
    let Some((Line { left_at: None, outcome: Ok(own) }, branches)) = lines.split_last() else {
        return Some(lost("nothing was heard of the run itself".to_owned()));
    };
    let all = KillPoint::all(said.last_kill().unwrap_or_default() + 1..=own.requests).map(Some);
    let heard = branches.iter().map(|line| line.left_at);
    (!heard.eq(all)).then(|| lost(format!("{} branches, and not each once", branches.len())))
}

/// Plays runs with their branches, so many at a time. `tell` hears of each how many of the runs are done.
pub fn play_all(
    program: &Path,
    threads: usize,
    runs: impl Iterator<Item = (u64, Settings)> + Send,
    mut tell: impl FnMut(u64, &Tally),
) -> Tally {
    let (mut tally, mut done) = (Tally::default(), 0);
    crew::each(
        threads,
        runs,
        |(seed, said)| {
            let lines = lines(program, seed, &said);
            (seed, said, lines)
        },
        |(seed, said, lines)| {
            for Line { left_at, outcome } in lines {
                // It is a branch of a run with fewer, and is counted there; a failure is told wherever it is seen.
                let good = outcome.as_ref().is_ok_and(Outcome::is_good);
                if left_at.is_none() && good && said.kills.len() > 1 {
                    continue;
                }
                let mut said = said.clone();
                said.kills.extend(left_at);
                tally.add(seed, said, outcome.map_err(PlayError::Branch));
            }
            done += 1;
            tell(done, &tally);
            true
        },
    );
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_missing_is_noticed() {
        let first = KillPoint { request: 3, moment: Moment::After };
        let said = Settings { kills: vec![first], ..Settings::default() };
        let own = || Outcome { requests: 5, ..Outcome::default() };
        let line = |left_at| Line { left_at, outcome: Ok(own()) };
        let all = || KillPoint::all(4..=5).map(Some).chain([None]).map(line).collect::<Vec<_>>();
        assert!(missing(&all(), &said).is_none());
        for left_out in 0..all().len() {
            let mut lines = all();
            lines.remove(left_out);
            assert!(missing(&lines, &said).is_some(), "{left_out}");
        }
        assert!(missing(&[], &said).is_some());
    }

    #[test]
    fn a_program_that_says_nothing_or_nonsense_is_a_failure() {
        let first = KillPoint { request: 3, moment: Moment::After };
        let said = Settings { kills: vec![first], ..Settings::default() };
        for program in ["true", "false", "echo", "no/such/program"] {
            let tally = play_all(Path::new(program), 1, [(1, said.clone())].into_iter(), |_, _| {});
            assert!(!tally.is_good(), "{program}");
        }
    }
}
