//! ACT: every effect on the cluster, one file each. Nothing here decides; each function does one
//! thing that `rerail_core::remediation` has decided and a last look has confirmed.

pub mod evict;
pub mod node;
pub mod pods;
pub mod run;
