//! Credentials from Secrets of the operator's namespace. A Secret says itself which sources may use it:
//! else whoever may write an AlertSource could have any Secret of this namespace sent to any address.

use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};
use rerail_alerts::fetch::Access;
use rerail_api::names;
use tokio::time::Instant;

use super::{
    pushes::Pushes,
    source::{Pusher, Secrets},
};
use crate::{
    client::{CallError, call},
    context::Context,
};

/// A Secret is read anew when it is this old; or when a server refuses what it holds.
const FRESH: Duration = Duration::from_secs(30);

/// Why there are no credentials. Nothing is asked without them.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// It could not be read.
    #[error("{0}")]
    Call(#[from] CallError),
    /// It is not there.
    #[error("there is no Secret {0} in namespace {namespace}", namespace = names::SYSTEM_NAMESPACE)]
    Missing(String),
    /// It does not say that this source may use it.
    #[error(
        "Secret {secret} does not let AlertSource {source_name} use it; annotate it: kubectl --namespace {namespace} annotate secret {secret} {annotation}={source_name}",
        namespace = names::SYSTEM_NAMESPACE, annotation = names::ALERT_SOURCES
    )]
    NotAllowed {
        /// The Secret.
        secret: String,
        /// The source.
        source_name: String,
    },
    /// A key is not there, or empty.
    #[error("Secret {secret} has no key `{key}`")]
    NoKey {
        /// The Secret.
        secret: String,
        /// The key.
        key: &'static str,
    },
    /// A value that no header can hold.
    #[error("key `{key}` of Secret {secret} holds characters that no HTTP header may have")]
    Characters {
        /// The Secret.
        secret: String,
        /// The key.
        key: &'static str,
    },
}

/// The credentials of one source, as they were read last.
#[derive(Default)]
pub struct Kept(Option<(Instant, Access)>);

