//! Colours. Letters and words say the same without them.

use ratatui::style::{Color, Modifier, Style};

use rerail_simulate::board::{Face, Tone};

/// With colours, or with none (`NO_COLOR`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    /// Whether there are colours.
    pub colors: bool,
}

impl Paint {
    fn fg(self, color: Color) -> Style {
        if self.colors { Style::new().fg(color) } else { Style::new() }
    }

    /// Headings.
    pub fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What is less important.
    pub fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// What is as it should be.
    pub fn good(self) -> Style {
        self.fg(Color::Green)
    }

    /// What must not be.
    pub fn bad(self) -> Style {
        self.fg(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What is wrong with a node.
    pub fn sick(self) -> Style {
        self.fg(Color::Red)
    }

    /// What is in use.
    pub fn work(self) -> Style {
        self.fg(Color::Yellow)
    }

    /// A node. Blue, yellow and the brightness tell apart what red and green do not for everybody.
    pub fn of(self, face: Face) -> Style {
        match face {
            Face::Healthy => self.dim(),
            Face::Waiting(_) => self.sick(),
            Face::Draining => self.work(),
            Face::Blocked => self.work().add_modifier(Modifier::BOLD | Modifier::REVERSED),
            Face::Rebooting => self.fg(Color::Magenta).add_modifier(Modifier::BOLD),
            Face::Verifying => self.fg(Color::Blue).add_modifier(Modifier::BOLD),
            Face::Healed => self.good(),
            Face::GivenBack | Face::Foreign => self.fg(Color::Cyan),
            Face::Held | Face::Down => self.bad(),
        }
    }

    /// A piece of news.
    pub fn tone(self, tone: Tone) -> Style {
        match tone {
            Tone::Sick => self.sick(),
            Tone::Waits | Tone::Calm => self.dim(),
            Tone::Work => self.work(),
            Tone::Boot => self.fg(Color::Magenta),
            Tone::Good => self.good(),
            Tone::Held | Tone::Bad => self.bad(),
            Tone::Storm => self.fg(Color::Cyan).add_modifier(Modifier::BOLD),
            Tone::Others => self.fg(Color::Cyan),
        }
    }
}
