//! Runs that once found a bug. They are played in every test; hashes are not kept, since they change with
//! every dependency.

use serde::Deserialize;

use crate::plan::Settings;

/// One of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Regression {
    /// The seed.
    pub seed: u64,
    /// What is said beside it.
    #[serde(default)]
    pub settings: Settings,
    /// What it found.
    pub found: String,
}

/// Why the list cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("regressions.yaml cannot be read: {0}")]
pub struct ListError(String);

/// All of them, in the order of the file.
pub fn all() -> Result<Vec<Regression>, ListError> {
    serde_saphyr::from_str(include_str!("../regressions.yaml"))
        .map_err(|error| ListError(error.to_string()))
}
