use serde_json::json;

use super::*;
use crate::resource::of_kubernetes;

fn of(plural: &str) -> Resource {
    of_kubernetes().into_iter().find(|resource| resource.plural == plural).unwrap()
}

/// As kube-apiserver 1.36.3 answered.
#[test]
fn bodies_are_those_of_the_real_server() {
    assert_eq!(
        Failure::not_found(&of("nodes"), "none").status(),
        json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "nodes \"none\" not found", "reason": "NotFound",
            "details": { "name": "none", "kind": "nodes" }, "code": 404 })
    );
    assert_eq!(
        Failure::not_found(&of("leases"), "l").status()["message"],
        "leases.coordination.k8s.io \"l\" not found"
    );
    let modified = Failure::modified(&of("nodes"), "n1").status();
    assert_eq!(
        modified["message"],
        "Operation cannot be fulfilled on nodes \"n1\": the object has been modified; please apply your changes to the latest version and try again"
    );
    assert_eq!(Failure::plain("x").status().get("reason"), None);
    assert_eq!(
        Failure::too_large_version(99, 7).status()["details"],
        json!({ "causes": [{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }],
            "retryAfterSeconds": 1 })
    );
}

#[test]
fn an_invalid_object_says_each_thing_once_and_has_every_cause() {
    let immutable = || FieldError::invalid("metadata.uid", &json!("wrong"), "field is immutable");
    let answer = Failure::invalid(&of("nodes"), "n1", &[immutable(), immutable()]).status();
    assert_eq!(
        answer["message"],
        "Node \"n1\" is invalid: metadata.uid: Invalid value: \"wrong\": field is immutable"
    );
    assert_eq!(answer["details"]["causes"].as_array().unwrap().len(), 2);
    let two = [FieldError::required("spec.a", ""), FieldError::too_long("spec.b", 5)];
    let answer = Failure::invalid(&of("nodes"), "", &two).status();
    assert_eq!(
        answer["message"],
        "Node \"\" is invalid: [spec.a: Required value, spec.b: Too long: may not be more than 5 bytes]"
    );
    assert_eq!(answer["details"].get("name"), None);
}

/// The header is written only when there is something to say (contracts E5).
#[test]
fn a_budget_that_is_used_up_asks_for_no_pause() {
    assert_eq!(Failure::disruption_budget("…", 0).retry_after(), None);
    assert_eq!(Failure::disruption_budget("…", 10).retry_after(), Some(10));
}
