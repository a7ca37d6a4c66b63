//! Kubeconfigs for processes that are to go elsewhere, or with other credentials, than usual.

use std::path::Path;

use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::Error;

/// What a client is configured with by this file.
pub async fn config(path: &Path) -> Result<Config, Error> {
    let kubeconfig = Kubeconfig::read_from(path)?;
    Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
}

/// Writes `to` as a copy of `from` that goes to another server, by plain HTTP.
pub(crate) fn through(from: &Path, to: &Path, server: &str) -> Result<(), Error> {
    let mut kubeconfig = Kubeconfig::read_from(from)?;
    for cluster in kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        cluster.server = Some(server.to_owned());
        cluster.certificate_authority = None;
        cluster.certificate_authority_data = None;
    }
    write(&kubeconfig, to)
}

/// Writes `to` as a copy of `from` whose token is read from a file, again and again.
pub fn with_token_file(from: &Path, to: &Path, token_file: &Path) -> Result<(), Error> {
    let mut kubeconfig = Kubeconfig::read_from(from)?;
    for user in kubeconfig.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
        user.token = None;
        user.token_file = Some(token_file.display().to_string());
    }
    write(&kubeconfig, to)
}

/// JSON is YAML, too.
fn write(kubeconfig: &Kubeconfig, to: &Path) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(kubeconfig).map_err(std::io::Error::other);
    let written = text.and_then(|text| std::fs::write(to, text));
    written.map_err(|error| Error::File(to.display().to_string(), error))
}
