//! `rerail demo`.

use std::{
    io::IsTerminal,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::Args;
use rerail_demo::{Options, pace::Speed};
use tokio::signal::unix::{SignalKind, signal};

use crate::CommandError;

#[derive(Debug, Args)]
pub struct DemoArguments {
    /// Print a line for each thing that matters instead of a picture; so it is when standard output is
    /// no terminal.
    #[arg(long)]
    plain: bool,
    /// How many times faster than real time the cluster's clock runs, or `max`.
    #[arg(long, default_value = "60x")]
    speed: Speed,
    /// What everything is drawn from that looks random: how long boots, Pods and reports take, and who
    /// falls sick later.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Play this scene instead of the one that comes with the program. That one is
    /// crates/sim/scenes/demo.yaml; begin with a copy of it.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// End when everything that can heal has healed; the exit code is 1 if a property did not hold, or
    /// something that can heal did not.
    #[arg(long)]
    once: bool,
    /// Port on 127.0.0.1 where the cluster's API is served; 0 = any that is free.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// Whether standard output is a terminal on which something can be put anywhere.
fn can_draw() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|name| name != "dumb")
}

/// False if something was that must never be.
pub async fn run(arguments: DemoArguments) -> Result<bool, CommandError> {
    let quit = Arc::new(AtomicBool::new(false));
    let mut terminate = signal(SignalKind::terminate()).map_err(CommandError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CommandError::Signals)?;
    // The terminal's window is closed.
    let mut hangup = signal(SignalKind::hangup()).map_err(CommandError::Signals)?;
    let seen_enough = quit.clone();
    tokio::spawn(async move {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
        seen_enough.store(true, Ordering::Relaxed);
    });
    let options = Options {
        plain: arguments.plain || !can_draw(),
        speed: arguments.speed,
        seed: arguments.seed,
        scenario: arguments.scenario,
        once: arguments.once,
        port: arguments.port,
        colors: std::env::var_os("NO_COLOR").is_none_or(|text| text.is_empty()),
        program: std::env::args().next().unwrap_or_else(|| "rerail".to_owned()),
    };
    let shown = tokio::task::spawn_blocking(move || rerail_demo::run(&options, &quit)).await;
    Ok(shown.map_err(|_| CommandError::Broken)??)
}
