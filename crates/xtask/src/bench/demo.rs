//! `cargo xtask bench demo`: how long whoever tries `rerail demo` looks at nothing. The real program, on a
//! real terminal by `script` of util-linux, as a newcomer starts it.

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use clap::Args;
use serde::Serialize;
use tokio::time::Instant;

use super::{
    BenchError,
    conditions::Conditions,
    figures::Series,
    progress,
    sheet::{Sheet, number},
    table, write_json,
};

/// The last line of the picture has this in it.
const FOOT: &[u8] = b"KUBECONFIG=";

/// The keyboard's way out.
const QUIT: &[u8] = b"q";

/// How often, and how the figures are shown.
#[derive(Debug, Args)]
pub struct DemoArguments {
    /// How often it is started.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    starts: u64,
    /// Print the table as Markdown.
    #[arg(long)]
    markdown: bool,
    /// Where the figures are written as JSON, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What was measured.
#[derive(Debug, Default, Serialize)]
struct Record {
    /// From the start of the process to the last line of the first picture.
    first_picture: Series,
    /// From the key to the end of the process, the terminal put back.
    quit: Series,
}

/// Measures and prints. A demo that does not end well voids the figures.
pub fn run(root: &Path, arguments: &DemoArguments) -> Result<(), BenchError> {
    let mut conditions = Conditions::of(root);
    progress::stage("the program, optimised");
    let program = rerail_e2e::optimised("rerail-cli", "rerail")?;
    progress::stage("rerail demo, from its start to the first picture");
    let mut record = Record::default();
    for _ in 0..arguments.starts {
        let (shown, ended) = start(&program)?;
        record.first_picture.add(shown);
        record.quit.add(ended);
    }
    conditions.build = "release profile".to_owned();
    conditions.kubernetes = "none: simulated, 60 nodes, on a terminal of 120 × 40".to_owned();
    conditions.policy = "those of the demo".to_owned();
    table::conditions(&conditions);
    sheet(&record).print(arguments.markdown);
    if let Some(path) = &arguments.json {
        write_json(path, &(conditions, &record))?;
    }
    Ok(())
}

/// One demo: how long until its first picture is complete, and how long after `q` until it is over.
fn start(program: &Path) -> io::Result<(Duration, Duration)> {
    let session = format!("stty rows 40 cols 120; exec '{}' demo", program.display());
    let mut command = Command::new("script");
    command.args(["--quiet", "--flush", "--return", "--command", &session, "/dev/null"]);
    command.env("TERM", "xterm-256color").stdin(Stdio::piped()).stdout(Stdio::piped());
    let began = Instant::now();
    let mut script = command.spawn()?;
    let (Some(mut out), Some(mut keyboard)) = (script.stdout.take(), script.stdin.take()) else {
        return Err(io::Error::other("script has no terminal"));
    };
    let (mut seen, mut bytes) = (Vec::new(), [0; 4096]);
    while !seen.windows(FOOT.len()).any(|part| part == FOOT) {
        let count = out.read(&mut bytes)?;
        if count == 0 {
            let said = String::from_utf8_lossy(&seen).into_owned();
            return Err(io::Error::other(format!("the demo ended without a picture: {said}")));
        }
        seen.extend_from_slice(&bytes[..count]);
    }
    let shown = began.elapsed();
    let pressed = Instant::now();
    keyboard.write_all(QUIT)?;
    keyboard.flush()?;
    io::copy(&mut out, &mut io::sink())?;
    let status = script.wait()?;
    if !status.success() {
        return Err(io::Error::other(format!("the demo ended with {status}")));
    }
    Ok((shown, pressed.elapsed()))
}

fn sheet(record: &Record) -> Sheet {
    let columns = ["ms", "starts", "p50", "max"];
    let mut sheet = Sheet::new("rerail demo on a terminal", &columns);
    for (what, series) in [
        ("start of the process to the first picture", &record.first_picture),
        ("`q` to its end, the terminal put back", &record.quit),
    ] {
        sheet.row([
            what.to_owned(),
            series.len().to_string(),
            number(series.percentile(50), 0),
            number(series.max(), 0),
        ]);
    }
    sheet
}
