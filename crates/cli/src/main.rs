//! `rerail`.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    rerail_cli::main().await
}
