//! The annotation `rerail.dev/ledger` of the operator's Lease: JSON of a ledger's [`Document`].

use rerail_core::{
    ledger::{Document, SIZE_LIMIT, VERSION},
    words::quoted,
};
use serde::Deserialize;

/// How a person gets out of a ledger that cannot be read.
const ADVICE: &str = "if no newer operator is to read it, let it be made anew from the runs: kubectl --namespace \
     rerail-system annotate lease rerail-operator rerail.dev/ledger-";

/// Epochs are below the largest number that every reader of JSON keeps as it is (RFC 8259, section 6). Each term
/// raises it; two that cannot would have the same.
const EPOCH_LIMIT: i64 = (1 << 53) - 1;

/// Why a ledger cannot be read or written. No operator leads while it cannot be read: nobody knows who
/// has the right to act.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Another version.
    #[error(
        "the ledger in the Lease rerail-operator has version {0}, and this operator reads {VERSION}: it is frozen, \
         and nothing starts. Run the version of rerail that wrote it, or, {ADVICE}"
    )]
    Version(u64),
    /// No document.
    #[error(
        "the ledger in the Lease rerail-operator cannot be read ({0}): the operator is frozen, and nothing starts; {ADVICE}"
    )]
    Malformed(String),
    /// Longer than an annotation should be.
    #[error(
        "the ledger would have {0} bytes, more than the {SIZE_LIMIT} that the Lease may hold: nothing more is \
         admitted until slots are free"
    )]
    TooLong(usize),
}

/// Reads the annotation.
pub fn parse(text: &str) -> Result<Document, LedgerError> {
    #[derive(Deserialize)]
    struct Version {
        version: u64,
    }
    // serde repeats what it did not expect, which may be the whole annotation.
    let malformed = |error: serde_json::Error| LedgerError::Malformed(quoted(&error));
    if !text.trim_start().starts_with('{') {
        return Err(LedgerError::Malformed("it is no JSON object".to_owned()));
    }
    // The version first: what else stands in a newer document is not ours to judge.
    let version = serde_json::from_str::<Version>(text).map_err(malformed)?.version;
    if version != u64::from(VERSION) {
        return Err(LedgerError::Version(version));
    }
    let document: Document = serde_json::from_str(text).map_err(malformed)?;
    with_epoch(&document)?;
    Ok(document)
}

/// What is never read is never written.
fn with_epoch(document: &Document) -> Result<(), LedgerError> {
    if (0..EPOCH_LIMIT).contains(&document.epoch) {
        return Ok(());
    }
    let message = format!("epoch {} is not from 0 to {}", document.epoch, EPOCH_LIMIT - 1);
    Err(LedgerError::Malformed(message))
}

/// The annotation's text.
pub fn encode(document: &Document) -> Result<String, LedgerError> {
    with_epoch(document)?;
    let text = serde_json::to_string(document)
        .map_err(|error| LedgerError::Malformed(error.to_string()))?;
    if text.len() > SIZE_LIMIT { Err(LedgerError::TooLong(text.len())) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use rerail_core::ledger::{Meltdown, Slot};

    use super::*;

    fn document(slots: usize) -> Document {
        let slot = |n: usize| Slot {
            run_uid: format!("6b1f6c5e-3c7e-4e0a-9f1d-{n:012}"),
            node_name: format!("worker-{n}"),
            node_uid: format!("0d9f2a11-1c2b-4d3e-8f40-{n:012}"),
        };
        Document {
            version: VERSION,
            epoch: 7,
            term: "rerail-operator-abc_1".into(),
            nonce: "n".into(),
            slots: (0..slots).map(slot).collect(),
            starts: Vec::new(),
            meltdown: Meltdown::default(),
        }
    }

    #[test]
    fn a_ledger_is_read_back_as_it_was_written_under_the_documented_names() {
        let text = encode(&document(1)).unwrap();
        assert_eq!(parse(&text).unwrap(), document(1));
        for name in [
            "version", "epoch", "term", "nonce", "slots", "starts", "runUID", "nodeName", "nodeUID",
        ] {
            assert!(text.contains(&format!("\"{name}\":")), "{text}");
        }
    }

    /// The next version may know more, and the one before it did not know of meltdowns.
    #[test]
    fn a_document_of_another_release_with_the_same_version_is_read() {
        let text = r#"{"version":1,"epoch":7,"term":"t","nonce":"n","slots":[],"later":{"a":1}}"#;
        assert!(parse(text).unwrap().meltdown.is_none());
        let quiet = encode(&document(1)).unwrap();
        assert!(!quiet.contains("meltdown"), "{quiet}");
        let ended = Some("2026-01-01T00:00:00Z".parse().unwrap());
        for meltdown in [Meltdown { since: None, ended }, Meltdown { since: ended, ended }] {
            let melted = Document { meltdown, ..document(1) };
            assert_eq!(parse(&encode(&melted).unwrap()).unwrap(), melted);
        }
    }

    #[test]
    fn garbage_and_other_versions_are_refused_with_a_way_out_and_never_panic() {
        let unknown = r#"{"version": 2, "slots": "of another shape"}"#;
        for text in [
            "",
            "{",
            "[]",
            "null",
            "{}",
            r#"{"version":-1}"#,
            unknown,
            r#"{"version":1}"#,
            r#"{"version":1,"epoch":-3,"term":"t","nonce":"n","slots":[]}"#,
            r#"{"version":1,"epoch":9007199254740991,"term":"t","nonce":"n","slots":[]}"#,
            r#"{"version":1,"epoch":1,"term":"t","nonce":"n"}"#,
            r#"{"version":1,"epoch":1,"term":"t","nonce":"n","slots":[{"runUID":"u"}]}"#,
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(
                error.contains("kubectl --namespace rerail-system annotate lease"),
                "{text}: {error}"
            );
        }
        assert!(matches!(parse(unknown), Err(LedgerError::Version(2))));
    }

    #[test]
    fn what_a_ledger_holds_in_place_of_a_ledger_does_not_fill_the_message() {
        let text = format!(r#"{{"version":"{}\u001b[31m"}}"#, "x\\n".repeat(50_000));
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.len() < 800 && !error.contains(char::is_control), "{error:?}");
    }

    #[test]
    fn fifteen_hundred_slots_fit_and_what_does_not_fit_is_refused() {
        assert!(encode(&document(1500)).is_ok());
        assert!(matches!(encode(&document(2000)), Err(LedgerError::TooLong(_))));
    }
}
