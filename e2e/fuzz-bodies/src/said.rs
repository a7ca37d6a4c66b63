//! What must hold of everything that people are told.

/// The longest message, in characters: conditions and Events are cut there, and what stands at the end,
/// the advice, must not be what is cut off.
const LIMIT: usize = 1000;

/// Asserts that a message is one line that is not too long and moves no cursor, whatever it quotes.
pub fn said(message: &str) {
    let length = message.chars().count();
    assert!(length <= LIMIT, "a message of {length} characters: {message:.200}…");
    let control = message.chars().find(|c| c.is_control());
    assert!(control.is_none(), "{control:?} in a message: {message:?}");
}
