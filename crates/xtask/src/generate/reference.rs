//! Reference pages, read out of the schemas and tables that the product itself uses.

use std::fmt::Write;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionVersion,
    JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use rerail_api::duration;
use rerail_core::invariants::Invariant;
use rerail_core::plan::WaitReason;
use rerail_core::reason::Reason;
use rerail_core::step::Step;
use rerail_operator::rbac::{self, Holder, Rule, Scope};

use super::{GenerateError, MARK};

/// The page of one custom resource: every field, rule and column.
pub fn custom_resource(crd: &CustomResourceDefinition) -> Result<String, GenerateError> {
    let names = &crd.spec.names;
    let mut page = page(&names.kind);
    for version in &crd.spec.versions {
        let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        let schema = schema.ok_or_else(|| GenerateError::NoSchema(names.kind.clone()))?;
        paragraph(&mut page, schema.description.as_deref().unwrap_or_default());
        let short = names.short_names.as_deref().unwrap_or_default().join("`, `");
        paragraph(
            &mut page,
            &format!(
                "`apiVersion: {}/{}` · scope {} · `{}` (short: `{short}`)",
                crd.spec.group, version.name, crd.spec.scope, names.plural
            ),
        );
        for part in ["spec", "status"] {
            if let Some(properties) = property(schema, part) {
                let _ = write!(page, "## {part}\n\n");
                fields(&mut page, part, properties);
            }
        }
        rules(&mut page, schema);
        columns(&mut page, version);
    }
    Ok(finish(page))
}

/// The page of what `-o json` prints.
pub fn answers() -> Result<String, GenerateError> {
    let mut page = page("Output for programs");
    paragraph(
        &mut page,
        "What `-o json` prints. While `version` stays the same, fields are only added: none goes, and \
         none changes its name or its meaning. A field that has nothing to say may be absent. Times are \
         RFC 3339, in UTC.",
    );
    for (command, schema) in rerail_cli::answers() {
        let schema: JSONSchemaProps = serde_json::from_value(schema.into())
            .map_err(|error| GenerateError::NoSchema(format!("{command} ({error})")))?;
        let _ = write!(page, "## `{command}`\n\n");
        fields(&mut page, "", &schema);
    }
    Ok(finish(page))
}

/// The page of what Rerail may do in a cluster.
pub fn permissions() -> String {
    let mut page = page("Permissions");
    paragraph(&mut page, "What each account may do in the cluster, and why. There are no others.");
    for (holder, title) in [
        (Holder::Operator, "Operator"),
        (Holder::Alerts, "`rerail alerts`, where it runs without the operator"),
        (Holder::Node, "Pods on nodes"),
        (Holder::Viewer, "People with the role `view`"),
    ] {
        let _ = write!(page, "## {title}\n\n");
        page.push_str("| Where | Resources | Verbs | Why |\n|---|---|---|---|\n");
        for rule in rbac::rules().iter().filter(|rule| rule.holder == holder) {
            page.push_str(&permission(rule));
        }
        page.push('\n');
    }
    finish(page)
}

fn permission(rule: &Rule) -> String {
    let place = match rule.scope {
        Scope::Cluster => "cluster".to_owned(),
        Scope::Namespace(namespace) => format!("namespace `{namespace}`"),
    };
    let resources: Vec<String> =
        rule.resources.iter().map(|name| resource(name, rule.group)).collect();
    let limit = match rule.names {
        [] => String::new(),
        names => format!(", only `{}`", names.join("`, `")),
    };
    let verbs = rule.verbs.join(", ");
    format!("| {place} | {}{limit} | {verbs} | {} |\n", resources.join(", "), cell(rule.reason))
}

/// As `kubectl` writes it: the group after the resource, a subresource at the end.
fn resource(name: &str, group: &str) -> String {
    match (group, name.split_once('/')) {
        ("", _) => format!("`{name}`"),
        (_, None) => format!("`{name}.{group}`"),
        (_, Some((name, subresource))) => format!("`{name}.{group}/{subresource}`"),
    }
}

