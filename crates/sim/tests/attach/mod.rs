//! The unchanged operator on a simulated server.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::Client;
use rerail_operator::{
    client::{Clients, Fence, ServerClock},
    deps::{BootClock, Clock, Deps, Fetch, NoWatchdog, Settings},
    observe::recency::Recency,
    record::metrics::Metrics,
};
use rerail_sim::Server;
use tokio::time::Instant;
use tower::Layer;

struct SimClock(Server);

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

struct SinceStart(Instant);

impl BootClock for SinceStart {
    fn since_boot(&self) -> Duration {
        // A machine that has been up for a while.
        Duration::from_secs(3600) + self.0.elapsed()
    }
}

/// The layers that the operator puts around its transports, but for what belongs to sockets.
pub fn clients(server: &Server) -> Clients {
    let (server_clock, fence) = (ServerClock::default(), Fence::default());
    let recency = Recency::default();
    let read = server_clock.layer(recency.layer(server.clone()));
    let read = Client::new(read, "default");
    let act = Client::new(fence.layer(server_clock.layer(server.clone())), "default");
    Clients { read, act, server_clock, fence, recency }
}

pub fn deps(server: &Server, fetch: impl Fetch + 'static) -> Arc<Deps> {
    Arc::new(Deps {
        clock: Box::new(SimClock(server.clone())),
        boot_clock: Arc::new(SinceStart(Instant::now())),
        watchdog: Box::new(NoWatchdog),
        identity: "sim_1".into(),
        fetch: Arc::new(fetch),
        pushes: Arc::default(),
        settings: Settings::outside_a_cluster(),
        metrics: Metrics::default(),
    })
}
