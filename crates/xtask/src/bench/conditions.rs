//! Under what conditions the figures were measured: without them they say nothing.

use std::path::Path;
use std::process::Command;

use rerail_e2e::Brisk;
use serde::Serialize;

use crate::process;

/// The conditions.
#[derive(Debug, Serialize)]
pub struct Conditions {
    /// CPUs that this process may use.
    pub cores: usize,
    /// The CPU, by its own name.
    pub cpu: String,
    /// Memory of the machine in MiB.
    pub memory_mib: u64,
    /// Processes that wanted to run in the last minute, when the benchmark began.
    pub load: String,
    /// What was measured.
    pub commit: String,
    /// How it was built.
    pub build: String,
    /// The control plane.
    pub kubernetes: String,
    /// The policy of all runs.
    pub policy: String,
}

impl Conditions {
    /// Those here and now. What cannot be found out is said to be unknown.
    pub fn of(root: &Path) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let load = read("/proc/loadavg");
        Conditions {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or("unknown").to_owned(),
            memory_mib: memory_mib(&read("/proc/meminfo")).unwrap_or(0),
            load: load.split(' ').next().unwrap_or("unknown").to_owned(),
            commit: commit(root).unwrap_or_else(|| "unknown".to_owned()),
            build: "dev profile: our own code without optimisation".to_owned(),
            kubernetes: format!(
                "{} (etcd without fsync) and the fake machines, all on this machine",
                rerail_controlplane::KUBERNETES_VERSION
            ),
            policy: Brisk::POLICY.to_owned(),
        }
    }
}

fn commit(root: &Path) -> Option<String> {
    let git = |arguments: &[&str]| {
        process::output(Command::new("git").current_dir(root).args(arguments)).ok()
    };
    let commit = git(&["rev-parse", "--short", "HEAD"])?;
    let dirty = !git(&["status", "--porcelain", "--untracked-files=no"])?.trim().is_empty();
    Some(format!("{}{}", commit.trim(), if dirty { "-dirty" } else { "" }))
}

/// The first value of a name in a file of lines `name : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

fn memory_mib(meminfo: &str) -> Option<u64> {
    let kib = field(meminfo, "MemTotal")?.strip_suffix("kB")?.trim().parse::<u64>().ok()?;
    Some(kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_says_of_the_machine() {
        assert_eq!(memory_mib("MemTotal:       24654960 kB\nMemFree: 1 kB\n"), Some(24077));
        let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU @ 2.5GHz\n";
        assert_eq!(field(cpuinfo, "model name"), Some("Some CPU @ 2.5GHz"));
        assert_eq!(field("", "model name"), None);
    }
}
