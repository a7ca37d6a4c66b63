//! The picture on a terminal: a pure function of the board, so that tests can look at it.

mod bars;
mod paint;
#[cfg(test)]
mod tests;

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use rerail_core::plan::WaitReason;

use rerail_simulate::board::{Board, Face, Told, Tone, length};

pub use paint::Paint;

/// What is shown beside the board.
#[derive(Debug, Clone, Default)]
pub struct Around {
    /// How fast the cluster's time runs, such as `60×`.
    pub speed: String,
    /// What was asked for, where the machine is too slow for that.
    pub asked: Option<String>,
    /// Time stands still.
    pub paused: bool,
    /// The file with which `kubectl` reaches the cluster.
    pub kubeconfig: String,
    /// Everything that can heal has healed.
    pub settled: bool,
}

/// The smallest terminal on which anything can be told.
const SMALLEST: (u16, u16) = (40, 12);

/// Draws everything into `area`.
pub fn draw(area: Rect, buffer: &mut Buffer, board: &Board, around: &Around, paint: Paint) {
    if (area.width, area.height) < SMALLEST || area.height < SMALLEST.1 {
        buffer.set_stringn(area.x, area.y, "too small a terminal", area.width.into(), Style::new());
        return;
    }
    let mut page = Page { area, buffer, row: area.y };
    page.put(title(board, around, paint, area.width));
    page.gap(26);
    for line in racks(board, paint, area.width) {
        page.put(line);
    }
    for line in legend(board, paint, area.width) {
        page.put(line);
    }
    page.gap(26);
    for line in bars::lines(board, paint) {
        page.put(line);
    }
    page.gap(26);
    let foot = 1;
    let left = usize::from(page.left()).saturating_sub(foot);
    let queue = board.queue();
    // Two headings; what the queue does not need is for the news.
    let waiting = queue.len().max(1).min(left.saturating_sub(2) / 2);
    for line in queue_lines(board, around, paint, waiting) {
        page.put(line);
    }
    let news = usize::from(page.left()).saturating_sub(foot + 1);
    page.put(Line::styled("Latest", paint.bold()));
    let told = board.told();
    for told in told.iter().skip(told.len().saturating_sub(news)) {
        page.put(told_line(told, paint));
    }
    page.row = area.bottom().saturating_sub(1);
    page.put(foot_line(around, paint, area.width));
}

/// Where the next line goes.
struct Page<'a> {
    area: Rect,
    buffer: &'a mut Buffer,
    row: u16,
}

impl Page<'_> {
    fn left(&self) -> u16 {
        self.area.bottom().saturating_sub(self.row)
    }

    fn put(&mut self, line: Line<'_>) {
        if self.row < self.area.bottom() {
            self.buffer.set_line(self.area.x, self.row, &line, self.area.width);
            self.row += 1;
        }
    }

    /// An empty line, where the terminal is higher than so many.
    fn gap(&mut self, height: u16) {
        if self.area.height > height {
            self.row += 1;
        }
    }
}

/// A line with something at its left and something at its right end.
fn spread<'a>(left: Vec<Span<'a>>, right: Vec<Span<'a>>, width: u16) -> Line<'a> {
    let (left, right) = (Line::from(left), Line::from(right));
    let gap = usize::from(width).saturating_sub(left.width() + right.width()).max(1);
    let mut spans = left.spans;
    spans.push(Span::raw(" ".repeat(gap)));
    spans.extend(right.spans);
    Line::from(spans)
}

fn title<'a>(board: &Board, around: &'a Around, paint: Paint, width: u16) -> Line<'a> {
    let mut left = vec![Span::styled("rerail demo", paint.bold())];
    let leads = match board.leader() {
        "" => "nobody leads".to_owned(),
        leader => format!("{leader} leads"),
    };
    let what = format!("  {} simulated nodes", board.nodes().len());
    let state = match (around.paused, &around.asked) {
        (true, _) => " (paused)".to_owned(),
        (false, Some(asked)) => format!(" (not {asked}: slow machine)"),
        (false, None) => String::new(),
    };
    let violations = board.violations().len();
    let color = if violations == 0 { paint.good() } else { paint.bad() };
    let right = vec![
        Span::styled(clock(board.elapsed()), paint.bold()),
        Span::raw(format!(" at {}{state}   ", around.speed)),
        Span::styled(format!("violations: {violations}"), color),
    ];
    let needs = right.iter().map(Span::width).sum::<usize>() + "rerail demo".len() + what.len();
    if needs < usize::from(width) {
        left.push(Span::styled(what, paint.dim()));
    }
    if needs + leads.len() + 4 < usize::from(width) {
        left.push(Span::styled(format!(", {leads}"), paint.dim()));
    }
    spread(left, right, width)
}

