//! The fleet: the owner of all machines.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::api::{call, is_conflict, is_not_found};
use crate::machine::{Machine, MachineView, Power, Spec};
use crate::node_watch::{self, Seen};
use crate::pod_watch::{self, PodIndex};
use crate::power::{self, Owned};
use crate::rng::Rng;
use crate::truth::{EventKind, NodeSeen, TruthEvent, TruthLog};
use crate::{Error, FleetOptions, MachineHandle, PodIdentity, Pool, conditions, node};

/// How many nodes are made at a time.
const CREATE_AT_ONCE: usize = 32;

/// Lifetime of a Pod's token; the least that the API server grants.
const TOKEN_SECONDS: i64 = 600;

/// What stands behind a node's name when its Node object is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replacement {
    /// Another machine: new boot ID, new system UUID, nothing on its disk.
    OtherMachine,
    /// The same machine registers again: new UID of the Node object, same boot ID.
    SameMachine,
}

/// A machine and the task that runs it.
struct Running {
    machine: Arc<Machine>,
    _task: Owned,
}

/// What the machines share.
pub(crate) struct Inner {
    pub client: Client,
    pub options: FleetOptions,
    pub truth: TruthLog,
    pub pods: PodIndex,
    pub seen: Seen,
    identity: PodIdentity,
    /// Names only; the tasks that keep the machines alive are the fleet's.
    machines: RwLock<BTreeMap<String, Arc<Machine>>>,
}

impl Inner {
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Machine>> {
        self.machines.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(crate) fn machines(&self) -> Vec<Arc<Machine>> {
        let machines = self.machines.read().unwrap_or_else(PoisonError::into_inner);
        machines.values().cloned().collect()
    }

    /// A client with the rights of a Pod, by a token that is bound to it, as a kubelet mounts it.
    pub(crate) async fn client_of(&self, pod: &Pod) -> Result<Client, Error> {
        let PodIdentity::ServiceAccount(config) = &self.identity else {
            return Ok(self.client.clone());
        };
        let namespace = pod.namespace().unwrap_or_default();
        let spec = pod.spec.as_ref();
        let account = spec.and_then(|spec| spec.service_account_name.as_deref());
        let account = account.unwrap_or("default");
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: Vec::new(),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: pod.metadata.name.clone(),
                    uid: pod.uid(),
                }),
                expiration_seconds: Some(TOKEN_SECONDS),
            },
            ..TokenRequest::default()
        };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &namespace);
        let params = PostParams::default();
        let token = call(
            || format!("get a token of service account {namespace}/{account}"),
            accounts.create_token_request(account, &params, &request),
        )
        .await?
        .status
        .map(|status| status.token);
        let problem = |problem: String| Error::Identity {
            account: format!("{namespace}/{account}"),
            problem,
        };
        let mut config = (**config).clone();
        // The agent has its own deadlines and tries; hidden ones would only blur them.
        config.default_retry = false;
        config.auth_info = serde_json::from_value(json!({"token": token}))
            .map_err(|error| problem(error.to_string()))?;
        Client::try_from(config).map_err(|error| problem(error.to_string()))
    }
}

/// Everything that ends when the last handle of the fleet goes.
struct Tasks {
    machines: RwLock<BTreeMap<String, Running>>,
    _shared: Vec<Owned>,
}

/// Fake machines on a real API server. Clones share the machines; when the last clone is dropped,
/// all machines fall silent at once, and their Node objects stay.
#[derive(Clone)]
pub struct Fleet {
    pub(crate) inner: Arc<Inner>,
    tasks: Arc<Tasks>,
}

impl Fleet {
    /// A fleet that acts with the rights of `config`, and whose Pods act with their own.
    pub fn start(config: kube::Config, options: FleetOptions) -> Result<Self, Error> {
        let client = Client::try_from(config.clone()).map_err(|source| Error::Api {
            what: "build a client".to_owned(),
            source: Box::new(source),
        })?;
        Self::with_client(client, PodIdentity::ServiceAccount(Box::new(config)), options)
    }

