//! Logs: JSON for machines, text on a terminal.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// For commands whose output is for people: only what goes wrong is logged.
pub fn start_quiet() {
    to_people("warn");
}

/// For an operator in a world that is made up: what goes wrong there is in the answer. Unless `RUST_LOG` asks
/// for it, nothing is logged.
pub fn start_silent() {
    to_people("off");
}

fn to_people(level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let colors = std::io::stderr().is_terminal();
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colors);
    logs.with_writer(std::io::stderr).init();
}

/// Starts logging to standard error; `RUST_LOG` chooses what, and this level holds without it.
pub fn start(level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        logs.init();
    } else {
        logs.json().flatten_event(true).with_ansi(false).init();
    }
}
