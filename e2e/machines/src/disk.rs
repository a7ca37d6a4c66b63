//! What a machine begins with: a kernel, a first file system, and the disk that all machines read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rerail_controlplane::Instance;
use rerail_controlplane::kept::{Kept, Key};

use crate::{
    error::{Error, Result},
    host::{busybox, install, run},
    images,
};

/// Debian's release: its containerd (1.6) is the oldest that kubelet 1.36 speaks to, and 1.37 will not.
const SUITE: &str = "bookworm";

/// What is installed beside the essential packages and apt.
const PACKAGES: &[&str] = &[
    "apparmor",
    "containerd",
    "containernetworking-plugins",
    "dbus",
    "iproute2",
    "iptables",
    "kmod",
    "procps",
    "runc",
    "systemd-sysv",
    "udev",
    "util-linux",
];

/// The modules of the first file system, in an order in which each finds what it needs.
const MODULES: &[&str] = &[
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_blk",
];

/// Files of `guest/`: where they go, with which mode, and what is in them.
const FILES: &[(&str, u32, &str)] = &[
    ("etc/containerd/config.toml", 0o644, include_str!("../guest/containerd.toml")),
    ("etc/fstab", 0o644, include_str!("../guest/fstab")),
    ("etc/kubernetes/kubelet.yaml", 0o644, include_str!("../guest/kubelet.yaml")),
    ("etc/resolv.conf", 0o644, include_str!("../guest/resolv.conf")),
    ("etc/systemd/network/95-eth0.network", 0o644, include_str!("../guest/95-eth0.network")),
    ("etc/systemd/system/kubelet.service", 0o644, include_str!("../guest/kubelet.service")),
    ("etc/systemd/system/rerail-setup.service", 0o644, include_str!("../guest/setup.service")),
    ("etc/systemd/system.conf.d/rerail.conf", 0o644, include_str!("../guest/system.conf")),
    ("usr/local/sbin/rerail-import-images", 0o755, include_str!("../guest/import-images.sh")),
    ("usr/local/sbin/rerail-setup", 0o755, include_str!("../guest/setup.sh")),
];

/// The first process of the first file system.
const INIT: &str = include_str!("../guest/init.sh");

/// Units that begin with the machine.
const UNITS: &[&str] = &["containerd", "kubelet", "rerail-setup", "systemd-networkd"];

/// Units that would only take time: a machine lives for minutes.
const MASKED: &[&str] = &[
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "systemd-networkd-wait-online.service",
];

/// How large a machine's disk is. Most of it is never written.
const SIZE: &str = "3G";

/// Files that a machine begins with.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
    pub(crate) base: PathBuf,
}

/// Makes what is not made yet, below `state`. The first time takes minutes.
pub(crate) fn ensure(state: &Path, kubelet: &Path, rerail: &Path) -> Result<Disk> {
    let debian = debian(state)?;
    let mut key = Key::default();
    key.add(debian.to_string_lossy().as_bytes());
    for (path, mode, text) in FILES {
        key.add(path);
        key.add(mode.to_string());
        key.add(text);
    }
    // How it is made counts as well as of what.
    for text in [INIT, include_str!("disk.rs"), include_str!("images.rs")] {
        key.add(text);
    }
    for program in [kubelet, rerail] {
        key.add(fs::read(program).map_err(Error::file("read", program))?);
    }
    let kept = Kept { dir: state.to_owned(), name: "disk".to_owned(), key: key.to_string() };
    let dir = kept.ensure(|into| {
        anstream::eprintln!("making the machines' disk (a few seconds; kept for the next time)");
        forget_others(state)?;
        make(into, &debian, kubelet, rerail)
    })?;
    let file = |name: &str| dir.join(name);
    Ok(Disk { kernel: file("vmlinuz"), initrd: file("initrd"), base: file("base.img") })
}

/// A disk takes 0.7 GB, and each new `rerail` makes another one: those before it go, unless a machine may run on one.
fn forget_others(state: &Path) -> Result<()> {
    if !Instance::list()?.is_empty() {
        return Ok(());
    }
    let entries = fs::read_dir(state).map_err(Error::file("list", state))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("disk-") && !name.ends_with(".partial") {
            fs::remove_dir_all(entry.path()).map_err(Error::file("remove", &entry.path()))?;
        }
    }
    Ok(())
}

/// Run in the new root when it is complete: fetches the package that the kernel's depends on, without installing
/// it, which would make a first file system of Debian's.
const FETCH_KERNEL: &str = r#"chroot "$1" sh -c 'cd /tmp && apt-get download "$(apt-cache depends linux-image-cloud-amd64 | sed -n "s/^ *Depends: \(linux-image-.*\)/\1/p" | head -n 1)"' && mv "$1"/tmp/linux-image-*.deb "#;

