//! The page of the format of scenarios, from the types that read them.

use std::fmt::Write;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use rerail_sim::world::{API_VERSION, Act, Fault, KIND, Scene};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;

use super::{
    GenerateError,
    reference::{cell, fields, finish, page, paragraph},
};

/// The whole page.
pub fn page_of_scenarios() -> Result<String, GenerateError> {
    let mut text = page("Scenario");
    paragraph(
        &mut text,
        "A cluster, and what happens in it, for `rerail simulate` and `rerail demo`; \
         [what it is for](../simulate.md), [examples](../../examples/scenarios). Fields that nobody knows are \
         refused. While `apiVersion` stays the same, fields are only added.",
    );
    paragraph(&mut text, &format!("`apiVersion: {API_VERSION}` · `kind: {KIND}`"));
    fields(&mut text, "", &props("Scenario", schema::<Scene>())?);
    paragraph(
        &mut text,
        "Names in `nodes` may have a `*`, which stands for anything. Durations are as in `10m` or `1h30m`; \
         where a duration may be a range, as in `20s..60s`, each time it is drawn. At most 10,000 machines and \
         300,000 Pods; nothing is later or takes longer than 30 days, and nothing happens again and again within \
         a second.",
    );
    variants(&mut text, "What can be done: `do`", &schema::<Act>())?;
    variants(&mut text, "What can go wrong with a machine: `do.fault.fault`", &schema::<Fault>())?;
    Ok(finish(text))
}

fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().root_schema_for::<T>().into()
}

fn props(what: &str, schema: Value) -> Result<JSONSchemaProps, GenerateError> {
    let failed = |error: serde_json::Error| GenerateError::NoSchema(format!("{what} ({error})"));
    serde_json::from_value(schema).map_err(failed)
}

/// A table with the fields of each of several things of which one is written.
fn variants(text: &mut String, title: &str, schema: &Value) -> Result<(), GenerateError> {
    let _ = write!(text, "## {title}\n\n");
    for variant in schema["oneOf"].as_array().into_iter().flatten() {
        let description = cell(variant["description"].as_str().unwrap_or_default());
        let described = |name: &str| format!("`{name}`: {description}");
        // Without fields of their own, several can stand in one list.
        let names = variant["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for name in names {
            paragraph(text, &described(name));
        }
        for (name, inner) in variant["properties"].as_object().into_iter().flatten() {
            paragraph(text, &described(name));
            fields(text, name, &props(name, inner.clone())?);
        }
    }
    Ok(())
}
