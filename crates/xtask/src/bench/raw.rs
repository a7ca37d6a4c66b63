//! What the machine itself can do: one small PATCH of a node after the other, without any operator's
//! thought. The reactions are to be read beside it.

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use rerail_e2e::{Brisk, Story};
use serde_json::json;
use tokio::time::Instant;

use super::{BenchError, figures::Series, progress};

const PATCHES: usize = 200;

/// Times the patches.
pub async fn patches(brisk: &Brisk) -> Result<Series, BenchError> {
    let names = brisk.add_nodes("raw", Story::Healed, 1).await?;
    let nodes: Api<Node> = Api::all(brisk.cluster.client.clone());
    let bar = progress::bar("raw patches", PATCHES);
    let mut series = Series::default();
    for number in 0..PATCHES {
        let patch = json!({ "metadata": { "annotations": { "bench": number.to_string() } } });
        for name in &names {
            let began = Instant::now();
            nodes.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
            series.add(began.elapsed());
        }
        bar.at(number + 1, PATCHES);
    }
    bar.end();
    Ok(series)
}
