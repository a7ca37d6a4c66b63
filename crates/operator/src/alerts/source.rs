//! An AlertSource, checked. The API server has refused most bad specs already; what is refused here
//! cannot be said in CEL, or concerns two sources.

use std::{collections::BTreeMap, sync::Arc};

use jiff::SignedDuration;
use kube::ResourceExt;
use rerail_alerts::{
    ask::Question,
    expression::{Expression, ExpressionError},
};
use rerail_api::{
    AlertSource,
    alert_source::{AccessSpec, AlertSourceSpec, PushSpec},
};
use rerail_core::{facts::OF_KUBELET, words::quoted};

use super::access;
use crate::observe::objects::Entry;

/// Why a source is not worked with. Others go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// It cannot be read.
    #[error("the object cannot be read: {0}")]
    Malformed(String),
    /// Neither or both kinds of servers.
    #[error("`spec`: set exactly one of `alertmanager` and `prometheus`")]
    Kind,
    /// No servers.
    #[error("`spec`: at least one address is needed in `urls`")]
    NoServer,
    /// The expression cannot be used.
    #[error("`spec.expression`: {0}")]
    Expression(#[from] ExpressionError),
    /// No prefix, or one of somebody else's conditions.
    #[error("`spec.conditionPrefix`: `{0}` must not be empty, nor the beginning of `{1}`")]
    Prefix(String, &'static str),
    /// Neither or both ways to push.
    #[error("`spec.push`: set exactly one of `bearerTokenSecretName` and `clientNames`")]
    Push,
    /// Two sources would write the same conditions.
    #[error(
        "`spec.conditionPrefix`: AlertSource {other}, which is older, has the prefix `{theirs}`, and one of the two prefixes begins with the other; choose another prefix"
    )]
    PrefixTaken {
        /// The other source.
        other: String,
        /// Its prefix.
        theirs: String,
    },
}

impl SourceError {
    /// The error in one word.
    pub fn reason(&self) -> &'static str {
        match self {
            SourceError::PrefixTaken { .. } => "PrefixTaken",
            _ => "InvalidSpec",
        }
    }
}

/// A condition of Rerail's own that no source may write, beside those of kubelets.
const REBOOT_REQUIRED: &str = "RebootRequired";

/// A source that can be worked with.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    /// Name of the object.
    pub name: String,
    /// UID of the object; empty if there is none.
    pub uid: String,
    /// Generation of its spec.
    pub generation: i64,
    /// What its servers are asked.
    pub question: Question,
    /// Addresses of its servers.
    pub servers: Vec<String>,
    /// Headers `Authorization` by address, of a source that is no object.
    pub logins: BTreeMap<String, String>,
    /// The expression, compiled.
    pub expression: Arc<Expression>,
    /// What the types of its conditions begin with.
    pub prefix: String,
    /// How long conditions stay after their alert.
    pub linger: SignedDuration,
    /// How often each server is asked.
    pub poll_interval: SignedDuration,
    /// For how long an answer holds.
    pub stale_after: SignedDuration,
    /// For how long a server that has just begun proves no end of an alert.
    pub warm_up: SignedDuration,
    /// How often what says the same is written anew.
    pub heartbeat_interval: SignedDuration,
    /// The alert that always fires.
    pub deadman_alert: Option<String>,
    /// Names of Secrets.
    pub access: Secrets,
    /// Who may push; without one nobody may.
    pub push: Option<Pusher>,
}

/// Who may have a source polled now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pusher {
    /// Whoever bears the token of the Secret of this name.
    Token(String),
    /// Whoever shows a certificate with one of these DNS names.
    Clients(Vec<String>),
}

impl Pusher {
    fn new(spec: &PushSpec) -> Result<Self, SourceError> {
        match (&spec.bearer_token_secret_name, &spec.client_names) {
            (Some(secret), None) => Ok(Pusher::Token(secret.clone())),
            (None, Some(names)) => Ok(Pusher::Clients(names.clone())),
            _ => Err(SourceError::Push),
        }
    }
}

