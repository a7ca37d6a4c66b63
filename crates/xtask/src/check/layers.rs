//! The crate rule: arrows between our crates point only as the table of ARCHITECTURE.md says, and
//! the core depends on nothing that does I/O. Dependencies of tests are exempt.

use std::path::Path;

use serde::Deserialize;

use crate::process::{self, ProcessError};

/// What a crate may depend on.
#[derive(Debug, Clone, Copy)]
enum Ours {
    /// These of our crates.
    Only(&'static [&'static str]),
    /// Any of our crates: it stands on top.
    Any,
}

/// Our crates, and which of ours each may use. A new crate adds its row here and in
/// ARCHITECTURE.md.
const LAYERS: &[(&str, Ours)] = &[
    ("rerail-core", Ours::Only(&[])),
    ("rerail-api", Ours::Only(&["rerail-core"])),
    ("rerail-agent", Ours::Only(&["rerail-core", "rerail-api"])),
    ("rerail-alerts", Ours::Only(&["rerail-core"])),
    ("rerail-operator", Ours::Only(&["rerail-core", "rerail-api", "rerail-alerts"])),
    ("rerail-sim", Ours::Only(&["rerail-core", "rerail-api"])),
    (
        "rerail-simulate",
        Ours::Only(&["rerail-core", "rerail-api", "rerail-operator", "rerail-sim"]),
    ),
    ("rerail-demo", Ours::Only(&["rerail-core", "rerail-sim", "rerail-simulate"])),
    ("rerail-simpin", Ours::Only(&[])),
    ("rerail-cli", Ours::Any),
    ("rerail-controlplane", Ours::Only(&[])),
    ("rerail-conformance", Ours::Only(&["rerail-controlplane"])),
    (
        "rerail-explore",
        Ours::Only(&[
            "rerail-core",
            "rerail-api",
            "rerail-operator",
            "rerail-sim",
            "rerail-simpin",
        ]),
    ),
    ("rerail-fleet", Ours::Only(&["rerail-core", "rerail-api", "rerail-agent"])),
    (
        "rerail-fuzz-bodies",
        Ours::Only(&["rerail-core", "rerail-api", "rerail-alerts", "rerail-operator"]),
    ),
    ("rerail-machines", Ours::Only(&["rerail-controlplane"])),
    ("rerail-models", Ours::Only(&["rerail-core"])),
    ("rerail-proxy", Ours::Only(&["rerail-operator"])),
    ("rerail-e2e", Ours::Any),
    ("rerail-bench", Ours::Only(&["rerail-core", "rerail-alerts"])),
    ("rerail-xtask", Ours::Any),
];

/// Crates whose outside dependencies are limited, too.
const PURE: &[(&str, &[&str])] = &[("rerail-core", &["serde", "jiff", "croner", "thiserror"])];

/// What to do when the rule is broken.
pub const ADVICE: &str = "move the code to the crate where it belongs; a pure decision goes to \
     crates/core and gets what it needs as arguments (see ARCHITECTURE.md)";

/// Why the rule could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LayersError {
    /// `cargo metadata` did not run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// `cargo metadata` said something that we do not understand.
    #[error("`cargo metadata` printed what is not understood: {0}")]
    Metadata(#[from] serde_json::Error),
}

/// The part of `cargo metadata` that the rule reads.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

/// Every arrow of the workspace at `root` that the rule forbids.
pub fn violations(root: &Path) -> Result<Vec<String>, LayersError> {
    let arguments = ["metadata", "--format-version=1", "--no-deps", "--locked"];
    let text = process::output(process::cargo().current_dir(root).args(arguments))?;
    let metadata: Metadata = serde_json::from_str(&text)?;
    Ok(metadata.packages.iter().flat_map(of_package).collect())
}

fn of_package(package: &Package) -> Vec<String> {
    let Some((_, ours)) = LAYERS.iter().find(|(name, _)| *name == package.name) else {
        let name = &package.name;
        return vec![format!("{name} has no row in the table of crates/xtask/src/check/layers.rs")];
    };
    let pure = PURE.iter().find(|(name, _)| *name == package.name).map(|(_, allowed)| *allowed);
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind.as_deref() != Some("dev"))
        .filter(|dependency| !allowed(&dependency.name, *ours, pure))
        .map(|dependency| format!("{} may not depend on {}", package.name, dependency.name))
        .collect()
}

fn allowed(dependency: &str, ours: Ours, pure: Option<&[&str]>) -> bool {
    if dependency.starts_with("rerail-") {
        match ours {
            Ours::Any => true,
            Ours::Only(names) => names.contains(&dependency),
        }
    } else {
        pure.is_none_or(|names| names.contains(&dependency))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
        let dependencies = dependencies
            .iter()
            .map(|(name, kind)| Dependency { name: (*name).into(), kind: kind.map(str::to_owned) })
            .collect();
        Package { name: name.into(), dependencies }
    }

    #[test]
    fn allows_what_the_table_allows() {
        let core =
            package("rerail-core", &[("serde", None), ("jiff", None), ("proptest", Some("dev"))]);
        assert_eq!(of_package(&core), Vec::<String>::new());
        let operator = package("rerail-operator", &[("rerail-core", None), ("kube", None)]);
        assert_eq!(of_package(&operator), Vec::<String>::new());
    }

    #[test]
    fn refuses_io_in_the_core_and_arrows_that_point_up() {
        let core =
            package("rerail-core", &[("tokio", None), ("rerail-api", None), ("serde", None)]);
        assert_eq!(
            of_package(&core),
            ["rerail-core may not depend on tokio", "rerail-core may not depend on rerail-api"]
        );
        let api = package("rerail-api", &[("rerail-operator", Some("build"))]);
        assert_eq!(of_package(&api), ["rerail-api may not depend on rerail-operator"]);
    }

    #[test]
    fn a_crate_without_a_row_is_named() {
        let findings = of_package(&package("rerail-new", &[]));
        assert!(findings[0].starts_with("rerail-new has no row"));
    }

    #[test]
    fn reads_what_cargo_prints() {
        let text = r#"{"packages":[{"name":"rerail-core","version":"0.1.0",
            "dependencies":[{"name":"tokio","kind":null},{"name":"kube","kind":"dev"}]}]}"#;
        let metadata: Metadata = serde_json::from_str(text).unwrap();
        assert_eq!(of_package(&metadata.packages[0]), ["rerail-core may not depend on tokio"]);
    }
}
