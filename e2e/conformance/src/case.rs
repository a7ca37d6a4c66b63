//! Cases: small scripts of requests, in `cases/*.yaml`.
//!
//! A file maps names of cases to cases. A case is a list of steps, or a map with `why` and `steps`. A step is a map
//! with one key that names the request and whose value is its path; the others are optional:
//!
//! | key | meaning |
//! |---|---|
//! | `get`, `post`, `put`, `delete` | the method |
//! | `json`, `merge`, `strategic`, `apply` | PATCH with a patch of this type |
//! | `watch` | GET that is read line by line |
//! | `body` | sent as JSON |
//! | `text` | sent as it is |
//! | `type` | another Content-Type |
//! | `accept` | `table`, `metadata`, `metadata-list`, or an Accept header |
//! | `keep` | variable: JSON pointer into the answer; later steps write `${variable}` |
//! | `ignore` | JSON pointers into the answer that are not compared |
//! | `only` | `status`: nothing but the status code is compared; a pointer: only this part of the body |
//! | | a segment `[key=value]` of a pointer means the first item of a list that has it |
//! | `events` | of a watch: how many are read; without it, until the server ends the watch |
//! | `during` | of a watch: steps that are done once it is open, before it is read |
//!
//! `${id}` is the name of the case in letters that a name may have, and a namespace of that name exists when a case
//! mentions `${ns}`. Cases share a server, so the names of their objects must be theirs alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::{Error, files::files_in};

/// A script.
#[derive(Debug, Clone)]
pub struct Case {
    /// `file/name`.
    pub name: String,
    /// What it does, in order.
    pub steps: Vec<Step>,
}

/// One request and what is compared of its answer.
#[derive(Debug, Clone)]
pub struct Step {
    /// What is asked.
    pub act: Act,
    /// Path and query.
    pub path: String,
    /// Sent as JSON.
    pub body: Option<Value>,
    /// Sent as it is.
    pub text: Option<String>,
    /// The Content-Type, if not the usual one.
    pub content_type: Option<String>,
    /// The Accept header.
    pub accept: Option<String>,
    /// Variables and the JSON pointers of their values.
    pub keep: BTreeMap<String, String>,
    /// JSON pointers that are not compared.
    pub ignore: Vec<String>,
    /// `status`, or the JSON pointer of all that is compared.
    pub only: Option<String>,
    /// How many events of a watch are read.
    pub events: Option<usize>,
    /// What is done while a watch is open.
    pub during: Vec<Step>,
}

/// What a step asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// GET, POST, PUT or DELETE.
    Method(&'static str),
    /// PATCH, of a type.
    Patch(PatchType),
    /// GET, line by line.
    Watch,
}

/// The types of patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own.
    Strategic,
    /// Server-side apply.
    Apply,
}

impl PatchType {
    /// Its name in scripts and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Merge => "merge",
            Self::Strategic => "strategic",
            Self::Apply => "apply",
        }
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json-patch+json",
            Self::Merge => "application/merge-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
            Self::Apply => "application/apply-patch+yaml",
        }
    }
}

impl Act {
    const ALL: [(&'static str, Self); 9] = [
        ("get", Self::Method("GET")),
        ("post", Self::Method("POST")),
        ("put", Self::Method("PUT")),
        ("delete", Self::Method("DELETE")),
        ("json", Self::Patch(PatchType::Json)),
        ("merge", Self::Patch(PatchType::Merge)),
        ("strategic", Self::Patch(PatchType::Strategic)),
        ("apply", Self::Patch(PatchType::Apply)),
        ("watch", Self::Watch),
    ];

    /// The HTTP method.
    pub fn method(self) -> &'static str {
        match self {
            Self::Method(method) => method,
            Self::Patch(_) => "PATCH",
            Self::Watch => "GET",
        }
    }
}

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,\
                     application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// Where the scripts are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

/// Every case: those of the scripts, file by file and name by name, then the examples.
///
/// # Errors
/// If a script cannot be read.
pub fn cases() -> Result<Vec<Case>, Error> {
    let mut cases = Vec::new();
    for file in files_in(&folder(), "yaml")? {
        let text = std::fs::read_to_string(&file).map_err(Error::file(&file))?;
        let group = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        cases.extend(parse(&group, &text)?);
    }
    cases.extend(crate::examples::examples()?);
    Ok(cases)
}

