//! The inputs that are kept, without libFuzzer: seeds, and what once broke a property.

#![allow(
    clippy::unwrap_used,
    reason = "a test file; helpers outside #[test] functions count as code"
)]

use std::{
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
};

use rerail_fuzz_bodies::TARGETS;

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_kept_input_keeps_the_properties() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let mut broken = Vec::new();
    for target in TARGETS {
        let seeds = files(&root.join("seeds").join(target.name));
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        for file in seeds.into_iter().chain(files(&root.join("regressions").join(target.name))) {
            let input = fs::read(&file).unwrap();
            if catch_unwind(|| (target.body)(&input)).is_err() {
                broken.push(file);
            }
        }
    }
    assert!(broken.is_empty(), "these inputs break a property: {broken:#?}");
}

/// A folder that belongs to no target is played by nobody.
#[test]
fn every_folder_of_inputs_belongs_to_a_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    for folder in files(&root.join("seeds")).iter().chain(&files(&root.join("regressions"))) {
        let name = folder.file_name().unwrap().to_str().unwrap();
        let known = name.starts_with('.') || TARGETS.iter().any(|target| target.name == name);
        assert!(known, "{}", folder.display());
    }
}
