//! How long after the death of an operator the next one does something: it starts, reads what there
//! is, adopts the run, looks again, and acts.

use rerail_e2e::{
    Brisk, Story,
    kill::{MortalOperator, Order, Program, Request},
};
use tokio::time::Instant;

use super::{BenchError, figures::Series, progress};

const PODS: usize = 2;

/// Kills an operator with SIGKILL as it cordons, again and again. The effect that is due then is the
/// first eviction, or the cordon, should that not have come through.
pub async fn measure(brisk: &Brisk, kills: usize) -> Result<Series, BenchError> {
    let bar = progress::bar("from kill to effect", kills);
    let program = Program::new(&brisk.cluster.plane)?;
    let nodes = brisk.add_nodes("orphaned", Story::Healed, kills).await?;
    let mut operator = program.start(&Order::Live).await?;
    let mut series = Series::default();
    for (number, node) in nodes.iter().enumerate() {
        brisk.furnish(node, PODS).await?;
        brisk.sicken(node).await?;
        operator.request(is_effect).await?;
        let killed = Instant::now();
        operator = next(operator, &program).await?;
        operator.request(is_effect).await?;
        series.add(killed.elapsed());
        brisk.ended(node, "its operator was killed").await?;
        brisk.remove(node).await?;
        operator.order(&Order::Live).await?;
        bar.at(number + 1, kills);
    }
    bar.end();
    Ok(series)
}

async fn next(operator: MortalOperator, program: &Program) -> Result<MortalOperator, BenchError> {
    operator.kill().await?;
    Ok(program.start(&Order::Live).await?)
}

/// What changes the cluster beyond our own records.
fn is_effect(request: &Request) -> bool {
    let effects = [("patch", "nodes"), ("create", "pods"), ("create", "pods/eviction")];
    effects.contains(&(request.verb.as_str(), request.resource.as_str()))
}
