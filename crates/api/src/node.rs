//! A Node as far as it is looked at. A real one has 14 to 50 KB of JSON, most of it images and
//! `managedFields`; what is not declared here is skipped while it is read and never takes memory.
//!
//! It is never sent back: Nodes are written by patches alone, so nothing that is skipped can be lost.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::{convert, names};

/// A `v1` Node as far as it is looked at.
#[derive(Debug, Clone, Default, Resource, Deserialize)]
#[resource(inherit = k8s_openapi::api::core::v1::Node)]
#[serde(from = "Wire")]
pub struct Node {
    /// Name, UID, resource version, deletion timestamp, every label, and the annotations that are
    /// read. There is a map of annotations, possibly empty, exactly if the object has one. The rest
    /// is left out.
    pub metadata: ObjectMeta,
    /// True when `managedFields` gives `spec.unschedulable` to our field manager (protocol R9).
    pub cordon_field_ours: bool,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// The keys of `spec.taints`.
    pub taints: Vec<String>,
    /// `status.conditions`.
    pub conditions: Vec<Condition>,
    /// `status.nodeInfo.bootID`; empty before the kubelet's first report.
    pub boot_id: String,
}

/// One of `status.conditions`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// The type.
    #[serde(rename = "type")]
    pub condition_type: String,
    /// The status; whatever the kubelet wrote.
    pub status: String,
    /// The reason.
    pub reason: Option<String>,
    /// The message.
    pub message: Option<String>,
    /// When the status last changed, as written.
    pub last_transition_time: Option<Time>,
    /// When it was last reported, as written.
    pub last_heartbeat_time: Option<Time>,
}

/// True for the annotations that are read.
fn is_read(annotation: &str) -> bool {
    [names::CORDONED_BY, names::CORDON_NOTE, names::LAST_REMEDIATION]
        .iter()
        .chain(&convert::node::CLAIMING_ANNOTATIONS)
        .any(|read| *read == annotation)
}

/// The object as it comes.
#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    metadata: WireMeta,
    #[serde(default)]
    spec: Option<WireSpec>,
    #[serde(default)]
    status: Option<WireStatus>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireMeta {
    name: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<Annotations>,
    managed_fields: Option<Managers>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireSpec {
    unschedulable: Option<bool>,
    taints: Option<Vec<WireTaint>>,
}

#[derive(Deserialize)]
struct WireTaint {
    key: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireStatus {
    conditions: Option<Vec<Condition>>,
    node_info: Option<WireInfo>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireInfo {
    #[serde(rename = "bootID")]
    boot_id: String,
}

impl From<Wire> for Node {
    fn from(wire: Wire) -> Self {
        let meta = wire.metadata;
        let spec = wire.spec.unwrap_or_default();
        let status = wire.status.unwrap_or_default();
        Node {
            cordon_field_ours: meta.managed_fields.is_some_and(|fields| fields.cordon_is_ours),
            metadata: ObjectMeta {
                name: meta.name,
                uid: meta.uid,
                resource_version: meta.resource_version,
                deletion_timestamp: meta.deletion_timestamp,
                labels: meta.labels,
                annotations: meta.annotations.map(|annotations| annotations.0),
                ..ObjectMeta::default()
            },
            unschedulable: spec.unschedulable.unwrap_or(false),
            taints: spec.taints.into_iter().flatten().map(|taint| taint.key).collect(),
            conditions: status.conditions.unwrap_or_default(),
            boot_id: status.node_info.unwrap_or_default().boot_id,
        }
    }
}

/// The annotations that are read.
struct Annotations(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AnnotationsVisitor)
    }
}

struct AnnotationsVisitor;

impl<'de> Visitor<'de> for AnnotationsVisitor {
    type Value = Annotations;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of annotations")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
        let mut read = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            if is_read(&key) {
                read.insert(key, map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Annotations(read))
    }
}

/// What `managedFields` says of the cordon (protocol R9).
struct Managers {
    cordon_is_ours: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manager {
    manager: Option<String>,
    fields_v1: Option<Fields>,
}

impl Manager {
    fn holds_our_cordon(&self) -> bool {
        let spec = self.fields_v1.as_ref().and_then(|fields| fields.spec.as_ref());
        self.manager.as_deref() == Some(names::FIELD_MANAGER)
            && spec.is_some_and(|spec| spec.unschedulable.is_some())
    }
}

#[derive(Deserialize)]
struct Fields {
    #[serde(rename = "f:spec")]
    spec: Option<SpecFields>,
}

#[derive(Deserialize)]
struct SpecFields {
    #[serde(rename = "f:unschedulable")]
    unschedulable: Option<IgnoredAny>,
}

impl<'de> Deserialize<'de> for Managers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ManagersVisitor)
    }
}

struct ManagersVisitor;

impl<'de> Visitor<'de> for ManagersVisitor {
    type Value = Managers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of managed fields")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Managers, A::Error> {
        let mut cordon_is_ours = false;
        while let Some(entry) = entries.next_element::<Manager>()? {
            cordon_is_ours |= entry.holds_our_cordon();
        }
        Ok(Managers { cordon_is_ours })
    }
}

#[cfg(test)]
mod tests;
