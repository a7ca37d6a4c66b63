//! Who is woken when something changes: the planner, and the drivers of runs.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

/// The bells of the planner and of each run's driver.
#[derive(Default)]
pub struct Wakers {
    /// Rung when a plan could turn out otherwise.
    pub planner: Notify,
    /// Rung when a run appeared or changed, so that drivers are started.
    pub supervisor: Notify,
    /// Rung when an alert source appeared or changed.
    pub alerts: Notify,
    /// Rung when there may be a node whose run is gone.
    pub sweeper: Notify,
    drivers: Mutex<BTreeMap<String, Driver>>,
}

struct Driver {
    node: String,
    bell: Arc<Notify>,
}

impl Wakers {
    /// A bell for the driver of a run.
    pub fn register(&self, run: &str, node: &str) -> Arc<Notify> {
        let bell = Arc::new(Notify::new());
        let driver = Driver { node: node.to_owned(), bell: bell.clone() };
        self.lock().insert(run.to_owned(), driver);
        bell
    }

    /// Forgets the bell of a run.
    pub fn forget(&self, run: &str) {
        self.lock().remove(run);
    }

    /// Wakes the driver of a run.
    pub fn run(&self, run: &str) {
        if let Some(driver) = self.lock().get(run) {
            driver.bell.notify_one();
        }
    }

    /// Wakes the drivers of runs on a node. True if there is one.
    pub fn node(&self, node: &str) -> bool {
        let drivers = self.lock();
        let mut any = false;
        for driver in drivers.values().filter(|driver| driver.node == node) {
            driver.bell.notify_one();
            any = true;
        }
        any
    }

    /// Wakes every driver.
    pub fn all(&self) {
        for driver in self.lock().values() {
            driver.bell.notify_one();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Driver>> {
        self.drivers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
