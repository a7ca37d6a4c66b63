//! Measures, and prints the record as JSON. `cargo xtask bench planner` and `cargo xtask bench alerts` run it
//! and show the tables.

use rerail_bench::{Record, alerts, rolling, thinking, world};

fn main() -> Result<(), serde_json::Error> {
    let optimised = if cfg!(debug_assertions) { "dev, not optimised" } else { "release" };
    // The only argument: `alerts`, or the largest world to plan for, in nodes.
    let argument = std::env::args().nth(1);
    if argument.as_deref() == Some("alerts") {
        return serde_json::to_writer_pretty(std::io::stdout().lock(), &alerts::measure());
    }
    let largest = argument.and_then(|text| text.parse().ok());
    let record = Record {
        profile: optimised.to_owned(),
        policy: world::POLICY.to_owned(),
        thinking: thinking::measure(largest.unwrap_or(usize::MAX)),
        rolling: rolling::measure(),
    };
    serde_json::to_writer_pretty(std::io::stdout().lock(), &record)
}
