//! What a run asks of the API server, by the operator's own count.

use std::collections::BTreeMap;

use rerail_e2e::{Brisk, Operator, Story};
use serde::Serialize;

use super::{BenchError, progress};

/// Pods on the node.
const PODS: [usize; 2] = [5, 30];

/// Runs for each number of pods; the one in the middle is told of.
const RUNS: usize = 5;

/// The requests of one run, watches apart.
#[derive(Debug, Serialize)]
pub struct Asked {
    /// Pods that were evicted.
    pub pods: usize,
    /// All requests.
    pub total: u64,
    /// The least and the most of all runs.
    pub range: (u64, u64),
    /// By verb.
    pub by_verb: BTreeMap<String, u64>,
}

/// Counts with few and with many pods.
pub async fn measure(brisk: &Brisk, operator: &Operator) -> Result<Vec<Asked>, BenchError> {
    let bar = progress::bar("requests of a run", PODS.len() * RUNS);
    let nodes = brisk.add_nodes("counted", Story::Healed, PODS.len() * RUNS).await?;
    let mut all = Vec::new();
    for (pods, nodes) in PODS.into_iter().zip(nodes.chunks(RUNS)) {
        let mut counts = Vec::new();
        for node in nodes {
            brisk.furnish(node, pods).await?;
            brisk.settled(node, pods).await?;
            let before = operator.api_requests().await.map_err(BenchError::Metrics)?;
            brisk.sicken(node).await?;
            brisk.ended(node, "counted").await?;
            let after = operator.api_requests().await.map_err(BenchError::Metrics)?;
            counts.push(after.since(&before));
            brisk.remove(node).await?;
            bar.at(all.len() * RUNS + counts.len(), PODS.len() * RUNS);
        }
        counts.sort_by_key(|count| count.total());
        let totals: Vec<u64> = counts.iter().map(|count| count.total()).collect();
        let Some(middle) = counts.get(RUNS / 2) else { continue };
        all.push(Asked {
            pods,
            total: middle.total(),
            range: (totals.first().copied().unwrap_or(0), totals.last().copied().unwrap_or(0)),
            by_verb: middle
                .by_verb()
                .into_iter()
                .map(|(verb, resources)| (verb.to_owned(), resources.values().sum()))
                .collect(),
        });
    }
    bar.end();
    Ok(all)
}
