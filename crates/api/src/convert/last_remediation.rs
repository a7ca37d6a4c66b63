//! The annotation `rerail.dev/last-remediation`: JSON of [`LastRemediation`].

use rerail_core::facts::{ATTEMPTS_KEPT, EVIDENCE_KEPT, LastRemediation};

/// The longest annotation that is read; ours has about 4 KiB. A kubelet can write any text here.
const LIMIT: usize = 32 * 1024;

/// The annotation cannot be read. The node counts as one without history: its run's name then meets
/// an object that exists and takes the next number.
#[derive(Debug, thiserror::Error)]
pub enum LastRemediationError {
    /// Longer than any that we write.
    #[error(
        "the annotation rerail.dev/last-remediation has {0} bytes and is not read; remove it to start a new history"
    )]
    TooLong(usize),
    /// No JSON object; serde would read a struct from an array, too.
    #[error(
        "the annotation rerail.dev/last-remediation is no JSON object; remove it to start a new history"
    )]
    NoObject,
    /// No JSON of ours.
    #[error(
        "the annotation rerail.dev/last-remediation is not readable ({0}); remove it to start a new history"
    )]
    Malformed(#[from] serde_json::Error),
}

/// Reads the annotation.
pub fn parse(text: &str) -> Result<LastRemediation, LastRemediationError> {
    if text.len() > LIMIT {
        return Err(LastRemediationError::TooLong(text.len()));
    }
    if !text.trim_start().starts_with('{') {
        return Err(LastRemediationError::NoObject);
    }
    let mut memory: LastRemediation = serde_json::from_str(text)?;
    memory.attempts.sort();
    let excess = memory.attempts.len().saturating_sub(ATTEMPTS_KEPT);
    memory.attempts.drain(..excess);
    memory.evidence.truncate(EVIDENCE_KEPT);
    Ok(memory)
}

/// The annotation's text.
pub fn encode(memory: &LastRemediation) -> Result<String, serde_json::Error> {
    serde_json::to_string(memory)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn bad_text_is_refused_and_never_panics() {
        for text in ["", "{", "[]", "null", "{\"sequence\":-1}", "{\"attempts\":[\"yesterday\"]}"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(matches!(parse(&" ".repeat(LIMIT + 1)), Err(LastRemediationError::TooLong(_))));
        assert_eq!(parse("{}").unwrap(), LastRemediation::default());
        assert_eq!(parse("{\"later\":1}").unwrap(), LastRemediation::default());
    }

    #[test]
    fn survives_the_journey_and_keeps_its_bounds() {
        let attempts = (0..40).map(|n| Timestamp::from_second(n).unwrap()).collect();
        let memory = LastRemediation { sequence: 3, attempts, ..LastRemediation::default() };
        let read = parse(&encode(&memory).unwrap()).unwrap();
        assert_eq!(read.attempts.len(), ATTEMPTS_KEPT);
        assert_eq!(read.attempts.first(), Some(&Timestamp::from_second(8).unwrap()));
    }
}
