//! A tiny cluster in memory: one node, its pods, a kubelet, and the Pods that a run makes. Decisions
//! are applied to it as the operator applies them, and every one is checked on the way.

use super::*;
use crate::{
    drain::progress::DrainPlan,
    invariants,
    remediation::{record, record_attempts},
};

/// How the machine behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    /// Boots in a minute and is cured.
    Good,
    /// Boots in a minute, and the trigger stays true.
    NotCured,
    /// Goes down and never comes up.
    Dies,
    /// The command returns, and nothing happens.
    Ignores,
    /// The Pod refuses.
    Refuses,
    /// Comes up, and is never Ready.
    NeverReady,
}

/// When the operator crashes, which is: forgets, before or after an effect reached the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crashes {
    Never,
    AfterEveryDecision,
    BeforeEveryEffectOnce,
}

#[derive(Clone)]
pub(crate) struct World {
    pub scene: Scene,
    pub machine: Machine,
    pub crashes: Crashes,
    /// Pods that have to go, one per look; `None`: a budget blocks for ever.
    pub pods: Option<u32>,
    pub boots: u32,
    pub changes: Vec<(Step, Reason)>,
    pub effects: Vec<Effect>,
    boot_at: Option<Timestamp>,
    lost: Vec<Effect>,
}

/// More than any run here needs; a loop needs more.
const DECISIONS: usize = 60;
/// Days are enough for every deadline.
const LOOKS: usize = 20_000;
/// A report of the kubelet every so many seconds.
const REPORT_EVERY: i64 = 10;

impl World {
    pub(crate) fn new(machine: Machine) -> Self {
        let mut scene = scene(Step::Cordoning);
        scene.now = at(0);
        World {
            scene,
            machine,
            crashes: Crashes::Never,
            pods: Some(3),
            boots: 0,
            changes: vec![],
            effects: vec![],
            boot_at: None,
            lost: vec![],
        }
    }

    pub(crate) fn end(&self) -> (Step, Reason) {
        (self.scene.run.step, self.scene.run.reason)
    }

    /// Looks and acts until the run has ended, or nothing happens any more.
    pub(crate) fn drive(&mut self) {
        for _ in 0..LOOKS {
            if self.scene.run.step.is_terminal() || self.is_at_rest() {
                break;
            }
            self.one_look();
        }
        assert!(!self.node_bears_our_mark_without_a_run(), "{:?}", self.changes);
    }

    /// Drives until the run has come to this step; false when it ends without.
    pub(crate) fn drive_to(&mut self, step: Step) -> bool {
        for _ in 0..LOOKS {
            if self.scene.run.step == step {
                return true;
            }
            if self.scene.run.step.is_terminal() || self.is_at_rest() {
                return false;
            }
            self.one_look();
        }
        false
    }

    /// One look, unless the run has ended.
    pub(crate) fn drive_some(&mut self) {
        if !self.scene.run.step.is_terminal() {
            self.one_look();
        }
    }

    /// Held, or waiting for a machine that never reports: only the world can change that.
    fn is_at_rest(&mut self) -> bool {
        let held = matches!(self.scene.run.step, Step::Held | Step::Withdrawing);
        let decision = self.scene.look();
        let unresolved = decision.reason == Reason::EffectUnresolved;
        held && decision.action == Action::Wait
            && (self.scene.run.step == Step::Held && decision.recheck_at.is_none() || unresolved)
            && self.boot_at.is_none()
    }

    fn node_bears_our_mark_without_a_run(&self) -> bool {
        self.scene.run.step.is_terminal()
            && self.scene.node_is == NodeIs::There
            && self.scene.node.cordoned_by.as_deref() == Some("run-1")
    }

    fn one_look(&mut self) {
        self.scene.drain = self.drain();
        let decision = self.scene.look();
        match decision.action {
            Action::Change(next) => self.commit(*next),
            Action::Do(effect) => self.perform(effect),
            Action::Wait => {
                assert!(decision.recheck_at.is_none_or(|time| time > self.scene.now));
                return self.pass_time();
            }
        }
        let done = self.changes.len() + self.effects.len();
        assert!(done < DECISIONS, "a loop: {:?} {:?}", self.changes, self.effects);
        if self.crashes != Crashes::Never {
            self.scene.memory = Memory::default();
        }
    }

