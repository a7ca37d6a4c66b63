//! The annotation of the operator's Lease: who has the right to act.

use std::collections::{BTreeMap, BTreeSet};

use rerail_api::convert::ledger::{LedgerError, encode, parse};
use rerail_core::ledger::{
    Change, Document, Known, Ledger, SIZE_LIMIT, VERSION, recovered, releasable,
};
use serde::Deserialize;
use serde_json::Value;

use crate::{now, said::said};

/// A document is read as it is, or not at all; nothing leaves it of which nothing is known.
pub fn ledger(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let document = match parse(text) {
        Ok(document) => document,
        Err(error) => return said(&error.to_string()),
    };
    assert!(document.version == VERSION && document.epoch >= 0);
    nothing_is_lost(text, &document);
    match encode(&document) {
        Ok(written) => {
            assert!(written.len() <= SIZE_LIMIT);
            assert_eq!(parse(&written).ok().as_ref(), Some(&document));
        }
        Err(error @ LedgerError::TooLong(length)) => {
            assert!(length > SIZE_LIMIT);
            said(&error.to_string());
        }
        Err(error) => panic!("what was read cannot be written: {error}"),
    }
    // The next term has a higher epoch, and what it writes is read; or it cannot begin.
    let next = Document { epoch: document.epoch + 1, ..document.clone() };
    if let Ok(written) = encode(&next) {
        assert_eq!(parse(&written).ok().as_ref(), Some(&next));
    }
    assert_eq!(document.with(document.ledger()), document);
    keeps(&document.ledger());
}

/// The lists of a document, as they are written.
#[derive(Deserialize)]
struct Lists {
    #[serde(default)]
    slots: Value,
    #[serde(default)]
    starts: Value,
}

/// Every slot and every start of the text is in the document: one that is read as if it were empty would
/// give rights away twice.
fn nothing_is_lost(text: &str, document: &Document) {
    // Not so for a number that no computer can hold, in a field of a slot that is not ours.
    let Ok(lists) = serde_json::from_str::<Lists>(text) else { return };
    let starts = &lists.starts;
    let all = lists.slots.is_array() && (starts.is_array() || starts.is_null());
    assert!(all, "a list was read as empty: {text}");
    let listed = |list: &Value| list.as_array().map_or(0, Vec::len);
    assert_eq!(document.slots.len(), listed(&lists.slots), "{text}");
    assert_eq!(document.starts.len(), listed(&lists.starts), "{text}");
    let written = lists.slots.as_array().into_iter().flatten();
    for (slot, written) in document.slots.iter().zip(written) {
        assert_eq!(Some(slot.run_uid.as_str()), written["runUID"].as_str());
        assert_eq!(Some(slot.node_uid.as_str()), written["nodeUID"].as_str());
    }
}

/// Of runs of which nothing is known, nothing is released, neither by a leader nor by the next one.
fn keeps(ledger: &Ledger) {
    let (nodes, none) = (BTreeMap::new(), BTreeSet::new());
    let known =
        Known { runs: &[], strays: &[], nodes: &nodes, in_doubt: &none, done: &none, now: now() };
    assert_eq!(releasable(ledger, &known), BTreeSet::new());
    let before: BTreeSet<_> = ledger.slots.iter().map(|slot| &slot.run_uid).collect();
    let recovered = recovered(ledger, &known, &none);
    assert_eq!(recovered.iter().map(|slot| &slot.run_uid).collect::<BTreeSet<_>>(), before);
    assert_eq!(recovered.len(), before.len(), "a run is there once");
    // What is written next: no slot goes by itself, starts are few and in order, and it settles.
    let change = Change { replace: Some(recovered), ..Change::default() };
    let next = ledger.after(&change, now());
    assert!(before.iter().all(|uid| next.holds(uid)));
    assert!(next.starts.len() <= 500 && next.starts.is_sorted());
    assert_eq!(next.after(&Change::default(), now()), next);
    for melting in [true, false] {
        let seen = next.meltdown.seen(melting, now());
        assert_eq!(seen.since.is_some(), melting);
        assert!(seen.ended.is_none_or(|ended| ended <= now()));
        assert_eq!(next.meltdown.and(seen), seen.and(next.meltdown));
    }
}
