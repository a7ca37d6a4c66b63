//! Label and field selectors, and the label selectors inside of objects.

use serde_json::Value;

use crate::{
    meta,
    resource::Resource,
    status::{Failure, Outcome},
};

/// One requirement of a label selector.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Need {
    Exists(String),
    Absent(String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
}

impl Need {
    fn holds<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> bool {
        let among = |all: &[String], value: &str| all.iter().any(|known| known == value);
        match self {
            Need::Exists(key) => value(key).is_some(),
            Need::Absent(key) => value(key).is_none(),
            Need::In(key, all) => value(key).is_some_and(|value| among(all, value)),
            Need::NotIn(key, all) => value(key).is_none_or(|value| !among(all, value)),
        }
    }
}

/// A label selector; an empty one selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(Vec<Need>);

impl Labels {
    /// Reads `labelSelector`.
    pub fn parse(text: Option<&str>) -> Outcome<Self> {
        let Some(text) = text else { return Ok(Labels::default()) };
        let all: Outcome<Vec<Need>> = split(text).into_iter().map(need).collect();
        all.map(Labels)
    }

    /// Reads a `metav1.LabelSelector`; `None` for one that cannot be read. Null selects nothing, as the
    /// policy API says.
    pub fn of_object(selector: &Value) -> Option<Self> {
        let selector = selector.as_object()?;
        let mut needs = Vec::new();
        if let Some(labels) = selector.get("matchLabels").and_then(Value::as_object) {
            for (key, value) in labels {
                needs.push(Need::In(key.clone(), vec![value.as_str()?.to_owned()]));
            }
        }
        for expression in
            selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten()
        {
            let key = expression.get("key")?.as_str()?.to_owned();
            let values = expression.get("values").and_then(Value::as_array);
            let values: Vec<String> = values
                .into_iter()
                .flatten()
                .filter_map(|v| v.as_str().map(str::to_owned))
                .collect();
            needs.push(match expression.get("operator")?.as_str()? {
                "In" => Need::In(key, values),
                "NotIn" => Need::NotIn(key, values),
                "Exists" => Need::Exists(key),
                "DoesNotExist" => Need::Absent(key),
                _ => return None,
            });
        }
        Some(Labels(needs))
    }

    /// True when the object's labels fulfil every requirement.
    pub fn matches(&self, object: &Value) -> bool {
        let label = |key: &str| {
            let label = object.get("metadata")?.get("labels")?.get(key)?;
            label.as_str()
        };
        self.0.iter().all(|need| need.holds(label))
    }

    /// True when it selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A `metav1.LabelSelector` as Go shows it: in one line, sorted by keys.
pub(crate) fn shown(selector: &Value) -> String {
    let mut all: Vec<(&str, String)> = Vec::new();
    for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten()
    {
        all.push((key, format!("{key}={}", value.as_str().unwrap_or_default())));
    }
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    for expression in expressions.into_iter().flatten() {
        let key = meta::text(expression, &["key"]);
        let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
        let mut values: Vec<&str> = values.filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let text = match meta::text(expression, &["operator"]) {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        };
        all.push((key, text));
    }
    all.sort_by(|one, other| one.0.cmp(other.0));
    all.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

/// Splits at commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn need(part: &str) -> Outcome<Need> {
    if let Some(key) = part.strip_prefix('!') {
        return Ok(Need::Absent(key.trim().to_owned()));
    }
    for (word, negated) in [(" notin ", true), (" in ", false)] {
        let Some((key, list)) = part.split_once(word).or_else(|| {
            part.split_once(&format!("{}(", word.trim_end())).map(|(key, _)| {
                let at = part.find('(').unwrap_or(part.len());
                (key, &part[at..])
            })
        }) else {
            continue;
        };
        let list = list.trim();
        if !list.starts_with('(') {
            let word = list.split([' ', ',', '(']).next().unwrap_or_default();
            let message = format!("unable to parse requirement: found '{word}' expected: '('");
            return Err(Failure::bad_request(message));
        }
        let values = list.strip_prefix('(').and_then(|list| list.strip_suffix(')'));
        let Some(values) = values else {
            let message = "unable to parse requirement: found '', expected: ',', ')' or identifier";
            return Err(Failure::bad_request(message));
        };
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        let key = key.trim().to_owned();
        return Ok(if negated { Need::NotIn(key, values) } else { Need::In(key, values) });
    }
    for (sign, negated) in [("!=", true), ("==", false), ("=", false)] {
        if let Some((key, value)) = part.split_once(sign) {
            let (key, values) = (key.trim().to_owned(), vec![value.trim().to_owned()]);
            return Ok(if negated { Need::NotIn(key, values) } else { Need::In(key, values) });
        }
    }
    if part.contains(['<', '>', ' ', '(', ')']) {
        return Err(Failure::not_simulated(format!("the label selector `{part}`")));
    }
    Ok(Need::Exists(part.to_owned()))
}

/// A field selector; an empty one selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, String, bool)>);

impl Fields {
    /// Reads `fieldSelector` for a resource; a field that it cannot be selected by is refused.
    pub fn parse(text: Option<&str>, resource: &Resource) -> Outcome<Self> {
        let mut all = Vec::new();
        for part in text.unwrap_or_default().split(',').filter(|part| !part.is_empty()) {
            let (field, value, equal) = if let Some((field, value)) = part.split_once("!=") {
                (field, value, false)
            } else if let Some((field, value)) = part.split_once("==") {
                (field, value, true)
            } else if let Some((field, value)) = part.split_once('=') {
                (field, value, true)
            } else {
                let whole = text.unwrap_or_default();
                let message = format!("invalid selector: '{whole}'; can't understand '{part}'");
                return Err(Failure::bad_request(message));
            };
            supported(resource, field)?;
            all.push((field.to_owned(), value.to_owned(), equal));
        }
        Ok(Fields(all))
    }

