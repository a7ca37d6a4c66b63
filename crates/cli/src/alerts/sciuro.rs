//! The configuration of Sciuro, from its environment: a Deployment of it goes on with our image and
//! nothing else changed. Names and defaults are those of Sciuro 0.3.2 (its `cmd/sciuro/main.go`).

use std::{collections::BTreeMap, net::SocketAddr};

use http::Uri;
use jiff::SignedDuration;
use percent_encoding::percent_decode_str;
use rerail_api::alert_source::AlertSourceSpec;
use rerail_core::alert::DEFAULT_PREFIX;
use serde_json::{Value, json};

use crate::process::LISTEN;

/// What every name of Sciuro's begins with.
const BEGINNING: &str = "SCIURO_";

/// For how long an answer holds at least. Sciuro has no such time: its conditions become Unknown with the
/// first question that fails (SCI-3).
const STALE_AFTER: SignedDuration = SignedDuration::from_mins(3);

/// What a Deployment of Sciuro says.
#[derive(Debug, Clone, PartialEq)]
pub struct Sciuro {
    /// The source.
    pub spec: AlertSourceSpec,
    /// User and password by address of a server.
    pub logins: BTreeMap<String, (String, String)>,
    /// Where metrics are served.
    pub listen: SocketAddr,
    /// Namespace of the Lease; `None`: the Pod's own.
    pub lease_namespace: Option<String>,
    /// Name of the Lease.
    pub lease_name: String,
    /// More is logged.
    pub dev_mode: bool,
    /// What has no effect here, and why.
    pub notes: Vec<String>,
}

