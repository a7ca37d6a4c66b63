//! SAFE-1, SAFE-3, SAFE-13 and SAFE-14 on what machines really do.

use jiff::{SignedDuration, Timestamp};
use rerail_api::remediation::EffectName;

use super::{
    court::Court,
    past::{earlier, later},
};
use crate::observe::Cause;

/// How long a reboot Pod may hesitate after it has read its run (protocol R2c), and a little more.
const HESITATES: SignedDuration = SignedDuration::from_secs(3);

impl Court {
    /// A reboot Pod passed its own check and acts.
    pub(super) fn acts(&mut self, node: &str, cause: &Cause, at: Timestamp) {
        let Some((uid, attempt)) = Court::stamped(cause) else { return };
        let uid = uid.to_owned();
        self.saw("reboot-pod-acts");
        let boot_id =
            self.machines.get(node).map(|machine| machine.boot_id.clone()).unwrap_or_default();
        let node_uid = self.nodes.get(node).map(|node| node.uid.clone()).unwrap_or_default();
        let on_record = self.on_record();
        let Some(run) = self.runs.get_mut(&uid) else {
            self.blame("SAFE-3", at, node, format!("a Pod of run {uid}, which nobody knows, acts"));
            return;
        };
        run.acts.push((attempt, at));
        let name = run.name.clone();
        let mut wrong: Vec<(&'static str, String)> = Vec::new();
        let same = run.acts.iter().filter(|(other, at)| *other == attempt && on_record(*at));
        if same.count() > 1 {
            wrong.push(("SAFE-1", format!("attempt {attempt} acts a second time")));
        }
        if run.node != node || run.node_uid != node_uid {
            wrong.push((
                "SAFE-13",
                format!("it acts on node {node} with UID {node_uid}, and is of {}", run.node_uid),
            ));
        }
        let in_force = run.intent.at_some_time(earlier(at, HESITATES), |intent| {
            intent.as_ref().is_some_and(|intent| {
                intent.effect == EffectName::Reboot && intent.attempt == attempt
            })
        });
        let gone_long = run.gone.is_some_and(|gone| later(gone, HESITATES) < at);
        if !in_force || gone_long {
            wrong.push(("SAFE-3", format!("attempt {attempt} acts, and no intent is in force")));
        }
        if !boot_id.is_empty()
            && run.boot_before.get(&attempt).is_some_and(|before| *before != boot_id)
        {
            wrong.push((
                "SAFE-1",
                format!("attempt {attempt} acts on a machine that has booted since"),
            ));
        }
        let plan = run.status.plan.as_ref().map(|plan| plan.attempts.clone());
        let all = self.acts.entry(node_uid).or_default();
        all.push((at, uid, attempt));
        if let Some(plan) = plan {
            let opened = later(earlier(at, plan.per.value()), SignedDuration::from_secs(60));
            let recent = all.iter().filter(|(act, ..)| *act > opened && on_record(*act)).count();
            if recent > plan.max as usize {
                let message = format!(
                    "{recent} reboots of its machine within attempts.per, {} may be",
                    plan.max
                );
                wrong.push(("SAFE-14", message));
            }
        }
        for (property, message) in wrong {
            self.blame(property, at, &name, message);
        }
    }

    /// Whether what was done then can still be on record: no restore of etcd has come since.
    fn on_record(&self) -> impl Fn(Timestamp) -> bool + use<> {
        let restored = self.restored;
        move |time| restored.is_none_or(|restored| time > restored)
    }

    /// A kernel has started.
    pub(super) fn boots(&mut self, node: &str, boot_id: &str, cause: &Cause, at: Timestamp) {
        let on_record = self.on_record();
        let machine = self.machine(node);
        machine.boots.push((at, cause.clone()));
        boot_id.clone_into(&mut machine.boot_id);
        machine.down = None;
        let caused = Court::stamped(cause).map(|(uid, attempt)| (uid.to_owned(), attempt));
        let Some((uid, attempt)) = caused else { return };
        let (run, boots) =
            (self.runs.get(&uid), self.machines.get(node).map(|machine| &machine.boots));
        // A machine that was told to before a restore of etcd may well start after it.
        let told_at = |boot: Timestamp| {
            let acts = run.iter().flat_map(|run| &run.acts);
            let told = acts.filter(|(other, act)| *other == attempt && *act <= boot);
            told.map(|(_, act)| *act).max().unwrap_or(boot)
        };
        let same = boots.into_iter().flatten();
        let same = same.filter(|(at, known)| known == cause && on_record(told_at(*at))).count();
        let name = run.map_or(node.to_owned(), |run| run.name.clone());
        if same > 1 {
            self.blame(
                "SAFE-1",
                at,
                &name,
                format!("attempt {attempt} boots the machine {same} times"),
            );
        }
    }
}
