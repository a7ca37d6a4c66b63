//! One kill after the other, each on a fresh node. An operator that carries on one run begins the
//! next one, and dies in it: each kill costs one start of a process.

use futures::future;
use tokio::time::Instant;

use super::{
    mortal::{MortalOperator, Program},
    orders::{Dies, Order, Request},
    outcome::{Kill, Outcome},
    trial::{self, PODS, Trial},
};
use crate::{Brisk, Error, Story};

/// Undisturbed runs of which one is the measure.
const SCOUTS: usize = 3;

/// How many times kinds of requests that did not kill yet are tried again.
const ROUNDS: usize = 3;

/// How much is swept.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// At most so many kill points of a run, evenly spread; all of them without a number.
    pub points: Option<usize>,
    /// At how many of its first requests an operator dies that carries on another one's run. Only where
    /// the node is healed: these begin with a drain and a reboot.
    pub recovery_requests: usize,
}

impl Default for Extent {
    /// Everything. From its start to its first effect a new operator asks for about a dozen things.
    fn default() -> Self {
        Extent { points: None, recovery_requests: 12 }
    }
}

/// Sweeps over one story, on a cluster that has no other operator. `tell` learns after each trial how many are done,
/// and of how many.
pub async fn sweep(
    brisk: &Brisk,
    story: Story,
    extent: Extent,
    mut tell: impl FnMut(usize, usize),
) -> Result<Outcome, Error> {
    let began = Instant::now();
    let program = Program::new(&brisk.cluster.plane)?;
    let operator = program.start(&Order::Live).await?;
    let mut sweep = Sweep { brisk, story, program, operator, outcome: Outcome::default() };
    sweep.scout().await?;

    let mut trials = trial::every_request(sweep.outcome.requests.len(), extent.points);
    trials.extend(trial::recoveries(extent.recovery_requests));
    sweep.play_all("swept", &trials, &mut tell).await?;
    if extent.points.is_none() {
        sweep.play_missed(&mut tell).await?;
    }
    sweep.outcome.took = began.elapsed();
    Ok(sweep.outcome)
}

struct Sweep<'a> {
    brisk: &'a Brisk,
    story: Story,
    program: Program,
    /// Alive, and without a run.
    operator: MortalOperator,
    outcome: Outcome,
}