impl Kept {
    /// The credentials; read anew when they are not fresh.
    pub async fn get(
        &mut self,
        context: &Context,
        source: &str,
        wanted: &Secrets,
    ) -> Result<Access, AccessError> {
        if *wanted == Secrets::default() {
            return Ok(Access::default());
        }
        let now = Instant::now();
        if let Some((read, access)) = &self.0
            && now.duration_since(*read) < FRESH
        {
            return Ok(access.clone());
        }
        match (read(context, source, wanted).await, &self.0) {
            (Ok(access), _) => {
                self.0 = Some((now, access.clone()));
                Ok(access)
            }
            // That the API server is away says nothing of the servers that show alerts.
            (Err(AccessError::Call(error)), Some((_, access))) => {
                tracing::warn!(source, %error, "credentials were not read anew; going on with the old ones");
                let access = access.clone();
                self.0 = Some((now, access.clone()));
                Ok(access)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// A server has refused them: they are read anew before the next question.
    pub fn refused(&mut self) {
        if let Some((read, _)) = &mut self.0 {
            *read = read.checked_sub(FRESH).unwrap_or(*read);
        }
    }
}

/// Pause before a token that could not be read is read again.
const AGAIN: Duration = Duration::from_secs(5);

/// Who may push a source, as it was read last.
pub struct MayPush {
    /// Name of the Secret with the token, and when it is read anew; `None` where no token counts.
    token: Option<(String, Instant)>,
    /// Why nobody may push, though the source says who may; empty if all is well.
    pub error: String,
}

impl MayPush {
    /// Has it known who may push, as far as that takes no Secret.
    pub fn new(pushes: &Pushes, source: &str, pusher: Option<&Pusher>) -> Self {
        let (mut token, mut error) = (None, String::new());
        match pusher {
            None => pushes.set_token(source, None),
            Some(Pusher::Token(secret_name)) => token = Some((secret_name.clone(), Instant::now())),
            Some(Pusher::Clients(names)) => {
                pushes.set_clients(source, names);
                if !pushes.sees_certificates() {
                    error = "`clientNames` needs an operator that is started with --alerts-listen and --alerts-client-ca-file".to_owned();
                }
            }
        }
        MayPush { token, error }
    }

    /// When the token is read anew, by itself.
    pub fn next(&self) -> Option<Instant> {
        self.token.as_ref().map(|(_, next)| *next)
    }

    /// Reads the token anew when it is not fresh, and has it known. While the API server is away the old one
    /// holds.
    pub async fn refresh(&mut self, context: &Context, source: &str) {
        let now = Instant::now();
        let Some((secret_name, next)) = self.token.as_mut().filter(|(_, next)| *next <= now) else {
            return;
        };
        *next = now + FRESH;
        let token = match secret(context, source, secret_name).await {
            Ok(found) => text(&found, secret_name, "token"),
            Err(error) => Err(error),
        };
        match token {
            Ok(token) => {
                context.deps.pushes.set_token(source, Some(&token));
                self.error.clear();
            }
            Err(AccessError::Call(error)) => {
                tracing::warn!(source, %error, "the token of pushes was not read anew");
                *next = now + AGAIN;
                if !context.deps.pushes.knows(source) {
                    self.error = error.to_string();
                }
            }
            Err(error) => {
                context.deps.pushes.set_token(source, None);
                self.error = error.to_string();
            }
        }
    }
}

async fn read(context: &Context, source: &str, wanted: &Secrets) -> Result<Access, AccessError> {
    let mut access = Access::default();
    if let Some(name) = &wanted.basic_auth {
        let secret = secret(context, source, name).await?;
        let (user, password) = (text(&secret, name, "username")?, text(&secret, name, "password")?);
        access.authorization = Some(basic(&user, &password));
    }
    if let Some(name) = &wanted.bearer_token {
        let secret = secret(context, source, name).await?;
        access.authorization = Some(format!("Bearer {}", text(&secret, name, "token")?));
    }
    if let Some(name) = &wanted.ca {
        access.ca = Some(value(&secret(context, source, name).await?, name, "ca.crt")?);
    }
    if let Some(name) = &wanted.client_certificate {
        let secret = secret(context, source, name).await?;
        let (chain, key) = (value(&secret, name, "tls.crt")?, value(&secret, name, "tls.key")?);
        access.client_certificate = Some((chain, key));
    }
    Ok(access)
}

/// The header of basic authentication (RFC 7617).
pub fn basic(user: &str, password: &str) -> String {
    use base64::Engine;
    let pair = format!("{user}:{password}");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

async fn secret(context: &Context, source: &str, name: &str) -> Result<Secret, AccessError> {
    let api: Api<Secret> = Api::namespaced(context.clients.read.clone(), names::SYSTEM_NAMESPACE);
    let secret = call(|| format!("read Secret {name}"), api.get(name)).await;
    let secret = match secret {
        Ok(secret) => secret,
        Err(error) if error.is_not_found() => return Err(AccessError::Missing(name.to_owned())),
        Err(error) => return Err(error.into()),
    };
    let allowed = secret.annotations().get(names::ALERT_SOURCES);
    let allows =
        |list: &String| list.split(',').map(str::trim).any(|one| one == source || one == "*");
    match allowed.is_some_and(allows) {
        true => Ok(secret),
        false => {
            Err(AccessError::NotAllowed { secret: name.to_owned(), source_name: source.to_owned() })
        }
    }
}

fn value(secret: &Secret, name: &str, key: &'static str) -> Result<Bytes, AccessError> {
    let value = secret.data.as_ref().and_then(|data| data.get(key)).map(|value| &value.0);
    match value {
        Some(value) if !value.is_empty() => Ok(value.clone().into()),
        _ => Err(AccessError::NoKey { secret: name.to_owned(), key }),
    }
}

/// A value without the line end that files have.
fn text(secret: &Secret, name: &str, key: &'static str) -> Result<String, AccessError> {
    let value = value(secret, name, key)?;
    let text = std::str::from_utf8(&value).ok().map(|text| text.trim_end_matches(['\r', '\n']));
    match text {
        Some(text) if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err(AccessError::Characters { secret: name.to_owned(), key }),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn holding(key: &str, value: &[u8]) -> Secret {
        let data = [(key.to_owned(), ByteString(value.to_vec()))];
        Secret { data: Some(data.into()), ..Secret::default() }
    }

    #[test]
    fn a_value_loses_its_line_end_and_one_that_no_header_can_hold_is_refused() {
        let secret = holding("token", b"abc\r\n");
        assert_eq!(text(&secret, "s", "token").unwrap(), "abc");
        for (key, value, expected) in [
            ("token", b"a\nb".as_slice(), "holds characters"),
            ("token", b"\xff", "holds characters"),
            ("token", b"", "has no key `token`"),
            ("Token", b"abc", "has no key `token`"),
        ] {
            let error = text(&holding(key, value), "s", "token").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        // The example of RFC 7617.
        assert_eq!(basic("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }
}
