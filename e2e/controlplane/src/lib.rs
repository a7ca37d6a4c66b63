//! A real Kubernetes control plane on loopback, built from Go modules.
//!
//! [`ControlPlane::start`] gives a test etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kwok of its
//! own, on free ports, in a directory of its own below `target/controlplane/run/`. All of it ends with the value, and
//! with the process, however that ends. [`Instance`] is one that was left running for people to look at.
//!
//! Nodes are not part of it: the fleet (`e2e/fleet`) writes them. kwok plays the ordinary pods of every node that has
//! the label [`KUBELET_RUNNING`]; `kwok/pod.yaml` says how.
//!
//! | module | what |
//! |---|---|
//! | `binaries` | builds the Go programs once |
//! | `kept` | what is made once, and kept by what it was made from |
//! | `components` | the processes and their flags |
//! | `supervisor`, `supervisor/*.go` | owns the processes, so that nothing survives |
//! | `plane` | a running control plane |
//! | `instance` | control planes that were left running |
//! | `tools` | certificates, kubeconfigs, waiting |

mod binaries;
mod components;
mod error;
mod instance;
pub mod kept;
mod plane;
mod supervisor;
mod tools;

pub use binaries::{Binaries, KUBERNETES_VERSION, state_dir};
pub use components::{AUDIT_DIR, Component, HANDS_OFF, KUBELET_RUNNING, NEVER_KWOK};
pub use error::{Error, Result};
pub use instance::Instance;
pub use plane::{ControlPlane, Options};
