//! The annotation `rerail.dev/last-remediation`: JSON of [`LastRemediation`].

use rerail_core::{
    alert::TYPE_LIMIT,
    facts::{ATTEMPTS_KEPT, EVIDENCE_KEPT, LastRemediation},
    words::{one_line, quoted},
};

/// The longest annotation that is read; ours has about 4 KiB. A kubelet can write any text here, and any
/// type of a condition: the longest that we write of these, each character escaped, must be read again.
const LIMIT: usize = 64 * 1024;

/// The longest status of a condition that we record.
const STATUS_LIMIT: usize = 16;

/// The longest name of a run.
const WORD_LIMIT: usize = 253;

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
    Malformed(String),
}

/// Reads the annotation.
pub fn parse(text: &str) -> Result<LastRemediation, LastRemediationError> {
    if text.len() > LIMIT {
        return Err(LastRemediationError::TooLong(text.len()));
    }
    if !text.trim_start().starts_with('{') {
        return Err(LastRemediationError::NoObject);
    }
    let mut memory: LastRemediation = serde_json::from_str(text)
        .map_err(|error| LastRemediationError::Malformed(quoted(&error)))?;
    memory.attempts.sort();
    let excess = memory.attempts.len().saturating_sub(ATTEMPTS_KEPT);
    memory.attempts.drain(..excess);
    // A report that no condition could have compares with none.
    memory.evidence.retain(|report| {
        report.condition_type.len() <= TYPE_LIMIT && report.status.len() <= STATUS_LIMIT
    });
    memory.evidence.truncate(EVIDENCE_KEPT);
    // The words that people are shown while the node rests, and that the next record carries on.
    if let Some(last) = &mut memory.last {
        for word in [&mut last.uid, &mut last.name, &mut last.result, &mut last.reason] {
            *word = one_line(word, WORD_LIMIT);
        }
    }
    Ok(memory)
}

/// The annotation's text.
pub fn encode(memory: &LastRemediation) -> Result<String, serde_json::Error> {
    serde_json::to_string(memory)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use rerail_core::facts::{Evidence, LastRun};

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
    fn what_a_kubelet_writes_about_the_last_run_can_be_shown() {
        let word = "x\\n\\u001b[31m".repeat(500);
        let text = format!(
            r#"{{"last":{{"uid":"u","name":"n","result":"{word}","reason":"r","endTime":"2026-01-01T00:00:00Z"}},
            "evidence":[{{"type":"{word}","status":"True"}},{{"type":"Sick","status":"True"}}]}}"#
        );
        let memory = parse(&text).unwrap();
        let result = &memory.last.as_ref().unwrap().result;
        assert!(result.len() < 300 && !result.contains(char::is_control), "{result:?}");
        assert_eq!(memory.evidence.len(), 1, "no condition has such a type");
        assert_eq!(parse(&encode(&memory).unwrap()).unwrap(), memory);
        let error = parse(&format!("{{\"sequence\":\"{word}\"}}")).unwrap_err().to_string();
        assert!(error.len() < 500 && !error.contains(char::is_control), "{error:?}");
    }

    /// What is too long to be read again would be a new history, with all attempts (SAFE-14).
    #[test]
    fn the_longest_that_is_written_is_read_again() {
        let report = |n: u32| Evidence {
            condition_type: format!("{n:02}{}", "\u{1}".repeat(TYPE_LIMIT - 2)).as_str().into(),
            status: "\u{1}".repeat(STATUS_LIMIT).as_str().into(),
            last_transition_time: Some(Timestamp::MAX),
            last_heartbeat_time: Some(Timestamp::MIN),
        };
        let word = || "n".repeat(WORD_LIMIT);
        let (uid, name, result, reason) = (word(), word(), word(), word());
        let memory = LastRemediation {
            sequence: u64::MAX,
            attempts: vec![Timestamp::MAX; ATTEMPTS_KEPT],
            roll_backs: u32::MAX,
            last: Some(LastRun { uid, name, result, reason, end_time: Timestamp::MAX }),
            evidence: (0..16).map(report).collect(),
        };
        assert_eq!(parse(&encode(&memory).unwrap()).unwrap(), memory);
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
