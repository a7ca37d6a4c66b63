//! Measures, and prints the record as JSON. `cargo xtask bench planner` runs it and shows the tables.

use rerail_bench::{Record, rolling, thinking, world};

fn main() -> Result<(), serde_json::Error> {
    let optimised = if cfg!(debug_assertions) { "dev, not optimised" } else { "release" };
    // The only argument: the largest world to plan for, in nodes.
    let largest = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let record = Record {
        profile: optimised.to_owned(),
        policy: world::POLICY.to_owned(),
        thinking: thinking::measure(largest.unwrap_or(usize::MAX)),
        rolling: rolling::measure(),
    };
    serde_json::to_writer_pretty(std::io::stdout().lock(), &record)
}
