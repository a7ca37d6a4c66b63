//! Conditions that others write: node-problem-detector on the node, an alert bridge from afar.

use http::Method;
use serde_json::json;

use super::{
    Sickness, Source,
    api::{self, Media, NODES, Who},
    kubelet,
    machine::{Held, Machine},
    queue::Event,
    state::State,
};
use crate::{meta, observe::What};

fn writer(source: Source) -> Who<'static> {
    match source {
        Source::Elsewhere | Source::Alert => {
            Who { name: "alert bridge", program: "alertmanager-bridge" }
        }
        Source::OnNode => Who { name: "node-problem-detector", program: "node-problem-detector" },
    }
}

impl State {
    /// A condition becomes true, and is told.
    pub(super) fn sicken(&mut self, node: &str, sickness: &Sickness) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        let first = machine.conditions.is_empty();
        let kind = sickness.condition.clone();
        let known = machine.conditions.get(&kind).is_some_and(|held| held.on);
        let told = machine.conditions.get(&kind).is_some_and(|held| held.told);
        let held = Held { sickness: sickness.clone(), on: true, told };
        machine.conditions.insert(kind.clone(), held);
        if !known {
            self.happened(node, What::Sick { condition: kind, on: true });
        }
        self.tell_conditions(node);
        if first {
            let pause = self.millis("heartbeat", node, (1, self.times.heartbeat));
            self.plan(pause, Event::Heartbeat(node.to_owned()));
        }
    }

    /// A condition becomes false, and is told.
    pub(super) fn cure(&mut self, node: &str, kind: &str) {
        let held = self.machines.get_mut(node).and_then(|one| one.conditions.get_mut(kind));
        let Some(held) = held.filter(|held| held.on) else { return };
        held.on = false;
        self.happened(node, What::Sick { condition: kind.to_owned(), on: false });
        self.tell_conditions(node);
    }

    /// Alerts that fire, whatever anybody has been told of them: node, type of the condition, message.
    pub(super) fn alerts(&self) -> Vec<(String, String, String)> {
        let of_machine = |(node, machine): (&String, &Machine)| {
            let held = machine.conditions.values();
            let held = held.filter(|held| held.on && held.sickness.source == Source::Alert);
            let alert = |held: &Held| {
                let Sickness { condition, message, .. } = &held.sickness;
                (node.clone(), condition.clone(), message.replace("{node}", node))
            };
            held.map(alert).collect::<Vec<_>>()
        };
        self.machines.iter().flat_map(of_machine).collect()
    }

    /// A condition that this machine does not have, and that its node is said to have: it is told that it is
    /// not true.
    pub(super) fn deny(&mut self, node: &str, condition: String) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        let first = machine.conditions.is_empty();
        let source = match condition.starts_with("AlertManager_") {
            true if self.alerts_are_shown => Source::Alert,
            true => Source::Elsewhere,
            false => Source::OnNode,
        };
        let sickness = Sickness {
            condition: condition.clone(),
            reason: String::new(),
            message: String::new(),
            source,
            boot_heals: true,
            renewed: true,
        };
        machine.conditions.insert(condition, Held { sickness, on: false, told: true });
        if first {
            self.plan(self.times.heartbeat, Event::Heartbeat(node.to_owned()));
        }
    }

    /// What a boot heals is healed, and what comes with it is there; it is told when the node has settled.
    pub(super) fn conditions_of_boot(&mut self, node: &str) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        let stay = machine.effects.conditions_stay;
        let mut changed = Vec::new();
        for (kind, held) in &mut machine.conditions {
            if held.on && held.sickness.boot_heals && !stay {
                held.on = false;
                changed.push((kind.clone(), false));
            }
        }
        let first = machine.conditions.is_empty();
        for (condition, reason, message) in machine.effects.new_conditions.clone() {
            let source = Source::Elsewhere;
            let sickness = Sickness {
                condition: condition.clone(),
                reason,
                message,
                source,
                boot_heals: true,
                renewed: true,
            };
            let told = machine.conditions.get(&condition).is_some_and(|held| held.told);
            let held = Held { sickness, on: true, told };
            machine.conditions.insert(condition.clone(), held);
            changed.push((condition, true));
        }
        let begins = first && !machine.conditions.is_empty();
        for (condition, on) in changed {
            self.happened(node, What::Sick { condition, on });
        }
        if begins {
            self.plan(self.times.heartbeat, Event::Heartbeat(node.to_owned()));
        }
        // A node that never settles is told of all the same: the bridge does not wait for it.
        let late = self.times.kubelet.1 + self.times.ready.1 + self.times.settle.1;
        self.plan(late.max(1), Event::TellConditions(node.to_owned()));
    }

    /// Tells what is true of a node now.
    pub(super) fn tell_conditions(&mut self, node: &str) {
        for source in [Source::Elsewhere, Source::OnNode] {
            self.write_conditions(node, source, true);
        }
    }

    /// Refreshes what was told, and plans the next time.
    pub(super) fn heartbeat(&mut self, node: &str) {
        if !self.machines.contains_key(node) {
            return;
        }
        for source in [Source::Elsewhere, Source::OnNode] {
            self.write_conditions(node, source, false);
        }
        let pause = self.jittered("heartbeat", node, self.times.heartbeat);
        self.plan(pause, Event::Heartbeat(node.to_owned()));
    }

    /// Writes the conditions of one source: those that are news, as they are now, or all, as they were
    /// told last.
    fn write_conditions(&mut self, node: &str, source: Source, news: bool) {
        let Some(machine) = self.machines.get(node).filter(|one| one.writes(source)) else {
            return;
        };
        let held: Vec<&Held> = machine
            .conditions
            .values()
            .filter(|held| held.sickness.source == source)
            .filter(|held| match news {
                true => held.on != held.told,
                false => held.sickness.renewed || !held.told,
            })
            .collect();
        let Some(existing) = api::read(&self.server, self.places.nodes, &node.to_owned()) else {
            return;
        };
        let now = meta::time(match source {
            Source::OnNode => self.clock_of(node),
            Source::Elsewhere | Source::Alert => self.clock,
        });
        let conditions: Vec<_> = held
            .iter()
            .map(|held| {
                let Sickness { condition, reason, message, .. } = &held.sickness;
                let on = if news { held.on } else { held.told };
                // The reasons of the alert bridge are part of its contract; others choose their own.
                let (status, reason, message) = match (on, condition.starts_with("AlertManager_")) {
                    (true, _) => ("True", reason.as_str(), message.replace("{node}", node)),
                    (false, true) => {
                        ("False", "AlertIsNotFiring", "alert is not firing".to_owned())
                    }
                    (false, false) => ("False", "NoProblem", "no problem".to_owned()),
                };
                kubelet::condition(&existing, condition, status, reason, &message, &now)
            })
            .collect();
        if conditions.is_empty() {
            return;
        }
        let told: Vec<String> = held.iter().map(|held| held.sickness.condition.clone()).collect();
        let patch = json!({ "status": { "conditions": conditions } });
        let path = NODES.path(node, "status");
        let written =
            self.ask(writer(source), &Method::PATCH, &path, Media::Strategic, Some(&patch));
        if written.is_err() || !news {
            return;
        }
        let Some(machine) = self.machines.get_mut(node) else { return };
        for kind in told {
            if let Some(held) = machine.conditions.get_mut(&kind) {
                held.told = held.on;
            }
        }
    }
}