/// The page of the words that say why a run is where it is.
pub fn reasons() -> String {
    let mut page = page("Reasons");
    paragraph(
        &mut page,
        "Why a run is where it is, or why it ended: one word in conditions, Events and metrics. \
         The message beside it has the numbers and names.",
    );
    page.push_str("| Reason | Meaning |\n|---|---|\n");
    for reason in Reason::ALL {
        let _ = writeln!(page, "| `{}` | {} |", reason.name(), cell(reason.meaning()));
    }
    page.push_str("\n## Why a node waits\n\n");
    paragraph(
        &mut page,
        "Why a node with a trigger is not remediated now: in `status.waiting` of its policy, in the \
         metric `rerail_waiting_nodes`, and in the conditions of a run that a person made.",
    );
    page.push_str("| Reason | Meaning |\n|---|---|\n");
    for reason in WaitReason::ALL {
        let _ = writeln!(page, "| `{}` | {} |", reason.name(), cell(reason.meaning()));
    }
    page.push_str("\n## What must always hold\n\n");
    paragraph(
        &mut page,
        "A run of which one of these does not hold is frozen (`status.frozen`, reason \
         `InvariantViolated`, an Event, the metric `rerail_invariant_violations_total`): nothing is \
         done for it any more, and nothing else is concerned. Deleting it gives its node back.",
    );
    page.push_str("| Invariant | Meaning |\n|---|---|\n");
    for invariant in Invariant::ALL {
        let _ = writeln!(page, "| `{}` | {} |", invariant.name(), cell(invariant.meaning()));
    }
    finish(page)
}

/// The page of the steps of a run and of the ways between them.
pub fn steps() -> String {
    let mut page = page("Steps of a run");
    paragraph(&mut page, "`status.step` of a NodeRemediation, and what may follow.");
    page.push_str("| Step | May become | Holds a slot |\n|---|---|---|\n");
    for step in Step::ALL {
        let next: Vec<String> =
            step.successors().iter().map(|next| format!("`{}`", next.name())).collect();
        let next =
            if next.is_empty() { "nothing: the run has ended".into() } else { next.join(", ") };
        let slot = if step.holds_slot() { "yes" } else { "no" };
        let _ = writeln!(page, "| `{}` | {next} | {slot} |", step.name());
    }
    finish(page)
}

pub(super) fn page(title: &str) -> String {
    format!("<!-- {MARK} -->\n\n# {title}\n\n")
}

pub(super) fn paragraph(page: &mut String, text: &str) {
    if !text.trim().is_empty() {
        let _ = write!(page, "{}\n\n", text.trim());
    }
}

pub(super) fn finish(page: String) -> String {
    format!("{}\n", page.trim_end())
}

fn property<'a>(schema: &'a JSONSchemaProps, name: &str) -> Option<&'a JSONSchemaProps> {
    schema.properties.as_ref()?.get(name)
}

/// The table of all fields below `schema`.
pub(super) fn fields(page: &mut String, path: &str, schema: &JSONSchemaProps) {
    page.push_str("| Field | Type | Default | Description |\n|---|---|---|---|\n");
    rows(page, path, schema);
    page.push('\n');
}

fn rows(page: &mut String, path: &str, schema: &JSONSchemaProps) {
    let required = schema.required.as_deref().unwrap_or_default();
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        let must = if required.contains(name) { ", required" } else { "" };
        let (description, default) = described(field);
        let kind = kind(field) + &bounds(field);
        let _ = writeln!(page, "| `{path}` | {kind}{must} | {default} | {description} |");
        let (below, suffix) = inner(field);
        rows(page, &format!("{path}{suffix}"), below);
    }
}

