//! Container images for machines that reach no registry: archives as `docker save` writes them, which
//! containerd imports (github.com/moby/docker-image-spec, v1.2).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{
    error::{Error, Result},
    host::{busybox, install, run},
};

/// What holds the namespaces of a Pod (`sandbox_image` of `guest/containerd.toml`).
const PAUSE: &str = "localhost/pause:rerail";
/// Waits until it is told to end: a first process that handles no SIGTERM does not get it.
const WAIT: &str = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done";
/// For workloads: busybox.
pub const BUSYBOX: &str = "localhost/busybox:rerail";
/// The operator's own image, for what it runs on nodes.
pub const RERAIL: &str = "localhost/rerail:rerail";

/// An image in the making: its files are below `root`.
struct Draft<'a> {
    tag: &'a str,
    root: PathBuf,
    entrypoint: &'a [&'a str],
}

/// Writes an archive of each image to a directory. `rerail` is the program that the operator's Pods run.
pub(crate) fn write(into: &Path, rerail: &Path, work: &Path) -> Result<()> {
    fs::create_dir_all(into).map_err(Error::file("create", into))?;
    let draft = |name: &str, tag, entrypoint| Draft { tag, root: work.join(name), entrypoint };
    let pause = draft("pause", PAUSE, &["/bin/busybox", "sh", "-c", WAIT][..]);
    let busybox = draft("busybox", BUSYBOX, &["/bin/busybox"][..]);
    let ours = draft("rerail", RERAIL, &["/usr/bin/rerail"][..]);
    for image in [&pause, &busybox, &ours] {
        with_busybox(&image.root)?;
    }
    with_program(&ours.root, rerail)?;
    for (name, image) in [("pause", pause), ("busybox", busybox), ("rerail", ours)] {
        image.save(&into.join(format!("{name}.tar")), work)?;
    }
    Ok(())
}

/// busybox, and its commands as links to it.
fn with_busybox(root: &Path) -> Result<()> {
    let bin = root.join("bin");
    fs::create_dir_all(&bin).map_err(Error::file("create", &bin))?;
    let busybox = busybox()?;
    install(&busybox, &bin.join("busybox"))?;
    for command in run(Command::new(&busybox).arg("--list"))?.lines() {
        if command != "busybox" {
            let link = bin.join(command);
            symlink("/bin/busybox", &link).map_err(Error::file("link", &link))?;
        }
    }
    Ok(())
}

/// The program at `/usr/bin/rerail`, with the libraries that it is linked with and what it enters the host with.
fn with_program(root: &Path, program: &Path) -> Result<()> {
    let bin = root.join("usr/bin");
    fs::create_dir_all(&bin).map_err(Error::file("create", &bin))?;
    let ours = bin.join("rerail");
    run(Command::new("strip").arg("-o").arg(&ours).arg(program))?;
    let enter = bin.join("nsenter");
    symlink("/bin/busybox", &enter).map_err(Error::file("link", &enter))?;
    for library in libraries(&run(Command::new("ldd").arg(program))?) {
        install(library, &root.join(library.strip_prefix("/").unwrap_or(library)))?;
    }
    Ok(())
}

/// The files that `ldd` names.
fn libraries(said: &str) -> impl Iterator<Item = &Path> {
    said.lines()
        .filter_map(|line| line.split(' ').map(str::trim).find(|word| word.starts_with('/')))
        .map(Path::new)
}

impl Draft<'_> {
    /// One layer, a configuration that names its sum, and a list that names both.
    fn save(&self, archive: &Path, work: &Path) -> Result<()> {
        let parts = work.join("parts");
        let _ = fs::remove_dir_all(&parts);
        fs::create_dir_all(&parts).map_err(Error::file("create", &parts))?;
        let layer = parts.join("layer.tar");
        tar(&layer, &self.root)?;
        let bytes = fs::read(&layer).map_err(Error::file("read", &layer))?;
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": { "Entrypoint": self.entrypoint, "Env": ["PATH=/usr/bin:/bin"] },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sum(&bytes))] },
        })
        .to_string();
        let named = format!("{}.json", sum(config.as_bytes()));
        let list = json!([{ "Config": named, "RepoTags": [self.tag], "Layers": ["layer.tar"] }]);
        for (name, text) in [(named.as_str(), config), ("manifest.json", list.to_string())] {
            let file = parts.join(name);
            fs::write(&file, text).map_err(Error::file("write", &file))?;
        }
        tar(archive, &parts)
    }
}

/// The same bytes for the same files.
fn tar(archive: &Path, dir: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"]);
    tar.arg("--create").arg("--file").arg(archive).arg("--directory").arg(dir).arg(".");
    run(&mut tar).map(drop)
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_are_those_with_a_path() {
        let said = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let found: Vec<_> = libraries(said).collect();
        assert_eq!(
            found,
            [
                Path::new("/lib/x86_64-linux-gnu/libc.so.6"),
                Path::new("/lib64/ld-linux-x86-64.so.2")
            ]
        );
        assert_eq!(libraries("\tstatically linked\n").count(), 0);
    }
}
