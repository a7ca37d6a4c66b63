//! What can go wrong with a fleet.

use std::path::PathBuf;
use std::time::Duration;

/// Why the fleet could not do what a test asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused a call, or could not be reached.
    #[error("cannot {what}: {source}; the fleet's rights are in e2e/fleet/rbac.yaml")]
    Api {
        /// What the fleet was doing, with the object's name.
        what: String,
        /// What the client reported.
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("cannot {what}: no answer within {deadline:?}; is the API server up?")]
    Deadline {
        /// What the fleet was doing, with the object's name.
        what: String,
        /// How long was waited.
        deadline: Duration,
    },
    /// No machine has this name.
    #[error("the fleet has no machine `{0}`; machines come with `Fleet::add_pool`")]
    NoMachine(String),
    /// A machine of this name exists already.
    #[error("the fleet has a machine `{0}` already; choose another prefix for the pool")]
    MachineExists(String),
    /// The machines did not come into the wanted state.
    #[error("after {waited:?} not every machine is {what}; these are not: {names}")]
    NotInTime {
        /// How long was waited.
        waited: Duration,
        /// The state that was waited for.
        what: String,
        /// The machines that are not in it.
        names: String,
    },
    /// The truth log could not be opened.
    #[error("cannot open the truth log {}: {source}", path.display())]
    TruthLog {
        /// The file.
        path: PathBuf,
        /// What the system reported.
        source: std::io::Error,
    },
    /// A client for a Pod's own identity could not be built.
    #[error("cannot act as service account {account}: {problem}")]
    Identity {
        /// Namespace and name.
        account: String,
        /// What is wrong.
        problem: String,
    },
}
