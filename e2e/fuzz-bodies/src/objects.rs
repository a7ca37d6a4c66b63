//! How an input becomes a custom resource. It is either the object, in JSON, or says what is other than in
//! a good object, line by line: a JSON pointer, a blank, and a value in JSON or, where it is none, a text.
//! Without a value the place is removed. So most inputs are nearly good, and reach deep.

use kube::core::DynamicObject;
use rerail_core::budget::CountOrPercent;
use rerail_operator::observe::objects::{Entry, read};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::said::said;

/// How deep a pointer may point, and how many lines are followed; it is about values, not about size.
const DEPTH: usize = 16;
const EDITS: usize = 64;

/// A good object, from YAML.
pub fn good(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_default()
}

/// Splits an input that is about several objects: the lines that begin with `mark`, without it, and the
/// rest.
pub fn split(input: &str, mark: char) -> (String, String) {
    let (mut marked, mut rest) = (String::new(), String::new());
    for line in input.split('\n') {
        let (into, line) = match line.strip_prefix(mark) {
            Some(line) => (&mut marked, line),
            None => (&mut rest, line),
        };
        into.push_str(line);
        into.push('\n');
    }
    (marked, rest)
}

/// The object that an input stands for.
pub fn object(good: &Value, input: &str) -> Option<Value> {
    if input.starts_with('{') {
        return serde_json::from_str(input).ok();
    }
    let mut object = good.clone();
    for line in input.split('\n').filter(|line| line.starts_with('/')).take(EDITS) {
        let (pointer, value) = line.split_once(' ').unwrap_or((line, ""));
        let value = match value {
            "" => None,
            text => Some(serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))),
        };
        let parts: Vec<&str> = pointer.split('/').skip(1).take(DEPTH).collect();
        edit(&mut object, &parts, value);
    }
    Some(object)
}

fn edit(place: &mut Value, parts: &[&str], value: Option<Value>) {
    let [part, rest @ ..] = parts else {
        *place = value.unwrap_or_default();
        return;
    };
    let remove = value.is_none() && rest.is_empty();
    if let Value::Array(list) = place {
        let at = part.parse::<usize>().map_or(list.len(), |at| at.min(list.len()));
        if remove {
            list.drain(at..list.len().min(at + 1));
            return;
        }
        if at == list.len() {
            list.push(Value::Null);
        }
        return edit(&mut list[at], rest, value);
    }
    if !place.is_object() {
        *place = Value::Object(Map::new());
    }
    if let Value::Object(fields) = place {
        // As JSON pointers have it.
        let name = part.replace("~1", "/").replace("~0", "~");
        if remove {
            fields.remove(&name);
        } else {
            edit(fields.entry(name).or_insert_with(|| Value::Object(Map::new())), rest, value);
        }
    }
}

/// The object as the operator reads it. What is not even an object of Kubernetes is the watch's affair, and
/// nothing of it comes to us.
pub fn stored<K>(object: &Value) -> Option<K>
where
    K: DeserializeOwned + Serialize + Clone,
{
    let mut untyped: DynamicObject = serde_json::from_str(&object.to_string()).ok()?;
    // Of names the API server takes no others.
    untyped.metadata.name = Some("a-name".to_owned());
    match read::<K>(&untyped) {
        Entry::Malformed(malformed) => {
            said(&malformed.error);
            None
        }
        Entry::Good(read) => {
            written_and_read_again(&*read);
            Some((*read).clone())
        }
    }
}

/// Asserts that what is written of an object is read again, and says the same.
pub fn written_and_read_again<K: Serialize + DeserializeOwned>(object: &K) {
    let text = serde_json::to_string(object).unwrap_or_default();
    let again = serde_json::from_str::<K>(&text).map(|again| serde_json::to_string(&again));
    assert!(
        matches!(&again, Ok(Ok(again)) if *again == text),
        "written: {text}\nread and written again: {again:?}"
    );
}

/// Asserts that the words at a pointer are among those that are known: what is read must not stand for
/// something that its writer did not say. `*` is every element of a list.
pub fn words_are_known(object: &Value, pointer: &str, known: &[&str]) {
    for word in at(object, pointer) {
        let word = word.as_str().unwrap_or_default();
        assert!(known.contains(&word), "{pointer}: `{word}` was read as if it were known");
    }
}

fn at<'a>(object: &'a Value, pointer: &str) -> Vec<&'a Value> {
    let mut found = vec![object];
    for part in pointer.split('/').skip(1) {
        found = found
            .into_iter()
            .flat_map(|value| match (part, value) {
                ("*", Value::Array(all)) => all.iter().collect(),
                (name, value) => value.get(name).into_iter().collect::<Vec<_>>(),
            })
            .filter(|value| !value.is_null())
            .collect();
    }
    found
}

/// A number of nodes or a percentage is what is written, where something is.
pub(crate) fn limit_is_written(written: Option<&Value>, limit: CountOrPercent) {
    let read = match written {
        None | Some(Value::Null) => return,
        Some(Value::Number(count)) => count.as_u64().map(|count| (count, false)),
        Some(Value::String(text)) => match text.strip_suffix('%') {
            Some(percent) => percent.parse().ok().map(|percent| (percent, true)),
            None => text.parse().ok().map(|count| (count, false)),
        },
        Some(other) => panic!("{other} was read as {limit:?}"),
    };
    let limit = match limit {
        CountOrPercent::Count(count) => (u64::from(count), false),
        CountOrPercent::Percent(percent) => (u64::from(percent), true),
    };
    assert_eq!(read, Some(limit), "{written:?}");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_change_a_good_object() {
        let good = json!({ "a": { "b": 1, "c": [1, 2] }, "d": "x" });
        let input =
            "/a/b 7\nnothing\n/a/c/0\n/a/c/9 {\"e\":true}\n/d two words\n/f~1g/h null\n/a/x/y z";
        let expected = json!({ "a": { "b": 7, "c": [2, { "e": true }], "x": { "y": "z" } },
            "d": "two words", "f/g": { "h": null } });
        assert_eq!(object(&good, input), Some(expected));
        assert_eq!(object(&good, "{\"a\":1}"), Some(json!({ "a": 1 })));
        assert_eq!(object(&good, "{"), None);
        assert_eq!(split("@/a 1\n/b 2", '@'), ("/a 1\n".into(), "/b 2\n".into()));
    }
}
