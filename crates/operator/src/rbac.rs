//! What Rerail may do in a cluster: one table, each rule with its reason.
//!
//! `cargo xtask gen` writes the table to `config/rbac/` and `docs/reference/permissions.md`. A right
//! that no rule explains is not there, and code that needs a new one adds a row first.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rerail_api::names;

/// Name of the ClusterRole and its binding that the operator holds.
const OPERATOR: &str = "rerail-operator";
/// Name of the ClusterRole and its binding that `rerail alerts` holds.
const ALERTS: &str = "rerail-alerts";
/// Name of the ClusterRole and its binding that Pods on nodes hold.
const NODE: &str = "rerail-node";
/// Name of the ClusterRole for readers.
const VIEW: &str = "rerail-view";

const READ: &[&str] = &["get", "list", "watch"];

/// Who holds a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// The operator's ServiceAccount.
    Operator,
    /// The ServiceAccount of `rerail alerts`, where it runs alone.
    Alerts,
    /// The ServiceAccount of the Pods that run on nodes.
    Node,
    /// Every person who may view the cluster.
    Viewer,
}

/// Where a right holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// In the whole cluster.
    Cluster,
    /// In one namespace.
    Namespace(&'static str),
}

/// One right and why it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Who holds the right.
    pub holder: Holder,
    /// Where it holds.
    pub scope: Scope,
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Resources and subresources.
    pub resources: &'static [&'static str],
    /// Names of the objects it is limited to; empty for all.
    pub names: &'static [&'static str],
    /// What may be done.
    pub verbs: &'static [&'static str],
    /// Why, in one sentence.
    pub reason: &'static str,
}

impl Rule {
    const fn operator(
        group: &'static str,
        resources: &'static [&'static str],
        verbs: &'static [&'static str],
        reason: &'static str,
    ) -> Self {
        let (holder, scope) = (Holder::Operator, Scope::Cluster);
        Self { holder, scope, group, resources, names: &[], verbs, reason }
    }

    const fn within(self, namespace: &'static str) -> Self {
        Self { scope: Scope::Namespace(namespace), ..self }
    }

    const fn named(self, names: &'static [&'static str]) -> Self {
        Self { names, ..self }
    }

    const fn held_by(self, holder: Holder) -> Self {
        Self { holder, ..self }
    }

    fn policy_rule(&self) -> PolicyRule {
        PolicyRule {
            api_groups: Some(vec![self.group.to_owned()]),
            resources: Some(strings(self.resources)),
            resource_names: (!self.names.is_empty()).then(|| strings(self.names)),
            verbs: strings(self.verbs),
            ..PolicyRule::default()
        }
    }
}