/// Description and default of a field. A description says its default, too, between the words
/// `Default:` and `Example:`; those words stand in for a default that is long or not in the schema.
fn described(field: &JSONSchemaProps) -> (String, String) {
    let text = cell(field.description.as_deref().unwrap_or_default());
    let (before, rest) = text.split_once("Default: ").unwrap_or((&text, ""));
    let (words, example) = rest.split_once(". Example: ").unwrap_or((rest, ""));
    let words = words.trim_end_matches('.').to_owned();
    let description = match example {
        "" => before.trim().to_owned(),
        example => format!("{} Example: {example}", before.trim()),
    };
    let default = match &field.default {
        Some(JSON(value)) if value.is_object() && !words.is_empty() => words,
        Some(default) => code(default),
        None => words,
    };
    (description, default)
}

/// The schema of a field's members, and how its path goes on.
fn inner(field: &JSONSchemaProps) -> (&JSONSchemaProps, &'static str) {
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &field.items {
        return (items.as_ref(), "[]");
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &field.additional_properties {
        return (values.as_ref(), ".*");
    }
    (field, "")
}

fn kind(field: &JSONSchemaProps) -> String {
    if field.x_kubernetes_int_or_string == Some(true) {
        return "integer or string".to_owned();
    }
    if is_duration(field) {
        return "duration".to_owned();
    }
    if let Some(variants) = &field.one_of {
        let word = |variant: &JSONSchemaProps| variant.enum_.as_ref()?.first().map(code);
        let words: Option<Vec<_>> = variants.iter().map(word).collect();
        return words.map_or("one of those below".to_owned(), |words| words.join(" \\| "));
    }
    if let Some(values) = &field.enum_ {
        return values.iter().map(code).collect::<Vec<_>>().join(" \\| ");
    }
    match inner(field) {
        (items, "[]") => format!("list of {}", kind(items)),
        (values, ".*") => format!("map to {}", kind(values)),
        _ => field.type_.clone().unwrap_or_else(|| "any".to_owned()),
    }
}

fn is_duration(field: &JSONSchemaProps) -> bool {
    field.pattern.as_deref() == Some(duration::PATTERN)
}

fn bounds(field: &JSONSchemaProps) -> String {
    if is_duration(field) {
        return String::new();
    }
    let mut text = match (field.minimum, field.maximum) {
        (Some(least), Some(most)) => format!(", {least} to {most}"),
        (Some(least), None) => format!(", at least {least}"),
        (None, Some(most)) => format!(", at most {most}"),
        (None, None) => String::new(),
    };
    if let Some(most) = field.max_items {
        let _ = write!(text, ", at most {most}");
    }
    if let Some(most) = field.max_length {
        let _ = write!(text, ", at most {most} characters");
    }
    text
}

/// All messages of the schema's CEL rules, from the root down.
fn rules(page: &mut String, schema: &JSONSchemaProps) {
    let mut found = Vec::new();
    collect_rules(&mut found, "", schema);
    if found.is_empty() {
        return;
    }
    page.push_str("## Rules\n\nWhat the API server refuses, and what it says.\n\n");
    page.push_str("| Where | Message |\n|---|---|\n");
    for (path, message) in found {
        let path = if path.is_empty() { "the object".to_owned() } else { format!("`{path}`") };
        let _ = writeln!(page, "| {path} | {} |", cell(&message));
    }
    page.push('\n');
}

fn collect_rules(found: &mut Vec<(String, String)>, path: &str, schema: &JSONSchemaProps) {
    for rule in schema.x_kubernetes_validations.iter().flatten() {
        let message = rule.message.clone().unwrap_or_else(|| format!("`{}`", rule.rule));
        found.push((path.to_owned(), message));
    }
    let (below, suffix) = inner(schema);
    if !suffix.is_empty() {
        collect_rules(found, &format!("{path}{suffix}"), below);
    }
    for (name, field) in schema.properties.iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        collect_rules(found, &path, field);
    }
}

