//! Builds the Go programs and keeps them, keyed by what they were built from.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};
use crate::kept::{Kept, Key};

/// The Kubernetes version that go.mod asks for; here because the binaries learn it from a linker flag.
pub const KUBERNETES_VERSION: &str = "1.36.3";

/// The packages built from go.mod. The last element of the path is the name of the binary, but for etcd.
const KUBERNETES: &[&str] = &[
    "go.etcd.io/etcd/server/v3",
    "k8s.io/kubernetes/cmd/kube-apiserver",
    "k8s.io/kubernetes/cmd/kube-controller-manager",
    "k8s.io/kubernetes/cmd/kube-scheduler",
    "k8s.io/kubernetes/cmd/kubectl",
    "sigs.k8s.io/kwok/cmd/kwok",
];

/// Where the Go programs are.
#[derive(Debug, Clone)]
pub struct Binaries {
    kubernetes: PathBuf,
    supervisor: PathBuf,
}

impl Binaries {
    /// Builds what is not built yet. The first time takes minutes, and says so on stderr.
    pub fn ensure() -> Result<Self> {
        let supervisor = Set {
            what: "the supervisor",
            usual: "a few seconds",
            prefix: "supervisor",
            packages: &["./supervisor"],
            linker_flags: "-s -w".to_owned(),
            rename: &[],
        };
        let kubernetes = Set {
            what: "etcd, Kubernetes and kwok",
            usual: "about 7 minutes on 2 cores, and 4 GB in Go's caches",
            prefix: "bin",
            packages: KUBERNETES,
            linker_flags: version_flags(),
            rename: &[("server", "etcd"), ("v3", "etcd")],
        };
        Ok(Self { supervisor: supervisor.ensure()?, kubernetes: kubernetes.ensure()? })
    }

    /// The kubelet, built when it is asked for: only machines with a kernel of their own (`e2e/machines`) run one.
    pub fn kubelet() -> Result<PathBuf> {
        let set = Set {
            what: "kubelet",
            usual: "a minute when the control plane is built already",
            prefix: "kubelet",
            packages: &["k8s.io/kubernetes/cmd/kubelet"],
            linker_flags: version_flags(),
            rename: &[],
        };
        Ok(set.ensure()?.join("kubelet"))
    }

    /// The path of one of `etcd`, `kube-apiserver`, `kube-controller-manager`, `kube-scheduler`, `kubectl` and `kwok`.
    pub fn kubernetes(&self, name: &str) -> PathBuf {
        self.kubernetes.join(name)
    }

    /// The path of the supervisor.
    pub(crate) fn supervisor(&self) -> PathBuf {
        self.supervisor.join("supervisor")
    }
}

/// `-X` flags that tell the Kubernetes binaries which version they are; a module build leaves that empty.
fn version_flags() -> String {
    let mut numbers = KUBERNETES_VERSION.split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let mut flags = "-s -w".to_owned();
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        // Writing to a String cannot fail.
        let _ = write!(
            flags,
            " -X {package}.gitVersion=v{KUBERNETES_VERSION} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
        );
    }
    flags
}

/// Programs that are built together and kept in one directory.
struct Set {
    what: &'static str,
    usual: &'static str,
    prefix: &'static str,
    packages: &'static [&'static str],
    linker_flags: String,
    rename: &'static [(&'static str, &'static str)],
}

impl Set {
    fn ensure(&self) -> Result<PathBuf> {
        let kept = Kept { dir: state_dir(), name: self.prefix.to_owned(), key: self.key()? };
        kept.ensure(|into| {
            anstream::eprintln!(
                "building {} (usually {}; kept for the next time)",
                self.what,
                self.usual
            );
            self.build(into)?;
            for (from, to) in self.rename {
                let from = into.join(from);
                if from.exists() {
                    fs::rename(&from, into.join(to)).map_err(Error::file("rename", &from))?;
                }
            }
            Ok(())
        })
    }

    /// The arguments of `go`, all but the output directory.
    fn arguments(&self) -> Vec<&str> {
        let mut arguments =
            vec!["build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags"];
        arguments.push(&self.linker_flags);
        arguments.extend(self.packages);
        arguments
    }

    fn build(&self, into: &Path) -> Result<()> {
        let mut arguments = self.arguments();
        let mut output = into.as_os_str().to_owned();
        output.push("/"); // go writes several binaries only to what is plainly a directory
        let packages = arguments.split_off(arguments.len() - self.packages.len());
        let status = Command::new("go")
            .args(arguments)
            .arg("-o")
            .arg(output)
            .args(packages)
            .current_dir(source_dir())
            .env("CGO_ENABLED", "0")
            .env("GOWORK", "off")
            .env_remove("GOFLAGS")
            .status()
            .map_err(|source| Error::NoGo { source })?;
        if !status.success() {
            return Err(Error::Build { what: self.what, module: source_dir() });
        }
        Ok(())
    }

    /// Changes when anything that goes into the build does.
    fn key(&self) -> Result<String> {
        let mut key = Key::default();
        for argument in self.arguments() {
            key.add(argument);
        }
        for file in self.inputs()? {
            key.add(fs::read(&file).map_err(Error::file("read", &file))?);
        }
        Ok(key.to_string())
    }

    /// go.mod and go.sum fix everything from outside; our own packages have their own files, and need nothing else.
    fn inputs(&self) -> Result<Vec<PathBuf>> {
        let source = source_dir();
        let mut files = Vec::new();
        for package in self.packages {
            let Some(own) = package.strip_prefix("./") else { continue };
            let dir = source.join(own);
            for entry in fs::read_dir(&dir).map_err(Error::file("list", &dir))? {
                files.push(entry.map_err(Error::file("list", &dir))?.path());
            }
        }
        if files.is_empty() {
            files = vec![source.join("go.mod"), source.join("go.sum")];
        }
        files.sort();
        Ok(files)
    }
}

/// The directory of the Go module, which is this crate's too.
pub(crate) fn source_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Everything this crate writes is below this directory.
pub fn state_dir() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| source_dir().join("../../target"), PathBuf::from);
    let dir = target.join("controlplane");
    // Absolute and without `..`, since the paths are shown to people and handed to processes that run elsewhere.
    std::path::absolute(&dir).map(|dir| clean(&dir)).unwrap_or(dir)
}

fn clean(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut clean, part| {
        if part == std::path::Component::ParentDir {
            clean.pop();
        } else {
            clean.push(part);
        }
        clean
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binaries_say_the_version_that_they_are() {
        let module = fs::read_to_string(source_dir().join("go.mod")).unwrap();
        assert!(
            module.contains(&format!("\tk8s.io/kubernetes v{KUBERNETES_VERSION}\n")),
            "{module}"
        );
        assert!(
            version_flags().ends_with(".gitMajor=1 -X k8s.io/client-go/pkg/version.gitMinor=36")
        );
    }
}
