//! What can be done to the world: what people, other controllers and misfortune do. A scene's timeline is
//! made of these, and whoever holds a [`World`](super::World) may do them at any time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Fault;

/// Who writes a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// Something off the node, such as an alert bridge: it goes on while the machine is down.
    #[default]
    Elsewhere,
    /// Something on the node, such as node-problem-detector: silent while the machine is down.
    OnNode,
    /// An alert: nobody in the world writes the condition; whoever plays the Alertmanagers is told of it, which
    /// `rerail simulate` and `rerail demo` do not.
    Alert,
}

/// A condition that becomes true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sickness {
    /// The condition's type.
    pub condition: String,
    /// Its reason.
    #[serde(default = "firing")]
    pub reason: String,
    /// Its message; `{node}` stands for the node's name.
    #[serde(default)]
    pub message: String,
    /// Who writes it.
    #[serde(default)]
    pub source: Source,
    /// Whether a boot heals it.
    #[serde(default = "yes")]
    pub boot_heals: bool,
    /// Whether it is renewed while it is true; a detector that hangs says it once, and no more.
    #[serde(default = "yes")]
    pub renewed: bool,
}

impl Sickness {
    /// One that a boot heals and that is renewed until then, by something off the node.
    pub fn new(condition: &str, message: &str) -> Self {
        Sickness {
            condition: condition.to_owned(),
            reason: firing(),
            message: message.to_owned(),
            source: Source::default(),
            boot_heals: true,
            renewed: true,
        }
    }
}

fn firing() -> String {
    "AlertIsFiring".to_owned()
}

fn yes() -> bool {
    true
}

/// What is done to a machine's power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PowerAct {
    /// It loses power.
    Off,
    /// It gets power, or a reset if it hangs.
    On,
    /// It hangs: only a power cycle brings it back.
    Hang,
    /// Somebody power-cycles it.
    Cycle,
    /// It boots by itself, as after a kernel panic.
    Panic,
}

/// An object by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Named {
    /// API group; empty for the core group.
    #[serde(default)]
    pub group: String,
    /// The resource's plural, such as `remediationpolicies`.
    pub resource: String,
    /// Namespace; empty for objects that are in none.
    #[serde(default)]
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// What is done, as a scene writes it: `{cordon: {nodes: [worker-001], by: ann}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Act {
    /// A condition becomes true.
    Sicken {
        /// Of which nodes.
        nodes: Vec<String>,
        /// So many of them, drawn.
        #[serde(default)]
        pick: Option<usize>,
        /// The condition.
        with: Sickness,
    },
    /// A condition becomes false.
    Cure {
        /// Of which nodes.
        nodes: Vec<String>,
        /// The condition's type.
        condition: String,
    },
    /// Something will go wrong.
    Fault {
        /// With which nodes.
        nodes: Vec<String>,
        /// So many of them, drawn.
        #[serde(default)]
        pick: Option<usize>,
        /// What.
        fault: Fault,
        /// At every boot or act until it is cleared, and not only at the next one.
        #[serde(default)]
        lasting: bool,
    },
    /// All faults are taken away, and what earlier ones did to machines that are on is repaired.
    ClearFaults {
        /// Of which nodes.
        nodes: Vec<String>,
    },
    /// Machines lose or get power.
    Power {
        /// Which nodes.
        nodes: Vec<String>,
        /// So many of them, drawn.
        #[serde(default)]
        pick: Option<usize>,
        /// What happens.
        to: PowerAct,
    },
    /// Somebody, or an NTP server that lies, sets the clocks of machines wrong, or right.
    Clock {
        /// Of which nodes.
        nodes: Vec<String>,
        /// So many of them, drawn.
        #[serde(default)]
        pick: Option<usize>,
        /// So many seconds ahead of the true time; behind it where negative.
        seconds: i64,
    },
    /// Machines cannot reach the API server any more.
    Cut {
        /// Which nodes.
        nodes: Vec<String>,
    },
    /// They can again.
    Mend {
        /// Which nodes.
        nodes: Vec<String>,
    },
    /// What keeps a machine from going down (`rebootHangs`) lets go.
    LetGoDown {
        /// Which nodes.
        nodes: Vec<String>,
    },
    /// `kubectl cordon`.
    Cordon {
        /// Which nodes.
        nodes: Vec<String>,
        /// Who does it.
        #[serde(default = "somebody")]
        by: String,
    },
    /// `kubectl uncordon`.
    Uncordon {
        /// Which nodes.
        nodes: Vec<String>,
        /// Who does it.
        #[serde(default = "somebody")]
        by: String,
    },
    /// `kubectl label node`.
    Label {
        /// Which nodes.
        nodes: Vec<String>,
        /// The label.
        key: String,
        /// Its value; takes the label away when it is not given.
        #[serde(default)]
        value: Option<String>,
        /// Who does it.
        #[serde(default = "somebody")]
        by: String,
    },
    /// `kubectl taint node` with another effect or none.
    Taint {
        /// Which nodes.
        nodes: Vec<String>,
        /// The taint.
        key: String,
        /// Its effect; takes the taint away when it is not given.
        #[serde(default)]
        effect: Option<String>,
        /// Who does it.
        #[serde(default = "somebody")]
        by: String,
    },
    /// `kubectl delete node`: the machine goes on.
    DeleteNode {
        /// Which nodes.
        nodes: Vec<String>,
        /// Who does it.
        #[serde(default = "somebody")]
        by: String,
    },
    /// The Node object is deleted, and the kubelet, started again, makes it anew: another UID, the same
    /// machine, the same boot.
    RecreateNode {
        /// Which nodes.
        nodes: Vec<String>,
        /// Who does it.
        #[serde(default = "somebody")]
        by: String,
    },
    /// Another machine comes under the same name: another UID, another boot ID.
    ReplaceMachine {
        /// Which nodes.
        nodes: Vec<String>,
        /// Who does it.
        #[serde(default = "somebody")]
        by: String,
    },
    /// The cluster autoscaler takes machines away: its taint, then the Pods, then the Node. A machine
    /// with another name comes for each.
    ScaleDown {
        /// Which nodes.
        nodes: Vec<String>,
    },
    /// kured reboots machines: its annotation, a cordon, a drain, the reboot, the uncordon.
    Kured {
        /// Which nodes.
        nodes: Vec<String>,
    },
    /// The open run of a node is cancelled.
    Cancel {
        /// Of which nodes.
        nodes: Vec<String>,
        /// Who does it.
        #[serde(default = "somebody")]
        by: String,
    },
    /// The open run of a node is told to try again.
    Retry {
        /// Of which nodes.
        nodes: Vec<String>,
        /// Who does it.
        #[serde(default = "somebody")]
        by: String,
    },
    /// `kubectl delete noderemediation`, of the open run of a node.
    DeleteRun {
        /// Of which nodes.
        nodes: Vec<String>,
        /// Its finalizers are taken off, too, so that it is gone at once.
        #[serde(default)]
        force: bool,
        /// Who does it.
        #[serde(default = "somebody")]
        by: String,
    },
    /// A controller has done what it wanted to do first, and takes the finalizers off Pods that are being
    /// deleted.
    ReleasePods {
        /// On which nodes.
        nodes: Vec<String>,
    },
    /// A person asks for a run.
    Remediate {
        /// For which nodes.
        nodes: Vec<String>,
        /// By which policy.
        policy: String,
        /// Who does it.
        #[serde(default = "somebody")]
        by: String,
    },
    /// Everything is paused by the ConfigMap `rerail-pause`.
    Pause {
        /// What is paused: `all`, `policy/NAME` or `node/NAME`.
        #[serde(default = "all")]
        scope: String,
        /// Why.
        reason: String,
        /// Who does it.
        #[serde(default = "somebody")]
        by: String,
    },
    /// The pause ends.
    Resume {
        /// Who does it.
        #[serde(default = "somebody")]
        by: String,
    },
    /// `kubectl patch --type merge`.
    Edit {
        /// What.
        object: Named,
        /// The merge patch.
        patch: Value,
        /// Who does it.
        #[serde(default = "somebody")]
        by: String,
    },
    /// `kubectl create`.
    Create {
        /// The whole object.
        object: Value,
        /// Who does it.
        #[serde(default = "somebody")]
        by: String,
    },
    /// `kubectl delete`.
    Delete {
        /// What.
        object: Named,
        /// The grace period in seconds, if another than the object's own.
        #[serde(default)]
        grace: Option<i64>,
        /// Who does it.
        #[serde(default = "somebody")]
        by: String,
    },
}

