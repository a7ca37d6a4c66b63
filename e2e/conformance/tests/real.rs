//! The recording is what the real API server says, still.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use rerail_conformance::{Real, cases, compare, recorded};

#[test]
fn the_real_api_server_answers_as_recorded() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (recorded, mut got) = runtime.block_on(async {
        let real = Real::start().await.unwrap();
        (recorded().unwrap(), real.play(&cases().unwrap()).await.unwrap())
    });
    let differences = compare(&recorded, &got);
    let text: Vec<String> = differences.iter().map(ToString::to_string).collect();
    assert!(
        text.is_empty(),
        "{}\n`cargo xtask conformance --record` records anew",
        text.join("\n")
    );
    got[0].status = 418;
    assert_eq!(compare(&recorded, &got).len(), 1, "a difference is noticed");
}
