//! What is shown while it works: a bar on a terminal, a line now and then elsewhere.

use std::cell::Cell;
use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// The part of a stage after which a line is printed where there is no terminal.
const PARTS: usize = 5;

/// Says what is done now.
pub fn stage(what: &str) {
    anstream::eprintln!("\u{1b}[1m…\u{1b}[0m {what}");
}

/// The progress of one stage.
pub struct Bar {
    bar: ProgressBar,
    what: &'static str,
    /// Parts that have been told of, where there is no terminal.
    told: Cell<usize>,
}

/// Begins a stage of `all` steps.
pub fn bar(what: &'static str, all: usize) -> Bar {
    let bar = ProgressBar::new(steps(all)).with_message(what);
    let style = "{spinner} {msg:<28} {bar:30} {pos:>4}/{len:<4} {elapsed:>4}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    if !std::io::stderr().is_terminal() {
        stage(what);
    }
    Bar { bar, what, told: Cell::new(0) }
}

impl Bar {
    /// So many of all are done.
    pub fn at(&self, done: usize, all: usize) {
        self.bar.set_length(steps(all));
        self.bar.set_position(steps(done));
        let part = done * PARTS / all.max(1);
        if !std::io::stderr().is_terminal() && part > self.told.replace(part) {
            anstream::eprintln!("  {}: {done} of {all}", self.what);
        }
    }

    /// The stage has ended.
    pub fn end(&self) {
        self.bar.finish();
    }
}

fn steps(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
