//! Looks: what a run sees from the caches, and by fresh reads.

use std::{borrow::Borrow, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use rerail_api::{Node, convert::pod, names};
use rerail_core::{
    drain::progress::{DrainPlan, DrainProgress},
    facts::NodeFacts,
    mutant,
    remediation::{Action, Decision, Memory, NodeSeen, Observation, PodSeen, PolicyStanding},
    run::Run,
    step::Step,
};

use super::{ANSWER_LASTS, DriveError, Driver, right::needs_lease};
use crate::{
    check::{self, FreshNode},
    observe::objects::Entry,
};

/// One look, owned.
pub(super) struct Look {
    now: Timestamp,
    pub facts: Option<Arc<NodeFacts>>,
    run_node_uid: String,
    /// The node, if it was read freshly.
    pub node: Option<FreshNode>,
    policy: PolicyStanding,
    paused: Option<String>,
    pub drain: Option<DrainPlan>,
    reboot_pod: PodSeen,
    probe_pod: PodSeen,
    daemon_sets_ready: Option<Vec<String>>,
    /// A fresh read showed the Lease in this term's hands.
    pub confirmed: bool,
}

/// What the last look before a write of the node read, with the node as the write's answer shows it.
pub(super) struct AfterWrite {
    asked: Timestamp,
    node: FreshNode,
    policy: PolicyStanding,
    paused: Option<String>,
}

impl Look {
    fn take_over(&mut self, after: AfterWrite) {
        self.facts = Some(after.node.facts.clone());
        self.node = Some(after.node);
        (self.policy, self.paused) = (after.policy, after.paused);
    }

    pub(super) fn observation<'a>(&'a self, memory: &'a Memory) -> Observation<'a> {
        Observation {
            now: self.now,
            node: match self.facts.as_deref() {
                None => NodeSeen::Gone,
                Some(facts) if facts.uid != self.run_node_uid && !mutant!("node-uid-ignored") => {
                    NodeSeen::Replaced
                }
                Some(facts) => NodeSeen::Present(facts),
            },
            policy: self.policy,
            paused: self.paused.clone(),
            drain: self.drain.as_ref(),
            reboot_pod: self.reboot_pod.clone(),
            probe_pod: self.probe_pod.clone(),
            daemon_sets_ready: self.daemon_sets_ready.clone(),
            memory,
        }
    }
}

impl Driver {
    /// What the caches show. Good enough to wait on, never to act on.
    pub(super) fn look_cached(&mut self, run: &Run) -> Look {
        let now = self.context.now();
        let facts = self.context.nodes.get(&run.node_name);
        let policy = self.policy_cached(&run.policy);
        let paused = self.paused_cached(run, now);
        let drain = self.drain_cached(run, now);
        let mut look = Look {
            now,
            facts,
            run_node_uid: run.node_uid.clone(),
            node: None,
            policy,
            paused,
            drain,
            reboot_pod: self.own_pod(&names::reboot_pod_name(&run.uid, run.attempt)),
            probe_pod: self.probe_pod(run),
            daemon_sets_ready: self.daemon_sets_ready(),
            confirmed: false,
        };
        self.remember(run, &mut look);
        look
    }

    /// Fresh reads before something is done: the node always; policy and kill switch as long as they
    /// have a say; the pods before the point of no return; the withdrawn Pod before it is given up.
    pub(super) async fn look_fresh(
        &mut self,
        run: &Run,
        planned: &Decision,
    ) -> Result<Look, DriveError> {
        let context = self.context.clone();
        let client = &context.clients.read;
        let mut look = self.look_cached(run);
        let leaves = matches!(planned.action, Action::Change(_));
        // The Pod before the node, and judged by the time before both: what the node then reports is
        // later than what is known of the Pod (protocol R2).
        let began = context.now();
        if run.step == Step::Withdrawing && leaves {
            let name = names::reboot_pod_name(&run.uid, run.attempt);
            look.reboot_pod = pod::seen(check::own_pod(client, &name).await?.as_ref());
        }
        match self.after_write.take().filter(|after| leaves && self.is_recent(after.asked)) {
            Some(after) => look.take_over(after),
            None => self.read_again(run, planned, &mut look).await?,
        }
        // It counts for the boot that the node shows now.
        look.probe_pod = self.probe_pod(run);
        if run.step == Step::Draining && leaves && look.drain.is_some() {
            let pods = check::pods(client, &run.node_name).await?;
            look.drain = self.drain_plan(run, &pods, context.now());
            look.daemon_sets_ready = Some(check::ready_daemon_sets(&pods));
        }
        look.now = if run.step == Step::Withdrawing { began } else { context.now() };
        self.remember(run, &mut look);
        Ok(look)
    }

    /// Together: a last look counts from its first read on (SAFE-9).
    async fn read_again(
        &self,
        run: &Run,
        planned: &Decision,
        look: &mut Look,
    ) -> Result<(), DriveError> {
        let context = &self.context;
        let tightened = async {
            if !run.may_turn_back() {
                return Ok::<_, DriveError>(None);
            }
            Ok(Some(tokio::try_join!(
                context.in_common.standing(&run.policy),
                context.in_common.pauses()
            )?))
        };
        let confirmed = async {
            let needed = matches!(&planned.action, Action::Do(effect) if needs_lease(effect));
            if needed {
                context.term.lease.confirm().await?;
            }
            Ok(needed)
        };
        let node = async { Ok(check::node(context, &run.node_name).await?) };
        let (node, tightened, confirmed) = tokio::try_join!(node, tightened, confirmed)?;
        look.facts = node.as_ref().map(|node| node.facts.clone());
        look.node = node;
        look.confirmed = confirmed;
        if let Some((policy, pauses)) = tightened {
            look.policy = policy;
            let in_force = pauses.in_force(&run.node_name, &run.policy, context.now());
            look.paused = in_force.map(|pause| pause.text.clone());
        }
        Ok(())
    }

    /// The answer to a write of the node is a fresh read of it, and the rest of the look before it is
    /// as old. What is decided by this is a change of status, and no effect.
    pub(super) fn keep_after_write(&mut self, look: &Look, asked: Timestamp, object: Node) {
        let facts = self.context.nodes.fold(&object, self.context.now(), &self.context.wakers);
        self.after_write = Some(AfterWrite {
            asked,
            node: FreshNode { object, facts },
            policy: look.policy,
            paused: look.paused.clone(),
        });
    }

    /// An answer to a call that was sent then is still as good as a fresh read.
    pub(super) fn is_recent(&self, asked: Timestamp) -> bool {
        let age = self.context.now().duration_since(asked);
        (!age.is_negative() && age <= ANSWER_LASTS) || mutant!("answer-lasts")
    }

    fn remember(&mut self, run: &Run, look: &mut Look) {
        if let Some(facts) = look.facts.as_deref().filter(|facts| facts.uid == run.node_uid) {
            self.memory.observe(run, facts, &look.reboot_pod, look.now);
        }
    }

    fn policy_cached(&self, name: &str) -> PolicyStanding {
        let policies = &self.context.policies;
        if !policies.synced() {
            return PolicyStanding::InForce;
        }
        let unreadable = |entry: &Entry<_>| matches!(entry, Entry::Malformed(m) if m.object.metadata.name.as_deref() == Some(name));
        match policies.get(name) {
            None if policies.snapshot().iter().any(unreadable) => PolicyStanding::InForce,
            found => check::standing(found.as_deref()),
        }
    }

    fn paused_cached(&self, run: &Run, now: Timestamp) -> Option<String> {
        match self.context.pauses() {
            None => Some(rerail_core::facts::PAUSE_UNREADABLE.into()),
            Some(pauses) => {
                let pause = pauses.in_force(&run.node_name, &run.policy, now)?;
                Some(pause.text.clone())
            }
        }
    }

    fn own_pod(&self, name: &str) -> PodSeen {
        match self.pods.as_ref().and_then(|pods| pods.pod(names::NODE_NAMESPACE, name)) {
            None => PodSeen::Unknown,
            Some(found) => pod::seen(found.as_deref()),
        }
    }

    /// The probe Pod, by what the cache shows of the node's boot.
    fn probe_pod(&self, run: &Run) -> PodSeen {
        let name = names::probe_pod_name(&run.uid, run.attempt);
        let boot = self.context.nodes.get(&run.node_name).map(|node| node.boot_id.clone());
        match self.pods.as_ref().and_then(|pods| pods.pod(names::NODE_NAMESPACE, &name)) {
            None => PodSeen::Unknown,
            Some(found) => pod::probe_seen(found.as_deref(), &boot.unwrap_or_default()),
        }
    }

    fn daemon_sets_ready(&self) -> Option<Vec<String>> {
        Some(check::ready_daemon_sets(&self.pods.as_ref()?.pods()?))
    }

    fn drain_cached(&mut self, run: &Run, now: Timestamp) -> Option<DrainPlan> {
        if run.step != Step::Draining {
            self.progress = None;
            return None;
        }
        let pods = self.pods.as_ref()?.pods()?;
        let changed = self.pods.as_ref()?.take_budget_changes();
        let plan = self.drain_plan(run, &pods, now);
        let progress = self.progress.as_mut()?;
        if changed.is_empty() {
            return plan;
        }
        for namespace in changed {
            progress.budget_changed(&namespace, now);
        }
        self.drain_plan(run, &pods, now)
    }

    fn drain_plan(
        &mut self,
        run: &Run,
        pods: &[impl Borrow<Pod>],
        now: Timestamp,
    ) -> Option<DrainPlan> {
        let contract = run.contract.as_ref()?;
        let own = self.context.deps.settings.own_pod();
        let facts: Vec<_> =
            pods.iter().map(|pod| pod::facts(pod.borrow(), own.as_deref())).collect();
        let evicted = self.evicted_before(run);
        let progress = self.progress.get_or_insert_with(|| DrainProgress::resumed(evicted));
        Some(progress.plan(&run.node_name, &facts, &contract.drain.options, now))
    }

    /// Evictions on record, so that a new operator goes on with a drain instead of judging it anew.
    fn evicted_before(&self, run: &Run) -> u32 {
        let object = self.context.runs.get(&run.name);
        object.and_then(|object| Some(object.status.as_ref()?.drain.as_ref()?.evicted)).unwrap_or(0)
    }
}
