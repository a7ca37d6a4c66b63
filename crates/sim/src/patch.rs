//! The patch types: JSON patch, JSON merge patch, strategic merge patch.

mod strategic;

use json_patch::PatchOperation;
use serde_json::Value;

use crate::{
    resource::Resource,
    status::{Failure, Outcome, json_error},
};

pub use strategic::{ListKey, list_key};

/// True for server-side apply, which is no patch of what is there.
pub fn is_apply(media: &str) -> bool {
    media.starts_with("application/apply-patch+yaml")
}

/// A patch that was read.
#[derive(Debug, Clone, PartialEq)]
pub enum Patch {
    /// RFC 6902.
    Json(json_patch::Patch),
    /// RFC 7396.
    Merge(Value),
    /// Kubernetes' own.
    Strategic(Value),
}

impl Patch {
    /// Reads a patch of a media type.
    pub fn read(media: &str, body: &[u8], resource: &Resource) -> Outcome<Self> {
        let media = media.split(';').next().unwrap_or_default().trim();
        match media {
            // Whatever cannot be read answers as a patch that cannot be applied does.
            "application/json-patch+json" => {
                let operations: Value =
                    serde_json::from_slice(body).map_err(|_| Failure::patch_failed())?;
                if operations.is_object() {
                    let why = "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp";
                    return Err(Failure::bad_request(why));
                }
                serde_json::from_value(operations)
                    .map(Patch::Json)
                    .map_err(|_| Failure::patch_failed())
            }
            "application/merge-patch+json" => Ok(Patch::Merge(object(body)?)),
            "application/strategic-merge-patch+json" if resource.is_custom() => {
                Err(Failure::unsupported_media(
                    "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
                ))
            }
            "application/strategic-merge-patch+json" => Ok(Patch::Strategic(object(body)?)),
            "application/apply-patch+cbor" => Err(Failure::not_simulated("patches in CBOR")),
            _ => Err(Failure::unknown_media()),
        }
    }

    /// The object with the patch applied.
    pub fn apply(&self, mut object: Value) -> Outcome<Value> {
        match self {
            Patch::Json(patch) => {
                for operation in &patch.0 {
                    step(&mut object, operation)?;
                }
            }
            Patch::Merge(patch) => json_patch::merge(&mut object, patch),
            Patch::Strategic(patch) => strategic::merge(&mut object, patch)?,
        }
        Ok(object)
    }
}

/// One operation. What is not there is null to a test, as in the library that the real server uses.
fn step(object: &mut Value, operation: &PatchOperation) -> Outcome<()> {
    if let PatchOperation::Test(test) = operation
        && test.value.is_null()
        && object.pointer(test.path.as_str()).is_none()
    {
        return Ok(());
    }
    json_patch::patch(object, std::slice::from_ref(operation)).map_err(|_| Failure::patch_failed())
}

fn object(body: &[u8]) -> Outcome<Value> {
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        Failure::bad_request(format!("error decoding patch: {}", json_error(&error)))
    })?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(Failure::bad_request("error decoding patch: json: cannot unmarshal into an object"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::of_kubernetes;

    fn read(media: &str, patch: &Value) -> Outcome<Patch> {
        Patch::read(media, patch.to_string().as_bytes(), &of_kubernetes()[0])
    }

    /// The operator's cordon (contracts, drain §10): a failed test is a 422.
    #[test]
    fn a_json_patch_tests_before_it_writes() {
        let node = json!({ "metadata": { "resourceVersion": "7" }, "spec": {} });
        let cordon = |version: &str| {
            read(
                "application/json-patch+json",
                &json!([
                    { "op": "test", "path": "/metadata/resourceVersion", "value": version },
                    { "op": "add", "path": "/metadata/annotations", "value": {} },
                    { "op": "add", "path": "/spec/unschedulable", "value": true },
                    { "op": "add", "path": "/metadata/annotations/rerail.dev~1cordoned-by", "value": "u" },
                ]),
            )
            .unwrap()
        };
        let after = cordon("7").apply(node.clone()).unwrap();
        assert_eq!(after["spec"]["unschedulable"], true);
        assert_eq!(after["metadata"]["annotations"]["rerail.dev/cordoned-by"], "u");
        let refused = cordon("8").apply(node).unwrap_err();
        assert_eq!((refused.code, refused.reason), (422, "Invalid"));
        assert_eq!(
            refused.message,
            "the server rejected our request due to an error in our request"
        );
    }

    #[test]
    fn what_is_not_there_is_null_to_a_test() {
        let test = |path: &str| {
            let patch = json!([{ "op": "test", "path": path, "value": null }]);
            let patch = read("application/json-patch+json", &patch).unwrap();
            patch.apply(json!({ "a": 1 })).map(|_| ()).map_err(|failure| failure.code)
        };
        assert_eq!((test("/b"), test("/b/c"), test("/a")), (Ok(()), Ok(()), Err(422)));
    }

    #[test]
    fn a_merge_patch_removes_by_null() {
        let patch =
            read("application/merge-patch+json", &json!({ "a": null, "b": { "c": 1 } })).unwrap();
        assert_eq!(
            patch.apply(json!({ "a": 1, "b": { "d": 2 } })).unwrap(),
            json!({ "b": { "c": 1, "d": 2 } })
        );
    }

    #[test]
    fn what_is_not_simulated_is_said_loudly() {
        assert_eq!(read("application/apply-patch+cbor", &json!({})).unwrap_err().code, 501);
        assert_eq!(read("application/nonsense", &json!({})).unwrap_err().code, 415);
    }
}
