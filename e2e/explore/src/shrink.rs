//! The least that still fails: faults are left out one by one, and the time is shortened, as long as one
//! of the same properties does not hold.

use crate::{
    outcome::Outcome,
    plan::{Plan, Settings},
    play::{Keep, PlayError, play},
};

/// So many runs are tried at most.
const TRIES: usize = 150;

/// Plays a run with these settings.
type Played<'a> = &'a mut dyn FnMut(&Settings) -> Result<Outcome, PlayError>;

/// A search for the least.
struct Search<'a> {
    seed: u64,
    played: Played<'a>,
    /// Properties of which one has to stay broken.
    broken: Vec<String>,
    best: Settings,
    outcome: Outcome,
    tries: usize,
    tell: &'a mut dyn FnMut(usize, &Settings),
}

/// Shrinks a run that fails. `tell` is told of each try.
pub fn shrink(
    seed: u64,
    said: &Settings,
    tell: &mut dyn FnMut(usize, &Settings),
) -> Result<(Settings, Outcome), PlayError> {
    let mut played = |said: &Settings| play(&Plan::new(seed, said), Keep::default());
    shrink_by(seed, said, &mut played, tell)
}

fn shrink_by(
    seed: u64,
    said: &Settings,
    played: Played<'_>,
    tell: &mut dyn FnMut(usize, &Settings),
) -> Result<(Settings, Outcome), PlayError> {
    let outcome = played(said)?;
    let broken = outcome.broken().into_iter().map(str::to_owned).collect();
    let mut search = Search { seed, played, broken, best: said.clone(), outcome, tries: 0, tell };
    if !search.broken.is_empty() {
        search.kills()?;
        search.one_operator()?;
        search.mishaps()?;
        search.spoils()?;
        search.window()?;
        search.time()?;
        search.mishaps()?;
    }
    Ok((search.best, search.outcome))
}

