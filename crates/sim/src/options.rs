//! The options of writes that are refused before anything is looked at.

use http::Method;
use serde_json::{Value, json};

use crate::{
    handle::Call,
    status::{Failure, FieldError, Outcome},
};

/// Refuses options that the real server does not know.
pub fn check(method: &Method, call: &Call<'_>) -> Outcome<()> {
    let kind = match method.as_str() {
        "POST" => "CreateOptions",
        "PUT" => "UpdateOptions",
        "PATCH" => "PatchOptions",
        "DELETE" => "DeleteOptions",
        _ => return Ok(()),
    };
    let refuse = |field: &str, value: Value, allowed: &[&str]| {
        let allowed: Vec<Value> = allowed.iter().map(|text| json!(text)).collect();
        Err(Failure::invalid_query(kind, FieldError::unsupported(field, &value, &allowed)))
    };
    if let Some(text) = call.query.get("dryRun").filter(|text| *text != "All") {
        return refuse("dryRun", json!([text]), &["All"]);
    }
    if let Some(text) = call.query.get("fieldValidation")
        && method != Method::DELETE
        && !["Ignore", "Strict", "Warn"].contains(&text)
    {
        return refuse("fieldValidation", json!(text), &["", "Ignore", "Strict", "Warn"]);
    }
    let policies = ["Foreground", "Background", "Orphan"];
    if let Some(text) = call.query.get("propagationPolicy").filter(|text| !policies.contains(text))
    {
        return refuse(
            "propagationPolicy",
            json!(text),
            &["Foreground", "Background", "Orphan", "nil"],
        );
    }
    number(call, "gracePeriodSeconds").map(|_| ())
}

/// A number of the query, in the words in which the real server refuses it.
pub fn number(call: &Call<'_>, name: &str) -> Outcome<Option<i64>> {
    let Some(text) = call.query.get(name) else { return Ok(None) };
    let number = text.parse::<i64>().map(Some);
    number.map_err(|_| {
        Failure::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
    })
}
