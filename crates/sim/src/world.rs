//! The cluster around the API server: machines with their kubelets, the controllers of Kubernetes, the
//! writers of conditions, people and foreign controllers. One clock, which is tokio's, and one seed.
//!
//! A [`World`] is one queue of events, which one task takes from in order of time; each is handled at
//! once, on the world's own state and on the API server. Reactions to what others write are events, too:
//! nobody sees a change earlier than a watch would have brought it. So the same seed, and the same
//! requests by others at the same times, give the same history.
//!
//! What is played, and how closely:
//! - **Machines**: power, boots with their boot IDs, times and [`Fault`]s, as `e2e/fleet` plays them for
//!   the end-to-end tests.
//! - **Kubelets**: Node, Lease and status; Pods start, become ready, end within their grace period; a
//!   reboot Pod looks at its run and its node at two different times, asks
//!   [`rerail_core::reboot_check`] and acts.
//! - **Controllers**: node lifecycle with its taints and evictions, scheduler, budgets, Deployments with
//!   one ReplicaSet each (no rollout of a changed template), DaemonSets, garbage collection, Events that
//!   expire.
//! - **People and others**: everything that an [`Act`] can be.
//!
//! ```no_run
//! # use rerail_sim::{Options, Server, world::{Scene, World}};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::new(Options { seed: 7, ..Options::default() });
//! let world = World::open(&server, Scene::named("single-run")?, 7)?;
//! world.settled().await;
//! let client = server.client(); // for the operator, or anybody
//! # Ok(()) }
//! ```

mod act;
mod agent;
mod anew;
mod api;
mod conditions;
mod controllers;
mod draw;
mod ears;
mod error;
mod fault;
mod known;
mod kubelet;
mod machine;
mod options;
mod people;
mod pod_status;
mod pods;
mod power;
mod queue;
mod scene;
mod script;
mod state;
mod truth;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use act::machine_names;
use ears::{Ears, Inbox};
use state::State;
use tokio::time::{Instant, sleep, sleep_until};

pub use act::{Act, Named, PowerAct, Sickness, Source, fits};
pub use error::Error;
pub use fault::Fault;
pub use options::{CONTROL_PLANE, Options, RACK, Spec, Times, ZONE};
pub use scene::{
    API_VERSION, Budget, DaemonSet, Deployment, Entry, Expect, KIND, LONGEST, NodeGroup, Random,
    Scene, SceneError, SceneTimes, Span, Taint,
};
pub use truth::{MachineView, Power, Truth};

use crate::Server;

/// How long [`World::settled`] waits at most.
const SETTLES_WITHIN: Duration = Duration::from_secs(600);

/// The cluster around an API server; clones are the same one.
#[derive(Clone)]
pub struct World {
    inner: Arc<Inner>,
}

struct Inner {
    server: Server,
    state: Mutex<State>,
    inbox: Arc<Inbox>,
    /// When the world began.
    origin: Instant,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the world began.
    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Does what is due, for ever.
    async fn run(self: Arc<Self>) {
        loop {
            let next = self.state().turn(&self.inbox, self.now());
            // There is always something to come: the controllers look again and again.
            let next = self.origin + Duration::from_millis(next.unwrap_or(u64::MAX >> 20));
            tokio::select! {
                biased;
                () = self.inbox.wait() => {}
                () = sleep_until(next) => {}
            }
        }
    }
}

impl World {
    /// A world without machines around a server that nobody has asked anything yet. Within a tokio
    /// runtime: its clock starts here, and its task ends with the runtime.
    pub fn new(server: &Server, options: Options) -> Self {
        let state = State::new(server, options);
        let inbox = Arc::new(Inbox::default());
        server.observe(Ears { inbox: inbox.clone(), places: state.places });
        let inner = Inner {
            server: server.clone(),
            state: Mutex::new(state),
            inbox,
            origin: Instant::now(),
        };
        let world = World { inner: Arc::new(inner) };
        tokio::spawn(world.inner.clone().run());
        world
    }

