//! What libFuzzer says while it works.

use std::collections::VecDeque;
use std::path::PathBuf;

/// Lines that are kept for the case of a crash.
const KEPT: usize = 60;

/// How far a target is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Inputs tried.
    pub inputs: u64,
    /// Edges of the program that some input reached.
    pub coverage: u64,
    /// The same, with how often and with which values.
    pub features: u64,
    /// Inputs that are kept, since each reaches something that no other does.
    pub corpus: u64,
    /// The file with the input that broke a property.
    pub artifact: Option<PathBuf>,
    /// What was said last, beside the progress.
    pub said: VecDeque<String>,
}

impl Progress {
    /// Takes one line in.
    pub fn see(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        if let Some(inputs) = words.next().and_then(|word| word.strip_prefix('#')?.parse().ok()) {
            self.inputs = inputs;
            self.see_figures(words);
        } else if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
            self.inputs = count.trim().parse().unwrap_or(self.inputs);
        } else if let Some((_, path)) = line.split_once("Test unit written to ") {
            self.artifact = Some(PathBuf::from(path.trim()));
        } else if !line.trim().is_empty() && !line.starts_with("stat::") {
            self.said.push_back(line.to_owned());
            if self.said.len() > KEPT {
                self.said.pop_front();
            }
        }
    }

    /// `cov: 812 ft: 3021 corp: 511/42Kb …`
    fn see_figures<'a>(&mut self, mut words: impl Iterator<Item = &'a str>) {
        while let Some(word) = words.next() {
            let figure = match word {
                "cov:" => &mut self.coverage,
                "ft:" => &mut self.features,
                "corp:" => &mut self.corpus,
                _ => continue,
            };
            let value = words.next().and_then(|word| word.split('/').next()?.parse().ok());
            *figure = value.unwrap_or(*figure);
        }
    }

    /// Why it ended early, for people: what the property said.
    pub fn complaint(&self) -> String {
        let lines: Vec<&str> = self.said.iter().map(String::as_str).collect();
        let told = |line: &&str| line.contains("panicked at") || line.contains("ERROR: libFuzzer");
        let from = lines.iter().position(told).unwrap_or(0);
        let lines = lines[from..].iter().take_while(|line| !line.starts_with("NOTE: "));
        lines.take(20).copied().collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_the_lines_of_progress() {
        let mut progress = Progress::default();
        for line in [
            "INFO: Running with entropic power schedule (0xFF, 100).",
            "#5\tINITED cov: 100 ft: 101 corp: 4/40b exec/s: 0 rss: 40Mb",
            "#2097152\tpulse  cov: 812 ft: 3021 corp: 511/42Kb lim: 4096 exec/s: 699050 rss: 411Mb",
            "stat::number_of_executed_units: 2500000",
            "stat::average_exec_per_sec:     41666",
        ] {
            progress.see(line);
        }
        let Progress { inputs, coverage, features, corpus, .. } = progress;
        assert_eq!((inputs, coverage, features, corpus), (2_500_000, 812, 3021, 511));
        assert_eq!(progress.artifact, None);
    }

    #[test]
    fn a_crash_is_told_with_its_file_and_what_was_said() {
        let mut progress = Progress::default();
        for line in [
            "INFO: Seed: 1",
            "thread '<unnamed>' (1) panicked at src/a.rs:7:5:",
            "a message of 2000 characters",
            "==1== ERROR: libFuzzer: deadly signal",
            "NOTE: libFuzzer has rudimentary signal handlers.",
            "artifact_prefix='x/'; Test unit written to x/crash-1",
        ] {
            progress.see(line);
        }
        assert_eq!(progress.artifact, Some("x/crash-1".into()));
        let complaint = progress.complaint();
        assert!(complaint.starts_with("thread") && complaint.ends_with("deadly signal"));
    }
}
