//! Names that Rerail writes on objects of the cluster, in one place.

/// The API group of all custom resources.
pub const GROUP: &str = "rerail.dev";
/// The one API version.
pub const VERSION: &str = "v1alpha1";

/// Annotation on a Node: UID of the run that cordoned it, written in the same patch as the cordon.
pub const CORDONED_BY: &str = "rerail.dev/cordoned-by";
/// Annotation on a Node: for people, who cordoned, since when, and how to undo it by hand.
pub const CORDON_NOTE: &str = "rerail.dev/cordon-note";
/// Annotation on a Node: history of runs, see [`crate::last_remediation`].
pub const LAST_REMEDIATION: &str = "rerail.dev/last-remediation";
/// Label on a Node, set by people: stop, and keep the node as it is.
pub const HOLD: &str = "rerail.dev/hold";
/// Label on a Node, set by people: never select this node.
pub const IGNORE: &str = "rerail.dev/ignore";
/// Annotation on a RemediationPolicy, set by people: a time. Condition types that were stopped by then
/// may start runs again, and what was newly true by then does not stop them any more.
pub const RESET_BREAKER: &str = "rerail.dev/reset-breaker";
/// Finalizer on a NodeRemediation while there is something of ours to undo.
pub const FINALIZER: &str = "rerail.dev/cleanup";
/// Annotation on a NodeRemediation beside [`FINALIZER`]: for people, who set it, since when, and how to
/// undo it by hand.
pub const CLEANUP_NOTE: &str = "rerail.dev/cleanup-note";

/// Annotation on a Secret, set by people: the AlertSources that may use it, with commas between; `*` is any.
pub const ALERT_SOURCES: &str = "rerail.dev/alert-sources";

/// Field manager of every write; `managedFields` then tells our cordon from a person's (protocol R9).
pub const FIELD_MANAGER: &str = "rerail";

/// Namespace of the operator, its Lease and its ConfigMaps.
pub const SYSTEM_NAMESPACE: &str = "rerail-system";
/// Namespace of the Pods that the operator runs on nodes.
pub const NODE_NAMESPACE: &str = "rerail-node";
/// ServiceAccount of the operator, in [`SYSTEM_NAMESPACE`].
pub const OPERATOR_SERVICE_ACCOUNT: &str = "rerail-operator";
/// ServiceAccount of reboot and probe Pods, in [`NODE_NAMESPACE`]: may get runs and nodes, no more.
pub const NODE_SERVICE_ACCOUNT: &str = "rerail-node";
/// ConfigMap of the kill switch, in [`SYSTEM_NAMESPACE`].
pub const PAUSE_CONFIG_MAP: &str = "rerail-pause";
/// ConfigMap of the configuration of the whole cluster, in [`SYSTEM_NAMESPACE`].
pub const CONFIG_CONFIG_MAP: &str = "rerail-config";
/// The key of [`CONFIG_CONFIG_MAP`] that holds the configuration.
pub const CONFIG_KEY: &str = "config.yaml";
/// The operator's Lease, in [`SYSTEM_NAMESPACE`]: who leads, and the ledger of held slots.
pub const LEASE: &str = "rerail-operator";
/// The Lease of `rerail alerts`, in [`SYSTEM_NAMESPACE`].
pub const ALERTS_LEASE: &str = "rerail-alerts";
/// ServiceAccount of `rerail alerts`, in [`SYSTEM_NAMESPACE`].
pub const ALERTS_SERVICE_ACCOUNT: &str = "rerail-alerts";
/// Annotation of a Lease that is led by: the ledger, see [`crate::convert::ledger`].
pub const LEDGER: &str = "rerail.dev/ledger";

/// Label of every Pod that the operator makes.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`].
pub const MANAGED_BY_RERAIL: &str = "rerail";
/// Label that tells a reboot Pod from a probe Pod.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Value of [`COMPONENT`] of a Pod that reboots its node.
pub const COMPONENT_REBOOT: &str = "reboot";
/// Value of [`COMPONENT`] of a Pod that proves that Pods start on a node.
pub const COMPONENT_PROBE: &str = "probe";
/// Label of a Pod of a run: the run's UID.
pub const RUN_UID: &str = "rerail.dev/run-uid";
/// Annotation of a probe Pod: the boot ID that its node showed when it was made.
pub const BOOT_ID: &str = "rerail.dev/boot-id";

/// Name of the reboot Pod of one attempt: the same for every leader that could want it, so that it
/// exists at most once.
pub fn reboot_pod_name(run_uid: &str, attempt: u32) -> String {
    format!("reboot-{run_uid}-{attempt}")
}

/// Name of the probe Pod after one attempt.
pub fn probe_pod_name(run_uid: &str, attempt: u32) -> String {
    format!("probe-{run_uid}-{attempt}")
}
