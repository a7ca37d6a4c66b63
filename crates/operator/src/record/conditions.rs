//! Conditions of our own objects.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// What the new conditions are made from.
#[derive(Clone, Copy)]
pub(crate) struct Before<'a> {
    /// The conditions that were there.
    pub conditions: &'a [Condition],
    /// The generation that the new ones speak of.
    pub generation: i64,
    /// Now.
    pub now: Timestamp,
}

impl Before<'_> {
    /// The condition of a type; its transition time stays while its status does.
    pub fn condition(self, name: &str, value: bool, reason: &str, message: &str) -> Condition {
        let value = if value { "True" } else { "False" };
        let mut known = self.conditions.iter();
        let same = known.find(|condition| condition.type_ == name && condition.status == value);
        Condition {
            type_: name.to_owned(),
            status: value.to_owned(),
            reason: reason.to_owned(),
            message: message.chars().take(1000).collect(),
            last_transition_time: same
                .map_or(Time(self.now), |same| same.last_transition_time.clone()),
            observed_generation: Some(self.generation),
        }
    }
}
