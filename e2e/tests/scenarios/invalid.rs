//! What the API server refuses, and in which words: `examples/invalid/`, one file per rule. The first
//! line of a file is the text that the answer must contain. A file with one document is created; of
//! one with two the first is there, and the second, as a merge patch, is the change.

use std::path::{Path, PathBuf};

use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams, ValidationDirective},
    core::{ApiResource, DynamicObject, GroupVersionKind, Request},
};
use rerail_e2e::{Cluster, ClusterOptions};
use serde_json::{Value, json};

use crate::shared::{admin, by_itself};

fn examples(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    files.sort();
    files
}

fn read(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

fn api(client: &Client, object: &Value) -> Api<DynamicObject> {
    let kind = object["kind"].as_str().unwrap();
    let gvk = GroupVersionKind::gvk("rerail.dev", "v1alpha1", kind);
    let plural = match kind {
        "NodeRemediation" => "noderemediations",
        "AlertSource" => "alertsources",
        _ => "remediationpolicies",
    };
    Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&gvk, plural))
}

/// As `kubectl create` does, for which kube has no parameter: with strict field validation.
async fn create(
    client: &Client,
    value: &Value,
    dry_run: bool,
) -> Result<DynamicObject, kube::Error> {
    let params = PostParams { dry_run, ..PostParams::default() };
    let request = Request::new(api(client, value).resource_url());
    let mut request = request.create(&params, serde_json::to_vec(value).unwrap()).unwrap();
    *request.uri_mut() = format!("{}&fieldValidation=Strict", request.uri()).parse().unwrap();
    client.request(request).await
}

/// Strict, as kubectl asks for.
fn patched() -> PatchParams {
    PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::default() }
}

async fn change(client: &Client, first: &Value, change: &Value) -> Result<(), kube::Error> {
    let api = api(client, first);
    let object = create(client, first, false).await.unwrap();
    let name = object.name_any();
    if let Some(status) = first.get("status") {
        let patch = Patch::Merge(json!({ "status": status }));
        api.patch_status(&name, &patched(), &patch).await.unwrap();
    }
    let mut patch = change.clone();
    patch.as_object_mut().unwrap().remove("metadata");
    let patch = Patch::Merge(patch);
    match change.get("status") {
        Some(_) => api.patch_status(&name, &patched(), &patch).await?,
        None => api.patch(&name, &patched(), &patch).await?,
    };
    Ok(())
}

/// What is wrong with the answer to one example, if anything.
async fn refusal(client: &Client, path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let expected = text.lines().next().unwrap().strip_prefix("# expect: ").unwrap();
    let documents: Vec<_> = text.split("\n---\n").map(read).collect();
    let answer = match documents.as_slice() {
        [one] => create(client, one, true).await.map(drop),
        [first, second] => change(client, first, second).await,
        _ => panic!("{}: one or two documents", path.display()),
    };
    let name = path.file_name().unwrap().display();
    match answer {
        Ok(()) => Some(format!("{name}: taken, and must be refused with: {expected}")),
        Err(error) if error.to_string().contains(expected) => None,
        Err(error) => Some(format!("{name}:\n  expected: {expected}\n  answer:   {error}")),
    }
}

#[test]
fn invalid_objects_are_refused_with_words_that_say_what_can_be_done() {
    by_itself(async {
        let cluster = Cluster::start(ClusterOptions::default()).await.unwrap();
        let client = admin(&cluster).await;
        let files = examples("examples/invalid");
        assert!(files.len() > 40, "{files:?}");
        let mut wrong = Vec::new();
        for file in &files {
            wrong.extend(refusal(&client, file).await);
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        the_examples_are_taken(&cluster, &client).await;
    });
}

/// As a user applies them, with nothing but the rights of one.
async fn the_examples_are_taken(cluster: &Cluster, client: &Client) {
    let files = examples("examples");
    assert_eq!(files.len(), 4, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let applied = cluster.apply(&text).await.unwrap().remove(0);
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        assert_eq!(applied.name_any(), name);
        let stored = api(client, &read(&text)).get(&name).await.unwrap();
        if text.contains("kind: RemediationPolicy") {
            assert_eq!(stored.data["spec"]["mode"], "DryRun", "an example does nothing by itself");
        }
    }
}
