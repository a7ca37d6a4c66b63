//! Lists: selectors, pages, and the versions that they are of.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    body::{Body, List},
    events,
    handle::{Answer, Call, Form, metadata_of},
    meta, options,
    resource::Resource,
    selector::{Fields, Labels},
    status::{Failure, Outcome},
    store::{Key, Store},
    table,
};

const EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.";

/// What is asked for: a namespace, and what labels and fields must be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub namespace: Option<String>,
    /// Of a watch in the old way.
    pub name: Option<String>,
    pub labels: Labels,
    pub fields: Fields,
}

impl Filter {
    pub(crate) fn of(call: &Call<'_>, resource: &Resource) -> Outcome<Self> {
        Ok(Filter {
            namespace: call.target.namespace.clone(),
            name: call.target.name.clone(),
            labels: Labels::parse(call.query.get("labelSelector"))?,
            fields: Fields::parse(call.query.get("fieldSelector"), resource)?,
        })
    }

    pub(crate) fn matches(&self, resource: &Resource, object: &Value) -> bool {
        let here = self.namespace.as_deref().is_none_or(|it| it == meta::of(object, "namespace"));
        let named = self.name.as_deref().is_none_or(|it| it == meta::of(object, "name"));
        here && named && self.labels.matches(object) && self.fields_match(resource, object)
    }

    fn fields_match(&self, resource: &Resource, object: &Value) -> bool {
        self.fields.is_empty() || {
            // Fields have the names of the form that is asked for.
            let new_form = resource.group == "events.k8s.io";
            if new_form {
                self.fields.matches(&events::to_new(object))
            } else {
                self.fields.matches(object)
            }
        }
    }

    fn selects(&self) -> bool {
        !self.labels.is_empty() || !self.fields.is_empty()
    }
}

/// Where a list goes on; clients take it as it is.
#[derive(Debug, Serialize, Deserialize)]
struct Token {
    v: String,
    rv: u64,
    start: String,
}

impl Token {
    fn encode(rv: u64, last: &Key) -> Outcome<String> {
        let token = Token { v: "meta.k8s.io/v1".to_owned(), rv, start: format!("/{last}\0") };
        let text = serde_json::to_vec(&token)
            .map_err(|error| Failure::plain(format!("cannot write a continue token: {error}")))?;
        Ok(URL_SAFE_NO_PAD.encode(text))
    }

    fn decode(text: &str) -> Outcome<(u64, Key)> {
        let bad = |why: String| {
            Failure::bad_request(format!(
                "invalid continue token: continue key is not valid: {why}"
            ))
        };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|error| bad(error.to_string()))?;
        let token: Token =
            serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
        let start = token.start.trim_start_matches('/').trim_end_matches('\0');
        Ok((token.rv, start.to_owned()))
    }
}

/// Reads `resourceVersion`; `None` when there is none.
pub(crate) fn asked_version(call: &Call<'_>) -> Result<Option<u64>, String> {
    let Some(text) = call.query.get("resourceVersion") else { return Ok(None) };
    let number = text.parse();
    number.map(Some).map_err(|_| {
        format!(
            "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
        )
    })
}

impl Store {
    /// A list.
    pub(crate) fn list(&self, call: &Call<'_>) -> Outcome<Answer> {
        let resource = self.resource(call.at);
        let filter = Filter::of(call, resource)?;
        let version = asked_version(call)
            .map_err(|why| Failure::bad_request(format!("invalid resource version: {why}")))?;
        let how = call.query.get("resourceVersionMatch");
        if how.is_some() && version.is_none() {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            return Err(Failure::invalid_options("resourceVersionMatch", why));
        }
        if version.is_some_and(|version| version > self.version()) {
            return Err(Failure::too_large_version(version.unwrap_or_default(), self.version()));
        }
        // From the cache the real server gives everything, whatever the limit.
        let limit = options::number(call, "limit")?;
        let limit = limit.filter(|limit| *limit > 0 && version != Some(0));
        let limit = limit.and_then(|limit| usize::try_from(limit).ok());
        let table = self.table(call.at);
        let (at, after) = match call.query.get("continue") {
            Some(_) if version.is_some_and(|version| version > 0) => {
                let why = "specifying resource version is not allowed when using continue";
                return Err(Failure::bad_request(why));
            }
            Some(token) => {
                let (version, last) = Token::decode(token)?;
                (version, Some(last))
            }
            None if how == Some("Exact") => (version.unwrap_or_default(), None),
            None => (self.version(), None),
        };
        if at == self.version() {
            return page(resource, &filter, table.objects(), at, after, limit, call.form);
        }
        let past = table.at(at).ok_or_else(|| Failure::expired(EXPIRED))?;
        page(resource, &filter, &past, at, after, limit, call.form)
    }
}

