//! Events of the core group and of `events.k8s.io` are one object in two forms
//! (`kubernetes/pkg/apis/events/v1/conversion.go`).

use serde_json::{Map, Value, json};

/// Field of the core form, and its name in the new form.
const FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// From `events.k8s.io/v1` to `v1`.
pub fn to_core(event: Value) -> Value {
    renamed(event, "v1", |(core, new)| (new, core))
}

/// From `v1` to `events.k8s.io/v1`.
pub fn to_new(event: &Value) -> Value {
    let mut event = renamed(event.clone(), "events.k8s.io/v1", |(core, new)| (core, new));
    if let Some(map) = event.as_object_mut() {
        // What the old type always writes, the new one leaves out when it is empty.
        map.retain(|key, value| {
            !(matches!(key.as_str(), "reportingController" | "reportingInstance") && value == "")
        });
    }
    event
}

fn renamed(
    event: Value,
    version: &str,
    direction: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str),
) -> Value {
    let Value::Object(map) = event else { return event };
    let mut result = Map::new();
    for (key, value) in map {
        let name = FIELDS.iter().map(|pair| direction(*pair)).find(|(from, _)| *from == key);
        result.insert(name.map_or(key, |(_, to)| to.to_owned()), value);
    }
    result.insert("apiVersion".to_owned(), json!(version));
    Value::Object(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_hold_the_same() {
        let new = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "e" },
            "regarding": { "kind": "Node" }, "note": "n", "reportingController": "c", "action": "a",
        });
        let core = to_core(new.clone());
        assert_eq!((&core["apiVersion"], &core["message"]), (&json!("v1"), &json!("n")));
        assert_eq!(core["involvedObject"]["kind"], "Node");
        assert_eq!(to_new(&core), new);
    }
}
