//! What a run plays in: a scene of the simulated world.

use std::collections::BTreeSet;

use rerail_sim::{
    Server,
    world::{self, Act, PowerAct, Scene, SceneError, World},
};

use crate::{healed::Health, plan::Plan};

/// Our own scenes, beside those of the simulated world.
pub const SCENES: &[(&str, &str)] = &[
    ("single", include_str!("../scenes/single.yaml")),
    ("small", include_str!("../scenes/small.yaml")),
    ("people", include_str!("../scenes/people.yaml")),
    ("machines", include_str!("../scenes/machines.yaml")),
];

/// Why there is nothing to play in.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The scene cannot be read, or there is none of that name.
    #[error(transparent)]
    Scene(#[from] SceneError),
    /// The world cannot be made.
    #[error(transparent)]
    World(#[from] world::Error),
}

/// A scene by its name.
fn scene(name: &str) -> Result<Scene, SceneError> {
    match SCENES.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => Scene::parse(text),
        None => Scene::named(name),
    }
}

/// The world of a run.
pub struct Stage {
    world: World,
}

impl Stage {
    /// Opens the scene of a plan on a fresh server.
    pub fn set(server: &Server, plan: &Plan) -> Result<Self, StageError> {
        Ok(Stage { world: World::open(server, scene(&plan.scene)?, plan.seed)? })
    }

    /// Faults of machines end, and a person brings back what is off or cut off, and ends the pause.
    pub fn calm(&self) {
        let all = || vec!["*".to_owned()];
        let by = || "operations".to_owned();
        // What there is nothing of is no error.
        let _ = self.world.act(&Act::ClearFaults { nodes: all() });
        let _ = self.world.act(&Act::LetGoDown { nodes: all() });
        let _ = self.world.act(&Act::Mend { nodes: all() });
        let _ = self.world.act(&Act::Resume { by: by() });
        let _ = self.world.act(&Act::Label {
            nodes: all(),
            key: rerail_api::names::HOLD.to_owned(),
            value: None,
            by: by(),
        });
    }

    /// What a person does now and then: switches machines on, has runs tried again that are held, and
    /// lifts cordons that somebody forgot; also where a run is `still_held` after it was tried again, as on
    /// a node that somebody has cordoned anew under our mark.
    pub(crate) fn look_after(&self, health: &Health, still_held: &BTreeSet<String>) {
        let by = || "operations".to_owned();
        for (name, machine) in self.world.truth().machines {
            if matches!(machine.power, world::Power::Off | world::Power::Hung) {
                let _ = self.world.power(&name, PowerAct::On);
            }
        }
        for node in &health.held {
            let _ = self.world.act(&Act::Retry { nodes: vec![node.clone()], by: by() });
        }
        for node in health.cordoned.difference(&health.held).chain(still_held) {
            let _ = self.world.act(&Act::Uncordon { nodes: vec![node.clone()], by: by() });
        }
    }

    /// Requests of the world that the server refused for no good reason.
    pub fn complaints(&self) -> Vec<String> {
        self.world.complaints()
    }
}
