//! The terminal: draws the picture, reads keys, and is put back as it was whatever happens.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};

use crate::{
    Shared,
    pace::Speed,
    picture::{self, Around, Paint},
    stage::Stage,
};

/// Between two pictures.
const FRAME: Duration = Duration::from_millis(100);

/// Shows the picture until the simulation ends, or somebody has seen enough.
pub fn show(shared: &Shared, stage: &Stage, quit: &AtomicBool, paint: Paint) -> io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let shown =
        go_on(&mut terminal, shared, || quit.load(Ordering::Relaxed) || stage.is_over(), paint);
    ratatui::try_restore()?;
    shown
}

fn go_on(
    terminal: &mut DefaultTerminal,
    shared: &Shared,
    is_over: impl Fn() -> bool,
    paint: Paint,
) -> io::Result<()> {
    while !is_over() && !shared.dial.is_stopped() {
        let around = around(shared);
        terminal.draw(|frame| {
            let board = shared.lock();
            picture::draw(frame.area(), frame.buffer_mut(), &board, &around, paint);
        })?;
        if event::poll(FRAME)? && handle(&event::read()?, shared) {
            return Ok(());
        }
    }
    Ok(())
}

/// What is shown beside the board.
fn around(shared: &Shared) -> Around {
    let dial = &shared.dial;
    let behind = dial.behind();
    let speed = match (dial.speed(), behind, dial.measured()) {
        (Speed::Times(_), Some(measured), _) | (Speed::Max, _, Some(measured)) => {
            format!("{measured:.0}×")
        }
        (speed, _, _) => speed.to_string(),
    };
    Around {
        speed,
        asked: behind.map(|_| dial.speed().to_string()),
        paused: dial.is_paused(),
        kubeconfig: shared.kubeconfig.path().display().to_string(),
        settled: shared.is_settled(),
    }
}

/// True when somebody has seen enough.
fn handle(event: &Event, shared: &Shared) -> bool {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else {
        return false;
    };
    match code {
        KeyCode::Char('q') | KeyCode::Esc => return true,
        KeyCode::Char('c' | 'd') => return modifiers.contains(KeyModifiers::CONTROL),
        KeyCode::Char(' ') => shared.dial.pause(),
        KeyCode::Char('+' | '=') => shared.dial.turn(Speed::faster),
        KeyCode::Char('-') => shared.dial.turn(Speed::slower),
        _ => {}
    }
    false
}
