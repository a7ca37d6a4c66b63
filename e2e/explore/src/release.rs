//! `rerail release-all` at the end of a run, whatever has become of its nodes (LIVE-5).

use std::{rc::Rc, time::Duration};

use rerail_sim::property::Judge;
use tokio::time::sleep;

use crate::{befall, net::Net, operator::Operators, plan::Plan, stage::Stage};

/// So long it may take: a machine that lost its power has to boot, and a reboot Pod to be harmless.
const PATIENCE: Duration = Duration::from_hours(2);

/// After so long, again and again, a person switches on what is off.
const PERSON: Duration = Duration::from_mins(10);

/// If the plan says so, and nothing is wrong yet: ends all operators for good, and everything that disturbs
/// them, gives every node back, and has it judged; what is left in the end.
pub(crate) async fn all(
    net: &Net,
    stage: &Stage,
    plan: &Plan,
    judge: &Judge,
    operators: &Rc<Operators>,
) -> Vec<String> {
    if !plan.released || judge.count() > 0 {
        return Vec::new();
    }
    operators.end_all();
    // What the scene does at this very moment is done before it is mended.
    if let Some(left) = stage.told.checked_sub(net.elapsed()) {
        sleep(left + Duration::from_millis(1)).await;
    }
    befall::calm(net, plan);
    stage.calm(plan.restores());
    let person = async {
        loop {
            stage.switch_on();
            sleep(PERSON).await;
        }
    };
    let command = operators.release("operator-1", PATIENCE);
    let left = tokio::select! {
        biased;
        left = command => left,
        never = person => never,
    };
    if left.is_empty() {
        net.server().with(|store, now| judge.released_all(store, now));
    }
    left
}
