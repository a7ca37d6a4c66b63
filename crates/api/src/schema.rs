//! Schemas that neither schemars nor k8s-openapi gives with the bounds and list types wanted here.

use schemars::{Schema, SchemaGenerator, json_schema};

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
