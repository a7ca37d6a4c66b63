//! The leader is killed: how long until the other one does something.

use std::time::Duration;

use rerail_e2e::Election;
use rerail_fleet::now;
use serde::Serialize;

use super::{
    film::Film,
    scene::{Budget, Scene},
    single::between,
};
use crate::bench::{BenchError, figures::Series, progress};

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Kills under one setting.
#[derive(Debug, Serialize)]
pub struct Failover {
    /// Duration, renewal deadline and retry period of the Lease, in seconds.
    pub lease: (u64, u64, u64),
    /// From SIGKILL to another holder of the Lease.
    pub holder: Series,
    /// From there to the first effect: the cordon of a node that got its condition right after the kill.
    pub effect: Series,
    /// From SIGKILL to the first effect.
    pub all: Series,
}

/// Kills leaders, first with a short Lease, then with the default. What is measured before an error
/// counts.
pub async fn measure(
    scene: &mut Scene,
    (quick, slow): (usize, usize),
    all: &mut Vec<Failover>,
) -> Result<(), BenchError> {
    for (election, kills) in [(Election::SHORT, quick), (Election::DEFAULT, slow)] {
        if kills > 0 {
            all.push(under(scene, election, kills).await?);
        }
    }
    Ok(())
}

async fn under(
    scene: &mut Scene,
    election: Election,
    kills: usize,
) -> Result<Failover, BenchError> {
    let times = [election.lease, election.renew_deadline, election.retry_period];
    let [duration, deadline, retry] = times.map(|time| time.as_secs());
    let lease = (duration, deadline, retry);
    let bar = progress::bar("leaders killed", kills);
    scene.stop_operators().await?;
    scene.start_operators(election).await?;
    scene.budget(Budget { nodes: 1, racks: 1 }).await?;
    let nodes = scene.take(kills)?;
    let (mut holder, mut effect, mut all) = Default::default();
    for (number, node) in nodes.iter().enumerate() {
        once(scene, node, &mut holder, &mut effect, &mut all).await?;
        bar.at(number + 1, kills);
    }
    bar.end();
    Ok(Failover { lease, holder, effect, all })
}

async fn once(
    scene: &mut Scene,
    node: &str,
    holder: &mut Series,
    effect: &mut Series,
    all: &mut Series,
) -> Result<(), BenchError> {
    let leader = scene.leader().await?;
    scene.film.begin();
    let killed = now();
    leader.kill(&scene.cluster.plane)?;
    scene.tell(node, "True", "[P6] task umount blocked").await?;
    let cordoned = |film: &Film| film.tracks.get(node).and_then(|track| track.cordoned);
    scene.film.until("its cordon", PATIENCE, |film| cordoned(film).is_some()).await?;
    let missing = |what| BenchError::Unseen { node: node.to_owned(), what };
    let cordon = cordoned(&scene.film).ok_or_else(|| missing("its cordon"))?;
    let mut holders = scene.film.holders.iter();
    let other = |(at, term): &&(_, String)| *at > killed && !term.is_empty() && !leader.bore(term);
    let taken = holders.find(other).map(|(at, _)| *at);
    let taken = taken.ok_or_else(|| missing("another holder of the Lease"))?;
    holder.add(between(killed, taken));
    effect.add(between(taken, cordon));
    all.add(between(killed, cordon));
    let ended = |film: &Film| film.tracks.get(node).is_some_and(|track| track.ended.is_some());
    scene.film.until("the end of its run", PATIENCE, ended).await?;
    leader.start_again(&scene.cluster.plane).await?;
    Ok(())
}
