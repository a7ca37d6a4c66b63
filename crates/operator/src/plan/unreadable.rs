//! Runs that cannot be read are isolated: told of once, counted, and left alone (SAFE-17, hazard H33).

use std::collections::BTreeMap;

use kube::ResourceExt;
use rerail_api::convert;

use super::Planner;
use crate::observe::objects::Entry;

impl Planner {
    pub(super) fn isolate_unreadable(&mut self) {
        let mut found = BTreeMap::new();
        for entry in self.context.runs.snapshot() {
            let (name, error) = match entry {
                Entry::Malformed(malformed) => {
                    (malformed.object.name_any(), malformed.error.clone())
                }
                Entry::Good(object) => match convert::run::run(&object) {
                    Ok(_) => continue,
                    Err(error) => (object.name_any(), error.to_string()),
                },
            };
            if self.unreadable.get(&name) != Some(&error) {
                self.context.deps.metrics.malformed("NodeRemediation");
                tracing::error!(remediation = %name, %error,
                    "the run cannot be read and is left alone; unless it has ended it keeps its node and its slot");
            }
            found.insert(name, error);
        }
        self.unreadable = found;
    }
}
