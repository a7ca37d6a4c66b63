//! Reference pages of the program: its metrics and its command line, read from the program itself.

use std::fmt::Write as _;

use rerail_operator::record::metrics::Metrics;

use super::reference::{cell, finish, page, paragraph};

/// Every metric with its type and meaning, from the page that `/metrics` serves.
pub fn metrics() -> String {
    let mut text = page("Metrics");
    paragraph(
        &mut text,
        "What the operator serves at `/metrics`, in OpenMetrics. No label holds the name of a node, \
         so that the number of series is bounded.",
    );
    text.push_str("| Metric | Type | Meaning |\n|---|---|---|\n");
    let served = Metrics::example().page().unwrap_or_default();
    for line in served.lines() {
        let Some((name, meaning)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' '))
        else {
            continue;
        };
        let kind = kind_of(&served, name);
        let suffix = if kind == "counter" { "_total" } else { "" };
        let _ = writeln!(text, "| `{name}{suffix}` | {kind} | {} |", cell(meaning));
    }
    finish(text)
}

fn kind_of<'a>(served: &'a str, name: &str) -> &'a str {
    let prefix = format!("# TYPE {name} ");
    served.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or("unknown")
}

/// What `rerail --help` and its subcommands say.
pub fn command_line() -> String {
    let mut text = page("Command line");
    paragraph(&mut text, "The one binary is `rerail`.");
    let mut command = rerail_cli::command().disable_help_subcommand(true);
    command.build();
    describe(&mut text, &mut command, "");
    finish(text)
}

fn describe(text: &mut String, command: &mut clap::Command, path: &str) {
    let path = format!("{path} {}", command.get_name()).trim().to_owned();
    let help = command.render_long_help();
    let _ = write!(text, "## `{path}`\n\n```text\n{}\n```\n\n", help.to_string().trim_end());
    for inner in command.get_subcommands_mut() {
        describe(text, inner, &path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_name_what_the_program_has() {
        let metrics = metrics();
        assert!(metrics.contains("| `rerail_api_requests_total` | counter |"), "{metrics}");
        assert!(metrics.contains("| `rerail_step_duration_seconds` | histogram |"), "{metrics}");
        let command_line = command_line();
        for part in ["## `rerail operator`", "## `rerail agent reboot`", "--node-image"] {
            assert!(command_line.contains(part), "{command_line}");
        }
    }
}
