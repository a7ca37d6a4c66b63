//! What the probe Pod runs.

/// The probe Pod's whole work: it has started, so Pods start on this node. A real machine was seen
/// Ready with a new boot ID while no Pod could start; that is what this Pod finds out. It runs the
/// reboot Pod's image, so that the same pull and the same runtime are proven.
///
/// Returns the one line that the caller prints.
pub fn probe() -> &'static str {
    "this Pod started: Pods start on this node"
}
