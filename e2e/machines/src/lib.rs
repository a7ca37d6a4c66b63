//! Virtual machines with real kernels, systemd, containerd and kubelets, as nodes of a real control plane.
//!
//! Fake machines (`e2e/fleet`) show that the operator decides right; these show that a kernel reboots. They are
//! emulated by QEMU, made from Debian's packages, and reach no registry. [`Site::start`] makes what is needed, each
//! stage once, kept by what it is made from. What a machine is, is in `guest/`; the design note is
//! `docs/design/028-real-machines.md`.
//!
//! | module | what |
//! |---|---|
//! | `host` | what the host has to have |
//! | `images` | container images, as archives |
//! | `disk` | kernel, first file system and disk |
//! | `machine` | one machine, and what can be done to it |
//! | `qmp` | how QEMU is told |
//! | `site` | a control plane with machines |

mod disk;
mod error;
mod host;
mod images;
mod machine;
mod qmp;
mod site;

pub use error::{Error, Result};
pub use images::{BUSYBOX, RERAIL};
pub use machine::Machine;
pub use site::Site;
