//! ACT: every effect on the cluster, one file each. Nothing here decides; each function does one
//! thing that `rerail_core::remediation` has decided and a last look has confirmed.

pub mod evict;
pub mod node;
pub mod pods;
pub mod run;

use kube::api::PatchParams;
use rerail_api::names;

/// A patch by the operator: `managedFields` then tells what is ours (protocol R9).
pub(crate) fn patch_params() -> PatchParams {
    PatchParams { field_manager: Some(names::FIELD_MANAGER.into()), ..PatchParams::default() }
}
