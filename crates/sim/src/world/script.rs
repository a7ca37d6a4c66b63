//! A scene on its stage: what is there at the beginning, and when what happens.

use std::sync::Arc;

use super::{Error, Scene, queue::Event, scene::millis, state::State};

impl State {
    /// Sets a scene up, and plans what happens in it.
    pub(super) fn open(&mut self, scene: &Arc<Scene>) -> Result<(), Error> {
        self.scene = Some(scene.clone());
        for spec in scene.specs() {
            self.join(spec)?;
        }
        for object in scene.objects() {
            self.create("admin", &object)?;
        }
        if let Some(at) = &scene.policies_at {
            self.plan(millis(at), Event::Policies);
        }
        for (at, entry) in scene.timeline.iter().enumerate() {
            self.plan(millis(&entry.at), Event::Script(at));
        }
        for (at, random) in scene.random.iter().enumerate() {
            let from = random.from.as_ref().map(millis).unwrap_or_default();
            self.plan(from.max(millis(&random.every)), Event::Dice(at));
        }
        Ok(())
    }

    /// The policies are applied that come later.
    pub(super) fn policies(&mut self) {
        let Some(scene) = self.scene.clone() else { return };
        for object in scene.whole_policies() {
            let by = "admin".to_owned();
            self.perform("policiesAt", &super::Act::Create { object, by });
        }
    }

    /// An entry of the timeline.
    pub(super) fn script(&mut self, at: usize) {
        let Some(scene) = self.scene.clone() else { return };
        if let Some(entry) = scene.timeline.get(at) {
            self.perform(&format!("timeline[{at}]"), &entry.act);
        }
    }

    /// The dice of a random part are thrown.
    pub(super) fn dice(&mut self, at: usize) {
        let Some(scene) = self.scene.clone() else { return };
        let Some(random) = scene.random.get(at) else { return };
        if random.until.as_ref().is_some_and(|until| self.now > millis(until)) {
            return;
        }
        let place = format!("random[{at}]");
        if self.draw.chance("dice", &place, random.chance) {
            self.perform(&place, &random.act);
        }
        self.plan(millis(&random.every), Event::Dice(at));
    }

    /// What a scene wants, and what came of it if it could not be done: in a scene that is no error, since
    /// a node may be gone and a run over by then.
    fn perform(&mut self, place: &str, act: &super::Act) {
        if let Err(error) = self.act(act) {
            let what = crate::observe::What::Fault(format!("not done: {error}"));
            self.happened(place, what);
        }
    }
}
