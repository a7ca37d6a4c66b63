//! Copies of a process that do well, panic, are killed, or say nothing. A program of its own, without the
//! threads of a test program beside the simulation.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use rerail_simpin::{Branch, BranchError, branch, end, run};

/// What a copy does.
#[derive(Debug, Clone, Copy)]
enum Copy {
    Tells,
    TellsNothing,
    Panics,
    IsKilled,
}

fn copied(what: Copy) -> Result<Branch, BranchError> {
    let simulated = run(7, move || async move {
        let branched = branch();
        if !matches!(branched, Ok(Branch::Copy)) {
            return branched;
        }
        // Its own time goes on, and nobody else's.
        tokio::time::sleep(std::time::Duration::from_hours(1)).await;
        match what {
            Copy::Tells => end(true),
            Copy::TellsNothing => end(false),
            Copy::Panics => panic!("as it should"),
            Copy::IsKilled => std::process::abort(),
        }
    });
    simulated.unwrap()
}

fn main() {
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    for (what, well) in [
        (Copy::Tells, true),
        (Copy::TellsNothing, false),
        (Copy::Panics, false),
        (Copy::IsKilled, false),
        (Copy::Tells, true),
    ] {
        match copied(what) {
            Ok(Branch::Original) => assert!(well, "{what:?} passes for well"),
            Err(BranchError::Ended(status)) => assert!(!well, "{what:?}: {status}"),
            other => panic!("{what:?}: {other:?}"),
        }
    }
    println!("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
}
