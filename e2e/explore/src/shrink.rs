//! The least that still fails: faults are left out one by one, and the time is shortened, as long as one
//! of the same properties does not hold.

use crate::{
    outcome::Outcome,
    plan::{Plan, Settings},
    play::{Keep, PlayError, play},
};

/// So many runs are tried at most.
const TRIES: usize = 150;

/// A search for the least.
struct Search<'a> {
    seed: u64,
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
    let outcome = play(&Plan::new(seed, said), Keep::default())?;
    let broken = outcome.broken().into_iter().map(str::to_owned).collect();
    let mut search = Search { seed, broken, best: said.clone(), outcome, tries: 0, tell };
    if !search.broken.is_empty() {
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
        let outcome = play(&Plan::new(self.seed, &settings), Keep::default())?;
        let same = outcome.broken().iter().any(|name| self.broken.iter().any(|one| one == name));
        if same {
            (self.best, self.outcome) = (settings, outcome);
        }
        Ok(same)
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
            for (less_from, less_to) in [(from + step, to), (from, to.saturating_sub(step))] {
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
