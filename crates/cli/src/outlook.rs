//! What `rerail plan` and `rerail explain` have in common: reads, the moment that is planned for,
//! policies from files, the shape of the answers and how they are printed. Nothing is written to the
//! cluster; the planner is the operator's.

pub mod answer;
pub mod files;
pub mod moment;
pub mod node_table;
pub mod of_node;
pub mod of_plan;
pub mod preview;
pub mod survey;
pub mod table;
pub mod view;
pub mod words;

use std::{io::Write, path::PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::CommandError;

/// What both commands take.
#[derive(Debug, Args)]
pub struct OutlookArguments {
    /// Preview these policies as if they were applied; `-` reads standard input. A policy of the same
    /// name is replaced, another one joins. May be given several times.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Plan for another moment, as if nothing changed until then: `2026-03-01T22:00:00Z`, `+2h`, or
    /// `22:00` for the next time that the clock here shows it.
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// For people, or for programs.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Kubeconfig file; without it KUBECONFIG, ~/.kube/config or the Pod's own service account.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
}

/// How the answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Tables and sentences.
    Table,
    /// One JSON object.
    Json,
}

/// Prints a text, its first line in bold on a terminal. Who stops reading early, as `head` does, has
/// had enough.
pub fn print(text: &str) -> Result<(), CommandError> {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    written(writeln!(anstream::stdout(), "\u{1b}[1m{first}\u{1b}[0m\n{}", rest.trim_end()))
}

/// Prints one JSON object.
pub fn print_json(view: &impl Serialize) -> Result<(), CommandError> {
    let text = serde_json::to_string_pretty(view).map_err(std::io::Error::other);
    written(text.and_then(|text| writeln!(anstream::stdout(), "{text}")))
}

fn written(result: std::io::Result<()>) -> Result<(), CommandError> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(CommandError::Output),
    }
}

#[cfg(test)]
mod tests;
