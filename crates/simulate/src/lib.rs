//! Foretells. Plays a scene with the unchanged operator on a simulated cluster, and says what came of it.
//!
//! | module | what |
//! |---|---|
//! | [`stage`] | all of it at play: cluster, operator, a judge, a spectator |
//! | [`crew`] | the operator, two replicas of it, in front of the simulated API server |
//! | [`board`] | what a spectator knows, from nothing but the objects |
//! | [`settled`] | whether all that can heal has healed |
//! | [`play()`] | a scene to its end, as fast as the machine can |
//! | [`report`] | what came of it, and whether that was expected |
//! | [`what_if`] | a scene in which something more goes wrong |
//! | [`snapshot`] | the scene of a cluster as it is |

pub mod board;
pub mod crew;
mod expect;
mod play;
pub mod report;
pub mod settled;
pub mod snapshot;
pub mod stage;
pub mod what_if;

pub use play::{PlayError, Progress, play};