/// The cases of one file.
///
/// # Errors
/// If the text is no script.
pub fn parse(group: &str, text: &str) -> Result<Vec<Case>, Error> {
    let bad = |what: String| Error::script(group, what);
    let file: Map<String, Value> =
        serde_saphyr::from_str(text).map_err(|error| bad(error.to_string()))?;
    file.into_iter().map(|(name, value)| case(format!("{group}/{name}"), value)).collect()
}

fn case(name: String, value: Value) -> Result<Case, Error> {
    let steps = match value {
        Value::Object(mut map) => map.remove("steps").unwrap_or_default(),
        other => other,
    };
    let steps = steps_of(&name, steps)?;
    if steps.is_empty() {
        return Err(Error::script(&name, "a case without steps"));
    }
    Ok(Case { name, steps })
}

fn steps_of(place: &str, value: Value) -> Result<Vec<Step>, Error> {
    let Value::Array(steps) = value else {
        return Err(Error::script(place, "steps are a list"));
    };
    let numbered = steps.into_iter().enumerate();
    numbered
        .map(|(index, step)| parse_step(&format!("{place}, step {}", index + 1), step))
        .collect()
}

fn parse_step(place: &str, value: Value) -> Result<Step, Error> {
    let Value::Object(mut map) = value else {
        return Err(Error::script(place, "a step is a map"));
    };
    let mut asked = Act::ALL.iter().filter_map(|(key, act)| Some((*act, map.remove(*key)?)));
    let (act, path) = asked.next().ok_or_else(|| Error::script(place, "names no request"))?;
    if asked.next().is_some() {
        return Err(Error::script(place, "names two requests"));
    }
    drop(asked);
    let text = |value: Value| match value {
        Value::String(text) => Ok(text),
        other => Err(Error::script(place, format!("{other} must be a text"))),
    };
    let mut take = |key: &str| map.remove(key).map(text).transpose();
    let (plain, content_type, only) = (take("text")?, take("type")?, take("only")?);
    let accept = take("accept")?.map(|accept| match accept.as_str() {
        "table" => TABLE.to_owned(),
        "metadata" => METADATA.to_owned(),
        "metadata-list" => METADATA_LIST.to_owned(),
        _ => accept,
    });
    let keep = match map.remove("keep") {
        Some(Value::Object(keep)) => {
            keep.into_iter().map(|(name, value)| Ok((name, text(value)?))).collect()
        }
        None => Ok(BTreeMap::new()),
        Some(_) => Err(Error::script(place, "`keep` is a map")),
    };
    let ignore = match map.remove("ignore") {
        Some(Value::Array(list)) => list.into_iter().map(text).collect(),
        None => Ok(Vec::new()),
        Some(_) => Err(Error::script(place, "`ignore` is a list")),
    };
    let during = map.remove("during").unwrap_or_else(|| Value::Array(Vec::new()));
    let step = Step {
        act,
        path: text(path)?,
        body: map.remove("body"),
        text: plain,
        content_type,
        accept,
        keep: keep?,
        ignore: ignore?,
        only,
        events: map.remove("events").and_then(|n| usize::try_from(n.as_u64()?).ok()),
        during: steps_of(place, during)?,
    };
    match map.keys().next() {
        Some(key) => Err(Error::script(place, format!("nothing reads the key `{key}`"))),
        None => Ok(step),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_script() {
        let text = "a:\n- post: /x\n  body: { b: 1 }\n  keep: { c: /d }\n- watch: /y\n  events: 2\n  \
                    during:\n  - merge: /z\n    body: {}\n";
        let cases = parse("file", text).unwrap();
        assert_eq!(cases.len(), 1);
        let steps = &cases[0].steps;
        assert_eq!(cases[0].name, "file/a");
        assert_eq!(steps[0].act, Act::Method("POST"));
        assert_eq!(steps[0].keep.get("c").map(String::as_str), Some("/d"));
        assert_eq!(steps[1].events, Some(2));
        assert_eq!(steps[1].during[0].act, Act::Patch(PatchType::Merge));
    }

    #[test]
    fn what_no_step_can_mean_is_refused_with_its_place() {
        for (text, expected) in [
            ("a: []", "file/a: a case without steps"),
            ("a:\n- body: {}", "file/a, step 1: names no request"),
            ("a:\n- { get: /x, put: /x }", "file/a, step 1: names two requests"),
            ("a:\n- { get: /x, onyl: status }", "file/a, step 1: nothing reads the key `onyl`"),
            ("a:\n- { get: 7 }", "file/a, step 1: 7 must be a text"),
        ] {
            assert_eq!(parse("file", text).unwrap_err().to_string(), expected);
        }
    }
}
