//! What the machine itself can do, without any operator: the figures are to be read beside it.

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

use super::scene::Scene;
use crate::bench::{BenchError, figures::Series, progress};

/// Patches of each measurement.
const PATCHES: usize = 100;

/// How many are under way at once in a burst.
const IN_FLIGHT: usize = 64;

/// Patches of nodes by a client that does nothing else.
#[derive(Debug, Serialize)]
pub struct Raw {
    /// One after the other.
    pub single: Series,
    /// So many at once, in seconds for all.
    pub burst: f64,
    /// How many.
    pub patches: usize,
}

/// Times them.
pub async fn measure(scene: &mut Scene) -> Result<Raw, BenchError> {
    progress::stage("raw patches");
    let names = scene.take(PATCHES)?;
    let nodes: Api<Node> = Api::all(scene.cluster.client.clone());
    let patch = async |name: &String, text: &str| -> Result<(), BenchError> {
        let patch = json!({ "metadata": { "annotations": { "bench": text } } });
        nodes.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(())
    };
    let mut single = Series::default();
    for name in &names {
        let began = Instant::now();
        patch(name, "single").await?;
        single.add(began.elapsed());
    }
    let began = Instant::now();
    let burst = names.iter().map(|name| patch(name, "burst"));
    stream::iter(burst).buffer_unordered(IN_FLIGHT).try_collect::<Vec<()>>().await?;
    Ok(Raw { single, burst: began.elapsed().as_secs_f64(), patches: PATCHES })
}