/// Why the configuration cannot be used. Each names its variable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SciuroError {
    #[error("SCIURO_CEL_EXPRESSION is not set; it says which alert belongs to which node")]
    NoExpression,
    #[error("neither SCIURO_ALERTMANAGER_URL nor SCIURO_PROMETHEUS_URLS is set")]
    NoServer,
    #[error(
        "SCIURO_ALERT_RECEIVER is not set; with SCIURO_ALERTMANAGER_URL it says whose alerts count"
    )]
    NoReceiver,
    #[error(
        "{name}: {value} is no address of a server; it begins with http:// or https:// and has no query"
    )]
    Url { name: &'static str, value: String },
    #[error(
        "{name}: `{value}` is no duration; write numbers with units, such as `90s` or `1h30m`, at most 8760h"
    )]
    Duration { name: &'static str, value: String },
    #[error("{name}: `{value}` is neither true nor false")]
    Bool { name: &'static str, value: String },
    #[error("{name}: `{value}` is no number")]
    Number { name: &'static str, value: String },
    #[error("SCIURO_METRICS_ADDR: `{0}` is no address; write `0.0.0.0:8080` or `:8080`")]
    Address(String),
    #[error("{0}")]
    Spec(String),
}

/// True if the environment configures Sciuro.
pub fn is_configured(environment: &BTreeMap<String, String>) -> bool {
    environment.keys().any(|name| VARIABLES.contains(&name.as_str()))
}

/// Every name that Sciuro knows.
const VARIABLES: [&str; 15] = [
    "SCIURO_ALERTMANAGER_URL",
    "SCIURO_PROMETHEUS_URLS",
    "SCIURO_ALERT_RECEIVER",
    "SCIURO_ALERT_SILENCED",
    "SCIURO_CEL_EXPRESSION",
    "SCIURO_ALERT_CACHE_TTL",
    "SCIURO_NODE_RESYNC",
    "SCIURO_RECONCILE_TIMEOUT",
    "SCIURO_MAX_CONCURRENT_RECONCILES",
    "SCIURO_LINGER_DURATION",
    "SCIURO_NODE_CONDITION_PREFIX",
    "SCIURO_METRICS_ADDR",
    "SCIURO_DEV_MODE",
    "SCIURO_LEADER_NAMESPACE",
    "SCIURO_LEADER_ID",
];

/// Reads the configuration. A variable that is empty counts as one that is not set, as with Sciuro.
///
/// # Errors
/// If Sciuro would not start with it, or it cannot be worked with here.
pub fn read(environment: &BTreeMap<String, String>) -> Result<Sciuro, SciuroError> {
    let values = Values(environment);
    let expression = values.text("SCIURO_CEL_EXPRESSION").ok_or(SciuroError::NoExpression)?;
    let ((kind, servers), logins) = servers(&values)?;
    let poll = values.duration("SCIURO_ALERT_CACHE_TTL", SignedDuration::from_secs(60))?;
    let poll = poll.max(SignedDuration::from_secs(1));
    let resync = values.duration("SCIURO_NODE_RESYNC", SignedDuration::from_mins(2))?;
    let linger = values.duration("SCIURO_LINGER_DURATION", SignedDuration::from_hours(96))?;
    let mut spec = json!({
        "expression": expression,
        "conditionPrefix": values.text("SCIURO_NODE_CONDITION_PREFIX").unwrap_or(DEFAULT_PREFIX),
        "pollInterval": in_words(poll),
        "staleAfter": in_words(STALE_AFTER.max(poll * 3)),
        "heartbeatInterval": in_words(resync.max(poll)),
        "linger": in_words(linger),
    });
    spec[kind] = servers;
    let listen = values.text("SCIURO_METRICS_ADDR").map_or(Ok(LISTEN), |text| {
        address(text).ok_or_else(|| SciuroError::Address(short(text)))
    })?;
    Ok(Sciuro {
        spec: serde_json::from_value(spec).map_err(|error| SciuroError::Spec(error.to_string()))?,
        logins,
        listen,
        lease_namespace: values.text("SCIURO_LEADER_NAMESPACE").map(str::to_owned),
        lease_name: values.text("SCIURO_LEADER_ID").unwrap_or("sciuro-leader").to_owned(),
        dev_mode: values.bool("SCIURO_DEV_MODE")?,
        notes: notes(&values)?,
    })
}

/// The environment.
struct Values<'a>(&'a BTreeMap<String, String>);

impl<'a> Values<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// As Go's `time.ParseDuration`, but for what is negative or longer than a field of an AlertSource.
    fn duration(
        &self,
        name: &'static str,
        default: SignedDuration,
    ) -> Result<SignedDuration, SciuroError> {
        let Some(text) = self.text(name) else { return Ok(default) };
        let parsed = if text == "0" { Ok(SignedDuration::ZERO) } else { text.parse() };
        let fits = |value: &SignedDuration| {
            !value.is_negative() && *value <= SignedDuration::from_hours(8760)
        };
        let error = || SciuroError::Duration { name, value: short(text) };
        parsed.ok().filter(fits).ok_or_else(error)
    }

    /// As Go's `strconv.ParseBool`.
    fn bool(&self, name: &'static str) -> Result<bool, SciuroError> {
        match self.text(name) {
            Some("1" | "t" | "T" | "TRUE" | "true" | "True") => Ok(true),
            None | Some("0" | "f" | "F" | "FALSE" | "false" | "False") => Ok(false),
            Some(other) => Err(SciuroError::Bool { name, value: short(other) }),
        }
    }
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A duration as a field of an AlertSource has it.
fn in_words(duration: SignedDuration) -> String {
    format!("{}ms", duration.as_millis())
}

/// An address as Go has it: without a host it is every one.
fn address(text: &str) -> Option<SocketAddr> {
    let whole = match text.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}"),
        None => text.replace("localhost:", "127.0.0.1:"),
    };
    whole.parse().ok()
}

type Logins = BTreeMap<String, (String, String)>;

