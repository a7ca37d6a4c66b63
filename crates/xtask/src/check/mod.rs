//! `cargo xtask check`: everything that holds without running the product.

mod deny;
mod features;
mod house;
mod layers;
mod named_tests;
mod pages;

use std::path::Path;

use crate::generate;
use crate::process::{self, ProcessError};
use crate::report::{Report, Verdict};

/// Runs all checks, each whatever became of the others.
pub fn run(root: &Path, report: &mut Report) {
    report.step("format", || format(root));
    report.step("clippy", || clippy(root));
    report.step("workspace of the fuzz targets", || fuzz_workspace(root));
    report.step("generated files", || {
        let drift = generate::drift(root)?;
        Ok::<_, generate::GenerateError>(Verdict::from_findings(&drift, generate::ADVICE))
    });
    report.step("crate layers", || {
        let found = layers::violations(root)?;
        Ok::<_, layers::LayersError>(Verdict::from_findings(&found, layers::ADVICE))
    });
    report.step("features", || {
        let found = features::violations(root)?;
        Ok::<_, ProcessError>(Verdict::from_findings(&found, features::ADVICE))
    });
    report.step("house rules", || {
        let found = house::violations(root)?;
        Ok::<_, house::HouseError>(Verdict::from_findings(&found, house::ADVICE))
    });
    report.step("dependencies", || deny::run(root));
}

fn format(root: &Path) -> Result<Verdict, ProcessError> {
    let mut command = process::cargo();
    command.current_dir(root).args(["fmt", "--all", "--", "--check"]);
    let finished = process::capture("format", &mut command, None)?;
    Ok(verdict(finished, "run `cargo fmt --all`"))
}

/// The fuzz targets are a workspace of their own. What they call is in this one, and looked at there; the
/// targets are a line each.
fn fuzz_workspace(root: &Path) -> Result<Verdict, ProcessError> {
    let mut command = process::cargo();
    command.current_dir(root.join("fuzz")).args(["fmt", "--", "--check"]);
    let finished = process::capture("format", &mut command, None)?;
    if !finished.success {
        return Ok(verdict(finished, "run `cargo fmt` in fuzz/"));
    }
    let mut command = process::cargo();
    command.current_dir(root.join("fuzz")).args(["metadata", "--format-version=1", "--locked"]);
    Ok(match process::output(&mut command) {
        Ok(_) => Verdict::Passed,
        Err(error) => Verdict::Failed {
            output: error.to_string(),
            advice: "run `cargo update --workspace` in fuzz/, and commit fuzz/Cargo.lock"
                .to_owned(),
        },
    })
}

fn clippy(root: &Path) -> Result<Verdict, ProcessError> {
    let mut command = process::cargo();
    command.current_dir(root).args(["clippy", "--workspace", "--all-targets", "--locked"]);
    let finished = process::watch("clippy", command.args(["--", "-D", "warnings"]))?;
    Ok(verdict(finished, "mend each warning; allow one only with `reason = …` beside it"))
}

fn verdict(finished: process::Finished, advice: &str) -> Verdict {
    if finished.success {
        return Verdict::Passed;
    }
    Verdict::Failed { output: finished.output, advice: advice.to_owned() }
}
