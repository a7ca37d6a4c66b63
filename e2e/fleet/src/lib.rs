//! Fake machines that behave: nodes of a real API server with boots, faults and a truth log.
//!
//! A [`Fleet`] owns any number of Node objects of a real API server and plays their kubelets: it
//! reports status, renews leases, runs the operator's own Pods, and goes silent when a machine is
//! off. A machine goes down because a reboot Pod of the operator passed the *production* check
//! ([`rerail_agent::reboot`], with a token of the Pod's own service account), or because a test
//! said so. Everything that really happened is in the truth log, which [`truth::check`] judges
//! without asking the operator what it believes.
//!
//! What a fake machine does not do: run containers of others (kwok plays those, on nodes whose
//! label [`KUBELET_LABEL`] is `running`), and remove taints (the node controller does).
//!
//! Where things are: `fleet.rs` the owner of all; `machine.rs` what one machine knows; `power.rs`
//! down and up; `kubelet.rs` what the software on a machine that is on does; `pods.rs` the Pods of
//! the operator; `node_watch.rs` their cordons; `restart.rs` ordinary Pods at a boot; `node.rs` and `pod_status.rs` what is written, as pure functions.

mod api;
mod clock;
mod conditions;
mod error;
mod fault;
mod fleet;
mod handle;
mod host;
mod kubelet;
mod machine;
mod node;
mod node_watch;
mod options;
mod pod_status;
mod pod_watch;
mod pods;
mod power;
mod restart;
mod rng;
pub mod truth;

pub use clock::now;
pub use conditions::{ConditionOptions, ConditionSource};
pub use error::Error;
pub use fault::Fault;
pub use fleet::{Fleet, Replacement};
pub use handle::MachineHandle;
pub use machine::{MachineView, Power};
pub use node::KUBELET_LABEL;
pub use options::{FleetOptions, PodIdentity, Pool};
pub use truth::{Cause, EventKind, TruthEvent};