fn page(
    resource: &Resource,
    filter: &Filter,
    objects: &BTreeMap<Key, Arc<Value>>,
    version: u64,
    after: Option<Key>,
    limit: Option<usize>,
    form: Form,
) -> Outcome<Answer> {
    // Keys of one namespace lie together, and those before the last page need no look.
    let prefix = filter.namespace.as_ref().map(|namespace| format!("{namespace}/"));
    let start = match &after {
        Some(after) => Bound::Excluded(after.clone()),
        None => Bound::Included(prefix.clone().unwrap_or_default()),
    };
    let rest = objects
        .range((start, Bound::Unbounded))
        .take_while(|(key, _)| prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix)))
        .filter(|(_, object)| filter.matches(resource, object));
    let mut rest = rest.peekable();
    let (mut items, mut last) = (Vec::new(), None);
    while limit.is_none_or(|limit| items.len() < limit) {
        let Some((key, object)) = rest.next() else { break };
        items.push(object.clone());
        last = Some(key);
    }
    let mut metadata = json!({ "resourceVersion": version.to_string() });
    if let (Some(_), Some(last)) = (rest.peek(), last) {
        metadata["continue"] = json!(Token::encode(version, last)?);
        // With a selector the real server does not count.
        if !filter.selects() {
            metadata["remainingItemCount"] = json!(rest.count());
        }
    }
    Ok(Answer::new(200, whole(resource, metadata, items, form)))
}

/// A list with everything around it.
pub(crate) fn whole(
    resource: &Resource,
    mut metadata: Value,
    objects: Vec<Arc<Value>>,
    form: Form,
) -> Body {
    let (kind, api_version, items) = match form {
        Form::Table { now, include } => {
            let rows = objects.iter().map(|object| table::row(resource, object, now, include));
            return Body::Made(table::table(resource, metadata, rows.collect()));
        }
        Form::Metadata => {
            let items = objects.iter().map(|object| Arc::new(metadata_of(object))).collect();
            ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned(), items)
        }
        Form::Whole => {
            let items = match resource.group.as_str() {
                "events.k8s.io" => {
                    objects.iter().map(|event| Arc::new(events::to_new(event))).collect()
                }
                _ => objects,
            };
            (format!("{}List", resource.kind), resource.api_version(), items)
        }
    };
    if resource.is_custom() && form == Form::Whole && metadata.get("continue").is_none() {
        // Lists of custom resources are not typed, and say that they do not go on.
        metadata["continue"] = json!("");
    }
    // Where a list is typed its items do not repeat their kind.
    let bare = form == Form::Whole && !resource.is_custom();
    Body::List(Box::new(List { kind, api_version, metadata, items, bare }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::handle::tests::World;

    fn names(list: &serde_json::Value) -> Vec<&str> {
        let items = list["items"].as_array().unwrap();
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
    }

    #[test]
    fn pages_show_one_moment() {
        let mut world = World::new();
        for name in ["a", "b", "c", "d"] {
            world.node(name);
        }
        let (_, first) = world.get("/api/v1/nodes?limit=2");
        assert_eq!(names(&first), ["a", "b"]);
        assert_eq!(first["metadata"]["remainingItemCount"], 2);
        assert!(first["items"][0].get("kind").is_none());
        world.delete("/api/v1/nodes/c");
        world.node("bb");
        let token = first["metadata"]["continue"].as_str().unwrap();
        let (_, second) = world.get(&format!("/api/v1/nodes?limit=2&continue={token}"));
        assert_eq!(names(&second), ["c", "d"]);
        assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
        assert!(second["metadata"].get("continue").is_none());
        assert_eq!(
            names(&world.get("/api/v1/nodes?limit=1&resourceVersion=0").1),
            ["a", "b", "bb", "d"]
        );
    }

    #[test]
    fn a_page_of_a_forgotten_moment_is_410() {
        let mut world = World::with_history(1);
        world.node("a");
        world.node("b");
        let (_, first) = world.get("/api/v1/nodes?limit=1");
        let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
        world.node("c");
        world.node("d");
        let (code, answer) = world.get(&format!("/api/v1/nodes?limit=1&continue={token}"));
        assert_eq!((code, answer["reason"].as_str()), (410, Some("Expired")));
    }

    #[test]
    fn lists_select_by_namespace_labels_and_fields() {
        let mut world = World::new();
        world.pod("default", "a", json!({ "app": "x" }), "n1");
        world.pod("default", "b", json!({}), "n2");
        world.pod("kube-system", "c", json!({ "app": "x" }), "n1");
        let mut found = |query: &str| names(&world.get(query).1).join(",");
        assert_eq!(found("/api/v1/pods"), "a,b,c");
        assert_eq!(found("/api/v1/namespaces/default/pods?labelSelector=app%3Dx"), "a");
        assert_eq!(found("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1"), "a,c");
    }

    #[test]
    fn options_that_make_no_sense_are_refused_as_by_the_real_server() {
        let mut world = World::new();
        let (code, answer) = world.get("/api/v1/nodes?resourceVersion=99999999");
        assert_eq!((code, answer["details"]["retryAfterSeconds"].as_u64()), (504, Some(1)));
        let (code, answer) = world.get("/api/v1/nodes?resourceVersion=abc");
        assert_eq!(
            (code, answer["message"].as_str()),
            (
                400,
                Some(
                    "invalid resource version: resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax"
                )
            )
        );
        let (code, answer) = world.get("/api/v1/nodes?resourceVersionMatch=Exact");
        assert_eq!(
            (code, answer["message"].as_str()),
            (
                422,
                Some(
                    "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
                )
            )
        );
        assert_eq!(world.get("/api/v1/nodes?continue=nonsense").0, 400);
    }

    #[test]
    fn metadata_alone_can_be_asked_for() {
        let mut world = World::new();
        world.node("a");
        let accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        let (_, list) = world.get_as("/api/v1/nodes", accept);
        assert_eq!(list["kind"], "PartialObjectMetadataList");
        assert_eq!(list["items"][0]["kind"], "PartialObjectMetadata");
        assert!(list["items"][0].get("spec").is_none());
    }
}
