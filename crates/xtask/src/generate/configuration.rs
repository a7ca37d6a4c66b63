//! The ConfigMap `rerail-config`: the one that is shipped, and its page.

use std::fmt::Write as _;

use rerail_api::names::{CONFIG_CONFIG_MAP, CONFIG_KEY, MANAGED_BY_RERAIL, SYSTEM_NAMESPACE};
use rerail_core::config::ClusterConfig;

use super::{MARK, reference};

/// A field of the configuration.
struct Field {
    name: &'static str,
    kind: &'static str,
    /// As it stands in the document.
    default: String,
    text: &'static str,
}

fn fields() -> [Field; 4] {
    // Without `..`: whatever the configuration comes to hold must be shown, too.
    let ClusterConfig { topology_keys, max_unavailable, min_floor, max_domains } =
        ClusterConfig::default();
    [
        Field {
            name: "topologyKeys",
            kind: "list of label keys, at most 8",
            default: format!("[{}]", topology_keys.join(", ")),
            text: "The labels whose values make a failure domain. A node that lacks all of them is a domain of its own. `[]` = no domains.",
        },
        Field {
            name: "maxUnavailable",
            kind: "integer or percentage",
            default: max_unavailable.to_string(),
            text: "How many nodes of the whole cluster may be out at once, whatever the policies allow. A percentage is rounded down. 0 starts nothing.",
        },
        Field {
            name: "minFloor",
            kind: "integer, 0 to 100000",
            default: min_floor.to_string(),
            text: "What a percentage above 0 allows at least.",
        },
        Field {
            name: "maxDomains",
            kind: "integer, 1 to 100000",
            default: max_domains.to_string(),
            text: "How many failure domains may be open at once. A policy can only lower it.",
        },
    ]
}

/// The ConfigMap with every default, commented.
pub fn config_map() -> String {
    let mut text = format!(
        "# {MARK}\n\
         # The configuration of the whole cluster. Change it in an overlay, so that an upgrade does not\n\
         # set it back. Without this ConfigMap nothing starts.\n\
         apiVersion: v1\n\
         kind: ConfigMap\n\
         metadata:\n\
         \x20 labels:\n\
         \x20   app.kubernetes.io/name: {MANAGED_BY_RERAIL}\n\
         \x20 name: {CONFIG_CONFIG_MAP}\n\
         \x20 namespace: {SYSTEM_NAMESPACE}\n\
         data:\n\
         \x20 {CONFIG_KEY}: |\n\
         \x20   # Every field with its default. An unknown field refuses the whole document.\n"
    );
    for Field { name, default, text: what, .. } in fields() {
        let _ = write!(text, "    # {what}\n    # {name}: {default}\n");
    }
    text
}

/// The page about it.
pub fn page() -> String {
    let mut page = format!(
        "<!-- {MARK} -->\n\n# Configuration of the cluster\n\n\
         ConfigMap `{CONFIG_CONFIG_MAP}` in namespace `{SYSTEM_NAMESPACE}`, key `{CONFIG_KEY}`: limits over all policies, and what a failure domain is. \
         Changes are in force within seconds, without a restart.\n\n\
         | Field | Type | Default | Description |\n|---|---|---|---|\n"
    );
    for Field { name, kind, default, text } in fields() {
        let _ = writeln!(page, "| `{name}` | {kind} | `{default}` | {} |", reference::cell(text));
    }
    page.push_str(
        "\nA document that cannot be read, with an unknown field or with a value out of range is refused as a whole. \
         The last good one then stays in force, the condition `Configured` of every policy is False with the error, \
         and the metric `rerail_config_last_reload_successful` is 0. The same holds when the ConfigMap is deleted.\n\n\
         The last good one is not kept over a restart of the operator: when none was good since its start, nothing starts. \
         Runs under way go on.\n",
    );
    reference::finish(page)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::api::core::v1::ConfigMap;
    use rerail_api::convert::config::config;

    use super::*;

    #[test]
    fn what_is_shipped_is_the_default_with_its_comments_and_without() {
        let mut shipped: ConfigMap = serde_saphyr::from_str(&config_map()).unwrap();
        assert_eq!(config(Some(&shipped)), Ok(ClusterConfig::default()));
        let text = shipped.data.take().unwrap().remove(CONFIG_KEY).unwrap();
        let known: Vec<_> = fields().iter().map(|field| format!("# {}: ", field.name)).collect();
        let lines = text.lines().filter(|line| known.iter().any(|known| line.starts_with(known)));
        let lines: Vec<_> = lines.map(|line| line.trim_start_matches("# ")).collect();
        assert_eq!(lines.len(), known.len(), "{text}");
        shipped.data = Some(BTreeMap::from([(CONFIG_KEY.to_owned(), lines.join("\n"))]));
        assert_eq!(config(Some(&shipped)), Ok(ClusterConfig::default()));
    }
}
