//! The machines of a scene.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_default;
use crate::world::options::{RACK, Spec, ZONE};

/// Machines that are alike: some with numbered names, or one with a name of its own.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NodeGroup {
    /// Names are this and a number of three digits, from 001.
    #[serde(skip_serializing_if = "is_default")]
    pub prefix: String,
    /// How many, with `prefix`.
    #[serde(skip_serializing_if = "is_default")]
    pub count: usize,
    /// The name of the one machine, in place of `prefix` and `count`. It has no label of a role but those that
    /// are given.
    #[serde(skip_serializing_if = "is_default")]
    pub name: String,
    /// In so many racks, in blocks of the same size: the first ones in `rack-a`. Default: 0, no label
    /// of a rack.
    #[serde(skip_serializing_if = "is_default")]
    pub racks: usize,
    /// In these zones, in blocks of the same size.
    #[serde(skip_serializing_if = "is_default")]
    pub zones: Vec<String>,
    /// More labels.
    #[serde(skip_serializing_if = "is_default")]
    pub labels: BTreeMap<String, String>,
    /// Whether they are nodes of the control plane.
    #[serde(skip_serializing_if = "is_default")]
    pub control_plane: bool,
    /// Taints that they have from the beginning.
    #[serde(skip_serializing_if = "is_default")]
    pub taints: Vec<Taint>,
    /// Whether they are cordoned from the beginning.
    #[serde(skip_serializing_if = "is_default")]
    pub cordoned: bool,
    /// The most Pods that run on one of them. Default: 110.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<usize>,
}

/// A taint, as Kubernetes writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "is_default")]
    pub value: String,
    /// Its effect: `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// The kubelet's own default.
const PODS: usize = 110;

impl NodeGroup {
    /// How many machines there are.
    pub(super) fn number(&self) -> usize {
        if self.name.is_empty() { self.count } else { 1 }
    }

    /// The machines.
    pub fn specs(&self) -> impl Iterator<Item = Spec> {
        let all = self.number();
        (0..all).map(move |index| {
            let mut labels = self.labels.clone();
            if self.racks > 0 {
                let rack = letters(index * self.racks.min(all) / all);
                labels.entry(RACK.to_owned()).or_insert(format!("rack-{rack}"));
            }
            if let Some(zone) = self.zones.get(index * self.zones.len() / all) {
                labels.entry(ZONE.to_owned()).or_insert(zone.clone());
            }
            let name = match self.name.as_str() {
                "" => format!("{}{:03}", self.prefix, index + 1),
                name => name.to_owned(),
            };
            let pods = self.pods.unwrap_or(PODS);
            Spec {
                name,
                labels,
                control_plane: self.control_plane,
                pods,
                with_role: self.name.is_empty(),
                taints: self.taints.clone(),
                cordoned: self.cordoned,
            }
        })
    }

    /// What is wrong with it, if anything is, and what to do.
    pub(super) fn fault(&self) -> Option<(&'static str, &'static str)> {
        match (self.name.as_str(), self.prefix.as_str(), self.count) {
            ("", "", _) => Some(("a group has no name", "give it a name, or a prefix and a count")),
            ("", _, 0) => Some(("a group has no machine", "give it a count above 0")),
            ("", _, _) | (_, "", 0) => None,
            _ => Some(("a group has a name and a prefix or count", "leave one of them out")),
        }
    }
}
/// 0 is a, 25 is z, 26 is aa.
fn letters(mut number: usize) -> String {
    let mut text = Vec::new();
    loop {
        text.insert(0, b'a' + u8::try_from(number % 26).unwrap_or(0));
        number /= 26;
        if number == 0 {
            break;
        }
        number -= 1;
    }
    text.into_iter().map(char::from).collect()
}
