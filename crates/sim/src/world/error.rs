//! What cannot be done to a world.

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No machine has this name.
    #[error(
        "no machine is called `{0}`; names are those of the scene's nodes, and `*` stands for anything"
    )]
    NoMachine(String),
    /// A machine with this name is there already.
    #[error("there is a machine called `{0}` already")]
    MachineExists(String),
    /// The node has no open run.
    #[error("node `{0}` has no run that is open")]
    NoRun(String),
    /// The API server does not serve what is named.
    #[error("the simulated API server has no resource `{0}`")]
    NoResource(String),
    /// The API server refused.
    #[error("{what}: {code} {message}")]
    Refused {
        /// What was asked for.
        what: String,
        /// The HTTP status.
        code: u16,
        /// What the API server said.
        message: String,
    },
}
