//! One target under libFuzzer.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use super::FuzzError;
use super::progress::Progress;
use crate::process::ProcessError;

/// How often it is said how far a target is.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// What every target is run with. An input takes microseconds; one that takes seconds is a finding. The
/// longest ones are beyond the longest annotation that is read.
const SETTINGS: [&str; 5] = [
    // An input may take so many seconds, by the wall's clock: other work may leave it little of a core.
    "-timeout=120",
    "-rss_limit_mb=2048",
    "-max_len=40000",
    "-print_final_stats=1",
    "-report_slow_units=5",
];

/// How much of an input is shown, in characters.
const SHOWN: usize = 2000;

/// One run of one target.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// The root of the checkout.
    pub root: &'a Path,
    /// Where the programs are.
    pub programs: &'a Path,
    /// The target.
    pub name: &'static str,
    /// Begin from the seeds alone, with this number.
    pub seed: Option<u32>,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The target.
    pub name: &'static str,
    /// How far it came.
    pub progress: Progress,
    /// How long it took.
    took: Duration,
    /// Why it ended early, the input, and what to do.
    pub crash: Option<String>,
}

impl Outcome {
    /// Inputs per second, over the whole time.
    pub fn per_second(&self) -> u128 {
        u128::from(self.progress.inputs) * 1000 / self.took.as_millis().max(1)
    }
}

impl Run<'_> {
    /// Runs the target until its limit, or until an input breaks a property.
    pub fn fuzz(self, limit: &str) -> Result<Outcome, FuzzError> {
        let began = Instant::now();
        let mut child = self.start(limit)?;
        let mut progress = Progress::default();
        let mut said_at = began;
        // It says everything on standard error.
        for line in
            child.stderr.take().map(BufReader::new).into_iter().flat_map(|out| out.split(b'\n'))
        {
            let Ok(line) = line else { break };
            progress.see(&String::from_utf8_lossy(&line));
            if said_at.elapsed() >= SIGN_OF_LIFE {
                said_at = Instant::now();
                let (name, inputs, coverage) = (self.name, progress.inputs, progress.coverage);
                let seconds = began.elapsed().as_secs();
                anstream::println!("  … {name}: {seconds} s, {inputs} inputs, cov {coverage}");
            }
        }
        let status = child
            .wait()
            .map_err(|source| ProcessError::Wait { program: self.name.to_owned(), source })?;
        let crash = (!status.success()).then(|| self.crash(&progress));
        let outcome = Outcome { name: self.name, progress, took: began.elapsed(), crash };
        anstream::println!(
            "  {} {}: {} inputs, {} a second",
            if outcome.crash.is_some() { "✗" } else { "✓" },
            self.name,
            outcome.progress.inputs,
            outcome.per_second()
        );
        Ok(outcome)
    }

    fn start(self, limit: &str) -> Result<Child, FuzzError> {
        let fuzz = self.root.join("fuzz");
        let folder = |name: &str| fuzz.join(name).join(self.name);
        let corpus = match self.seed {
            Some(_) => self.programs.join("from-seeds").join(self.name),
            None => folder("corpus"),
        };
        if self.seed.is_some() && corpus.exists() {
            std::fs::remove_dir_all(&corpus).map_err(|source| failed(&corpus, source))?;
        }
        let artifacts = folder("artifacts");
        for folder in [&corpus, &artifacts] {
            std::fs::create_dir_all(folder).map_err(|source| failed(folder, source))?;
        }
        let program = self.programs.join(self.name);
        let mut command = Command::new(&program);
        command.current_dir(self.root).args(SETTINGS).arg(limit);
        command.arg(format!("-artifact_prefix={}/", artifacts.display()));
        command.args(self.seed.map(|seed| format!("-seed={}", seed.max(1))));
        let dictionary = fuzz.join("dictionaries").join(format!("{}.dict", self.name));
        if dictionary.is_file() {
            command.arg(format!("-dict={}", dictionary.display()));
        }
        command.arg(&corpus);
        command
            .args([folder("seeds"), folder("regressions")].iter().filter(|folder| folder.is_dir()));
        // The lines of a backtrace would push what the property said out of what is kept.
        command.env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let name = program.display().to_string();
        command.spawn().map_err(|source| ProcessError::Start { program: name, source }.into())
    }

    /// What was found, for a person: the input, readable and as a file, and how to play it again.
    fn crash(self, progress: &Progress) -> String {
        let complaint = progress.complaint();
        let Some(file) = &progress.artifact else {
            return format!("it ended by itself:\n{complaint}");
        };
        let input = std::fs::read(self.root.join(file)).unwrap_or_default();
        let file = file.strip_prefix(self.root).unwrap_or(file).display();
        format!(
            "{complaint}\ninput, {} bytes: {}\nas a file: {file}\nplay it again: cargo xtask fuzz {} --input {file}",
            input.len(),
            readable(&input),
            self.name
        )
    }
}

fn failed(path: &Path, source: std::io::Error) -> FuzzError {
    FuzzError::File { path: PathBuf::from(path), source }
}

/// An input as it could stand in a test.
pub fn readable(input: &[u8]) -> String {
    let text: String = match std::str::from_utf8(input) {
        Ok(text) => text.escape_debug().take(SHOWN + 1).collect(),
        Err(_) => input.escape_ascii().map(char::from).take(SHOWN + 1).collect(),
    };
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_shown_as_a_test_could_have_it() {
        assert_eq!(readable("[P1]\té\u{1b}".as_bytes()), "\"[P1]\\té\\u{1b}\"");
        assert_eq!(readable(b"a\xff"), "\"a\\xff\"");
        assert!(readable(&[b'x'; 5000]).chars().count() == SHOWN + 3);
    }
}
