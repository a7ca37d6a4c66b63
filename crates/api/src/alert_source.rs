//! AlertSource: whose alerts become conditions of nodes, and which. A field exists when it works.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use rerail_core::alert::{DEFAULT_EXPRESSION, DEFAULT_PREFIX};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::GoDuration;

/// Servers of one source; Alertmanager's own clusters have three to five.
pub const SERVERS_LIMIT: usize = 16;

/// Alerts that could not be used as they are, of those that the status names.
pub const FLAWS_KEPT: usize = 20;

/// Whose alerts become conditions of nodes, and which.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "rerail.dev",
    version = "v1alpha1",
    kind = "AlertSource",
    plural = "alertsources",
    shortname = "asrc",
    category = "rerail",
    status = "AlertSourceStatus",
    derive = "PartialEq",
    doc = "An AlertSource says whose firing alerts become conditions of nodes, and which alert belongs to which node.",
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Firing", type_ = "integer", json_path = ".status.counts.firing"),
    printcolumn(name = "Matched", type_ = "integer", json_path = ".status.counts.matched"),
    printcolumn(name = "Nodes", type_ = "integer", json_path = ".status.counts.nodes"),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 63").message("`metadata.name` must be at most 63 characters")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.alertmanager) != has(self.prometheus)").message("set exactly one of `alertmanager` and `prometheus`"),
    validation = Rule::new("duration(self.pollInterval) >= duration('1s')").message("`pollInterval` must be at least 1s").field_path(".pollInterval"),
    validation = Rule::new("duration(self.staleAfter) >= duration(self.pollInterval) && duration(self.staleAfter) - duration(self.pollInterval) >= duration(self.pollInterval)").message("`staleAfter` must be at least twice `pollInterval`, or one slow answer makes everything Unknown").field_path(".staleAfter"),
    validation = Rule::new("duration(self.heartbeatInterval) >= duration(self.pollInterval)").message("`heartbeatInterval` must be at least `pollInterval`: there is nothing newer to write").field_path(".heartbeatInterval")
)]
pub struct AlertSourceSpec {
    /// Alertmanagers that are replicas of each other. Default: none. Example:
    /// `{urls: ["http://alertmanager-0.alertmanager:9093"], receiver: node-condition-k8s}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alertmanager: Option<AlertmanagerSpec>,
    /// Prometheus servers, each with rules of its own. Default: none. Example:
    /// `{urls: ["http://prometheus.monitoring:9090"]}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusSpec>,
    /// How the servers are spoken to. Default: without credentials, trusting public authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessSpec>,
    /// Who may have the servers asked at once: whoever bears a token, or shows a certificate. Default: nobody.
    /// Example: `{bearerTokenSecretName: alertmanager-webhook}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<PushSpec>,
    /// Which alert belongs to which node, in CEL: `labels` are the alert's labels, `FullName` is the node's
    /// name, `ShortName` the part of it before the first dot. Default: the label `node` is either name.
    /// Example: `labels["instance"] == FullName + ":9100"`.
    #[serde(default = "default_expression")]
    #[schemars(length(min = 1, max = 4096))]
    pub expression: String,
    /// What the types of the conditions begin with, before the alert's name. No other AlertSource may have
    /// the same, one that begins with it, or the beginning of it. Default: AlertManager_.
    /// Example: `Storage_`.
    #[serde(default = "default_prefix")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[A-Za-z0-9][-A-Za-z0-9_./]*$"),
        extend("x-kubernetes-validations" = [{
            "rule": "!['Ready', 'MemoryPressure', 'DiskPressure', 'PIDPressure', 'NetworkUnavailable', 'RebootRequired'].exists(t, t.startsWith(self))",
            "message": "no condition of Kubernetes or of Rerail may begin so: an alert must not pass for one; end it with an underscore, such as `AlertManager_`",
        }])
    )]
    pub condition_prefix: String,
    /// How long a condition stays after its alert has ended, as status False; 0s = for ever.
    /// Default: 96h. Example: `24h`.
    #[serde(default = "default_linger")]
    pub linger: GoDuration,
    /// How often each server is asked. Default: 5s. Example: `30s`.
    #[serde(default = "default_poll_interval")]
    pub poll_interval: GoDuration,
    /// What a server has said holds for so long when it does not answer; then conditions become Unknown,
    /// which starts nothing and is no recovery. Default: 3m. Example: `5m`.
    #[serde(default = "three_minutes")]
    pub stale_after: GoDuration,
    /// How long a server that has just begun is not believed when it shows no alert: Alertmanager knows of
    /// none until Prometheus has sent it, which is every `--rules.alert.resend-delay` and the next evaluation
    /// after it. Default: 3m. Example: `5m`.
    #[serde(default = "three_minutes")]
    pub warm_up: GoDuration,
    /// How often a condition that says the same is written anew. Must be shorter than the `staleAfter` of
    /// the triggers that read it. Default: 5m. Example: `2m`.
    #[serde(default = "default_heartbeat_interval")]
    pub heartbeat_interval: GoDuration,
    /// Name of an alert that always fires. While a server does not show it, that server sees nothing, and
    /// an alert that it does not show is not taken for ended. Default: none, and every answer counts.
    /// Example: `Watchdog`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub deadman_alert: Option<String>,
}