const RULES: &[Rule] = &[
    Rule::operator("", &["nodes"], READ, "Sees conditions, cordons and boot IDs."),
    Rule::operator(
        "",
        &["nodes"],
        &["patch"],
        "Cordons and uncordons, together with its own mark.",
    ),
    Rule::operator("", &["pods"], READ, "Finds the pods to evict, and those that must run again."),
    Rule::operator(
        "",
        &["pods/eviction"],
        &["create"],
        "Drains; every eviction obeys the budgets.",
    ),
    Rule::operator(
        "policy",
        &["poddisruptionbudgets"],
        &["list", "watch"],
        "Wakes a blocked eviction when its budget changes.",
    ),
    Rule::operator(names::GROUP, &["remediationpolicies"], READ, "Reads what it is asked to do."),
    Rule::operator(
        names::GROUP,
        &["remediationpolicies/status"],
        &["patch"],
        "Reports what a policy matches, and what it waits for.",
    ),
    Rule::operator(
        names::GROUP,
        &["noderemediations"],
        &["get", "list", "watch", "create", "patch", "delete"],
        "Starts runs, keeps its finalizer on them, and deletes those that were never admitted.",
    ),
    Rule::operator(
        names::GROUP,
        &["noderemediations/status"],
        &["update"],
        "Writes each step and intent before it acts.",
    ),
    Rule::operator(
        names::GROUP,
        &["alertsources"],
        &["list", "watch"],
        "Reads whose alerts it is to follow.",
    ),
    Rule::operator(
        names::GROUP,
        &["alertsources/status"],
        &["patch"],
        "Reports which servers answer, and what they show.",
    ),
    Rule::operator(
        "",
        &["nodes/status"],
        &["patch"],
        "Writes conditions from alerts, and no others.",
    ),
    Rule::operator(
        "events.k8s.io",
        &["events"],
        &["create", "patch"],
        "Tells the story on the node and on the run.",
    ),
    Rule::operator("", &["pods"], &["create", "delete"], "Runs and removes reboot and probe Pods.")
        .within(names::NODE_NAMESPACE),
    Rule::operator("", &["configmaps"], &["list", "watch"], "Obeys the kill switch.")
        .within(names::SYSTEM_NAMESPACE)
        .named(&[names::PAUSE_CONFIG_MAP]),
    Rule::operator("", &["configmaps"], &["list", "watch"], "Keeps the limits of the cluster.")
        .within(names::SYSTEM_NAMESPACE)
        .named(&[names::CONFIG_CONFIG_MAP]),
    Rule::operator(
        "",
        &["secrets"],
        &["get"],
        "Reads by name the credentials of servers that show alerts; a Secret says which AlertSources may use it.",
    )
    .within(names::SYSTEM_NAMESPACE),
    Rule::operator(
        "coordination.k8s.io",
        &["leases"],
        &["get", "list", "watch", "update"],
        "Leads, one operator at a time, and keeps the ledger of held slots.",
    )
    .within(names::SYSTEM_NAMESPACE)
    .named(&[names::LEASE]),
    Rule::operator(
        "coordination.k8s.io",
        &["leases"],
        &["create"],
        "Makes that Lease where there is none; a create cannot be limited to a name.",
    )
    .within(names::SYSTEM_NAMESPACE),
    Rule::operator("", &["nodes"], READ, "Sees which nodes there are, and their conditions.")
        .held_by(Holder::Alerts),
    Rule::operator(
        "",
        &["nodes/status"],
        &["patch"],
        "Writes conditions from alerts, and no others.",
    )
    .held_by(Holder::Alerts),
    Rule::operator(
        names::GROUP,
        &["alertsources"],
        &["list", "watch"],
        "Reads whose alerts it is to follow.",
    )
    .held_by(Holder::Alerts),
    Rule::operator(
        names::GROUP,
        &["alertsources/status"],
        &["patch"],
        "Reports which servers answer, and what they show.",
    )
    .held_by(Holder::Alerts),
    Rule::operator(
        "events.k8s.io",
        &["events"],
        &["create", "patch"],
        "Tells when a source answers no more, or again.",
    )
    .held_by(Holder::Alerts),
    Rule::operator(
        "",
        &["secrets"],
        &["get"],
        "Reads by name the credentials of servers that show alerts; a Secret says which AlertSources may use it.",
    )
    .within(names::SYSTEM_NAMESPACE)
    .held_by(Holder::Alerts),
    Rule::operator(
        "coordination.k8s.io",
        &["leases"],
        &["get", "list", "update"],
        "Writes conditions, one process at a time.",
    )
    .within(names::SYSTEM_NAMESPACE)
    .named(&[names::ALERTS_LEASE])
    .held_by(Holder::Alerts),
    Rule::operator(
        "coordination.k8s.io",
        &["leases"],
        &["create"],
        "Makes that Lease where there is none; a create cannot be limited to a name.",
    )
    .within(names::SYSTEM_NAMESPACE)
    .held_by(Holder::Alerts),
    Rule::operator(
        "",
        &["nodes"],
        &["get"],
        "Checks the cordon and the node's UID before a reboot.",
    )
    .held_by(Holder::Node),
    Rule::operator(
        names::GROUP,
        &["noderemediations"],
        &["get"],
        "Checks that the intent and the attempt are still in force before a reboot.",
    )
    .held_by(Holder::Node),
    Rule::operator(
        names::GROUP,
        &["remediationpolicies", "noderemediations", "alertsources"],
        READ,
        "Lets everyone who may view the cluster see policies, runs and alert sources.",
    )
    .held_by(Holder::Viewer),
    Rule::operator("", &["nodes"], READ, "`rerail plan` and `explain` plan on what nodes report.")
        .held_by(Holder::Viewer),
    Rule::operator(
        "",
        &["configmaps"],
        READ,
        "They obey the kill switch and the cluster's limits.",
    )
    .named(&[names::PAUSE_CONFIG_MAP, names::CONFIG_CONFIG_MAP])
    .held_by(Holder::Viewer),
    Rule::operator(
        "coordination.k8s.io",
        &["leases"],
        READ,
        "They count what the ledger holds, and what has started lately.",
    )
    .named(&[names::LEASE])
    .held_by(Holder::Viewer),
];

/// The whole table.
pub fn rules() -> &'static [Rule] {
    RULES
}

/// The rules that one holder has in one scope, as Kubernetes wants them.
fn policy_rules(holder: Holder, scope: Scope) -> Vec<PolicyRule> {
    RULES
        .iter()
        .filter(|rule| rule.holder == holder && rule.scope == scope)
        .map(Rule::policy_rule)
        .collect()
}

/// A ServiceAccount with what binds rights to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    /// The account.
    pub service_account: ServiceAccount,
    /// Rights in the whole cluster.
    pub cluster_role: ClusterRole,
    /// Gives them to the account.
    pub cluster_role_binding: ClusterRoleBinding,
    /// Rights in single namespaces, each with its binding.
    pub roles: Vec<(Role, RoleBinding)>,
}

/// What the operator runs as.
pub fn operator() -> Grant {
    let account = account(names::SYSTEM_NAMESPACE, names::OPERATOR_SERVICE_ACCOUNT);
    let roles = [names::NODE_NAMESPACE, names::SYSTEM_NAMESPACE]
        .map(|namespace| role(namespace, Holder::Operator, OPERATOR, &account));
    grant(Holder::Operator, OPERATOR, account, roles.into())
}