    fn drain(&self) -> Option<DrainPlan> {
        let name =
            |n| PodRef { namespace: "shop".into(), name: format!("web-{n}"), uid: "u".into() };
        (self.scene.run.step == Step::Draining).then(|| match self.pods {
            None => DrainPlan { terminating: vec![name(0)], ..DrainPlan::default() },
            Some(0) => DrainPlan { done: true, ..DrainPlan::default() },
            Some(n) => DrainPlan { evict: vec![name(n)], ..DrainPlan::default() },
        })
    }

    fn commit(&mut self, next: Run) {
        let run = &self.scene.run;
        assert_ne!(next, *run, "a write that says nothing");
        assert!(run.step.may_become(next.step), "{} → {}", run.step, next.step);
        assert_eq!(invariants::of_run(run).or(invariants::of_change(run, &next)), None);
        if next.step != run.step {
            self.changes.push((next.step, next.reason));
        }
        self.scene.run = next;
    }

    fn perform(&mut self, effect: Effect) {
        if self.crashes == Crashes::BeforeEveryEffectOnce && !self.lost.contains(&effect) {
            self.lost.push(effect);
            return;
        }
        self.effects.push(effect.clone());
        let Scene { run, node, .. } = &self.scene;
        assert_eq!(invariants::of_effect(run, node, &effect), None);
        let scene = &mut self.scene;
        match effect {
            Effect::Cordon => cordon(&mut scene.node),
            Effect::Remember => {
                let before = &scene.node.last_remediation;
                let memory = record_attempts(&scene.run, before).expect("there is news");
                scene.node.last_remediation = memory;
            }
            Effect::Evict(pods) => {
                let left = self.pods.unwrap_or_default();
                self.pods = Some(left.saturating_sub(pods.len() as u32));
            }
            Effect::CreateRebootPod(_) => {
                scene.reboot_pod = PodSeen::Running { deleting: false };
                if self.machine != Machine::Refuses {
                    return;
                }
                let now = scene.now.as_second() - at(0).as_second();
                scene.reboot_pod = ended(10, now, Some(Refusal::NotCordonedByRun));
            }
            Effect::DeleteRebootPod => scene.reboot_pod = PodSeen::Absent,
            Effect::CreateProbePod => scene.probe_pod = ended(0, 0, None),
            Effect::DeleteProbePod => scene.probe_pod = PodSeen::Absent,
            Effect::Close { uncordon, result, reason } => {
                let node = &mut scene.node;
                assert!(!uncordon || node.cordon("run-1") == Cordon::Ours);
                node.last_remediation = record(&scene.run, node, result, reason, scene.now);
                if node.cordoned_by.as_deref() == Some("run-1") {
                    node.cordoned_by = None;
                }
                if uncordon {
                    node.unschedulable = false;
                }
            }
        }
    }

    /// Ten seconds pass: the Pod acts, the machine boots, the kubelet reports.
    fn pass_time(&mut self) {
        self.scene.now = add(self.scene.now, secs(REPORT_EVERY));
        let now = self.scene.now.as_second() - at(0).as_second();
        if self.scene.reboot_pod == (PodSeen::Running { deleting: false }) {
            self.scene.reboot_pod = ended(0, now, None);
            match self.machine {
                Machine::Good | Machine::NotCured | Machine::NeverReady => {
                    self.boot_at = Some(add(self.scene.now, secs(60)));
                }
                Machine::Dies => set(&mut self.scene.node, condition("Ready", "Unknown", now)),
                Machine::Ignores | Machine::Refuses => {}
            }
        }
        let down = self.boot_at.is_some() || self.scene.node.ready == Ready::Unknown;
        if self.boot_at.is_some_and(|time| time <= self.scene.now) {
            self.boot_at = None;
            self.boots += 1;
            self.scene.node.boot_id = format!("boot-{}", self.boots + 1);
            let ready = if self.machine == Machine::NeverReady { "False" } else { "True" };
            self.report(ready, now);
        } else if !down {
            let ready = if self.scene.node.ready == Ready::True { "True" } else { "False" };
            self.report(ready, now);
        }
    }

    fn report(&mut self, ready: &str, now: i64) {
        let cured = self.boots > 0 && self.machine != Machine::NotCured;
        set(&mut self.scene.node, condition("Ready", ready, now));
        let was = self.scene.node.conditions["Sick"].status() == "True";
        let sick = if was && !cured { "True" } else { "False" };
        set(&mut self.scene.node, condition("Sick", sick, now));
    }
}
