//! The kill switch: ConfigMap `rerail-pause`, one data key per entry, so that two people never
//! overwrite each other. Whatever cannot be read pauses everything: when in doubt do nothing.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use rerail_core::facts::{Pause, PauseScope, Pauses, cut_message};
use serde::Deserialize;

/// One entry: the JSON value of a data key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// `all`, `policy/NAME` or `node/NAME`.
    scope: String,
    by: String,
    reason: String,
    until: Option<Timestamp>,
}

/// Reads the kill switch; `None` = there is no such ConfigMap, and nothing is paused.
pub fn pauses(config_map: Option<&ConfigMap>) -> Pauses {
    let Some(data) = config_map.and_then(|config_map| config_map.data.as_ref()) else {
        return Pauses::default();
    };
    Pauses(data.iter().map(|(key, text)| pause(key, text)).collect())
}

fn pause(key: &str, text: &str) -> Pause {
    let unreadable = |why: String| Pause {
        scope: PauseScope::All,
        text: cut_message(&format!(
            "rerail-pause, entry {key}: an unreadable entry pauses everything: {why}"
        ))
        .to_owned(),
        until: None,
    };
    let entry: Entry = match serde_json::from_str(text) {
        Ok(entry) => entry,
        Err(error) => {
            return unreadable(format!(
                "not `{{\"scope\", \"by\", \"reason\", \"until\"}}`: {error}"
            ));
        }
    };
    let scope = match entry.scope.split_once('/') {
        None if entry.scope == "all" => PauseScope::All,
        Some(("policy", name)) if !name.is_empty() => PauseScope::Policy(name.to_owned()),
        Some(("node", name)) if !name.is_empty() => PauseScope::Node(name.to_owned()),
        _ => {
            return unreadable(format!(
                "scope `{}` is not all, policy/NAME or node/NAME",
                entry.scope
            ));
        }
    };
    let until = entry.until.map_or(String::new(), |until| format!(" until {until}"));
    let text = format!("paused by {}{until}: {}", entry.by, entry.reason);
    Pause { scope, text: cut_message(&text).to_owned(), until: entry.until }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(text: &str) -> Pause {
        let data = BTreeMap::from([("jane".to_owned(), text.to_owned())]);
        pauses(Some(&ConfigMap { data: Some(data), ..ConfigMap::default() })).0.remove(0)
    }

    #[test]
    fn reads_scopes_and_ends() {
        let pause = read(
            r#"{"scope":"policy/a","by":"jane","reason":"audit","until":"2026-01-01T00:00:00Z"}"#,
        );
        assert_eq!(pause.scope, PauseScope::Policy("a".into()));
        assert_eq!(pause.text, "paused by jane until 2026-01-01T00:00:00Z: audit");
        let pause = read(r#"{"scope":"node/n1","by":"jane","reason":"x"}"#);
        assert_eq!((pause.scope, pause.until), (PauseScope::Node("n1".into()), None));
    }

    #[test]
    fn whatever_cannot_be_read_pauses_everything() {
        let bad = [
            "",
            "yes",
            "{}",
            r#"{"scope":"rack/a","by":"j","reason":"r"}"#,
            r#"{"scope":"policy/","by":"j","reason":"r"}"#,
            r#"{"scope":"all","by":"j","reason":"r","until":"tomorrow"}"#,
            r#"{"scope":"node/a","by":"j","reason":"r","til":1}"#,
        ];
        for text in bad {
            let pause = read(text);
            assert_eq!((pause.scope, pause.until), (PauseScope::All, None), "{text}");
            assert!(pause.text.contains("entry jane"), "{}", pause.text);
        }
        assert_eq!(pauses(None), Pauses::default());
    }
}
