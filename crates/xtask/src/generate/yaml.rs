//! Kubernetes objects as YAML with our mark on top.

use serde::Serialize;

use super::{GenerateError, MARK};

/// One object as YAML.
pub fn object(what: &str, object: &impl Serialize) -> Result<String, GenerateError> {
    serde_saphyr::to_string(object)
        .map_err(|source| GenerateError::Yaml { what: what.to_owned(), source })
}

/// A file of one or more objects.
pub fn document(objects: &[String]) -> String {
    let objects: Vec<&str> = objects.iter().map(|object| object.trim_end()).collect();
    format!("# {MARK}\n{}\n", objects.join("\n---\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn awkward_strings_come_back_as_they_were() {
        let value = json!({
            "status": ["True", "no", "on", "null", "~", "1", "0x10", "1e3", "10%", "12:30", "2026-01-01", ""],
            "pattern": "^\\[P([0-9]{1,4})\\]( |$)",
            "rule": format!("!has(oldSelf.status) || {}", "self.status.epoch > oldSelf.status.epoch || ".repeat(4)),
            "text": "first line\n  indented\n\nlast: line # no comment\n",
            "spaces": format!(" leading {} trailing ", "word  ".repeat(30)),
            "empty": {},
            "none": [],
        });
        let text = object("test", &value).unwrap();
        let back: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(back, value, "{text}");
    }

    #[test]
    fn several_objects_are_separated() {
        let text = document(&["a: 1\n".into(), "b: 2\n".into()]);
        assert_eq!(text, format!("# {MARK}\na: 1\n---\nb: 2\n"));
    }
}