/// Debian's packages: `rootfs.tar`, and the kernel's files below `kernel`.
fn debian(state: &Path) -> Result<PathBuf> {
    let mut key = Key::default();
    for part in PACKAGES.iter().chain(&[SUITE, FETCH_KERNEL]) {
        key.add(part);
    }
    let kept = Kept { dir: state.to_owned(), name: "debian".to_owned(), key: key.to_string() };
    kept.ensure(|into| {
        anstream::eprintln!(
            "fetching Debian's packages (usually two to four minutes; kept for the next time)"
        );
        let mut strap = Command::new("mmdebstrap");
        strap.args(["--variant=apt", "--mode=root"]);
        strap.arg(format!("--include={}", PACKAGES.join(",")));
        strap.arg(format!("--customize-hook={FETCH_KERNEL}'{}/'", into.display()));
        run(strap.arg(SUITE).arg(into.join("rootfs.tar")))?;
        let package = the_one(into, |name| name.ends_with(".deb"))?;
        run(Command::new("dpkg-deb").arg("-x").arg(package).arg(into.join("kernel"))).map(drop)
    })
}

/// The one entry of a directory whose name is as wanted.
fn the_one(dir: &Path, wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let entries = fs::read_dir(dir).map_err(Error::file("list", dir))?;
    let mut found = entries.flatten().filter(|entry| wanted(&entry.file_name().to_string_lossy()));
    let first = found.next().map(|entry| entry.path());
    first.ok_or_else(|| Error::NotHere(format!("something is missing in {}", dir.display())))
}

fn make(into: &Path, debian: &Path, kubelet: &Path, rerail: &Path) -> Result<()> {
    let root = into.join("root");
    fs::create_dir_all(&root).map_err(Error::file("create", &root))?;
    let mut unpack = Command::new("tar");
    unpack.arg("--extract").arg("--file").arg(debian.join("rootfs.tar"));
    run(unpack.arg("--directory").arg(&root).arg("--exclude=./dev/*"))?;
    let modules = debian.join("kernel/lib/modules");
    run(Command::new("cp").arg("-a").arg(&modules).arg(root.join("lib/")))?;
    let version = the_one(&modules, |name| !name.starts_with('.'))?;
    let version = version.file_name().unwrap_or_default().to_owned();
    run(Command::new("chroot").arg(&root).arg("depmod").arg(&version))?;
    for (path, mode, text) in FILES {
        write(&root.join(path), *mode, text)?;
    }
    install(kubelet, &root.join("usr/local/bin/kubelet"))?;
    let cni = root.join("etc/cni/net.d");
    fs::create_dir_all(&cni).map_err(Error::file("create", &cni))?;
    images::write(&root.join("opt/images"), rerail, &into.join("images"))?;
    settle(&root)?;
    initrd(into, &modules.join(&version))?;
    let kernel = the_one(&debian.join("kernel/boot"), |name| name.starts_with("vmlinuz-"))?;
    install(&kernel, &into.join("vmlinuz"))?;
    let base = into.join("base.img");
    run(Command::new("truncate").args(["--size", SIZE]).arg(&base))?;
    let mut format = Command::new("mke2fs");
    format.args(["-q", "-t", "ext4", "-E", "lazy_itable_init=1", "-d"]);
    run(format.arg(&root).arg(&base))?;
    for dir in [root, into.join("images"), into.join("initrd-root")] {
        fs::remove_dir_all(&dir).map_err(Error::file("remove", &dir))?;
    }
    Ok(())
}

/// Units, a root without a password (its console is a socket that only we have), and nothing of no use.
fn settle(root: &Path) -> Result<()> {
    let systemctl = |order: &str, units: &[&str]| {
        let mut systemctl = Command::new("chroot");
        run(systemctl.arg(root).args(["systemctl", "--quiet", order]).args(units)).map(drop)
    };
    systemctl("enable", UNITS)?;
    systemctl("mask", MASKED)?;
    run(Command::new("chroot").arg(root).args(["passwd", "--quiet", "--delete", "root"]))?;
    write(&root.join("etc/machine-id"), 0o644, "")?;
    for useless in ["usr/share/doc", "usr/share/man", "usr/share/locale", "var/lib/apt/lists"] {
        let _ = fs::remove_dir_all(root.join(useless));
    }
    Ok(())
}

/// The first file system: busybox, the modules of the disk, and a script.
fn initrd(into: &Path, modules: &Path) -> Result<()> {
    let root = into.join("initrd-root");
    for dir in ["dev", "root"] {
        let dir = root.join(dir);
        fs::create_dir_all(&dir).map_err(Error::file("create", &dir))?;
    }
    install(&busybox()?, &root.join("bin/busybox"))?;
    write(&root.join("init"), 0o755, INIT)?;
    let built = run(Command::new("find").arg(modules).args(["-name", "virtio*.ko"]))?;
    for (number, module) in MODULES.iter().enumerate() {
        let wanted = format!("{module}.ko");
        let found = built.lines().map(Path::new).find(|path| path.ends_with(&wanted));
        let Some(found) = found else {
            return Err(Error::NotHere(format!("the kernel's package has no {wanted}")));
        };
        // In the order of their names the first process takes them.
        install(found, &root.join(format!("modules/{number}-{wanted}")))?;
    }
    let pack = "find . | busybox cpio -o -H newc 2>/dev/null | gzip -1 > ../initrd";
    run(Command::new("sh").args(["-c", pack]).current_dir(&root)).map(drop)
}

fn write(path: &Path, mode: u32, text: &str) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
    }
    fs::write(path, text).map_err(Error::file("write", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(Error::file("set the mode of", path))
}