/// Alertmanagers that are replicas of each other: an alert fires if any shows it, and has ended if one
/// that answers does not and none other does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertmanagerSpec {
    /// Their addresses, 1 to 16; each its own, not one that several answer at by turns.
    /// Example: `["http://alertmanager-0.alertmanager:9093"]`.
    #[schemars(schema_with = "urls")]
    pub urls: Vec<String>,
    /// Only alerts that go to a receiver whose whole name this regular expression fits; `.*` is any.
    /// Example: `node-condition-k8s`.
    #[schemars(length(min = 1, max = 1024))]
    pub receiver: String,
    /// True: alerts that somebody has silenced count, too. Default: false. Example: `true`.
    #[serde(default)]
    pub include_silenced: bool,
    /// True: alerts that another one inhibits count, too. Default: true, as Sciuro does. Example: `false`.
    #[serde(default = "yes")]
    pub include_inhibited: bool,
    /// True: alerts whose route is muted at this time count, too. Alertmanagers before 0.28 do not tell.
    /// Default: true, as Sciuro does. Example: `false`.
    #[serde(default = "yes")]
    pub include_muted: bool,
}

/// Prometheus servers, each with rules of its own: an alert has ended only when all of them have answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrometheusSpec {
    /// Their addresses, 1 to 16. Example: `["https://prometheus.monitoring:9090"]`.
    #[schemars(schema_with = "urls")]
    pub urls: Vec<String>,
}

/// How servers are spoken to. Secrets are those of the operator's namespace that name this AlertSource in
/// their annotation `rerail.dev/alert-sources`; they are read anew at least once a minute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.basicAuthSecretName) && has(self.bearerTokenSecretName))").message("set at most one of `basicAuthSecretName` and `bearerTokenSecretName`"))]
pub struct AccessSpec {
    /// Secret with the keys `username` and `password`. Default: none. Example: `alertmanager-login`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "secret_name")]
    pub basic_auth_secret_name: Option<String>,
    /// Secret with the key `token`. Default: none. Example: `alertmanager-token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "secret_name")]
    pub bearer_token_secret_name: Option<String>,
    /// Secret with the key `ca.crt`: the authorities that are trusted, and no others.
    /// Default: public authorities. Example: `alertmanager-ca`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "secret_name")]
    pub ca_secret_name: Option<String>,
    /// Secret with the keys `tls.crt` and `tls.key`: the certificate that the servers are shown.
    /// Default: none. Example: `rerail-client`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "secret_name")]
    pub client_certificate_secret_name: Option<String>,
}

