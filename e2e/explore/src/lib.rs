//! Runs the unchanged operator through hostile histories on the simulated cluster, and looks whether every
//! property holds.
//!
//! A run is a function of its seed and of what is said beside it ([`plan`]): a scene of the simulated world,
//! one or two operators, faults of single requests ([`fault`]), what befalls operators and their Lease at
//! certain times ([`mishap`]), and requests at which an operator dies ([`kill`]). Each operator process is
//! the production code behind production's layers, on a connection of its own ([`wire`]); once it is dead,
//! nothing of it reaches the world any more.
//!
//! | module | what |
//! |---|---|
//! | [`plan`], [`draw`] | what is played, and how it is drawn |
//! | [`play`] | plays one run |
//! | [`operator`], [`process`] | processes of the operator, their clocks, their deaths |
//! | [`net`], [`wire`], `body` | what lies between them and the API server |
//! | [`fault`], [`mishap`], `befall` | what goes wrong |
//! | [`stage`], `healed` | the world, and whether all is well in it |
//! | [`alertmanagers`] | whom the operator asks what fires |
//! | [`kill`], [`tier`], [`crew`], [`branch`] | many runs |
//! | [`outcome`], [`trace`], [`timeline`] | what came of a run |
//! | [`bench`] | figures |
//! | [`shrink`], [`report`], [`regressions`] | runs that fail, and those that once did |

/// A third of a run was malloc: it is small objects, made and dropped.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod alertmanagers;
mod befall;
pub mod bench;
mod body;
pub mod branch;
pub mod crew;
pub mod draw;
pub mod fault;
mod healed;
pub mod kill;
mod lease_copies;
pub mod mishap;
pub mod net;
pub mod operator;
pub mod outcome;
pub mod panics;
pub mod plan;
pub mod play;
pub mod process;
pub mod regressions;
mod release;
pub mod report;
pub mod shrink;
mod signal;
pub mod stage;
pub mod tier;
pub mod timeline;
pub mod trace;
pub mod wire;
