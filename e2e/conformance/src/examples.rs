//! The files of `examples/` and `examples/invalid/` as cases: what is refused, and in which words.
//!
//! As the scenarios do it: a file with one document is created; of one with two the first is there, and the second, as
//! a merge patch, is the change.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::case::{Act, Case, PatchType, Step};
use crate::{Error, files::files_in};

const STRICT: &str = "fieldValidation=Strict";

/// One case for each file.
///
/// # Errors
/// If a file cannot be read, or is no object of ours.
pub fn examples() -> Result<Vec<Case>, Error> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut cases = Vec::new();
    for folder in [root.clone(), root.join("invalid")] {
        for file in files_in(&folder, "yaml")? {
            cases.push(example(&file)?);
        }
    }
    Ok(cases)
}

fn example(file: &Path) -> Result<Case, Error> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let name = format!("examples/{stem}");
    let text = std::fs::read_to_string(file).map_err(Error::file(file))?;
    let documents = text.split("\n---\n").map(|text| {
        let object = serde_saphyr::from_str::<Map<String, Value>>(text);
        object.map_err(|error| Error::script(&name, error.to_string()))
    });
    let mut documents: Vec<Map<String, Value>> = documents.collect::<Result<_, _>>()?;
    let change = if documents.len() > 1 { documents.pop() } else { None };
    let first = documents.pop().ok_or_else(|| Error::script(&name, "no document"))?;
    let plural = match first.get("kind").and_then(Value::as_str) {
        Some("NodeRemediation") => "noderemediations",
        Some("RemediationPolicy") => "remediationpolicies",
        Some("AlertSource") => "alertsources",
        _ => return Err(Error::script(&name, "no object of ours")),
    };
    let path = format!("/apis/rerail.dev/v1alpha1/{plural}");
    let object = first.get("metadata").and_then(|metadata| metadata["name"].as_str());
    let object = format!("{path}/{}", object.unwrap_or_default());
    let status = first.get("status").map(|status| json!({ "status": status }));
    let mut steps = Vec::new();
    match change {
        None => {
            let path = format!("{path}?dryRun=All&{STRICT}");
            steps.push(step(Act::Method("POST"), path, Value::Object(first)));
        }
        Some(mut change) => {
            change.remove("metadata");
            let merge = Act::Patch(PatchType::Merge);
            steps.push(step(Act::Method("POST"), format!("{path}?{STRICT}"), Value::Object(first)));
            if let Some(status) = status {
                steps.push(step(merge, format!("{object}/status?{STRICT}"), status));
            }
            let sub = if change.contains_key("status") { "/status" } else { "" };
            steps.push(step(merge, format!("{object}{sub}?{STRICT}"), Value::Object(change)));
        }
    }
    Ok(Case { name, steps })
}

fn step(act: Act, path: String, body: Value) -> Step {
    Step {
        act,
        path,
        body: Some(body),
        text: None,
        content_type: None,
        accept: None,
        keep: Default::default(),
        ignore: Vec::new(),
        only: None,
        events: None,
        during: Vec::new(),
    }
}
