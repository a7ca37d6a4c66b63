use ratatui::{Terminal, backend::TestBackend};
use serde_json::json;

use super::*;
use rerail_simulate::board::fixture::{Fixture, Node};

/// A cluster in the middle of its work.
fn busy() -> Fixture {
    let mut fixture = Fixture::new();
    for rack in ["a", "b", "c", "d", "e", "f"] {
        for number in 0..10 {
            fixture.node(0, &format!("{rack}-{number}"), &format!("rack-{rack}"), &Node::default());
        }
    }
    let sick = |message| Node { alert: Some(message), ..Node::default() };
    let ours = || Node { cordon: Some(true), ..Node::default() };
    for (name, step, reason, message) in [
        ("a-1", "Draining", "DrainInProgress", ""),
        ("a-2", "Draining", "DrainBlocked", "pod default/ledger-x: budget ledger allows none"),
        ("a-3", "Rebooting", "WaitingForBoot", ""),
        ("a-4", "Verifying", "Booted", ""),
    ] {
        fixture.node(20, name, "rack-a", &ours());
        fixture.run(21, name, "Cordoning", "Admitted", "");
        fixture.run(22, name, step, reason, message);
    }
    for (name, step) in [("a-5", "Succeeded"), ("a-6", "Held")] {
        fixture.run(10, name, "Cordoning", "Admitted", "");
        fixture.run(40, name, step, "NoBoot", "the machine did not boot");
    }
    fixture.node(41, "b-7", "rack-b", &sick("[P3] Kubernetes node b-7 waits for lo"));
    fixture.node(42, "c-9", "rack-c", &sick("[P12] Kubernetes node c-9 is old"));
    fixture.node(43, "d-0", "rack-d", &Node { down: true, ..Node::default() });
    fixture.node(44, "e-0", "rack-e", &Node { cordon: Some(false), ..Node::default() });
    fixture.policy(
        50,
        1,
        &json!({
            "counts": { "waiting": 2 }, "budget": { "limit": 6, "used": 6 },
            "breaker": [{ "conditionType": "DiskAlmostFull", "state": "Probing", "since": "2026-01-01T00:00:40Z" }],
            "waiting": [
                { "node": "c-9", "priority": 12, "reason": "OtherDomainsOpen",
                  "message": "rack-a is open; one at a time" },
                { "node": "b-7", "priority": 3, "reason": "NotLongEnough", "until": "2026-01-01T00:05:50Z",
                  "message": "AlertManager_X is True for 9s of 5m" },
            ],
        }),
    );
    fixture
}

fn around() -> Around {
    Around {
        speed: "60×".to_owned(),
        kubeconfig: "/tmp/rerail-demo-abc/kubeconfig".to_owned(),
        ..Around::default()
    }
}

fn drawn(width: u16, height: u16, board: &Board, around: &Around) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let paint = Paint { colors: true };
    terminal.draw(|frame| draw(frame.area(), frame.buffer_mut(), board, around, paint)).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| row(y).trim_end().to_owned()).collect()
}

/// Compares with a snapshot. `RERAIL_DRAW=1 cargo test -p rerail-demo` draws them anew; read the diff.
fn is_as_drawn_before(width: u16, height: u16, expected: &str) {
    let seen = drawn(width, height, &busy().board, &around()).join("\n") + "\n";
    if std::env::var_os("RERAIL_DRAW").is_some() {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/picture");
        std::fs::write(directory.join(format!("snapshot-{width}x{height}.txt")), &seen).unwrap();
        return;
    }
    assert_eq!(seen, expected, "\n{seen}");
}

#[test]
fn everything_is_there_on_a_small_terminal() {
    is_as_drawn_before(80, 24, include_str!("snapshot-80x24.txt"));
}

#[test]
fn a_wide_one_shows_more() {
    is_as_drawn_before(120, 40, include_str!("snapshot-120x40.txt"));
}

#[test]
fn no_size_breaks_it() {
    let fixture = busy();
    let empty = Fixture::new();
    for width in [1, 20, 40, 60, 79, 200] {
        for height in [1, 5, 11, 12, 18, 23, 100] {
            let lines = drawn(width, height, &fixture.board, &around());
            assert_eq!(lines.len(), usize::from(height));
            drawn(width, height, &empty.board, &around());
        }
    }
}

#[test]
fn without_colours_the_letters_are_the_same_and_nothing_has_a_colour() {
    let fixture = busy();
    let mut buffers = [true, false].map(|colors| {
        let area = Rect::new(0, 0, 80, 24);
        let mut buffer = Buffer::empty(area);
        draw(area, &mut buffer, &fixture.board, &around(), Paint { colors });
        buffer
    });
    let text = |buffer: &Buffer| {
        buffer.content().iter().map(|c| c.symbol().to_owned()).collect::<String>()
    };
    assert_eq!(text(&buffers[0]), text(&buffers[1]));
    let plain = &mut buffers[1];
    assert!(plain.content().iter().all(|cell| cell.fg == ratatui::style::Color::Reset));
    assert!(buffers[0].content().iter().any(|cell| cell.fg != ratatui::style::Color::Reset));
}

#[test]
fn the_title_says_how_fast_and_how_bad() {
    let mut fixture = busy();
    let paused = Around { paused: true, ..around() };
    assert!(drawn(80, 24, &fixture.board, &paused)[0].contains("60× (paused)"));
    let slow = Around { asked: Some("90×".to_owned()), ..around() };
    assert!(drawn(80, 24, &fixture.board, &slow)[0].contains("60× (not 90×: slow machine)"));
    fixture.board.violated(rerail_simulate::board::fixture::start(), "two boots".to_owned());
    assert!(drawn(80, 24, &fixture.board, &around())[0].contains("violations: 1"));
}