fn somebody() -> String {
    "ann".to_owned()
}

fn all() -> String {
    "all".to_owned()
}

impl Act {
    /// Names, or patterns of names, of the machines that it is about.
    pub fn nodes(&self) -> &[String] {
        match self {
            Act::Sicken { nodes, .. }
            | Act::Cure { nodes, .. }
            | Act::Fault { nodes, .. }
            | Act::ClearFaults { nodes }
            | Act::Power { nodes, .. }
            | Act::Clock { nodes, .. }
            | Act::Cut { nodes }
            | Act::Mend { nodes }
            | Act::LetGoDown { nodes }
            | Act::Cordon { nodes, .. }
            | Act::Uncordon { nodes, .. }
            | Act::Label { nodes, .. }
            | Act::Taint { nodes, .. }
            | Act::DeleteNode { nodes, .. }
            | Act::RecreateNode { nodes, .. }
            | Act::ReplaceMachine { nodes, .. }
            | Act::ScaleDown { nodes }
            | Act::Kured { nodes }
            | Act::Cancel { nodes, .. }
            | Act::Retry { nodes, .. }
            | Act::DeleteRun { nodes, .. }
            | Act::ReleasePods { nodes }
            | Act::Remediate { nodes, .. } => nodes,
            Act::Pause { .. }
            | Act::Resume { .. }
            | Act::Edit { .. }
            | Act::Create { .. }
            | Act::Delete { .. } => &[],
        }
    }

    /// Somebody makes a RemediationPolicy.
    pub fn creates_policy(&self) -> bool {
        matches!(self, Act::Create { object, .. } if object["kind"] == "RemediationPolicy")
    }

    /// How many of the machines it is about are drawn; all if it says nothing.
    pub fn pick(&self) -> Option<usize> {
        match self {
            Act::Sicken { pick, .. }
            | Act::Fault { pick, .. }
            | Act::Power { pick, .. }
            | Act::Clock { pick, .. } => *pick,
            _ => None,
        }
    }
}

/// The names that a pattern is about, in order; a `*` in it stands for anything.
pub(super) fn machine_names<'a>(
    names: impl Iterator<Item = &'a String>,
    pattern: &str,
) -> impl Iterator<Item = &'a String> {
    names.filter(move |name| fits(name, pattern))
}

/// Whether a pattern means a name; a `*` in it stands for anything.
pub fn fits(name: &str, pattern: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return name == pattern };
    let Some(mut left) = name.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, is) in [
            ("worker-001", true),
            ("worker-*", true),
            ("*", true),
            ("*-001", true),
            ("w*-*1", true),
            ("worker-0010", false),
            ("master-*", false),
            ("*2", false),
            ("", false),
        ] {
            assert_eq!(fits("worker-001", pattern), is, "{pattern}");
        }
    }
}
