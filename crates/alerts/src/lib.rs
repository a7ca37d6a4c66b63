//! Alertmanager and Prometheus: what they show, and which alert belongs to which node. What follows from
//! it is decided in `rerail_core::alert`.
//!
//! | module | answers |
//! |---|---|
//! | [`expression`] | does this alert belong to this node |
//! | [`ask`], [`fetch`] | what does this server say, and how is it reached |
//! | [`shown`] | which alerts does this answer show |
//! | [`matching`] | which nodes do these alerts belong to, for thousands of both |

pub mod ask;
pub mod expression;
pub mod fetch;
pub mod matching;
pub mod shown;