/// Names of Secrets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Secrets {
    /// With `username` and `password`.
    pub basic_auth: Option<String>,
    /// With `token`.
    pub bearer_token: Option<String>,
    /// With `ca.crt`.
    pub ca: Option<String>,
    /// With `tls.crt` and `tls.key`.
    pub client_certificate: Option<String>,
}

impl From<&AccessSpec> for Secrets {
    fn from(spec: &AccessSpec) -> Self {
        Secrets {
            basic_auth: spec.basic_auth_secret_name.clone(),
            bearer_token: spec.bearer_token_secret_name.clone(),
            ca: spec.ca_secret_name.clone(),
            client_certificate: spec.client_certificate_secret_name.clone(),
        }
    }
}

impl Source {
    /// True if its servers are replicas of each other.
    pub fn replicas(&self) -> bool {
        matches!(self.question, Question::Alertmanager { .. })
    }

    /// A source that is no object of the cluster. `logins`: user and password by address of a server, for
    /// basic authentication.
    ///
    /// # Errors
    /// If it cannot be worked with.
    pub fn given(
        name: &str,
        spec: AlertSourceSpec,
        logins: &BTreeMap<String, (String, String)>,
    ) -> Result<Self, SourceError> {
        let mut source = Source::new(&AlertSource::new(name, spec))?;
        let header = |(url, (user, password)): (&String, &(String, String))| {
            (url.clone(), access::basic(user, password))
        };
        source.logins = logins.iter().map(header).collect();
        Ok(source)
    }

    /// True if it is an object of the cluster, and has a status there.
    pub fn is_object(&self) -> bool {
        !self.uid.is_empty()
    }

    fn new(object: &AlertSource) -> Result<Self, SourceError> {
        let spec = &object.spec;
        let (question, servers) = match (&spec.alertmanager, &spec.prometheus) {
            (Some(of), None) => {
                let question = Question::Alertmanager {
                    receiver: of.receiver.clone(),
                    silenced: of.include_silenced,
                    inhibited: of.include_inhibited,
                    muted: of.include_muted,
                };
                (question, of.urls.clone())
            }
            (None, Some(of)) => (Question::Prometheus, of.urls.clone()),
            _ => return Err(SourceError::Kind),
        };
        if servers.is_empty() {
            return Err(SourceError::NoServer);
        }
        let expression = Arc::new(Expression::parse(&spec.expression)?);
        let prefix = &spec.condition_prefix;
        let mut others = OF_KUBELET.into_iter().chain([REBOOT_REQUIRED]);
        if let Some(other) = others.find(|other| other.starts_with(prefix.as_str())) {
            return Err(SourceError::Prefix(quoted(prefix), other));
        }
        Ok(Source {
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
            generation: object.metadata.generation.unwrap_or_default(),
            question,
            servers,
            logins: BTreeMap::new(),
            expression,
            prefix: prefix.clone(),
            linger: spec.linger.value(),
            // The schema refuses less; stored before, it would poll without a pause.
            poll_interval: spec.poll_interval.value().max(SignedDuration::from_secs(1)),
            stale_after: spec.stale_after.value(),
            warm_up: spec.warm_up.value(),
            heartbeat_interval: spec.heartbeat_interval.value(),
            deadman_alert: spec.deadman_alert.clone(),
            access: spec.access.as_ref().map(Secrets::from).unwrap_or_default(),
            push: spec.push.as_ref().map(Pusher::new).transpose()?,
        })
    }
}

/// One object, as it was checked.
struct Known {
    uid: Option<String>,
    generation: Option<i64>,
    source: Result<Arc<Source>, SourceError>,
}

/// Sources that were checked already: a status write of our own brings the object back, and checking
/// compiles its expression.
#[derive(Default)]
pub struct Checked(BTreeMap<String, Known>);

impl Checked {
    fn source(&mut self, object: &AlertSource) -> Result<Arc<Source>, SourceError> {
        let (name, uid, generation) = (object.name_any(), object.uid(), object.metadata.generation);
        let known = self.0.get(&name);
        if let Some(known) = known.filter(|k| k.uid == uid && k.generation == generation) {
            return known.source.clone();
        }
        let source = Source::new(object).map(Arc::new);
        self.0.insert(name, Known { uid, generation, source: source.clone() });
        source
    }