impl Sweep<'_> {
    /// Learns what an undisturbed run asks for: the one of a few that asked for least, since a machine
    /// that reports in the wrong moment makes the operator look again. The first run does not count:
    /// nothing has happened in the cluster before it.
    async fn scout(&mut self) -> Result<(), Error> {
        let mut counted: Vec<Vec<Request>> = Vec::new();
        for node in self.add_nodes("scout", 1 + SCOUTS).await? {
            self.order(&Order::Live).await?;
            furnish(self.brisk, Some(&node)).await?;
            self.brisk.sicken(&node).await?;
            self.brisk.ended(&node, "undisturbed").await?;
            self.close(&node, "undisturbed").await?;
            self.order(&Order::Live).await?;
            counted.push(self.operator.earlier_requests().to_vec());
        }
        let least = counted.into_iter().skip(1).min_by_key(Vec::len);
        self.outcome.requests = least.unwrap_or_default();
        Ok(())
    }

    async fn add_nodes(&self, kind: &str, nodes: usize) -> Result<Vec<String>, Error> {
        let kind = match self.story {
            Story::Healed => kind.to_owned(),
            Story::TurnedBack => format!("back-{kind}"),
        };
        self.brisk.add_nodes(&kind, self.story, nodes).await
    }

    /// Requests change places from run to run, and a policy's status is written at most once a second:
    /// a kind that comes once may be missed by number. These are tried again by kind.
    async fn play_missed(&mut self, tell: &mut impl FnMut(usize, usize)) -> Result<(), Error> {
        for round in 1..=ROUNDS {
            let missed = self.outcome.uncovered().into_iter();
            let missed: Vec<_> = missed.map(|first| Trial { first, second: None }).collect();
            if missed.is_empty() {
                break;
            }
            self.play_all(&format!("missed-{round}"), &missed, tell).await?;
        }
        Ok(())
    }

    /// One trial after the other. The pods of a node are made while the run of the one before it is
    /// under way.
    async fn play_all(
        &mut self,
        kind: &str,
        trials: &[Trial],
        tell: &mut impl FnMut(usize, usize),
    ) -> Result<(), Error> {
        let brisk = self.brisk;
        let nodes = self.add_nodes(kind, trials.len()).await?;
        furnish(brisk, nodes.first()).await?;
        for (index, (trial, node)) in trials.iter().zip(&nodes).enumerate() {
            let next = furnish(brisk, nodes.get(index + 1));
            let (played, furnished) = future::join(self.play(node, trial), next).await;
            played?;
            furnished?;
            tell(index + 1, trials.len());
        }
        Ok(())
    }

    /// The run of one node, in which one or two operators die.
    async fn play(&mut self, node: &str, trial: &Trial) -> Result<(), Error> {
        self.order(&Order::Die(trial.first.clone())).await?;
        self.brisk.sicken(node).await?;
        let mut kills = Vec::new();
        let mut died_at = Instant::now();
        if let Some(dies) = self.dies_or_ends(node, trial).await? {
            died_at = Instant::now();
            kills.push((dies, false));
            let next = trial.second.clone().map_or(Order::Live, Order::Die);
            self.replace(&next).await?;
        } else {
            self.outcome.not_reached.push(trial.first.clone());
        }
        if let Some(second) = trial.second.as_ref().filter(|_| !kills.is_empty()) {
            if let Some(dies) = self.dies_or_ends(node, trial).await? {
                died_at = Instant::now();
                kills.push((dies, true));
                self.replace(&Order::Live).await?;
            } else {
                self.outcome.not_reached.push(second.clone());
            }
        }
        self.brisk.ended(node, &trial.to_string()).await?;
        let recovery = died_at.elapsed();
        self.close(node, &trial.to_string()).await?;
        let kills = kills.into_iter();
        self.outcome.kills.extend(kills.map(|(dies, recovering)| Kill {
            dies,
            recovering,
            recovery,
        }));
        Ok(())
    }

    /// Waits until the operator dies by order, or the run of the node has ended without that. The last
    /// kill points are so near the end that an operator may die there after the end was seen.
    async fn dies_or_ends(&mut self, node: &str, trial: &Trial) -> Result<Option<Dies>, Error> {
        let what = trial.to_string();
        tokio::select! {
            biased;
            dies = self.operator.death() => return dies.map(Some),
            ended = self.brisk.ended(node, &what) => ended?,
        }
        self.operator.order(&Order::Live).await
    }

    /// Gives an order to the operator. One that died after the end of its run, at a request that was
    /// none of the run's, is replaced.
    async fn order(&mut self, order: &Order) -> Result<(), Error> {
        if self.operator.order(order).await?.is_some() {
            self.replace(order).await?;
        }
        Ok(())
    }

    /// Starts an operator in the place of one that has died. What that one held of the Lease is taken
    /// from it: the next one would wait until it had run out. So the Lease may last long, and renewals
    /// are rare among the requests that are counted.
    async fn replace(&mut self, order: &Order) -> Result<(), Error> {
        self.brisk.cluster.expire_lease().await?;
        self.operator = self.program.start(order).await?;
        Ok(())
    }

    /// Judges the run, which has ended, and clears the stage.
    async fn close(&mut self, node: &str, what: &str) -> Result<(), Error> {
        let found = trial::violations(&self.brisk.cluster, node, self.story).await?;
        let worded = found.iter().map(|violation| format!("{node}, {what}: {violation}"));
        self.outcome.violations.extend(worded);
        self.brisk.remove(node).await
    }
}

async fn furnish(brisk: &Brisk, node: Option<&String>) -> Result<(), Error> {
    match node {
        Some(node) => brisk.furnish(node, PODS).await,
        None => Ok(()),
    }
}