    /// A fleet over a given client.
    pub fn with_client(
        client: Client,
        identity: PodIdentity,
        options: FleetOptions,
    ) -> Result<Self, Error> {
        let inner = Arc::new(Inner {
            client,
            truth: TruthLog::open(options.truth_log.as_deref())?,
            options,
            pods: PodIndex::default(),
            seen: Seen::default(),
            identity,
            machines: RwLock::default(),
        });
        let mut shared = vec![Owned::spawn(conditions::refresh(inner.clone()))];
        if inner.options.play_pods {
            shared.push(Owned::spawn(pod_watch::run(inner.clone())));
        }
        if inner.options.watch_nodes {
            shared.push(Owned::spawn(node_watch::run(inner.clone())));
        }
        let tasks = Arc::new(Tasks { machines: RwLock::default(), _shared: shared });
        Ok(Self { inner, tasks })
    }

    /// Makes the nodes of a pool and starts their machines. A node that exists already is taken
    /// over. Returns the names; the nodes become Ready a moment later ([`Fleet::wait_ready`]).
    pub async fn add_pool(&self, pool: &Pool) -> Result<Vec<String>, Error> {
        let first = self.inner.machines().len();
        let specs: Vec<Spec> = (0..pool.nodes)
            .map(|index| Spec {
                name: format!("{}{:03}", pool.prefix, index + 1),
                number: first + index,
                pool: pool.clone(),
                rack: pool.rack(index),
            })
            .collect();
        if let Some(spec) = specs.iter().find(|spec| self.inner.find(&spec.name).is_some()) {
            return Err(Error::MachineExists(spec.name.clone()));
        }
        let names = specs.iter().map(|spec| spec.name.clone()).collect();
        stream::iter(specs)
            .map(|spec| self.create(spec))
            .buffer_unordered(CREATE_AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(names)
    }

    /// The handle of a machine.
    pub fn machine(&self, name: &str) -> Result<MachineHandle, Error> {
        self.inner.find(name).ok_or_else(|| Error::NoMachine(name.to_owned()))?;
        Ok(MachineHandle::new(self.inner.clone(), name.to_owned()))
    }

    /// All machines as they are now, by name.
    pub fn machines(&self) -> Vec<MachineView> {
        self.inner.machines().iter().map(|machine| machine.view()).collect()
    }

    /// Waits until every machine's kubelet has reported Ready.
    pub async fn wait_ready(&self, timeout: Duration) -> Result<(), Error> {
        self.wait_until("Ready", timeout, |machine| machine.ready).await
    }

    /// Waits until every machine is in a state; `what` names it.
    pub async fn wait_until(
        &self,
        what: &str,
        timeout: Duration,
        is_so: impl Fn(&MachineView) -> bool,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + timeout;
        loop {
            let machines = self.machines();
            let left: Vec<&str> = machines
                .iter()
                .filter(|view| !is_so(view))
                .map(|view| view.name.as_str())
                .collect();
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let names = left.join(", ");
                return Err(Error::NotInTime { waited: timeout, what: what.to_owned(), names });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Takes a machine out of the fleet and deletes its Node.
    pub async fn delete_node(&self, name: &str) -> Result<(), Error> {
        let machine = self.inner.find(name).ok_or_else(|| Error::NoMachine(name.to_owned()))?;
        self.inner.machines.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.tasks.machines.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.delete_object(&machine).await
    }

    /// Deletes a Node and makes it again under the same name, with a new UID.
    pub async fn replace_node(&self, name: &str, with: Replacement) -> Result<(), Error> {
        let machine = self.inner.find(name).ok_or_else(|| Error::NoMachine(name.to_owned()))?;
        match with {
            Replacement::OtherMachine => {
                self.delete_node(name).await?;
                self.create(machine.spec.clone()).await
            }
            Replacement::SameMachine => {
                self.delete_object(&machine).await?;
                self.create_object(&machine).await?;
                machine.status_changed.notify_one();
                Ok(())
            }
        }
    }

    /// Sets a label of a node, or removes it with `None`.
    pub async fn set_label(&self, name: &str, key: &str, value: Option<&str>) -> Result<(), Error> {
        let nodes: Api<Node> = Api::all(self.inner.client.clone());
        let patch = Patch::Merge(json!({"metadata": {"labels": {key: value}}}));
        let params = PatchParams::default();
        call(|| format!("label node {name}"), nodes.patch_metadata(name, &params, &patch)).await?;
        Ok(())
    }

    /// Deletes the Nodes of all machines, and stops the machines.
    pub async fn delete_all(&self) -> Result<(), Error> {
        let names: Vec<String> = self.machines().into_iter().map(|view| view.name).collect();
        stream::iter(names)
            .map(|name| async move { self.delete_node(&name).await })
            .buffer_unordered(CREATE_AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(())
    }

    /// Everything that really happened so far.
    pub fn truth(&self) -> Vec<TruthEvent> {
        self.inner.truth.events()
    }

    /// What really happened to the nodes whose label `pool` has this value.
    pub fn truth_of_pool(&self, pool: &str) -> Vec<TruthEvent> {
        let mut events = self.truth();
        events.retain(|event| event.pool == pool);
        events
    }

    /// The cordons of all nodes so far, as they were seen; empty without
    /// [`FleetOptions::watch_nodes`].
    pub fn nodes_seen(&self) -> Vec<NodeSeen> {
        self.inner.seen.all()
    }

    /// Everything that happens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<TruthEvent> {
        self.inner.truth.subscribe()
    }

    /// Makes the Node object and starts the machine.
    async fn create(&self, spec: Spec) -> Result<(), Error> {
        let rng = Rng::of(self.inner.options.seed, &spec.name);
        // A machine that replaces another one of this name must not repeat its boot IDs.
        let rng = self.distinct(rng, &spec.name);
        let name = spec.name.clone();
        let (machine, orders) = Machine::new(spec, rng);
        self.create_object(&machine).await?;
        let task = Owned::spawn(power::run(self.inner.clone(), machine.clone(), orders));
        let running = Running { machine: machine.clone(), _task: task };
        self.inner
            .machines
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.clone(), running.machine.clone());
        self.tasks.machines.write().unwrap_or_else(PoisonError::into_inner).insert(name, running);
        // Pods may have been bound to the name before the machine was there.
        machine.pods_changed.notify_one();
        Ok(())
    }

    fn distinct(&self, mut rng: Rng, name: &str) -> Rng {
        let earlier = |event: &TruthEvent| event.node == name && event.event == EventKind::Removed;
        let removed = self.inner.truth.events().iter().filter(|event| earlier(event)).count();
        for _ in 0..removed {
            rng = Rng::of(rng.next(), name);
        }
        rng
    }

    async fn create_object(&self, machine: &Machine) -> Result<(), Error> {
        let nodes: Api<Node> = Api::all(self.inner.client.clone());
        let name = &machine.spec.name;
        let object = node::node_object(&machine.spec);
        let params = PostParams::default();
        let create = nodes.create(&params, &object);
        let made = match call(|| format!("create node {name}"), create).await {
            Err(error) if is_conflict(&error) => {
                let patch = Patch::Merge(json!({"metadata": {"labels": object.metadata.labels}}));
                let params = PatchParams::default();
                let take = nodes.patch(name, &params, &patch);
                call(|| format!("take over node {name}"), take).await?
            }
            other => other?,
        };
        let silent = {
            let mut state = machine.state();
            state.node_uid = made.uid().unwrap_or_default();
            state.power != Power::On
        };
        self.inner.truth.record(machine.event(EventKind::Created));
        if silent {
            power::set_label(&self.inner, machine, false).await;
        }
        Ok(())
    }

    async fn delete_object(&self, machine: &Machine) -> Result<(), Error> {
        let nodes: Api<Node> = Api::all(self.inner.client.clone());
        let name = &machine.spec.name;
        let params = DeleteParams::default();
        match call(|| format!("delete node {name}"), nodes.delete(name, &params)).await {
            Err(error) if !is_not_found(&error) => return Err(error),
            _ => {}
        }
        machine.state().conditions.clear();
        self.inner.truth.record(machine.event(EventKind::Removed));
        Ok(())
    }
}