    /// The world of a scene, whose timeline begins now. Everything is made at once; it takes some seconds
    /// until all Pods run ([`World::settled`]).
    pub fn open(server: &Server, scene: Scene, seed: u64) -> Result<Self, Error> {
        let world = World::new(server, Options { seed, times: scene.times.times() });
        let scene = Arc::new(scene);
        world.change(|state| state.open(&scene))?;
        Ok(world)
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.inner.server
    }

    /// The world as it is now, whatever the API server has been told of it.
    pub fn truth(&self) -> Truth {
        let state = self.inner.state();
        let machines: BTreeMap<_, _> =
            state.machines.iter().map(|(name, machine)| (name.clone(), machine.view())).collect();
        Truth { at: self.inner.server.now(), machines }
    }

    /// One machine as it is now.
    pub fn machine(&self, name: &str) -> Result<MachineView, Error> {
        let state = self.inner.state();
        let machine = state.machines.get(name).map(machine::Machine::view);
        machine.ok_or_else(|| Error::NoMachine(name.to_owned()))
    }

    /// A machine joins the cluster.
    pub fn join(&self, spec: Spec) -> Result<(), Error> {
        self.change(|state| state.join(spec))
    }

    /// Does something now. If it is about several machines, it is done with each, and the first error is
    /// returned.
    pub fn act(&self, act: &Act) -> Result<(), Error> {
        self.change(|state| state.act(act))
    }

    /// Makes an object, as `kubectl create` does.
    pub fn create(&self, object: &serde_json::Value) -> Result<(), Error> {
        self.change(|state| state.create("admin", object))
    }

    /// The alerts that fire now ([`Source::Alert`]), whatever anybody has been told of them: node, type of the
    /// condition, message. Whoever asks plays the Alertmanagers.
    pub fn alerts(&self) -> Vec<(String, String, String)> {
        let mut state = self.inner.state();
        state.alerts_are_shown = true;
        state.alerts()
    }

    /// A condition of a node becomes true.
    pub fn sicken(&self, node: &str, with: Sickness) -> Result<(), Error> {
        self.act(&Act::Sicken { nodes: vec![node.to_owned()], pick: None, with })
    }

    /// A condition of a node becomes false.
    pub fn cure(&self, node: &str, condition: &str) -> Result<(), Error> {
        let condition = condition.to_owned();
        self.act(&Act::Cure { nodes: vec![node.to_owned()], condition })
    }

    /// A fault of a machine that is used up by the next boot, or act, that it spoils.
    pub fn inject(&self, node: &str, fault: Fault) -> Result<(), Error> {
        self.act(&Act::Fault { nodes: vec![node.to_owned()], pick: None, fault, lasting: false })
    }

    /// A fault of a machine that lasts.
    pub fn inject_lasting(&self, node: &str, fault: Fault) -> Result<(), Error> {
        self.act(&Act::Fault { nodes: vec![node.to_owned()], pick: None, fault, lasting: true })
    }

    /// What is done to a machine's power.
    pub fn power(&self, node: &str, to: PowerAct) -> Result<(), Error> {
        self.act(&Act::Power { nodes: vec![node.to_owned()], pick: None, to })
    }

    /// Requests of the world itself that the server refused for no good reason: there should be none.
    pub fn complaints(&self) -> Vec<String> {
        self.inner.state().complaints.clone()
    }

    /// Waits until every Pod runs and every budget has been counted, at most ten minutes; true if it is so.
    pub async fn settled(&self) -> bool {
        let end = Instant::now() + SETTLES_WITHIN;
        // What was just made is first seen.
        sleep(Duration::from_secs(2)).await;
        loop {
            if self.inner.state().is_settled() {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    fn change<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.inner.state();
        state.now = self.inner.now();
        state.clock = self.inner.server.now();
        let result = work(&mut state);
        drop(state);
        self.inner.inbox.wake();
        result
    }
}

#[cfg(test)]
mod tests;
