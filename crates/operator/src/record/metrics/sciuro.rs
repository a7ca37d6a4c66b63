//! Sciuro's metrics by their names (`cmd/sciuro`, `internal/alert/sync.go`, `internal/node/reconciler.go` of
//! Sciuro 0.3.2), for dashboards and alerts that know those. Only where that is asked for.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use jiff::SignedDuration;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use rerail_core::alert::conditions::Change;

use super::Metrics;

/// Sciuro's upper bounds in seconds.
const SECONDS: [f64; 11] = [0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0];

/// Labels of a status that was written. Empty: there was no such condition, or there is none now.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpdateLabel {
    old_status: &'static str,
    new_status: &'static str,
}

pub(super) struct Sciuro {
    pub(super) registry: Registry,
    cached: Gauge,
    by_source: Mutex<BTreeMap<String, i64>>,
    took: Histogram,
    // Gauges, since OpenMetrics would have a counter's name end with `_total`, and Sciuro's do not.
    failures: Gauge,
    updates: Family<UpdateLabel, Gauge>,
}

impl Sciuro {
    fn new() -> Self {
        let mut registry = Registry::default();
        let (cached, failures) = (Gauge::default(), Gauge::default());
        let (took, updates) = (Histogram::new(SECONDS), Family::default());
        registry.register("sync_num_cached", "As Sciuro: alerts that fire", cached.clone());
        registry.register(
            "sync_get_duration",
            "As Sciuro: seconds that questions to servers took",
            took.clone(),
        );
        registry.register(
            "sync_get_failures",
            "As Sciuro: questions to servers that failed",
            failures.clone(),
        );
        registry.register(
            "reconcile_update_status",
            "As Sciuro: conditions that were written",
            updates.clone(),
        );
        Sciuro { registry, cached, by_source: Mutex::default(), took, failures, updates }
    }

    pub(super) fn asked(&self, good: bool, took: SignedDuration) {
        self.took.observe(took.as_secs_f64());
        if !good {
            self.failures.inc();
        }
    }

    pub(super) fn fires(&self, source: &str, firing: i64) {
        let mut all = self.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(source.to_owned(), firing);
        self.cached.set(all.values().sum());
    }

    pub(super) fn forget(&self, source: &str) {
        let mut all = self.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(source);
        self.cached.set(all.values().sum());
    }

    pub(super) fn written(&self, before: Option<&str>, change: &Change) {
        let new_status = match change {
            Change::Set(condition) => condition.status.as_str(),
            Change::Remove => "",
        };
        let old_status = match before {
            None => "",
            Some("True") => "True",
            Some("False") => "False",
            Some(_) => "Unknown",
        };
        self.updates.get_or_create(&UpdateLabel { old_status, new_status }).inc();
    }
}

impl Metrics {
    /// From here on Sciuro's names are served, too.
    pub fn speak_as_sciuro(&self) {
        self.0.sciuro.get_or_init(Sciuro::new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sciuros_names_are_there_as_soon_as_they_are_asked_for_and_not_before() {
        let metrics = Metrics::example();
        assert!(!metrics.page().unwrap().contains("sync_"));
        metrics.speak_as_sciuro();
        metrics.alerts_asked("a", "http://am", false, SignedDuration::from_millis(1500));
        metrics.alert_source("a", 3, 2);
        metrics.alert_source("b", 4, 2);
        metrics.conditions_written(&[("A_x".to_owned(), Change::Remove)].into(), None);
        let page = metrics.page().unwrap();
        for line in [
            "\nsync_num_cached 7\n",
            "\nsync_get_failures 1\n",
            "\nsync_get_duration_bucket{le=\"1.0\"} 0\n",
            "\nsync_get_duration_bucket{le=\"2.0\"} 1\n",
            "\nreconcile_update_status{old_status=\"\",new_status=\"\"} 1\n",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
        assert_eq!(page.matches("# EOF").count(), 1);
        metrics.forget_alert_source("a", &[]);
        assert!(metrics.page().unwrap().contains("\nsync_num_cached 4\n"));
    }
}
