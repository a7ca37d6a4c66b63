//! How a command reaches the API server, and as whom.

use std::path::Path;

use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use rerail_operator::{deps::Clock, lead::own_pod};

use crate::CommandError;

/// The connection that a kubeconfig describes; without one KUBECONFIG, ~/.kube/config or the Pod's own
/// service account.
pub async fn config(path: Option<&Path>) -> Result<Config, CommandError> {
    let failed = |error: &dyn std::fmt::Display| CommandError::Config(error.to_string());
    match path {
        None => Config::infer().await.map_err(|error| failed(&error)),
        Some(path) => {
            let file = Kubeconfig::read_from(path).map_err(|error| failed(&error))?;
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(file, &options).await.map_err(|error| failed(&error))
        }
    }
}

/// Unique per start: two processes never pass for one term (protocol R6).
pub fn identity(host: &str, clock: &impl Clock) -> String {
    own_pod::identity(host, std::process::id(), clock.now().as_nanosecond())
}
