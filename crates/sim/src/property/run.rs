//! Runs, as their objects say, with what really was done for them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use rerail_api::{
    NodeRemediation, names,
    remediation::{EffectName, IntentRecord, NodeRemediationStatus, StepName},
};
use rerail_core::step::Step;
use serde_json::Value;

use super::past::Recent;

/// A run. It is remembered when its object is gone: what it began may still happen.
#[derive(Debug)]
pub(super) struct RunTruth {
    pub name: String,
    pub node: String,
    pub node_uid: String,
    pub policy: String,
    pub cancelled: Option<Timestamp>,
    pub by_person: bool,
    pub retries: u32,
    pub status: NodeRemediationStatus,
    /// `None` = a step that is not known here.
    pub step: Recent<Option<Step>>,
    pub leader: Recent<(i64, String)>,
    pub intent: Recent<Option<IntentRecord>>,
    pub draining: Recent<bool>,
    /// Intents that were ever on record: the effect and its attempt.
    pub announced: BTreeSet<(u8, u32)>,
    /// The boot ID that each attempt was to replace.
    pub boot_before: BTreeMap<u32, String>,
    /// A closing write was seen since the run was last admitted.
    pub closed: bool,
    /// It has been past Pending.
    pub begun: bool,
    /// When its object went.
    pub gone: Option<Timestamp>,
    /// What reboot Pods of it did: attempt and time.
    pub acts: Vec<(u32, Timestamp)>,
    /// Effects on the node and Pods made.
    pub effects: u32,
    /// It was held, so that it waits for a person.
    pub frozen: bool,
    /// When it was admitted, and how urgent it was said to be then.
    pub admitted: Option<Timestamp>,
    /// When its admission was seen, and whose it was.
    pub began: Timestamp,
    /// When it began first: a retry begins it anew.
    pub first_began: Option<Timestamp>,
    pub begun_by: Option<Arc<str>>,
    /// It cannot go before what is ours has been undone.
    pub finalizer: bool,
    /// Somebody who is no operator wrote its status.
    pub spoiled: bool,
}

pub(super) fn effect_number(effect: EffectName) -> u8 {
    match effect {
        EffectName::Cordon => 0,
        EffectName::Drain => 1,
        EffectName::Reboot => 2,
        EffectName::Uncordon => 3,
    }
}

/// Reads the object; `None` for one that is not to be read.
pub(super) fn decode(object: &Arc<Value>) -> Option<NodeRemediation> {
    serde::Deserialize::deserialize(&**object).ok()
}

pub(super) fn known(step: &StepName) -> Option<Step> {
    match step {
        StepName::Known(step) => Some(*step),
        StepName::Unknown(_) => None,
    }
}

impl RunTruth {
    pub fn new(object: &NodeRemediation) -> Self {
        let spec = &object.spec;
        let status = object.status.clone().unwrap_or_default();
        let mut run = RunTruth {
            name: object.metadata.name.clone().unwrap_or_default(),
            node: spec.node_name.clone(),
            node_uid: spec.node_uid.clone(),
            policy: spec.policy_name.clone(),
            cancelled: None,
            by_person: spec.cause.is_none(),
            retries: spec.retries,
            step: Recent::always(known(&status.step)),
            leader: Recent::always((status.epoch, status.leader.clone())),
            intent: Recent::always(None),
            draining: Recent::always(false),
            announced: BTreeSet::new(),
            boot_before: BTreeMap::new(),
            closed: false,
            begun: false,
            gone: None,
            acts: Vec::new(),
            effects: 0,
            frozen: false,
            admitted: None,
            began: Timestamp::MIN,
            first_began: None,
            begun_by: None,
            finalizer: false,
            spoiled: false,
            status: NodeRemediationStatus::default(),
        };
        run.take_in(object, status, Timestamp::MIN);
        run
    }

    pub fn take_in(
        &mut self,
        object: &NodeRemediation,
        status: NodeRemediationStatus,
        at: Timestamp,
    ) {
        let deleting = object.metadata.deletion_timestamp.is_some();
        // Only a restore of etcd takes it back.
        let cancelled = object.spec.cancel || deleting;
        self.cancelled = cancelled.then(|| self.cancelled.unwrap_or(at));
        self.retries = object.spec.retries;
        let finalizers = object.metadata.finalizers.as_deref().unwrap_or_default();
        self.finalizer = finalizers.iter().any(|name| name == names::FINALIZER);
        let step = known(&status.step);
        self.step.set(step, at);
        self.draining.set(step == Some(Step::Draining), at);
        self.leader.set((status.epoch, status.leader.clone()), at);
        self.intent.set(status.intent.clone(), at);
        self.begun |= step.is_some_and(|step| step != Step::Pending);
        self.frozen = status.frozen.is_some();
        if let Some(intent) = &status.intent {
            self.announced.insert((effect_number(intent.effect), intent.attempt));
            if intent.effect == EffectName::Reboot {
                self.boot_before.insert(intent.attempt, intent.boot_id_before.clone());
            }
        }
        self.status = status;
    }

    pub fn step(&self) -> Option<Step> {
        *self.step.get()
    }

    pub fn is_open(&self) -> bool {
        self.gone.is_none() && self.step().is_none_or(|step| !is_end(step))
    }

    /// Something of it can act, as far as its status tells.
    pub fn is_active(&self) -> bool {
        self.is_open() && !self.frozen && self.step().is_some_and(is_active)
    }

    pub fn has_announced(&self, effect: EffectName, attempt: u32) -> bool {
        self.announced.contains(&(effect_number(effect), attempt))
    }
}

/// The steps in which a run is under remediation (planner.md).
pub(super) fn is_active(step: Step) -> bool {
    matches!(
        step,
        Step::Cordoning
            | Step::Draining
            | Step::Rebooting
            | Step::Withdrawing
            | Step::Verifying
            | Step::Uncordoning
            | Step::Settling
            | Step::RollingBack
    )
}

pub(super) fn is_end(step: Step) -> bool {
    matches!(step, Step::Succeeded | Step::Cancelled | Step::Failed)
}
