//! The kill sweep: an operator dies at each of its requests in turn, another one carries on, and
//! what must hold then is judged by what really happened.
//!
//! `death.rs` is what the dying process has in it, `mortal.rs` such a process as its parent sees it,
//! `orders.rs` what the two say to each other; `sweep.rs` plays one kill after the other, `trial.rs`
//! says what is tried and what must hold, `outcome.rs` adds up.

mod death;
mod mortal;
mod orders;
mod outcome;
mod sweep;
mod trial;

pub use death::Death;
pub use mortal::{MortalOperator, Program};
pub use orders::{Dies, KillPoint, Moment, Order, Request, Said, Which};
pub use outcome::{Kill, Outcome};
pub use sweep::{Extent, sweep};
