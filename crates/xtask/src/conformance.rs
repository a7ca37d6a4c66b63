//! `cargo xtask conformance`: what a real API server answers, recorded, compared, and measured against what the e2e
//! suite asks for.

use std::path::{Path, PathBuf};

use rerail_conformance::{self as suite, Real, Tuple};
use rerail_controlplane::{ControlPlane, Options};

/// How the suite is run. Without options: against a real API server, compared with the recording.
#[derive(Debug, clap::Args)]
pub struct ConformanceArguments {
    /// Run only the cases whose name contains this.
    name: Option<String>,
    /// Write down what the real API server answers, instead of comparing it.
    #[arg(long, conflicts_with = "name")]
    record: bool,
    /// Say which requests no case covers. Adds those that audit logs (*.log) in this folder show, and those of kubectl,
    /// to e2e/conformance/recorded/seen.txt.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["name", "record"])]
    coverage: Option<PathBuf>,
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub enum ConformanceError {
    /// The suite could not be run.
    #[error(transparent)]
    Suite(#[from] suite::Error),
    /// The control plane of kubectl's commands did not do what it must.
    #[error(transparent)]
    Plane(#[from] rerail_controlplane::Error),
    /// The runtime did not start.
    #[error("cannot start: {0}")]
    Runtime(#[from] std::io::Error),
}

/// Runs it. `Ok(false)` when something differs, or is not covered.
pub fn run(root: &Path, arguments: &ConformanceArguments) -> Result<bool, ConformanceError> {
    match &arguments.coverage {
        Some(folder) => coverage(root, folder),
        None => play(arguments),
    }
}

fn play(arguments: &ConformanceArguments) -> Result<bool, ConformanceError> {
    let name = arguments.name.as_deref().unwrap_or_default();
    let mut cases = suite::cases()?;
    cases.retain(|case| case.name.contains(name));
    let runtime = tokio::runtime::Runtime::new()?;
    let got = runtime.block_on(async { Real::start().await?.play(&cases).await })?;
    let counts = format!("{} cases, {} answers", cases.len(), got.len());
    if arguments.record {
        suite::write(&got)?;
        anstream::println!("{counts} recorded");
        return Ok(true);
    }
    let mut recorded = suite::recorded()?;
    recorded.retain(|record| record.case.contains(name));
    let differences = suite::compare(&recorded, &got);
    for difference in &differences {
        anstream::println!("{difference}");
    }
    anstream::println!("{counts}, {} differ from the recording", differences.len());
    Ok(differences.is_empty())
}

fn coverage(root: &Path, folder: &Path) -> Result<bool, ConformanceError> {
    let mut seen = suite::seen_in(folder)?;
    let plane = ControlPlane::start(Options { audit_patches: true, ..Options::default() })?;
    plane.apply(&root.join("crds"))?;
    suite::run_kubectl(&plane)?;
    let log = plane.audit_log();
    let text = std::fs::read_to_string(&log)?;
    suite::add_audit(&text, &mut seen);
    drop(plane);
    suite::write_seen(&seen)?;
    let all = suite::seen()?;
    let open = suite::uncovered(&all, &suite::recorded()?);
    let left_out = all.iter().filter(|tuple| suite::left_out(tuple).is_some()).count();
    let covered = all.len() - left_out - open.len();
    for Tuple { verb, resource, patch, code } in &open {
        anstream::println!("not covered: {verb} {patch} {resource} {code}");
    }
    anstream::println!(
        "{} kinds of requests seen: {covered} covered, {left_out} left out, {} not covered",
        all.len(),
        open.len()
    );
    Ok(open.is_empty())
}
