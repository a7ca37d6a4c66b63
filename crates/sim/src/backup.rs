//! A backup of etcd, and its restore: what was committed since then never happened, and versions go
//! back with it (FAULT-7). Every API server is restarted for it, as the manual of etcd asks, so open
//! watches end; one that goes on from a version which is still to come sees nothing before that.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use crate::store::{Change, Key, Store};

/// Everything, as it was.
#[derive(Debug, Clone)]
pub struct Backup {
    version: u64,
    objects: Vec<BTreeMap<Key, Arc<Value>>>,
}

impl Store {
    /// A backup of everything, now.
    pub fn backup(&self) -> Backup {
        let objects = self.tables().iter().map(|table| table.objects().clone()).collect();
        Backup { version: self.version(), objects }
    }

    /// Goes back to a backup. Observers see every object that differs as changed or taken away.
    pub fn restore(&mut self, backup: &Backup) {
        let mut changes = Vec::new();
        for (at, (table, objects)) in self.tables().iter().zip(&backup.objects).enumerate() {
            let version = backup.version;
            let mut change = |before: Option<&Arc<Value>>, after: Option<&Arc<Value>>| {
                let Some(object) = after.or(before) else { return };
                let (before, gone, text) = (before.cloned(), after.is_none(), Arc::default());
                changes.push((at, Change { version, before, after: object.clone(), gone, text }));
            };
            for (key, now) in table.objects() {
                match objects.get(key) {
                    Some(then) if Arc::ptr_eq(now, then) => {}
                    then => change(Some(now), then),
                }
            }
            for (key, then) in objects {
                if !table.objects().contains_key(key) {
                    change(None, Some(then));
                }
            }
        }
        self.go_back(backup.version, backup.objects.clone());
        for (at, change) in changes {
            self.note(at, &change);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{handle::tests::World, watch::Next};

    #[test]
    fn what_came_after_the_backup_never_was_and_watches_end() {
        let mut world = World::new();
        world.node("a");
        let backup = world.store.backup();
        let version = world.store.version();
        world.merge("/api/v1/nodes/a", json!({ "metadata": { "labels": { "x": "y" } } }));
        world.node("b");
        let (_, list) = world.get("/api/v1/nodes");
        let seen = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        let mut open = world.watch(&format!("/api/v1/nodes?watch=true&resourceVersion={seen}"));
        world.store.restore(&backup);
        assert_eq!(world.store.version(), version);
        assert_eq!(world.next(&mut open), Next::End);
        assert_eq!(world.get("/api/v1/nodes/b").0, 404);
        let (_, node) = world.get("/api/v1/nodes/a");
        assert!(node["metadata"]["labels"].get("x").is_none());
        let mut blind = world.watch(&format!("/api/v1/nodes?watch=true&resourceVersion={seen}"));
        world.node("c");
        assert!(world.events(&mut blind).is_empty(), "its version is still to come");
        for name in ["d", "e"] {
            world.node(name);
        }
        assert!(!world.events(&mut blind).is_empty());
    }
}