/// Who may have the servers asked now, by a webhook to `/v1/alertsources/NAME` of the operator's alerts port.
/// What is sent does nothing else.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.bearerTokenSecretName) != has(self.clientNames)").message("set exactly one of `bearerTokenSecretName` and `clientNames`"))]
pub struct PushSpec {
    /// Secret with the key `token`, which the webhook has to bear. Default: none.
    /// Example: `alertmanager-webhook`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "secret_name")]
    pub bearer_token_secret_name: Option<String>,
    /// DNS names, 1 to 16, of which the client's certificate has to have one as an alternative name. Needs
    /// an operator with `--alerts-client-ca-file`. Default: none. Example: `["alertmanager.monitoring"]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "dns_names")]
    pub client_names: Option<Vec<String>>,
}

/// What the operator says of a source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AlertSourceStatus {
    /// The generation of the spec that this status speaks of. Default: 0. Example: `3`.
    pub observed_generation: i64,
    /// Ready: it can be told that an alert has ended; Stalled: the spec cannot be worked with. Default: none.
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
    /// How much there is. Default: zeros.
    pub counts: AlertCounts,
    /// Each server. Default: none.
    #[schemars(length(max = 16))]
    pub servers: Vec<AlertServerStatus>,
    /// Alerts that are not used as they are, and why; at most 20. Default: none.
    #[schemars(length(max = 20))]
    pub flaws: Vec<String>,
}

/// How much there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AlertCounts {
    /// Alerts that fire. Default: 0. Example: `12`.
    #[schemars(range(min = 0))]
    pub firing: i32,
    /// Of those, how many belong to a node. Default: 0. Example: `10`.
    #[schemars(range(min = 0))]
    pub matched: i32,
    /// Nodes that such an alert belongs to. Default: 0. Example: `8`.
    #[schemars(range(min = 0))]
    pub nodes: i32,
    /// Alerts that are not used as they are. Default: 0. Example: `1`.
    #[schemars(range(min = 0))]
    pub flawed: i32,
}

/// How one server stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AlertServerStatus {
    /// Its address. Default: empty. Example: `http://alertmanager:9093`.
    #[schemars(length(max = 1024))]
    pub url: String,
    /// Answers: it does; Blind: it does, and what it does not show is not taken for ended; Silent: it does
    /// not. Default: Silent. Example: `Answers`.
    pub state: AlertServerState,
    /// Why it does not, or why it is blind. Default: empty. Example: `no answer within 5s`.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// Alerts that it showed last. Default: 0. Example: `12`.
    #[schemars(range(min = 0))]
    pub alerts: i32,
    /// When it last answered; written when something else is, or once per `heartbeatInterval`.
    /// Default: never. Example: `2026-01-01T00:00:00Z`.
    #[schemars(schema_with = "crate::schema::optional_time")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_answer_time: Option<jiff::Timestamp>,
}

/// How a server stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AlertServerState {
    Answers,
    Blind,
    #[default]
    Silent,
}

fn urls(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": SERVERS_LIMIT,
        "x-kubernetes-list-type": "set",
        "items": {
            "description": "An address with http or https, and a path where the server has one. Example: `https://monitoring.example.com/alertmanager`.",
            "type": "string",
            "maxLength": 1024,
            "pattern": "^https?://[^/?#@\\s]+(/[^?#\\s]*)?$",
        },
    })
}

fn dns_names(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": SERVERS_LIMIT,
        "x-kubernetes-list-type": "set",
        "items": {
            "description": "A DNS name. Example: `alertmanager.monitoring`.",
            "type": "string",
            "maxLength": 253,
            "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        },
    })
}

fn secret_name(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 253,
        "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
    })
}

macro_rules! defaults {
    ($($name:ident -> $type:ty = $value:expr;)+) => { $(fn $name() -> $type { $value })+ };
}

defaults! {
    yes -> bool = true;
    default_expression -> String = DEFAULT_EXPRESSION.into();
    default_prefix -> String = DEFAULT_PREFIX.into();
    default_linger -> GoDuration = GoDuration::of("96h");
    default_poll_interval -> GoDuration = GoDuration::of("5s");
    three_minutes -> GoDuration = GoDuration::of("3m");
    default_heartbeat_interval -> GoDuration = GoDuration::of("5m");
}
