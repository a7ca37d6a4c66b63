//! `rerail operator`, unchanged, with a layer around its connections that kills the process at a
//! request that its parent has chosen. For the kill sweep; it is part of no image.

use std::process::ExitCode;

use rerail_e2e::kill::Death;

/// One thread: between the decision to die and the death nothing else of the operator goes on, so
/// that a kill point is exactly where it is said to be.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match Death::by_standard_input() {
        Ok(death) => rerail_cli::main_with_layer(&death).await,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
