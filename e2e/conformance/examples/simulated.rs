//! Prints what the simulated API server answers otherwise than was recorded; of cases whose name contains the
//! argument, or of all.

use rerail_conformance::check;
use rerail_sim::{Options, Server};

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let server = Server::new(Options::default());
    let differences = check(&server.client()).await?;
    let shown = differences.iter().filter(|found| found.case.contains(&wanted));
    shown.for_each(|found| println!("{found}"));
    println!("{} differences in all", differences.len());
    Ok(())
}
