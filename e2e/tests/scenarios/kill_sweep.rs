//! The operator is killed at each of its requests, before the request is sent and after it is
//! answered, and another operator carries on. Also at the first requests of one that carries on.

use rerail_e2e::{
    Brisk, Story,
    kill::{self, Extent},
};

use crate::shared::RUNTIME;

/// Requests vary a little from run to run: a status says one thing more, an Event is counted up.
const MAY_BE_MISSED: f64 = 0.05;

async fn swept(brisk: &Brisk, story: Story, extent: Extent) {
    let outcome = kill::sweep(brisk, story, extent, |done, all| {
        if done % 20 == 0 {
            eprintln!("kill sweep, {story:?}: {done} of {all} trials");
        }
    })
    .await
    .unwrap();
    eprintln!("kill sweep, {story:?}\n{outcome}");
    assert_eq!(outcome.violations, Vec::<String>::new());
    assert_eq!(outcome.uncovered(), [], "never a kill point");
    let missed = outcome.part_not_reached();
    assert!(missed <= MAY_BE_MISSED, "{missed} of the kill points were not reached");
}

/// Takes longest, so it waits for no turn.
#[test]
fn a_run_is_carried_on_when_the_operator_is_killed_at_any_request() {
    RUNTIME.block_on(async {
        let brisk = Brisk::start().await.unwrap();
        swept(&brisk, Story::Healed, Extent::default()).await;
        let extent = Extent { recovery_requests: 0, ..Extent::default() };
        swept(&brisk, Story::TurnedBack, extent).await;
    });
}