    /// The name that the selector asks for, if it asks for one.
    pub fn name(&self) -> Option<&str> {
        let (_, value, _) = self.0.iter().find(|(f, _, equal)| *equal && f == "metadata.name")?;
        Some(value)
    }

    /// True when the object's fields fulfil every requirement.
    pub fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(field, wanted, equal)| (value_of(object, field) == *wanted) == *equal)
    }

    /// True when it selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn supported(resource: &Resource, field: &str) -> Outcome<()> {
    let common = field == "metadata.name" || field == "metadata.namespace";
    if common || resource.selectable.iter().any(|known| known == field) {
        return Ok(());
    }
    if resource.selectable.is_empty() && !resource.is_custom() {
        return Err(Failure::bad_request(format!(
            "\"{field}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        )));
    }
    Err(Failure::bad_request(format!("field label not supported: {field}")))
}

/// The value of a field as selectors see it: empty when it is not there.
fn value_of(object: &Value, field: &str) -> String {
    // An absent flag is false to the real server, whose types have no absent flags.
    let absent = match field {
        "spec.unschedulable" | "spec.hostNetwork" => "false",
        _ => "",
    };
    if field == "source" {
        return meta::text(object, &["source", "component"]).to_owned();
    }
    let mut value = object;
    for key in field.split('.') {
        match value.get(key) {
            Some(inner) => value = inner,
            None => return absent.to_owned(),
        }
    }
    match value {
        Value::String(text) => text.clone(),
        Value::Null => absent.to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::of_kubernetes;

    fn labels(text: &str, object: &Value) -> bool {
        Labels::parse(Some(text)).unwrap().matches(object)
    }

    #[test]
    fn label_selectors_select() {
        let object = json!({ "metadata": { "labels": { "app": "web", "tier": "" } } });
        for text in [
            "app=web",
            "app==web,tier",
            "app in (db, web)",
            "app notin (db)",
            "!x",
            "x!=y",
            "tier=",
        ] {
            assert!(labels(text, &object), "{text}");
        }
        for text in ["app!=web", "!app", "app in (db)", "x", "x=", "app notin (web)"] {
            assert!(!labels(text, &object), "{text}");
        }
        assert!(Labels::parse(None).unwrap().is_empty());
        assert_eq!(Labels::parse(Some("a in (")).unwrap_err().code, 400);
        let refused = Labels::parse(Some("app in web")).unwrap_err();
        assert_eq!(refused.message, "unable to parse requirement: found 'web' expected: '('");
        assert_eq!(Labels::parse(Some("a>5")).unwrap_err().code, 501, "loud, not wrong");
    }

    #[test]
    fn a_selector_object_without_needs_selects_everything_and_null_nothing() {
        let pod = json!({ "metadata": { "labels": { "app": "web" } } });
        let of = |selector: Value| Labels::of_object(&selector).map(|labels| labels.matches(&pod));
        assert_eq!(of(json!({})), Some(true));
        assert_eq!(of(Value::Null), None);
        assert_eq!(of(json!({ "matchLabels": { "app": "db" } })), Some(false));
        let in_web =
            json!({ "matchExpressions": [{ "key": "app", "operator": "In", "values": ["web"] }] });
        assert_eq!(of(in_web), Some(true));
    }

    #[test]
    fn field_selectors_know_what_a_resource_can_be_selected_by() {
        let all = of_kubernetes();
        let of = |plural: &str| all.iter().find(|resource| resource.plural == plural).unwrap();
        let pods =
            Fields::parse(Some("spec.nodeName=n1,status.phase!=Failed"), of("pods")).unwrap();
        assert!(
            pods.matches(
                &json!({ "spec": { "nodeName": "n1" }, "status": { "phase": "Running" } })
            )
        );
        assert!(!pods.matches(&json!({ "spec": {}, "status": { "phase": "Running" } })));
        let nodes = Fields::parse(Some("spec.unschedulable=false"), of("nodes")).unwrap();
        assert!(nodes.matches(&json!({ "spec": {} })));
        let message = |text, plural| Fields::parse(Some(text), of(plural)).unwrap_err().message;
        assert_eq!(message("spec.foo=x", "nodes"), "field label not supported: spec.foo");
        assert_eq!(
            message("spec.foo=x", "leases"),
            "\"spec.foo\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
        assert_eq!(
            message("nonsense", "nodes"),
            "invalid selector: 'nonsense'; can't understand 'nonsense'"
        );
    }
}
