//! Figures of the core alone. It is a crate of its own, beside `cargo xtask bench`, because it has
//! to be compiled with optimisation, and so needs few dependencies.
//!
//! | module | answers |
//! |---|---|
//! | [`thinking`] | how long does one full plan take |
//! | [`rolling`] | how long does a rolling reboot take in virtual time, and is every rule kept |
//! | [`ideal`] | how long must it take at least, whoever plans it |
//! | [`world`] | what is planned for |
//! | [`alerts`] | how long it takes from an answer of Alertmanager to what has to be written |

pub mod alerts;
pub mod ideal;
pub mod rolling;
pub mod thinking;
pub mod world;

use serde::{Deserialize, Serialize};

/// Everything that was measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    /// How the planner was compiled.
    pub profile: String,
    /// The policy of every world.
    pub policy: String,
    /// Times of full plans.
    pub thinking: Vec<thinking::Thinking>,
    /// Rolling reboots in virtual time.
    pub rolling: Vec<rolling::Rolling>,
}
