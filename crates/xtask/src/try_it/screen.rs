//! Where the show is seen: a terminal, where the table is drawn in place, or a pipe, where each event
//! is a line.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The place.
pub struct Screen {
    /// Nothing in a pipe.
    multi: MultiProgress,
    /// The table, of several lines.
    table: ProgressBar,
    colored: bool,
}

impl Screen {
    /// Standard output, as it is.
    pub fn open() -> Self {
        let multi = MultiProgress::with_draw_target(ProgressDrawTarget::stdout_with_hz(10));
        let table = multi.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            table.set_style(style);
        }
        let choice = anstream::AutoStream::choice(&std::io::stdout());
        Screen { multi, table, colored: choice != anstream::ColorChoice::Never }
    }

    /// True where the table is drawn.
    pub fn is_live(&self) -> bool {
        !self.multi.is_hidden()
    }

    /// Says something that stays.
    pub fn say(&self, line: &str) {
        if self.is_live() {
            // A terminal that went away is no reason to stop healing.
            let _ = self.multi.println(self.shown(line));
        } else {
            anstream::println!("{line}");
        }
    }

    /// Draws the table anew, if it has changed.
    pub fn draw(&self, lines: &[String]) {
        let text = self.shown(&lines.join("\n"));
        if self.table.message() != text {
            self.table.set_message(text);
        }
    }

    /// Leaves the table as it is; what follows comes below it.
    pub fn close(&self) {
        self.table.abandon();
        if self.is_live() {
            anstream::println!();
        }
    }

    fn shown(&self, text: &str) -> String {
        if self.colored { text.to_owned() } else { anstream::adapter::strip_str(text).to_string() }
    }
}