/// The servers as a field of the spec, and who logs in where.
fn servers(values: &Values<'_>) -> Result<((&'static str, Value), Logins), SciuroError> {
    const ALERTMANAGER: &str = "SCIURO_ALERTMANAGER_URL";
    const PROMETHEUS: &str = "SCIURO_PROMETHEUS_URLS";
    let mut logins = Logins::new();
    if let Some(url) = values.text(ALERTMANAGER) {
        let receiver = values.text("SCIURO_ALERT_RECEIVER").ok_or(SciuroError::NoReceiver)?;
        let url = without_login(ALERTMANAGER, url, &mut logins)?;
        let silenced = values.bool("SCIURO_ALERT_SILENCED")?;
        let spec = json!({ "urls": [url], "receiver": receiver, "includeSilenced": silenced });
        return Ok((("alertmanager", spec), logins));
    }
    let urls = values.text(PROMETHEUS).ok_or(SciuroError::NoServer)?;
    let mut found: Vec<String> = Vec::new();
    for url in urls.split(',').map(str::trim).filter(|url| !url.is_empty()) {
        let url = without_login(PROMETHEUS, url, &mut logins)?;
        if !found.contains(&url) {
            found.push(url);
        }
    }
    if found.is_empty() {
        return Err(SciuroError::NoServer);
    }
    Ok((("prometheus", json!({ "urls": found })), logins))
}

/// The address without user and password, which go to the others: what is logged and counted by address
/// must not hold them.
fn without_login(
    name: &'static str,
    text: &str,
    logins: &mut Logins,
) -> Result<String, SciuroError> {
    // Of one that cannot be read, nobody knows where its password ends.
    let unreadable = || SciuroError::Url { name, value: "one of its values".to_owned() };
    let uri: Uri = text.parse().map_err(|_| unreadable())?;
    let host = uri.host().filter(|host| uri.scheme().is_some() && !host.is_empty());
    let host = host.map(|host| format!("what it says of `{}`", short(host)));
    let error =
        || SciuroError::Url { name, value: host.clone().unwrap_or("one of its values".into()) };
    let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme));
    let (Some(scheme), Some(authority), None) = (scheme, uri.authority(), uri.query()) else {
        return Err(error());
    };
    let (login, host) = match authority.as_str().rsplit_once('@') {
        Some((login, host)) => (Some(login), host),
        None => (None, authority.as_str()),
    };
    let url = format!("{scheme}://{host}{}", uri.path().trim_end_matches('/'));
    if let Some(login) = login {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let decoded = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        logins.insert(url.clone(), (decoded(user), decoded(password)));
    }
    Ok(url)
}