/// `00:12:31`.
pub fn clock(elapsed: jiff::SignedDuration) -> String {
    let seconds = elapsed.as_secs();
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn racks(board: &Board, paint: Paint, width: u16) -> Vec<Line<'static>> {
    let racks = board.racks();
    let widest = racks.keys().map(|rack| rack.chars().count()).max().unwrap_or(0);
    let most = racks.values().map(Vec::len).max().unwrap_or(0);
    // What stands right of the cells needs so much.
    let room = usize::from(width).saturating_sub(widest + 34);
    let apart = if most * 2 <= room { 2 } else { 1 };
    racks
        .iter()
        .map(|(rack, nodes)| {
            let mut spans = vec![Span::styled(format!(" {rack:<widest$}  "), paint.bold())];
            for (_, entry) in nodes.iter().take(room / apart) {
                let face = entry.face();
                spans.push(Span::styled(face.letter().to_string(), paint.of(face)));
                spans.push(Span::raw(" ".repeat(apart - 1)));
            }
            let missing = most.min(room / apart).saturating_sub(nodes.len());
            spans.push(Span::raw(" ".repeat(missing * apart + 2)));
            spans.push(Span::styled(rack_words(nodes.iter().map(|(_, e)| e.face())), paint.dim()));
            Line::from(spans)
        })
        .collect()
}

/// `2 in work, 3 wait, 1 held`.
fn rack_words(faces: impl Iterator<Item = Face>) -> String {
    let (mut work, mut wait, mut held, mut healed) = (0, 0, 0, 0);
    for face in faces {
        match face {
            Face::Waiting(_) => wait += 1,
            Face::Held => held += 1,
            Face::Healed => healed += 1,
            face if face.in_work() => work += 1,
            _ => {}
        }
    }
    let parts = [
        (work, "in work"),
        (wait, if wait == 1 { "waits" } else { "wait" }),
        (held, "held"),
        (healed, "healed"),
    ];
    let parts = parts.into_iter().filter(|(number, _)| *number > 0);
    parts.map(|(number, what)| format!("{number} {what}")).collect::<Vec<_>>().join(", ")
}

/// What the letters mean, in as many lines as it takes.
fn legend(board: &Board, paint: Paint, width: u16) -> Vec<Line<'static>> {
    let always = [
        Face::Healthy,
        Face::Waiting(6),
        Face::Draining,
        Face::Blocked,
        Face::Rebooting,
        Face::Verifying,
        Face::Healed,
        Face::Held,
    ];
    let rare = [Face::GivenBack, Face::Down, Face::Foreign];
    let rare = rare.into_iter().filter(|face| board.number(|other| other == *face) > 0);
    let mut lines = vec![Line::from(" ")];
    for face in always.into_iter().chain(rare) {
        let item = [
            Span::styled(face.letter().to_string(), paint.of(face)),
            Span::styled(format!(" {}  ", face.meaning()), paint.dim()),
        ];
        let needs = item.iter().map(Span::width).sum::<usize>();
        let full = lines.last().is_none_or(|line| line.width() + needs > usize::from(width) + 2);
        if full {
            lines.push(Line::from(" "));
        }
        if let Some(line) = lines.last_mut() {
            line.spans.extend(item);
        }
    }
    lines
}

fn queue_lines(board: &Board, around: &Around, paint: Paint, most: usize) -> Vec<Line<'static>> {
    let queue = board.queue();
    let all = board.number(|face| matches!(face, Face::Waiting(_)));
    let title = match all.max(queue.len()) {
        0 if around.settled => "Nobody waits: all that can heal has healed".to_owned(),
        0 => "Nobody waits".to_owned(),
        1 => "1 node waits, and why".to_owned(),
        number => format!("{number} nodes wait, the most urgent first, and why"),
    };
    let mut lines = vec![Line::styled(title, paint.bold())];
    for waits in queue.iter().take(most) {
        let priority = waits.priority.map_or_else(String::new, |priority| format!("P{priority}"));
        let until = waits.until.filter(|_| passes_with_time(&waits.reason));
        let left = until.map(|until| until.duration_since(board.now()));
        let left = left.filter(jiff::SignedDuration::is_positive).map(length);
        let until = left.map_or_else(String::new, |left| format!("not before {left}: "));
        lines.push(Line::from(vec![
            Span::styled(format!(" {priority:<4}"), paint.sick()),
            Span::raw(format!("{:<11} ", waits.node)),
            Span::styled(until, paint.dim()),
            Span::raw(waits.message.clone()),
        ]));
    }
    lines
}

/// Whether this passes by itself. Of other reasons the time is the one at which waiting makes a node more
/// urgent, and says nothing about when it starts.
fn passes_with_time(reason: &str) -> bool {
    let passing = [
        WaitReason::NotLongEnough,
        WaitReason::AttemptsExhausted,
        WaitReason::Backoff,
        WaitReason::WarmingUp,
        WaitReason::Storm,
        WaitReason::StartsExhausted,
        WaitReason::AdmissionFailing,
    ];
    reason.parse().is_ok_and(|reason| passing.contains(&reason))
}

fn told_line(told: &Told, paint: Paint) -> Line<'static> {
    let who = if told.node.is_empty() { String::new() } else { format!("{} ", told.node) };
    Line::from(vec![
        Span::styled(format!(" {} ", clock(told.after)), paint.dim()),
        Span::styled(who, paint.tone(told.tone)),
        Span::styled(
            told.text(),
            match told.tone {
                Tone::Storm | Tone::Bad => paint.tone(told.tone),
                _ => Style::new(),
            },
        ),
    ])
}

fn foot_line<'a>(around: &'a Around, paint: Paint, width: u16) -> Line<'a> {
    let left = vec![Span::styled(format!("KUBECONFIG={}", around.kubeconfig), paint.dim())];
    let keys = if around.paused { "space go on" } else { "space pause" };
    let right = vec![Span::styled(format!("{keys}  -/+ speed  q quit"), paint.dim())];
    spread(left, right, width)
}