    /// Every source by name. Of two whose prefixes overlap the older one is worked with; of two of the
    /// same age the one whose name comes first.
    pub fn all(
        &mut self,
        entries: &[Entry<AlertSource>],
    ) -> BTreeMap<String, Result<Arc<Source>, SourceError>> {
        let mut all = BTreeMap::new();
        let mut objects = Vec::new();
        for entry in entries {
            match entry {
                Entry::Good(object) => objects.push(object),
                Entry::Malformed(malformed) => {
                    let error = SourceError::Malformed(malformed.error.clone());
                    all.insert(malformed.object.name_any(), Err(error));
                }
            }
        }
        objects.sort_by_key(|object| {
            (object.metadata.creation_timestamp.as_ref().map(|time| time.0), object.name_any())
        });
        let mut accepted: Vec<Arc<Source>> = Vec::new();
        for object in objects {
            let source = self.source(object).and_then(|source| {
                let overlaps = |other: &&Arc<Source>| {
                    other.prefix.starts_with(&source.prefix)
                        || source.prefix.starts_with(&other.prefix)
                };
                match accepted.iter().find(overlaps) {
                    Some(other) => Err(SourceError::PrefixTaken {
                        other: other.name.clone(),
                        theirs: quoted(&other.prefix),
                    }),
                    None => Ok(source),
                }
            });
            accepted.extend(source.iter().cloned());
            all.insert(object.name_any(), source);
        }
        self.0.retain(|name, _| all.contains_key(name));
        all
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn entry(name: &str, created: &str, spec: Value) -> Entry<AlertSource> {
        let mut object = json!({
            "apiVersion": "rerail.dev/v1alpha1", "kind": "AlertSource",
            "metadata": { "name": name, "uid": name, "creationTimestamp": created },
            "spec": { "alertmanager": { "urls": ["http://am"], "receiver": "r" } },
        });
        for (field, value) in spec.as_object().into_iter().flatten() {
            object["spec"][field] = value.clone();
        }
        Entry::Good(Arc::new(serde_json::from_value(object).unwrap()))
    }

    fn errors(entries: &[Entry<AlertSource>]) -> Vec<(String, Option<String>)> {
        let all = Checked::default().all(entries).into_iter();
        all.map(|(name, source)| (name, source.err().map(|error| error.to_string()))).collect()
    }

    #[test]
    fn of_two_sources_with_overlapping_prefixes_the_older_one_is_worked_with() {
        let (first, then) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        let entries = [
            entry("a", then, json!({})),
            entry("b", first, json!({})),
            entry("c", then, json!({ "conditionPrefix": "Storage_" })),
            entry("d", then, json!({ "conditionPrefix": "Storage_Disk_" })),
        ];
        let errors = errors(&entries);
        let failed: Vec<_> = errors.iter().filter(|(_, e)| e.is_some()).map(|(n, _)| n).collect();
        assert_eq!(failed, ["a", "d"]);
        let words = errors[0].1.as_deref().unwrap();
        assert!(
            words.contains("AlertSource b, which is older, has the prefix `AlertManager_`"),
            "{words}"
        );
    }

    #[test]
    fn what_was_stored_and_cannot_be_worked_with_says_why() {
        for (spec, expected) in [
            (json!({ "expression": "labels.node = FullName" }), "no CEL expression"),
            (json!({ "expression": "label.node == FullName" }), "`label` is not known here"),
            (json!({ "conditionPrefix": "Disk" }), "nor the beginning of `DiskPressure`"),
            (json!({ "conditionPrefix": "" }), "must not be empty"),
            (json!({ "prometheus": { "urls": ["http://p"] } }), "exactly one of"),
            (json!({ "alertmanager": { "urls": [], "receiver": "r" } }), "at least one address"),
        ] {
            let words = errors(&[entry("a", "2026-01-01T00:00:00Z", spec.clone())])[0].1.clone();
            assert!(words.clone().unwrap_or_default().contains(expected), "{spec}: {words:?}");
        }
    }
}
