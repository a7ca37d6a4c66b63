//! What a run plays in: a scene of the simulated world.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rerail_api::names;
use rerail_sim::{
    Server,
    world::{self, Act, Named, PowerAct, Scene, SceneError, World},
};
use serde_json::{Value, json};

use crate::{alertmanagers::Alertmanagers, healed::Health, plan::Plan};

/// Our own scenes, beside those of the simulated world.
pub const SCENES: &[(&str, &str)] = &[
    ("single", include_str!("../scenes/single.yaml")),
    ("deleted", include_str!("../scenes/deleted.yaml")),
    ("small", include_str!("../scenes/small.yaml")),
    ("people", include_str!("../scenes/people.yaml")),
    ("machines", include_str!("../scenes/machines.yaml")),
    ("limits", include_str!("../scenes/limits.yaml")),
    ("storm", include_str!("../scenes/storm.yaml")),
    ("incurable", include_str!("../scenes/incurable.yaml")),
    ("moods", include_str!("../scenes/moods.yaml")),
    ("late", include_str!("../scenes/late.yaml")),
    ("outage", include_str!("../scenes/outage.yaml")),
    ("alerts", include_str!("../scenes/alerts.yaml")),
];

/// Their names.
pub fn names() -> impl Iterator<Item = &'static str> {
    SCENES.iter().map(|(name, _)| *name)
}

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

/// A scene by its name. Ours are read once: to see that all in it can be made is half of a short run.
fn scene(name: &str) -> Result<Scene, SceneError> {
    static READ: Mutex<BTreeMap<String, Scene>> = Mutex::new(BTreeMap::new());
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(scene) = read.get(name) {
        return Ok(scene.clone());
    }
    let scene = match SCENES.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => Scene::parse(text),
        None => Scene::named(name),
    }?;
    read.insert(name.to_owned(), scene.clone());
    Ok(scene)
}

/// Reads every scene of ours, so that no run is the one that does it.
pub(crate) fn read_all() -> Result<(), SceneError> {
    SCENES.iter().try_for_each(|(name, _)| scene(name).map(drop))
}

/// The world of a run.
pub struct Stage {
    world: World,
    /// Conditions that no boot heals, or for which none is made since nobody renews them: somebody has to
    /// repair the machines.
    incurable: BTreeSet<String>,
    /// All conditions of the scene.
    conditions: BTreeSet<String>,
    /// What people edit in the scene: a restore of etcd may take it back.
    edits: Vec<Act>,
    /// The policies as the scene has them: people delete and suspend them.
    policies: Vec<Value>,
    /// There are AlertSources.
    alerts: bool,
    /// When the scene has nothing more to do, as far as it says so: who calms it earlier calms nothing.
    pub told: Duration,
}

impl Stage {
    /// Opens the scene of a plan on a fresh server.
    pub fn set(server: &Server, plan: &Plan) -> Result<Self, StageError> {
        let scene = scene(&plan.scene)?;
        let sick = scene.acts().filter_map(|act| match act {
            Act::Sicken { with, .. } => Some(with),
            _ => None,
        });
        let conditions = sick.clone().map(|with| with.condition.clone()).collect();
        let incurable = sick.filter(|with| !with.boot_heals || !with.renewed);
        let incurable = incurable.map(|with| with.condition.clone()).collect();
        let acts = scene.timeline.iter().map(|entry| &entry.act);
        let edits = acts.filter(|act| matches!(act, Act::Edit { .. })).cloned().collect();
        let alerts = scene.objects.iter().any(|one| one["kind"] == "AlertSource");
        let policies = scene.objects().into_iter().filter(|one| one["kind"] == "RemediationPolicy");
        let policies = policies.collect();
        let at = scene.timeline.iter().map(|entry| &entry.at);
        let until = scene.random.iter().filter_map(|random| random.until.as_ref());
        let told = at.chain(until).map(|time| Duration::try_from(time.value()).unwrap_or_default());
        let told = told.max().unwrap_or_default();
        Ok(Stage {
            world: World::open(server, scene, plan.seed)?,
            incurable,
            conditions,
            edits,
            policies,
            alerts,
            told,
        })
    }

    /// The Alertmanagers, if an operator is to ask some.
    pub fn alertmanagers(&self, plan: &Plan) -> Option<Arc<Alertmanagers>> {
        let until = if plan.moods { plan.faults_until } else { Duration::ZERO };
        self.alerts.then(|| Alertmanagers::new(&self.world, plan.seed, until))
    }

    /// Faults of machines end, and a person brings back what is off or cut off, repairs what no boot heals,
    /// ends the pause, and puts the policies in force again. If etcd was `restored`, people edit again what they
    /// had edited.
    pub fn calm(&self, restored: bool) {
        let all = || vec!["*".to_owned()];
        let by = || "operations".to_owned();
        // What there is nothing of is no error.
        for edit in self.edits.iter().filter(|_| restored) {
            let _ = self.world.act(edit);
        }
        let _ = self.world.act(&Act::ClearFaults { nodes: all() });
        let _ = self.world.act(&Act::LetGoDown { nodes: all() });
        let _ = self.world.act(&Act::Mend { nodes: all() });
        for condition in self.incurable.clone() {
            let _ = self.world.act(&Act::Cure { nodes: all(), condition });
        }
        let _ = self.world.act(&Act::Resume { by: by() });
        self.put_in_force(by());
        let _ = self.world.act(&Act::Label {
            nodes: all(),
            key: names::HOLD.to_owned(),
            value: None,
            by: by(),
        });
    }

    /// Makes the policies anew that were deleted, and takes back that some are suspended.
    fn put_in_force(&self, by: String) {
        for policy in &self.policies {
            let object = Named {
                group: names::GROUP.to_owned(),
                resource: "remediationpolicies".to_owned(),
                namespace: String::new(),
                name: policy["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            };
            let mode = policy["spec"]["mode"].clone();
            let patch = json!({ "spec": { "suspended": null, "mode": mode } });
            // What is there is made by nobody, and what is so already is not written.
            let _ = self.world.act(&Act::Create { object: policy.clone(), by: by.clone() });
            let _ = self.world.act(&Act::Edit { object, patch, by: by.clone() });
        }
    }

    /// What a person does now and then: switches machines on, has runs tried again that are held, and
    /// lifts cordons that somebody forgot; also where a run is `still_held` after it was tried again, as on
    /// a node that somebody has cordoned anew under our mark. Machines for which no attempt is left they
    /// repair themselves.
    pub(crate) fn look_after(&self, health: &Health, still_held: &BTreeSet<String>) {
        let by = || "operations".to_owned();
        self.switch_on();
        for node in &health.held {
            let _ = self.world.act(&Act::Retry { nodes: vec![node.clone()], by: by() });
        }
        for node in health.exhausted.keys() {
            for condition in self.conditions.clone() {
                let _ = self.world.act(&Act::Cure { nodes: vec![node.clone()], condition });
            }
        }
        for node in health.cordoned.difference(&health.held).chain(still_held) {
            let _ = self.world.act(&Act::Uncordon { nodes: vec![node.clone()], by: by() });
        }
    }

    /// Switches on what is off or hangs.
    pub(crate) fn switch_on(&self) {
        for (name, machine) in self.world.truth().machines {
            if matches!(machine.power, world::Power::Off | world::Power::Hung) {
                let _ = self.world.power(&name, PowerAct::On);
            }
        }
    }

    /// Requests of the world that the server refused for no good reason.
    pub fn complaints(&self) -> Vec<String> {
        self.world.complaints()
    }
}
