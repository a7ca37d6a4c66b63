//! Explores every state of a model breadth first, and says what came of it.

use std::{borrow::Cow, collections::BTreeMap, fmt, hash::Hash, time::Duration};

use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// More states than any configuration here generates: a model that grows beyond it is no check any more,
/// and counts as not exhausted.
const MOST_GENERATED: usize = 60_000_000;

/// One thing that can happen. It carries where it leads: whether it can happen and what comes of it is
/// one look of the production code, which is not made twice.
#[derive(Debug, Clone, PartialEq)]
pub struct Move<S> {
    /// What happens, for people. Faults begin with `!`.
    pub name: Cow<'static, str>,
    /// The state after it.
    pub next: S,
}

/// A property that does not hold, and why not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Broken {
    /// The property's name.
    pub property: &'static str,
    /// What happened.
    pub why: String,
}

impl Broken {
    /// This property, for this reason.
    pub fn new(property: &'static str, why: impl Into<String>) -> Self {
        Broken { property, why: why.into() }
    }
}

/// A model with its faults, to be explored.
#[derive(Debug, Clone)]
pub struct Case<M> {
    /// What may go wrong in it, for people.
    pub faults: String,
    /// The model.
    pub model: M,
}

/// What a property turned out to be.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The property's name.
    pub property: &'static str,
    /// True for one that says what must be reached, so that the others are not true of nothing.
    pub must_be_reached: bool,
    /// True when it is as it should be.
    pub good: bool,
    /// The shortest way to its violation that was found; empty when it is good.
    pub path: Vec<String>,
}

/// What came of exploring one case.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Name of the model.
    pub model: &'static str,
    /// What could go wrong.
    pub faults: String,
    /// States generated, known ones included.
    pub generated: usize,
    /// States that differ.
    pub unique: usize,
    /// Moves on the longest way that was followed.
    pub depth: usize,
    /// Every state was looked at.
    pub exhausted: bool,
    /// How long it took.
    pub took: Duration,
    /// What was found of each property.
    pub findings: Vec<Finding>,
}

impl Outcome {
    /// Every property is as it should be, in every state there is.
    pub fn good(&self) -> bool {
        self.exhausted && self.findings.iter().all(|finding| finding.good)
    }

    /// The safety property that does not hold.
    pub fn violation(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| !finding.good && !finding.must_be_reached)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in self.findings.iter().filter(|finding| !finding.good) {
            if finding.must_be_reached {
                writeln!(
                    f,
                    "{}, {}: never reached: {}",
                    self.model, self.faults, finding.property
                )?;
                continue;
            }
            writeln!(f, "{}, {}: does not hold: {}", self.model, self.faults, finding.property)?;
            for (number, step) in finding.path.iter().enumerate() {
                writeln!(f, "{:>5}. {step}", number + 1)?;
            }
        }
        Ok(())
    }
}

/// Explores a case with so many threads. Of a violation the shortest way is looked for.
pub fn check<M>(name: &'static str, case: &Case<M>, threads: usize) -> Outcome
where
    M: Model<Action = Move<<M as Model>::State>> + Told + Clone + Send + Sync + 'static,
    M::State: Clone + Hash + PartialEq + Send + Sync + 'static,
{
    let started = now();
    let checker = case
        .model
        .clone()
        .checker()
        .threads(threads)
        .target_state_count(MOST_GENERATED)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let mut paths: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    let discoveries = checker.discoveries();
    let mut findings = Vec::new();
    for property in case.model.properties() {
        let reached = discoveries.contains_key(property.name);
        let must_be_reached = property.expectation == Expectation::Sometimes;
        let good = reached == must_be_reached;
        if !good && !must_be_reached {
            let path = discoveries.get(property.name).map(|path| told(&case.model, path));
            paths.insert(property.name, path.unwrap_or_default());
        }
        findings.push(Finding { property: property.name, must_be_reached, good, path: Vec::new() });
    }
    let violated = !paths.is_empty();
    for finding in &mut findings {
        if let Some(path) = paths.remove(finding.property) {
            finding.path = shorter(&case.model, finding.property, path);
        }
    }
    Outcome {
        model: name,
        faults: case.faults.clone(),
        generated: checker.state_count(),
        unique: checker.unique_state_count(),
        depth: checker.max_depth().saturating_sub(1),
        exhausted: !violated && checker.state_count() < MOST_GENERATED,
        took: started.elapsed(),
        findings,
    }
}

#[expect(clippy::disallowed_methods, reason = "how long a check took is measured")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// How a model tells people why a state is broken.
pub trait Told: Model {
    /// Why the state is broken, if it is.
    fn broken(state: &Self::State) -> Option<&Broken>;
}

fn told<M>(model: &M, path: &stateright::Path<M::State, Move<M::State>>) -> Vec<String>
where
    M: Model<Action = Move<<M as Model>::State>> + Told,
    M::State: Clone + PartialEq,
{
    let _ = model;
    let mut told: Vec<String> =
        path.clone().into_actions().into_iter().map(|step| step.name.into_owned()).collect();
    told.extend(M::broken(path.last_state()).map(|broken| format!("⇒ {}", broken.why)));
    told
}

/// The checker keeps a late discovery, not the first: what is found with less and less depth is shorter.
fn shorter<M>(model: &M, property: &'static str, mut best: Vec<String>) -> Vec<String>
where
    M: Model<Action = Move<<M as Model>::State>> + Told + Clone + Send + Sync + 'static,
    M::State: Clone + Hash + PartialEq + Send + Sync + 'static,
{
    loop {
        let moves = best.iter().filter(|step| !step.starts_with('⇒')).count();
        let checker = model
            .clone()
            .checker()
            .target_max_depth(moves + 1)
            .finish_when(HasDiscoveries::AnyOf([property].into()))
            .spawn_bfs()
            .join();
        match checker.discoveries().get(property) {
            Some(path) => best = told(model, path),
            None => return best,
        }
    }
}
