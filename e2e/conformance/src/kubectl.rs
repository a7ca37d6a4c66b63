//! Commands of kubectl whose requests an API server for people must answer. They are run for the audit log that they
//! leave: what they say does not matter here.

use rerail_controlplane::ControlPlane;

use crate::Error;

const NODE: &str = "apiVersion: v1\nkind: Node\nmetadata: { name: k1, labels: { a: b } }\n";

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: { name: web, namespace: default, labels: { app: web } }\n\
                   spec: { nodeName: k1, terminationGracePeriodSeconds: 1, \
                   containers: [{ name: c, image: c }] }\n";

/// `{node}`, `{pod}` and `{policy}` are files.
const COMMANDS: &[&str] = &[
    "apply -f {node}",
    "apply -f {node}",
    "get nodes",
    "get node k1 -o yaml",
    "get node nope",
    "describe node k1",
    "label node k1 x=y",
    "label node k1 x-",
    "annotate node k1 n=o",
    "patch node k1 -p {\"spec\":{\"unschedulable\":true}}",
    "patch node k1 --type=merge -p {\"spec\":{\"unschedulable\":false}}",
    "patch node k1 --type=json -p [{\"op\":\"add\",\"path\":\"/metadata/labels/j\",\"value\":\"k\"}]",
    "cordon k1",
    "uncordon k1",
    "apply -f {pod}",
    "get pods -o wide",
    "get pods -A",
    "describe pod web",
    "drain k1 --force --timeout=2s",
    "apply -f {policy}",
    "apply -f {policy} --server-side --force-conflicts",
    "get rerail",
    "get remediationpolicies -o yaml",
    "describe remediationpolicy kernel-deadlock",
    "patch remediationpolicy kernel-deadlock --type=merge -p {\"spec\":{\"mode\":\"Enforce\"}}",
    "label remediationpolicy kernel-deadlock a=b",
    "annotate remediationpolicy kernel-deadlock a=b",
    "get nodes -w --request-timeout=1s",
    "get noderemediations -w --request-timeout=1s",
    "delete remediationpolicy kernel-deadlock",
    "get events",
    "get leases -A",
    "get configmaps",
    "get poddisruptionbudgets -A",
    "get deployments,daemonsets -A",
    "delete pod web --timeout=2s",
    "delete node k1",
    "version",
];

/// Runs the commands, as the administrator.
///
/// # Errors
/// If a file for them cannot be written. That kubectl fails is none: some commands are meant to.
pub fn run_kubectl(plane: &ControlPlane) -> Result<(), Error> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (node, pod) = (plane.dir().join("node.yaml"), plane.dir().join("pod.yaml"));
    std::fs::write(&node, NODE).map_err(Error::file(&node))?;
    std::fs::write(&pod, POD).map_err(Error::file(&pod))?;
    let policy = root.join("examples/kernel-deadlock.yaml");
    for command in COMMANDS {
        let words: Vec<String> = command
            .split(' ')
            .map(|word| match word {
                "{node}" => node.display().to_string(),
                "{pod}" => pod.display().to_string(),
                "{policy}" => policy.display().to_string(),
                word => word.to_owned(),
            })
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let _ = plane.run_kubectl(&words);
    }
    Ok(())
}
