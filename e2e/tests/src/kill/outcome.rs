//! What came of a sweep.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Serialize;

use super::{
    orders::{Dies, KillPoint, Moment, Request, Which},
    trial::{MOMENTS, kinds},
};

/// One operator that died, in a run that was carried to its end.
#[derive(Debug, Clone, Serialize)]
pub struct Kill {
    /// Where.
    pub dies: Dies,
    /// True for an operator that had just begun to carry on what another one had left.
    pub recovering: bool,
    /// From the (last) death in this run to its end, the start of the next operator included.
    pub recovery: Duration,
}

/// What came of a sweep.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Outcome {
    /// The requests of an undisturbed run, watches aside.
    pub requests: Vec<Request>,
    /// Who died.
    pub kills: Vec<Kill>,
    /// Kill points that no operator came to: its run needed fewer requests.
    pub not_reached: Vec<KillPoint>,
    /// What did not hold, and where.
    pub violations: Vec<String>,
    /// How long the whole took.
    pub took: Duration,
}

/// Requests and kills of one kind.
#[derive(Debug, Default)]
struct Row {
    requests: usize,
    before: usize,
    after: usize,
}

impl Outcome {
    /// Kinds of requests of an undisturbed run at which no operator died, in one of the two ways.
    pub fn uncovered(&self) -> Vec<KillPoint> {
        let wanted = kinds(&self.requests).into_iter().flat_map(|(verb, resource)| {
            MOMENTS.map(|moment| {
                let which = Which::First { verb: verb.clone(), resource: resource.clone() };
                KillPoint { which, moment }
            })
        });
        let dies = |point: &KillPoint, dies: &Dies| {
            point.which.is_kind_of(&dies.request) && point.moment == dies.moment
        };
        wanted.filter(|point| !self.kills.iter().any(|kill| dies(point, &kill.dies))).collect()
    }

    /// The part of the kill points that no operator came to, from 0 to 1.
    pub fn part_not_reached(&self) -> f64 {
        let missed = self.not_reached.len();
        let all = missed + self.kills.len();
        if all == 0 { 1.0 } else { missed as f64 / all as f64 }
    }

    /// The longest time from a death to the end of the run.
    pub fn slowest(&self) -> Option<&Kill> {
        self.kills.iter().max_by_key(|kill| kill.recovery)
    }

    fn rows(&self) -> BTreeMap<(&str, &str), Row> {
        let mut rows: BTreeMap<(&str, &str), Row> = BTreeMap::new();
        for request in &self.requests {
            rows.entry((&request.resource, &request.verb)).or_default().requests += 1;
        }
        for kill in &self.kills {
            let request = &kill.dies.request;
            let row = rows.entry((&request.resource, &request.verb)).or_default();
            match kill.dies.moment {
                Moment::Before => row.before += 1,
                Moment::After => row.after += 1,
            }
        }
        rows
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<8} {:<32} {:>12} {:>14} {:>14}",
            "verb", "resource", "in one run", "killed before", "killed after"
        )?;
        let mut all = Row::default();
        for ((resource, verb), row) in self.rows() {
            writeln!(
                f,
                "{verb:<8} {resource:<32} {:>12} {:>14} {:>14}",
                row.requests, row.before, row.after
            )?;
            all.requests += row.requests;
            all.before += row.before;
            all.after += row.after;
        }
        writeln!(
            f,
            "{:<8} {:<32} {:>12} {:>14} {:>14}",
            "all", "", all.requests, all.before, all.after
        )?;
        let recovering = self.kills.iter().filter(|kill| kill.recovering).count();
        let missed: Vec<_> = self.not_reached.iter().map(ToString::to_string).collect();
        writeln!(f, "of these, operators that had just begun to carry on: {recovering}")?;
        writeln!(f, "kill points not reached: {} {}", missed.len(), missed.join(", "))?;
        if let Some(kill) = self.slowest() {
            let (request, seconds) = (&kill.dies.request, kill.recovery.as_secs_f64());
            writeln!(
                f,
                "slowest recovery: {seconds:.1} s, {} request {}, {} {}",
                kill.dies.moment, request.number, request.verb, request.resource
            )?;
        }
        writeln!(f, "violations: {}", self.violations.len())?;
        for violation in &self.violations {
            writeln!(f, "  {violation}")?;
        }
        write!(f, "{} kills in {:.0} s", self.kills.len(), self.took.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: usize, verb: &str, resource: &str) -> Request {
        Request { number, verb: verb.to_owned(), resource: resource.to_owned() }
    }

    fn kill(request: Request, moment: Moment) -> Kill {
        let dies = Dies { request, moment };
        Kill { dies, recovering: false, recovery: Duration::from_secs(1) }
    }

    #[test]
    fn a_kind_of_request_must_have_killed_both_ways() {
        let (get, patch) = (request(1, "get", "nodes"), request(2, "patch", "nodes"));
        let outcome = Outcome {
            requests: vec![get.clone(), patch.clone()],
            kills: vec![
                kill(get.clone(), Moment::Before),
                kill(get, Moment::After),
                kill(patch, Moment::After),
            ],
            ..Outcome::default()
        };
        let uncovered: Vec<_> = outcome.uncovered().iter().map(ToString::to_string).collect();
        assert_eq!(uncovered, ["before the first patch nodes"]);
        assert_eq!(outcome.part_not_reached(), 0.0);
        assert_eq!(Outcome::default().part_not_reached(), 1.0, "nothing was tried");
    }
}
