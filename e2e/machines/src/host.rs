//! What the host has to have, and how a program of it is run.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::error::{Error, Result};

/// Programs, and the Debian package that has each.
const PROGRAMS: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("qemu-img", "qemu-utils"),
    ("mmdebstrap", "mmdebstrap"),
    ("busybox", "busybox-static"),
    ("mke2fs", "e2fsprogs"),
    ("strip", "binutils"),
];

/// Installs what is missing, or says why there can be no machine here.
pub(crate) fn prepare() -> Result<()> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(Error::NotHere("machines are x86-64 and begin on Linux".to_owned()));
    }
    let missing: Vec<_> = PROGRAMS.iter().filter(|(program, _)| find(program).is_none()).collect();
    let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    if !is_root() {
        let install = match packages.is_empty() {
            true => String::new(),
            false => format!(", and Debian's {} to be installed", packages.join(", ")),
        };
        return Err(Error::NotHere(format!("a root file system needs root{install}")));
    }
    if packages.is_empty() {
        return Ok(());
    }
    if find("apt-get").is_none() {
        let packages = packages.join(", ");
        return Err(Error::NotHere(format!("there is no apt-get to install {packages} with")));
    }
    anstream::eprintln!("installing {}", packages.join(", "));
    run(Command::new("apt-get").args(["update", "--quiet"]))?;
    let mut install = Command::new("apt-get");
    install.args(["install", "--yes", "--no-install-recommends"]).args(&packages);
    run(install.env("DEBIAN_FRONTEND", "noninteractive")).map(drop)
}

/// `/proc/self` belongs to whom this process acts for.
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|about| about.uid() == 0)
}

/// Where a program is. Those of administrators are not on everybody's path.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut places = std::env::split_paths(&path).chain(more).map(|dir| dir.join(program));
    places.find(|place| place.is_file())
}

/// The program that containers and the first file system are made of.
pub(crate) fn busybox() -> Result<PathBuf> {
    find("busybox").ok_or_else(|| Error::NotHere("there is no busybox".to_owned()))
}

/// Copies a file with its mode, and makes the directories above it.
pub(crate) fn install(from: &Path, to: &Path) -> Result<()> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
    }
    fs::copy(from, to).map(drop).map_err(Error::file("copy", from))
}

/// Runs a program to its end; what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let line = || {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    };
    let line = line();
    let failed = |said: String| Error::Program { command: line, said };
    match command.stdin(Stdio::null()).output() {
        Err(error) => Err(failed(format!("it did not start: {error}"))),
        Ok(Output { status, stdout, .. }) if status.success() => {
            Ok(String::from_utf8_lossy(&stdout).into_owned())
        }
        Ok(Output { status, stderr, .. }) => {
            Err(failed(format!("{status}: {}", last_lines(&String::from_utf8_lossy(&stderr)))))
        }
    }
}

/// The end says why; a bootstrap prints hundreds of lines before it.
fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.trim().lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_is_told_with_its_line_and_its_last_words() {
        let mut command = Command::new("sh");
        command.args(["-c", "seq 30 >&2; exit 3"]);
        let told = run(&mut command).unwrap_err().to_string();
        assert!(told.contains("`sh -c seq 30 >&2; exit 3`") && told.contains("3: 21\n"), "{told}");
        let told = run(&mut Command::new("/nowhere/program")).unwrap_err().to_string();
        assert!(told.contains("did not start"), "{told}");
        assert_eq!(run(Command::new("echo").arg("said")).unwrap(), "said\n");
    }

    #[test]
    fn programs_are_found_where_administrators_have_them() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program").is_none());
    }
}
