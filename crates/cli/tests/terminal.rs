//! `rerail demo` on a terminal: a real one, by `script` of util-linux, whose output a terminal emulator
//! turns into what a person would see.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in helpers too")]

use std::{
    io::{Read, Write},
    num::NonZero,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    time::Duration,
};

const ROWS: u16 = 30;
const COLUMNS: u16 = 120;

/// Longer than any of this takes, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A demo on a terminal.
struct Terminal {
    script: Child,
    screen: Arc<Mutex<vt100::Parser>>,
    news: Receiver<()>,
    directory: tempfile::TempDir,
}

impl Terminal {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let scene = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/small.yaml");
        // How the terminal was before and after, and how the demo ended.
        let session = format!(
            "stty rows {ROWS} cols {COLUMNS}; cd '{}'; stty -a > before
             '{}' demo --speed 1x --scenario '{scene}'; echo $? > code; stty -a > after",
            directory.path().display(),
            env!("CARGO_BIN_EXE_rerail"),
        );
        let mut command = Command::new("script");
        command.args(["--quiet", "--flush", "--command", &session, "/dev/null"]);
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR").env_remove("KUBECONFIG");
        let mut script = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = script.stdout.take().unwrap();
        let [rows, columns] = [ROWS, COLUMNS].map(|count| NonZero::new(count).unwrap());
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let (told, news) = channel();
        let shown = screen.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = out.read(&mut bytes) {
                shown.lock().unwrap().process(&bytes[..count]);
                if told.send(()).is_err() {
                    return;
                }
            }
        });
        Terminal { script, screen, news, directory }
    }

    fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Waits until the screen is as wanted; what it shows then.
    fn when(&self, what: &str, wanted: impl Fn(&vt100::Screen) -> bool) -> String {
        while !wanted(self.screen.lock().unwrap().screen()) {
            let shown = self.news.recv_timeout(PATIENCE);
            assert!(shown.is_ok(), "{what} is not to be seen:\n{}", self.text());
        }
        self.text()
    }

    fn shows(&self, words: &str) -> String {
        self.when(words, |screen| screen.contents().contains(words))
    }

    fn press(&mut self, keys: &[u8]) {
        let keyboard = self.script.stdin.as_mut().unwrap();
        keyboard.write_all(keys).unwrap();
        keyboard.flush().unwrap();
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap()
    }

    /// After the end: the terminal is as it was, and the summary is on it.
    fn leaves_it_as_it_was(mut self) -> String {
        // The reader ends with the program.
        let over = || self.news.recv_timeout(PATIENCE);
        let ended = std::iter::repeat_with(over).find_map(Result::err);
        if ended == Some(RecvTimeoutError::Timeout) {
            self.script.kill().unwrap();
            panic!("it does not end:\n{}", self.text());
        }
        assert!(self.script.wait().unwrap().success());
        let screen = self.screen.lock().unwrap();
        let screen = screen.screen();
        assert!(!screen.alternate_screen(), "it does not leave its own screen");
        assert!(!screen.hide_cursor(), "the cursor stays hidden");
        assert_eq!(self.file("before"), self.file("after"), "the terminal's settings");
        assert!(screen.contents().contains("violations: 0"), "{}", screen.contents());
        self.file("code").trim().to_owned()
    }
}

#[test]
fn the_picture_is_drawn_obeys_keys_and_leaves_the_terminal_as_it_was() {
    let mut terminal = Terminal::start();
    // The foot of the picture, to its end.
    let picture = terminal.shows("q quit");
    assert!(terminal.screen.lock().unwrap().screen().alternate_screen(), "{picture}");
    let path = picture.split("KUBECONFIG=").nth(1).unwrap().split_whitespace().next().unwrap();
    let kubeconfig = PathBuf::from(path);
    assert!(kubeconfig.exists(), "{path}");
    terminal.press(b" ");
    terminal.shows("paused");
    terminal.press(b" ");
    terminal.when("going on", |screen| !screen.contents().contains("paused"));
    terminal.shows(" 1×");
    terminal.press(b"+");
    terminal.when("the speed", |screen| !screen.contents().contains(" 1×"));
    terminal.press(b"q");
    assert_eq!(terminal.leaves_it_as_it_was(), "0");
    assert!(!kubeconfig.exists());
}

#[test]
fn ctrl_c_and_escape_leave_it_as_it_was_too() {
    for key in [b"\x03", b"\x1b"] {
        let mut terminal = Terminal::start();
        terminal.shows("q quit");
        terminal.press(key);
        assert_eq!(terminal.leaves_it_as_it_was(), "0");
    }
}