impl Search<'_> {
    fn plan(&self) -> Plan {
        Plan::new(self.seed, &self.best)
    }

    /// Takes these settings if the run still fails with them.
    fn holds(&mut self, settings: Settings) -> Result<bool, PlayError> {
        if self.tries >= TRIES || settings == self.best {
            return Ok(false);
        }
        self.tries += 1;
        (self.tell)(self.tries, &settings);
        let outcome = (self.played)(&settings)?;
        let same = outcome.broken().iter().any(|name| self.broken.iter().any(|one| one == name));
        if same {
            (self.best, self.outcome) = (settings, outcome);
        }
        Ok(same)
    }

    fn kills(&mut self) -> Result<(), PlayError> {
        for kill in self.best.kills.clone() {
            let mut less = self.best.clone();
            less.kills.retain(|one| *one != kill);
            self.holds(less)?;
        }
        Ok(())
    }

    fn one_operator(&mut self) -> Result<(), PlayError> {
        if self.plan().operators > 1 {
            self.holds(Settings { operators: Some(1), ..self.best.clone() })?;
        }
        Ok(())
    }

    fn mishaps(&mut self) -> Result<(), PlayError> {
        for (number, _) in self.plan().mishaps {
            let mut less = self.best.clone();
            less.without_mishaps.push(number);
            self.holds(less)?;
        }
        Ok(())
    }

    fn spoils(&mut self) -> Result<(), PlayError> {
        // First all of them.
        let mut none = self.best.clone();
        none.requests = Some((0, 0));
        if self.holds(none)? {
            return Ok(());
        }
        for spoil in self.plan().spoils {
            let mut less = self.best.clone();
            less.without.push(spoil);
            self.holds(less)?;
        }
        Ok(())
    }

    /// Requests at the beginning and at the end that need not be spoiled.
    fn window(&mut self) -> Result<(), PlayError> {
        let (mut from, mut to) = self.best.requests.unwrap_or((1, self.outcome.requests));
        let mut step = (to - from) / 2;
        while step > 0 && self.tries < TRIES {
            for at_the_beginning in [true, false] {
                let (less_from, less_to) = match at_the_beginning {
                    true => (from + step, to),
                    false => (from, to.saturating_sub(step)),
                };
                let less = Settings { requests: Some((less_from, less_to)), ..self.best.clone() };
                if less_from <= less_to && self.holds(less)? {
                    (from, to) = (less_from, less_to);
                    step = step.min((to - from) / 2);
                }
            }
            step /= 2;
        }
        Ok(())
    }

    fn time(&mut self) -> Result<(), PlayError> {
        let mut until = self.plan().faults_until.as_secs();
        while until > 1 && self.tries < TRIES {
            until /= 2;
            // The end stays where it is: later faults are left out, and nothing else is.
            let ends = self.plan().ends.as_secs();
            let less =
                Settings { faults_until: Some(until), ends: Some(ends), ..self.best.clone() };
            if !self.holds(less)? {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{
        net::{KillPoint, Moment},
        outcome::Violation,
        plan::Mode,
    };

    /// Fails as long as this is so of its plan.
    fn least_of(seed: u64, said: &Settings, fails: impl Fn(&Plan) -> bool) -> (Settings, usize) {
        let mut played = |said: &Settings| {
            let broken = fails(&Plan::new(seed, said)).then(|| Violation {
                property: "SAFE-1".to_owned(),
                at: Timestamp::UNIX_EPOCH,
                subject: "n1".to_owned(),
                message: "twice".to_owned(),
            });
            Ok(Outcome {
                violations: broken.into_iter().collect(),
                requests: 400,
                ..Outcome::default()
            })
        };
        let mut tries = 0;
        let (least, outcome) =
            shrink_by(seed, said, &mut played, &mut |count, _| tries = count).unwrap();
        assert!(!outcome.is_good(), "the least fails, too");
        (least, tries)
    }

    #[test]
    fn of_two_deaths_the_one_that_matters_is_left() {
        let kill = |request| KillPoint { request, moment: Moment::After };
        let said = Settings {
            calm: true,
            operators: Some(2),
            kills: vec![kill(7), kill(20)],
            ..Settings::default()
        };
        let (least, _) = least_of(1, &said, |plan| plan.kills.contains(&kill(20)));
        assert_eq!(least.kills, [kill(20)]);
        assert_eq!(least.operators, Some(1));
        let (least, _) = least_of(1, &said, |plan| plan.kills.len() == 2 && plan.operators == 2);
        assert_eq!((least.kills.len(), least.operators), (2, Some(2)));
    }

    /// A seed with several mishaps and spoiled requests.
    fn rich() -> (u64, Plan) {
        let said = Settings { mode: Some(Mode::Safety), ..Settings::default() };
        let plans = (0..).map(|seed| (seed, Plan::new(seed, &said)));
        let rich = |plan: &Plan| {
            plan.mishaps.len() > 4
                && plan.thousandths > 0
                && plan.spoils.len() > 3
                && plan.aim.is_none()
        };
        plans.into_iter().find(|(_, plan)| rich(plan)).unwrap()
    }

    #[test]
    fn mishaps_and_faults_that_do_not_matter_are_left_out() {
        let (seed, plan) = rich();
        let said = Settings { mode: Some(Mode::Safety), ..Settings::default() };
        let wanted = plan.mishaps[1].clone();
        let (least, tries) = least_of(seed, &said, |plan| plan.mishaps.contains(&wanted));
        assert_eq!(Plan::new(seed, &least).mishaps, [wanted]);
        assert_eq!(least.requests, Some((0, 0)), "nothing has to be spoiled");
        assert!(tries <= TRIES);
        let spoil = plan.spoils[2];
        let spoils = |plan: &Plan| {
            plan.requests.0 <= 100 && plan.requests.1 >= 100 && !plan.without.contains(&spoil)
        };
        let (least, _) = least_of(seed, &said, spoils);
        assert!(Plan::new(seed, &least).mishaps.is_empty());
        assert_eq!(least.without.len(), plan.spoils.len() - 1);
        let (from, to) = least.requests.unwrap();
        assert!(from <= 100 && to >= 100 && to - from < 20, "{from}..{to}");
    }

    /// What is left out moves nothing that stays.
    #[test]
    fn less_is_a_part_of_what_was_there() {
        let (seed, plan) = rich();
        let said = Settings {
            mode: Some(Mode::Safety),
            without: plan.spoils[..1].to_vec(),
            faults_until: Some(plan.mishaps[2].1.at.as_secs() + 1),
            ..Settings::default()
        };
        let less = Plan::new(seed, &said);
        assert_eq!(less.spoils, plan.spoils);
        assert!(less.mishaps.len() >= 3 && plan.mishaps.starts_with(&less.mishaps));
        assert!(less.mishaps.iter().all(|(_, entry)| entry.at <= less.faults_until));
    }
}
