//! What runs on a node: the reboot Pod's last check and its act.
//!
//! A reboot Pod is made by the operator for one run and one attempt. It reads its NodeRemediation
//! and its Node ([`look`]), asks [`rerail_core::reboot_check`] whether it may go on ([`check`]),
//! and only then runs the configured reboot command, or sends PID 1 a signal ([`reboot`]). Whatever
//! it cannot read, or reads too late, is no permission: it ends without having done anything and
//! says why.
//!
//! Nothing here lists, watches or writes an API object; the Pod's token could not.

mod error;
mod host;
mod look;
mod probe;
mod reboot;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use host::{Act, Host, NodeHost, REBOOT_SIGNAL};
pub use look::{CALL_DEADLINE, check, look};
pub use probe::probe;
pub use reboot::{Outcome, PAUSE_BETWEEN_TRIES, RETRY_FOR, TERMINATION_LOG, reboot, run};
