//! The custom resources as users meet them: described, bounded, and with the same defaults in the
//! schema, which the API server applies, and in Rust, which reads what was stored without them.

#![allow(
    clippy::unwrap_used,
    reason = "a test file; helpers outside #[test] functions count as code"
)]

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use rerail_api::{
    alert_source::AlertSourceSpec, crds, policy::RemediationPolicySpec,
    remediation::NodeRemediationSpec,
};
use serde_json::{Value, json};

fn schema(crd: &CustomResourceDefinition) -> &JSONSchemaProps {
    let version = crd.spec.versions.first().unwrap();
    version.schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap()
}

/// Every schema with its path; properties with whether they are required.
fn walk(path: &str, schema: &JSONSchemaProps, visit: &mut dyn FnMut(&str, &JSONSchemaProps, bool)) {
    let required = schema.required.as_deref().unwrap_or_default();
    for (name, property) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        visit(&path, property, required.contains(name));
        walk(&path, property, visit);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        walk(&format!("{path}[]"), items, visit);
    }
}

fn findings(find: impl Fn(&str, &JSONSchemaProps, bool) -> Option<String>) -> Vec<String> {
    let mut found = Vec::new();
    for crd in crds() {
        let kind = crd.spec.names.kind.clone();
        walk(&kind, schema(&crd), &mut |path, property, required| {
            found.extend(find(path, property, required).map(|what| format!("{path}: {what}")));
        });
    }
    found
}

#[test]
fn every_property_is_described_with_its_default_and_an_example() {
    let found = findings(|path, property, required| {
        let text = property.description.as_deref().unwrap_or_default();
        let root = path.matches('.').count() == 1;
        let leaf = property.properties.is_none() && property.items.is_none();
        match () {
            () if text.is_empty() => Some("no description".into()),
            () if root => None,
            () if !required && !text.contains("Default: ") => Some(format!("no default: {text}")),
            () if leaf && !text.contains("Example: ") => Some(format!("no example: {text}")),
            () => None,
        }
    });
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn formats_are_those_that_the_api_server_knows() {
    let found = findings(|_, property, _| {
        let format = property.format.as_deref()?;
        let known = ["int32", "int64", "date-time"];
        (!known.contains(&format)).then(|| format!("format {format}"))
    });
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn what_users_write_is_bounded() {
    let found = findings(|path, property, _| {
        if !path.contains(".spec.") {
            return None;
        }
        let free_text = property.type_.as_deref() == Some("string")
            && property.enum_.is_none()
            && property.max_length.is_none()
            && property.format.is_none();
        let list = property.items.is_some() && property.max_items.is_none();
        let map = property.additional_properties.is_some() && property.max_properties.is_none();
        (free_text || list || map).then(|| "no bound".to_owned())
    });
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn crds_stay_small_and_their_names_do_not_collide() {
    let mut names = Vec::new();
    for crd in crds() {
        let size = serde_json::to_string(&crd).unwrap().len();
        assert!(size < 200_000, "{}: {size} bytes", crd.spec.names.kind);
        let spec = crd.spec.names;
        names.push(spec.plural);
        names.extend(spec.singular);
        names.extend(spec.short_names.into_iter().flatten());
    }
    let count = names.len();
    assert_eq!(count, 9, "{names:?}");
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "{names:?}");
}

/// What the API server makes of a value: defaults where nothing is given, from the outside in.
fn defaulted(schema: &JSONSchemaProps, value: &mut Value) {
    if let (Some(properties), Some(fields)) = (&schema.properties, value.as_object_mut()) {
        for (name, property) in properties {
            if let (false, Some(default)) = (fields.contains_key(name), &property.default) {
                fields.insert(name.clone(), default.0.clone());
            }
            if let Some(field) = fields.get_mut(name) {
                defaulted(property, field);
            }
        }
    }
    if let (Some(JSONSchemaPropsOrArray::Schema(items)), Some(list)) =
        (&schema.items, value.as_array_mut())
    {
        for item in list {
            defaulted(items, item);
        }
    }
}

fn spec_schema(kind: &str) -> JSONSchemaProps {
    let crds = crds();
    let crd = crds.iter().find(|crd| crd.spec.names.kind == kind).unwrap();
    schema(crd).properties.as_ref().unwrap()["spec"].clone()
}

#[test]
fn rust_and_the_schema_have_the_same_defaults() {
    let condition = json!({ "condition": { "type": "KernelDeadlock" } });
    let least = json!({ "nodes": { "all": true }, "triggers": [condition] });
    let mut parts = least.clone();
    for part in ["priority", "budget", "breaker", "drain", "verify", "attempts"] {
        parts[part] = json!({});
    }
    parts["remedies"] = json!([{ "reboot": {} }]);
    parts["priority"]["ageing"] = json!({});
    parts["budget"]["maxStarts"] = json!({});
    let schema = spec_schema("RemediationPolicy");
    for given in [least, parts] {
        let mut stored = given.clone();
        defaulted(&schema, &mut stored);
        let read: RemediationPolicySpec = serde_json::from_value(given).unwrap();
        assert_eq!(read, serde_json::from_value(stored.clone()).unwrap());
        assert_eq!(serde_json::to_value(read).unwrap(), stored);
    }
}

#[test]
fn rust_and_the_schema_have_the_same_defaults_of_an_alert_source() {
    let schema = spec_schema("AlertSource");
    let alertmanager = json!({ "urls": ["http://am:9093"], "receiver": "node-condition-k8s" });
    for given in [
        json!({ "alertmanager": alertmanager, "access": {}, "deadmanAlert": "Watchdog" }),
        json!({ "prometheus": { "urls": ["http://p:9090"] } }),
    ] {
        let mut stored = given.clone();
        defaulted(&schema, &mut stored);
        let read: AlertSourceSpec = serde_json::from_value(given).unwrap();
        assert_eq!(read, serde_json::from_value(stored.clone()).unwrap());
        assert_eq!(serde_json::to_value(read).unwrap(), stored);
    }
}

#[test]
fn a_run_made_by_a_person_needs_three_fields() {
    let given = json!({ "nodeName": "a", "nodeUID": "b", "policyName": "c" });
    let mut stored = given.clone();
    defaulted(&spec_schema("NodeRemediation"), &mut stored);
    let read: NodeRemediationSpec = serde_json::from_value(given).unwrap();
    assert_eq!(read, serde_json::from_value(stored).unwrap());
    assert!(!read.cancel && read.cause.is_none() && read.requested_by.is_none());
}