/// What has no effect here, and why.
fn notes(values: &Values<'_>) -> Result<Vec<String>, SciuroError> {
    const TIMEOUT: &str = "SCIURO_RECONCILE_TIMEOUT";
    const AT_ONCE: &str = "SCIURO_MAX_CONCURRENT_RECONCILES";
    let mut notes = Vec::new();
    values.duration(TIMEOUT, SignedDuration::ZERO)?;
    if values.text(TIMEOUT).is_some() {
        notes.push(format!("{TIMEOUT} has no effect: every call has a deadline of its own"));
    }
    if let Some(value) = values.text(AT_ONCE) {
        value
            .parse::<i64>()
            .map_err(|_| SciuroError::Number { name: AT_ONCE, value: short(value) })?;
        notes.push(format!("{AT_ONCE} has no effect: many nodes are written at once"));
    }
    if values.text("SCIURO_ALERTMANAGER_URL").is_some()
        && values.text("SCIURO_PROMETHEUS_URLS").is_some()
    {
        notes.push("SCIURO_PROMETHEUS_URLS has no effect beside SCIURO_ALERTMANAGER_URL".into());
    }
    let unknown = values.0.keys().filter(|name| name.starts_with(BEGINNING));
    // Kubernetes sets the latter for a Service that is called sciuro.
    let by_kubernetes = ["SCIURO_SERVICE_", "SCIURO_PORT"];
    let unknown = unknown.filter(|name| {
        !VARIABLES.contains(&name.as_str())
            && !by_kubernetes.iter().any(|beginning| name.starts_with(beginning))
    });
    notes.extend(unknown.map(|name| format!("{name} is not known and has no effect")));
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    const LEAST: [(&str, &str); 3] = [
        ("SCIURO_CEL_EXPRESSION", "labels.node == FullName"),
        ("SCIURO_ALERTMANAGER_URL", "https://am.example.com/prefix/"),
        ("SCIURO_ALERT_RECEIVER", "node-condition-k8s"),
    ];

    fn with(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut all = environment(&LEAST);
        all.extend(environment(pairs));
        all
    }

    /// What Sciuro's own ConfigMap sets, and its defaults for the rest.
    #[test]
    fn what_is_not_set_is_as_with_sciuro() {
        let read = read(&environment(&LEAST)).unwrap();
        let alertmanager = read.spec.alertmanager.unwrap();
        assert_eq!(alertmanager.urls, ["https://am.example.com/prefix"]);
        assert_eq!(alertmanager.receiver, "node-condition-k8s");
        assert!(!alertmanager.include_silenced);
        assert!(alertmanager.include_inhibited && alertmanager.include_muted);
        assert_eq!(read.spec.prometheus, None);
        assert_eq!(read.spec.expression, "labels.node == FullName");
        assert_eq!(read.spec.condition_prefix, "AlertManager_");
        let seconds = |duration: &rerail_api::duration::GoDuration| duration.value().as_secs();
        assert_eq!(seconds(&read.spec.poll_interval), 60);
        assert_eq!(seconds(&read.spec.heartbeat_interval), 120);
        assert_eq!(seconds(&read.spec.linger), 96 * 3600);
        assert_eq!(seconds(&read.spec.stale_after), 180);
        assert_eq!(read.listen, "0.0.0.0:8080".parse().unwrap());
        assert_eq!((read.lease_namespace, read.lease_name.as_str()), (None, "sciuro-leader"));
        assert_eq!((read.dev_mode, read.notes.len(), read.logins.len()), (false, 0, 0));
    }

    /// Each of the fifteen, away from its default.
    #[test]
    fn every_variable_of_sciuro_has_its_effect_or_is_said_to_have_none() {
        let all = environment(&[
            ("SCIURO_ALERTMANAGER_URL", "http://me:p%40ss@am:9093"),
            ("SCIURO_PROMETHEUS_URLS", "http://p"),
            ("SCIURO_ALERT_RECEIVER", "r"),
            ("SCIURO_ALERT_SILENCED", "T"),
            ("SCIURO_CEL_EXPRESSION", "true"),
            ("SCIURO_ALERT_CACHE_TTL", "1.5m"),
            ("SCIURO_NODE_RESYNC", "10m"),
            ("SCIURO_RECONCILE_TIMEOUT", "1s"),
            ("SCIURO_MAX_CONCURRENT_RECONCILES", "4"),
            ("SCIURO_LINGER_DURATION", "0"),
            ("SCIURO_NODE_CONDITION_PREFIX", "Alert_"),
            ("SCIURO_METRICS_ADDR", ":9000"),
            ("SCIURO_DEV_MODE", "true"),
            ("SCIURO_LEADER_NAMESPACE", "ops"),
            ("SCIURO_LEADER_ID", "bridge"),
        ]);
        assert!(all.keys().map(String::as_str).eq({
            let mut names = VARIABLES;
            names.sort_unstable();
            names
        }));
        let read = read(&all).unwrap();
        let alertmanager = read.spec.alertmanager.unwrap();
        assert_eq!(alertmanager.urls, ["http://am:9093"]);
        assert_eq!(read.logins["http://am:9093"], ("me".into(), "p@ss".into()));
        assert!(alertmanager.include_silenced);
        assert_eq!((alertmanager.receiver.as_str(), read.spec.expression.as_str()), ("r", "true"));
        assert_eq!(read.spec.poll_interval.value().as_secs(), 90);
        assert_eq!(read.spec.stale_after.value().as_secs(), 270);
        assert_eq!(read.spec.heartbeat_interval.value().as_secs(), 600);
        assert_eq!(read.spec.linger.value(), SignedDuration::ZERO);
        assert_eq!(read.spec.condition_prefix, "Alert_");
        assert_eq!(read.listen, "0.0.0.0:9000".parse().unwrap());
        assert!(read.dev_mode);
        assert_eq!(read.lease_namespace.as_deref(), Some("ops"));
        assert_eq!(read.lease_name, "bridge");
        let notes = read.notes.join("\n");
        for name in
            ["RECONCILE_TIMEOUT has", "MAX_CONCURRENT_RECONCILES has", "PROMETHEUS_URLS has"]
        {
            assert!(notes.contains(name), "{notes}");
        }
        assert_eq!(read.notes.len(), 3);
    }

    #[test]
    fn several_prometheus_servers_are_taken_each_with_its_login() {
        let mut all =
            with(&[("SCIURO_PROMETHEUS_URLS", "http://a:9090, https://u:p@b/x/,http://a:9090/")]);
        all.remove("SCIURO_ALERTMANAGER_URL");
        all.remove("SCIURO_ALERT_RECEIVER");
        let read = read(&all).unwrap();
        assert_eq!(read.spec.prometheus.unwrap().urls, ["http://a:9090", "https://b/x"]);
        assert_eq!(read.logins, [("https://b/x".into(), ("u".into(), "p".into()))].into());
    }

    #[test]
    fn what_cannot_be_used_says_which_variable_and_tells_no_password() {
        for (name, value, expected) in [
            ("SCIURO_CEL_EXPRESSION", "", "SCIURO_CEL_EXPRESSION is not set"),
            ("SCIURO_ALERT_RECEIVER", "", "SCIURO_ALERT_RECEIVER is not set"),
            ("SCIURO_ALERTMANAGER_URL", "", "neither SCIURO_ALERTMANAGER_URL nor"),
            (
                "SCIURO_ALERTMANAGER_URL",
                "am:9093",
                "URL: one of its values is no address of a server",
            ),
            ("SCIURO_ALERTMANAGER_URL", "http://me:secret%40am", "is no address"),
            ("SCIURO_ALERTMANAGER_URL", "ftp://me:secret@am", "what it says of `am` is no address"),
            (
                "SCIURO_ALERTMANAGER_URL",
                "http://me:secret@am/?key=secret",
                "what it says of `am` is",
            ),
            ("SCIURO_ALERT_CACHE_TTL", "60", "SCIURO_ALERT_CACHE_TTL: `60` is no duration"),
            ("SCIURO_ALERT_CACHE_TTL", "-1s", "`-1s` is no duration"),
            ("SCIURO_LINGER_DURATION", "9000h", "at most 8760h"),
            ("SCIURO_RECONCILE_TIMEOUT", "soon", "SCIURO_RECONCILE_TIMEOUT"),
            ("SCIURO_MAX_CONCURRENT_RECONCILES", "many", "`many` is no number"),
            ("SCIURO_ALERT_SILENCED", "yes", "neither true nor false"),
            ("SCIURO_DEV_MODE", "on", "SCIURO_DEV_MODE"),
            ("SCIURO_METRICS_ADDR", "here", "SCIURO_METRICS_ADDR: `here` is no address"),
        ] {
            let words = read(&with(&[(name, value)])).unwrap_err().to_string();
            assert!(words.contains(expected), "{name}={value}: {words}");
            assert!(!words.contains("secret"), "{words}");
        }
    }

    #[test]
    fn a_variable_that_is_misspelt_is_told() {
        let read = read(&with(&[
            ("SCIURO_ALERT_RECIEVER", "x"),
            ("PATH", "y"),
            ("SCIURO_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ]))
        .unwrap();
        assert_eq!(read.notes, ["SCIURO_ALERT_RECIEVER is not known and has no effect"]);
    }
}