fn columns(page: &mut String, version: &CustomResourceDefinitionVersion) {
    let Some(columns) = &version.additional_printer_columns else { return };
    page.push_str("## Columns of `kubectl get`\n\n| Column | Field | Shown |\n|---|---|---|\n");
    for CustomResourceColumnDefinition { name, json_path, priority, .. } in columns {
        let shown = if priority.unwrap_or(0) == 0 { "always" } else { "with `-o wide`" };
        let _ = writeln!(page, "| {name} | `{}` | {shown} |", json_path.replace('|', "\\|"));
    }
    page.push('\n');
}

/// A JSON value as a person would write it in YAML.
fn code(JSON(value): &JSON) -> String {
    match value {
        serde_json::Value::String(text) if text.is_empty() => "`\"\"`".to_owned(),
        serde_json::Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

/// Text that fits into one cell of a table.
pub(super) fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn crd() -> CustomResourceDefinition {
        let schema = json!({
            "description": "A thing.",
            "type": "object",
            "x-kubernetes-validations": [{ "rule": "true", "message": "must be | true" }],
            "properties": { "spec": {
                "type": "object",
                "required": ["items"],
                "properties": {
                    "mode": { "type": "string", "enum": ["A", "B"], "default": "A", "description": "How.\nMore. Default: A. Example: `B`." },
                    "for": { "type": "string", "pattern": duration::PATTERN, "maxLength": 32, "description": "Long. Default: the pod's own. Example: `60s`." },
                    "items": { "type": "array", "maxItems": 3, "items": {
                        "type": "object",
                        "properties": { "size": { "x-kubernetes-int-or-string": true } },
                    } },
                    "labels": { "type": "object", "additionalProperties": { "type": "string" } },
                },
            } },
        });
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": { "name": "things.rerail.dev" },
            "spec": {
                "group": "rerail.dev",
                "scope": "Cluster",
                "names": { "kind": "Thing", "plural": "things", "shortNames": ["thg"] },
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": { "openAPIV3Schema": schema },
                    "additionalPrinterColumns": [
                        { "name": "MODE", "type": "string", "jsonPath": ".spec.mode" },
                    ],
                }],
            },
        });
        serde_json::from_value(crd).unwrap()
    }

    #[test]
    fn every_field_rule_and_column_is_on_the_page() {
        let page = custom_resource(&crd()).unwrap();
        for line in [
            "| `spec.mode` | `A` \\| `B` | `A` | How. More. Example: `B`. |",
            "| `spec.for` | duration | the pod's own | Long. Example: `60s`. |",
            "| `spec.items` | list of object, at most 3, required |  |  |",
            "| `spec.items[].size` | integer or string |  |  |",
            "| `spec.labels` | map to string |  |  |",
            "| the object | must be \\| true |",
            "| MODE | `.spec.mode` | always |",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
    }

    #[test]
    fn a_kind_without_schema_is_an_error() {
        let mut crd = crd();
        crd.spec.versions[0].schema = None;
        assert!(
            matches!(custom_resource(&crd), Err(GenerateError::NoSchema(kind)) if kind == "Thing")
        );
    }

    #[test]
    fn each_permission_comes_with_its_reason() {
        let page = permissions();
        assert!(rbac::rules().iter().all(|rule| page.contains(rule.reason)));
        assert!(page.contains("`configmaps`, only `rerail-pause`"));
        assert!(page.contains("`noderemediations.rerail.dev/status`"));
    }

    #[test]
    fn each_reason_and_each_step_has_a_line() {
        let (reasons, steps) = (reasons(), steps());
        for reason in Reason::ALL {
            assert!(reasons.contains(&format!("| `{}` | ", reason.name())), "{}", reason.name());
        }
        for step in Step::ALL {
            assert!(steps.contains(&format!("\n| `{}` | ", step.name())), "{}", step.name());
        }
    }
}