/// What `rerail alerts` runs as, where it runs alone: it writes the status of nodes, and no node.
pub fn alerts() -> Grant {
    let account = account(names::SYSTEM_NAMESPACE, names::ALERTS_SERVICE_ACCOUNT);
    let roles = vec![role(names::SYSTEM_NAMESPACE, Holder::Alerts, ALERTS, &account)];
    grant(Holder::Alerts, ALERTS, account, roles)
}

/// What the Pods on nodes run as: they may get runs and nodes by name, list nothing, write nothing.
pub fn node() -> Grant {
    let account = account(names::NODE_NAMESPACE, names::NODE_SERVICE_ACCOUNT);
    grant(Holder::Node, NODE, account, Vec::new())
}

/// Adds our kinds to the cluster's own `view`, `edit` and `admin` roles.
pub fn view() -> ClusterRole {
    let mut metadata = metadata(VIEW, None);
    let labels = metadata.labels.get_or_insert_default();
    labels.insert("rbac.authorization.k8s.io/aggregate-to-view".to_owned(), "true".to_owned());
    ClusterRole {
        metadata,
        rules: Some(policy_rules(Holder::Viewer, Scope::Cluster)),
        aggregation_rule: None,
    }
}

fn grant(
    holder: Holder,
    name: &str,
    service_account: ServiceAccount,
    roles: Vec<(Role, RoleBinding)>,
) -> Grant {
    let cluster_role_binding = ClusterRoleBinding {
        metadata: metadata(name, None),
        role_ref: role_ref("ClusterRole", name),
        subjects: Some(vec![subject(&service_account)]),
    };
    let cluster_role = ClusterRole {
        metadata: metadata(name, None),
        rules: Some(policy_rules(holder, Scope::Cluster)),
        aggregation_rule: None,
    };
    Grant { service_account, cluster_role, cluster_role_binding, roles }
}

fn role(
    namespace: &'static str,
    holder: Holder,
    name: &str,
    account: &ServiceAccount,
) -> (Role, RoleBinding) {
    let role = Role {
        metadata: metadata(name, Some(namespace)),
        rules: Some(policy_rules(holder, Scope::Namespace(namespace))),
    };
    let binding = RoleBinding {
        metadata: metadata(name, Some(namespace)),
        role_ref: role_ref("Role", name),
        subjects: Some(vec![subject(account)]),
    };
    (role, binding)
}

fn account(namespace: &str, name: &str) -> ServiceAccount {
    ServiceAccount { metadata: metadata(name, Some(namespace)), ..ServiceAccount::default() }
}

fn metadata(name: &str, namespace: Option<&str>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.map(str::to_owned),
        labels: Some(BTreeMap::from([(
            "app.kubernetes.io/name".to_owned(),
            names::MANAGED_BY_RERAIL.to_owned(),
        )])),
        ..ObjectMeta::default()
    }
}

fn role_ref(kind: &str, name: &str) -> RoleRef {
    RoleRef {
        api_group: "rbac.authorization.k8s.io".to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
    }
}

fn subject(account: &ServiceAccount) -> Subject {
    Subject {
        kind: "ServiceAccount".to_owned(),
        name: account.metadata.name.clone().unwrap_or_default(),
        namespace: account.metadata.namespace.clone(),
        api_group: None,
    }
}

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|&value| value.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_on_nodes_may_get_two_kinds_and_nothing_else() {
        let rules: Vec<&Rule> = rules().iter().filter(|rule| rule.holder == Holder::Node).collect();
        assert_eq!(rules.len(), 2);
        assert!(rules.iter().all(|rule| rule.verbs == ["get"]));
        assert!(node().roles.is_empty());
    }

    #[test]
    fn no_rule_has_a_wildcard_reads_secrets_of_others_or_lacks_a_reason() {
        for rule in rules() {
            let words = rule.resources.iter().chain(rule.verbs).chain([&rule.group]);
            assert!(words.clone().all(|word| !word.contains('*')), "{rule:?}");
            let by_name_and_ours = rule.verbs == ["get"]
                && rule.scope == Scope::Namespace(names::SYSTEM_NAMESPACE)
                && matches!(rule.holder, Holder::Operator | Holder::Alerts);
            assert!(!rule.resources.contains(&"secrets") || by_name_and_ours, "{rule:?}");
            assert!(rule.reason.ends_with('.'), "{rule:?}");
        }
    }

    #[test]
    fn every_rule_reaches_exactly_one_role() {
        let count = |rules: &Option<Vec<PolicyRule>>| rules.as_ref().map_or(0, Vec::len);
        let of_grant = |grant: Grant| {
            let roles = grant.roles.iter().map(|(role, _)| count(&role.rules)).sum::<usize>();
            count(&grant.cluster_role.rules) + roles
        };
        let granted: usize = [operator(), alerts(), node()].map(of_grant).iter().sum();
        assert_eq!(granted + count(&view().rules), rules().len());
    }

    #[test]
    fn the_view_role_is_part_of_view() {
        let labels = view().metadata.labels.unwrap();
        assert_eq!(labels.get("rbac.authorization.k8s.io/aggregate-to-view").unwrap(), "true");
    }
}
