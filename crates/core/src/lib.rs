//! Decides. Every decision of Rerail is a pure function here, with time as an argument and the
//! reasons as part of the result; nothing here does I/O. The operator crate observes and acts.
//!
//! | module | answers |
//! |---|---|
//! | [`facts`] | what is known about a node, and since when |
//! | [`priority`] | how urgent is this message |
//! | [`policy`] | what a valid policy says |
//! | [`alert`] | what do alerts make of a node's conditions |
//! | [`trigger`] | is a trigger true on this node, or clear, or unknown |
//! | [`plan`] | who is next, and why not the others |
//! | [`step`], [`run`] | where a run can stand, and where this one does |
//! | [`remediation`] | what a run does next |
//! | [`drain`] | which pods go, and what an eviction's answer means |
//! | [`reboot_check`] | may this Pod reboot this machine now |
//! | [`sweep`] | what becomes of a mark whose run is gone |
//! | [`budget`], [`domain`], [`config`] | how many nodes may be out, and where |
//! | [`breaker`] | is this a storm |
//! | [`ledger`] | who holds a slot |
//! | [`lease`] | who leads |
//! | [`clock`] | can the operator's clock be trusted |
//! | [`invariants`] | what must always hold, whatever decided it |
//! | [`reason`] | why, in one word |
//! | [`words`] | how are others' words repeated |
//! | [`mutants`] | which bugs the tests must find |

pub mod alert;
pub mod breaker;
pub mod budget;
pub mod clock;
pub mod config;
pub mod domain;
pub mod doubt;
pub mod drain;
pub mod facts;
pub mod invariants;
pub mod lease;
pub mod ledger;
pub mod mutants;
pub mod plan;
pub mod policy;
pub mod priority;
pub mod reason;
pub mod reboot_check;
pub mod remediation;
pub mod run;
pub mod step;
pub mod sweep;
pub mod trigger;
pub mod words;
