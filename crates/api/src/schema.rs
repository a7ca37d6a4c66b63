//! Schemas that neither schemars nor k8s-openapi gives with the bounds and list types wanted here.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use schemars::{Schema, SchemaGenerator, json_schema};

/// Turns the formats that schemars gives to unsigned numbers into one that the API server knows: it
/// warns of others. The bounds, which say more, are beside them.
pub fn known_formats(schema: &mut JSONSchemaProps) {
    if schema.format.as_deref().is_some_and(|format| format.starts_with("uint")) {
        schema.format = Some("int32".into());
    }
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        known_formats(property);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => known_formats(items),
        Some(JSONSchemaPropsOrArray::Schemas(all)) => all.iter_mut().for_each(known_formats),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        known_formats(values);
    }
}

/// A count of nodes or a percentage: `5` or `"10%"`.
pub fn count_or_percent(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "minimum": 0,
        "maximum": crate::limits::COUNT_LIMIT,
        "pattern": "^(100|[0-9]{1,2})%$",
        "maxLength": 4,
        "x-kubernetes-validations": [{
            "rule": "type(self) == int || self.endsWith('%')",
            "message": "write a number of nodes, such as `5`, or a percentage from 0% to 100%, such as `\"10%\"`",
        }],
    })
}

/// `metav1.Condition` as a list map by type.
pub fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": { "description": "What it speaks of. Example: `Succeeded`.", "type": "string", "maxLength": 316 },
                "status": { "description": "Is it so? Example: `Unknown`.", "type": "string", "enum": ["True", "False", "Unknown"] },
                "reason": { "description": "Why, in one word. Example: `DrainBlocked`.", "type": "string", "maxLength": 1024 },
                "message": { "description": "Why, in a sentence. Example: `pod web/a waits for budget web`.", "type": "string", "maxLength": 4096 },
                "lastTransitionTime": { "description": "Since when the status is what it is. Example: `2026-01-01T00:00:00Z`.", "type": "string", "format": "date-time" },
                "observedGeneration": { "description": "The generation of the spec that it speaks of. Default: none. Example: `1`.", "type": "integer", "format": "int64" },
            },
        },
    })
}

/// A time.
pub fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time" })
}

/// A time that may be absent.
pub fn optional_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time", "nullable": true })
}
