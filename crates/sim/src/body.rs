//! Bodies of answers. Objects in them are those of the store, shared: they are written as text once, and
//! not copied before.

use std::sync::Arc;

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

/// The body of an answer, or the object of an event of a watch.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// None.
    Nothing,
    /// Plain text.
    Text(String),
    /// JSON that was made for this answer.
    Made(Value),
    /// An object as it is stored.
    Stored(Arc<Value>),
    /// A list of objects as they are stored.
    List(Box<List>),
}

/// A list.
#[derive(Debug, Clone, PartialEq)]
pub struct List {
    /// Its kind.
    pub kind: String,
    /// Its version.
    pub api_version: String,
    /// Its metadata.
    pub metadata: Value,
    /// What is in it.
    pub items: Vec<Arc<Value>>,
    /// True when the items do not repeat their kind, as with the types of Kubernetes itself.
    pub bare: bool,
}

impl Body {
    /// What goes over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Body::Nothing => Vec::new(),
            Body::Text(text) => text.clone().into_bytes(),
            // Values and lists of them can always be written.
            json => serde_json::to_vec(json).unwrap_or_default(),
        }
    }

    /// The same as a value; a plain text is one, too.
    pub fn value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl From<Value> for Body {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Body::Nothing,
            Value::String(text) => Body::Text(text),
            value => Body::Made(value),
        }
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Body::Nothing => to.serialize_unit(),
            Body::Text(text) => to.serialize_str(text),
            Body::Made(value) => value.serialize(to),
            Body::Stored(object) => object.serialize(to),
            Body::List(list) => {
                let mut map = to.serialize_map(Some(4))?;
                map.serialize_entry("kind", &list.kind)?;
                map.serialize_entry("apiVersion", &list.api_version)?;
                map.serialize_entry("metadata", &list.metadata)?;
                map.serialize_entry("items", &Items(list))?;
                map.end()
            }
        }
    }
}

struct Items<'a>(&'a List);

impl Serialize for Items<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Items(list) = self;
        to.collect_seq(list.items.iter().map(|item| Item { object: item, bare: list.bare }))
    }
}

struct Item<'a> {
    object: &'a Value,
    bare: bool,
}

impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.object {
            Value::Object(fields) if self.bare => to.collect_map(
                fields.iter().filter(|(key, _)| *key != "kind" && *key != "apiVersion"),
            ),
            object => object.serialize(to),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_of_kubernetes_types_do_not_repeat_their_kind() {
        let item = Arc::new(json!({ "kind": "Node", "apiVersion": "v1", "spec": { "kind": "x" } }));
        let list = |bare| {
            let (kind, api_version) = ("NodeList".to_owned(), "v1".to_owned());
            let list =
                List { kind, api_version, metadata: json!({}), items: vec![item.clone()], bare };
            Body::List(Box::new(list))
        };
        assert_eq!(list(true).value()["items"], json!([{ "spec": { "kind": "x" } }]));
        assert_eq!(list(false).value()["items"][0], *item);
        let read: Value = serde_json::from_slice(&list(true).bytes()).unwrap();
        assert_eq!(read, list(true).value());
        assert!(Body::Nothing.bytes().is_empty());
        assert_eq!(Body::from(json!("ok")).bytes(), b"ok");
    }
}
