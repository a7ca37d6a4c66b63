//! What runs, and with which flags.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::Options;
use crate::binaries::{Binaries, source_dir};

/// A process that the supervisor may start.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Component {
    /// The name under which it is started and stopped; its log is `<name>.log`, its process id in `<name>.pid`.
    pub name: String,
    /// The program, as a path, and its arguments.
    pub argv: Vec<String>,
    /// Added to the environment, as `NAME=VALUE`.
    pub env: Vec<String>,
    /// May end on its own. When a component that is no guest does, the whole control plane ends.
    pub guest: bool,
    /// Is started again when it aborts itself, as a kubelet does with a container that ends.
    #[serde(rename = "startAgain")]
    pub start_again: bool,
}

/// The supervisor's `plan.json`.
#[derive(Debug, Serialize)]
pub(crate) struct Plan {
    pub(crate) components: Vec<Component>,
    pub(crate) scratch: Vec<String>,
}

/// The ports of one instance, on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) etcd: u16,
    pub(crate) etcd_peer: u16,
    pub(crate) api: u16,
}

/// The label selector of Nodes whose ordinary pods kwok plays. The fleet sets the label while a machine is on and
/// takes it off when the machine is not.
pub const KUBELET_RUNNING: &str = "fleet.rerail.dev/kubelet=running";

/// Pods with this label are never kwok's, on no machine: the fleet plays them.
pub const NEVER_KWOK: &str = "app.kubernetes.io/managed-by=rerail";

/// The environment variable that names a directory: every control plane then writes an audit log there, with the
/// bodies of patches. What is collected is read by `cargo xtask conformance --coverage`.
pub const AUDIT_DIR: &str = "RERAIL_AUDIT_DIR";

/// A pod with this annotation is left alone by kwok, so that a test can write its status itself.
pub const HANDS_OFF: &str = "fleet.rerail.dev/hands-off=true";

/// `--node-monitor-grace-period` unless told otherwise: Kubernetes' 50 s makes tests long, and much less makes nodes
/// not ready whenever the machine is busy.
const NODE_MONITOR_GRACE_PERIOD: Duration = Duration::from_secs(16);

/// The controllers that node remediation can meet. No volumes, no services, no certificates: nobody would serve them.
const CONTROLLERS: &[&str] = &[
    "clusterrole-aggregation-controller",
    "daemonset-controller",
    "deployment-controller",
    "disruption-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "node-lifecycle-controller",
    "pod-garbage-collector-controller",
    "replicaset-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "statefulset-controller",
    "taint-eviction-controller",
    "ttl-after-finished-controller",
    "ttl-controller",
];

/// Where audit logs are collected, if they are.
pub(crate) fn audit_dir() -> Option<PathBuf> {
    std::env::var_os(AUDIT_DIR).filter(|dir| !dir.is_empty()).map(PathBuf::from)
}

/// Names files of an instance.
pub(crate) struct Layout<'a>(pub(crate) &'a Path);

impl Layout<'_> {
    pub(crate) fn pki(&self) -> PathBuf {
        self.0.join("pki")
    }

    pub(crate) fn kubeconfig(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.kubeconfig"))
    }

    pub(crate) fn etcd_data(&self) -> PathBuf {
        self.0.join("etcd-data")
    }

    pub(crate) fn audit_log(&self) -> PathBuf {
        match (audit_dir(), self.0.file_name()) {
            (Some(collected), Some(name)) => {
                collected.join(format!("{}.audit.log", name.to_string_lossy()))
            }
            _ => self.0.join("audit.log"),
        }
    }
}

/// Builds the plan of an instance.
pub(crate) fn plan(binaries: &Binaries, dir: &Path, ports: Ports, options: &Options) -> Plan {
    let layout = Layout(dir);
    let component = |name: &str, flags: Vec<String>| Component {
        name: name.to_owned(),
        argv: std::iter::once(path(&binaries.kubernetes(name))).chain(flags).collect(),
        ..Component::default()
    };
    Plan {
        components: vec![
            component("etcd", etcd(&layout, ports)),
            component("kube-apiserver", api_server(&layout, ports, options)),
            component("kube-controller-manager", controller_manager(&layout, options)),
            component("kube-scheduler", scheduler(&layout)),
            component("kwok", kwok(&layout)),
        ],
        scratch: vec!["etcd-data".to_owned()],
    }
}

fn etcd(layout: &Layout<'_>, ports: Ports) -> Vec<String> {
    let (client, peer) = (
        format!("http://127.0.0.1:{}", ports.etcd),
        format!("http://127.0.0.1:{}", ports.etcd_peer),
    );
    vec![
        flag("data-dir", path(&layout.etcd_data())),
        // What a power cut would lose is thrown away anyway.
        "--unsafe-no-fsync".to_owned(),
        flag("listen-client-urls", &client),
        flag("advertise-client-urls", &client),
        flag("listen-peer-urls", &peer),
        flag("initial-advertise-peer-urls", &peer),
        flag("initial-cluster", format!("default={peer}")),
        flag("log-level", "warn"),
    ]
}

fn api_server(layout: &Layout<'_>, ports: Ports, options: &Options) -> Vec<String> {
    let pki = |file: &str| path(&layout.pki().join(file));
    let mut flags = vec![
        flag("etcd-servers", format!("http://127.0.0.1:{}", ports.etcd)),
        flag("bind-address", "127.0.0.1"),
        flag("secure-port", ports.api),
        // The endpoint of the `kubernetes` service may not be a loopback address, and no pod would use it.
        flag("endpoint-reconciler-type", "none"),
        flag("service-cluster-ip-range", "10.96.0.0/16"),
        flag("authorization-mode", if options.kubelets { "Node,RBAC" } else { "RBAC" }),
        flag("client-ca-file", pki("ca.crt")),
        flag("tls-cert-file", pki("apiserver.crt")),
        flag("tls-private-key-file", pki("apiserver.key")),
        flag("service-account-issuer", "https://kubernetes.default.svc"),
        flag("service-account-key-file", pki("sa.pub")),
        flag("service-account-signing-key-file", pki("sa.key")),
        flag("allow-privileged", true),
        flag("profiling", false),
    ];
    let patches = options.audit_patches || audit_dir().is_some();
    if options.audit || patches {
        let policy = if patches { "audit-policy-patches.yaml" } else { "audit-policy.yaml" };
        flags.push(flag("audit-policy-file", path(&source_dir().join("manifests").join(policy))));
        flags.push(flag("audit-log-path", path(&layout.audit_log())));
        // Written before the request is answered: what a test reads after its request is complete.
        flags.push(flag("audit-log-mode", "blocking"));
    }
    if options.kubelets {
        flags.push(flag("enable-admission-plugins", "NodeRestriction"));
    }
    flags.extend(options.api_server_args.iter().cloned());
    flags
}

fn controller_manager(layout: &Layout<'_>, options: &Options) -> Vec<String> {
    let grace = options.node_monitor_grace_period.unwrap_or(NODE_MONITOR_GRACE_PERIOD);
    let mut flags = vec![
        flag("kubeconfig", path(&layout.kubeconfig("kube-controller-manager"))),
        flag("controllers", CONTROLLERS.join(",")),
        flag("leader-elect", false),
        flag("use-service-account-credentials", false),
        flag("root-ca-file", path(&layout.pki().join("ca.crt"))),
        flag("node-monitor-period", "1s"),
        flag("node-monitor-grace-period", format!("{}ms", grace.as_millis())),
        // Nobody asks it anything, and a port fewer is a collision fewer.
        flag("secure-port", 0),
        flag("kube-api-qps", 300),
        flag("kube-api-burst", 500),
        flag("profiling", false),
    ];
    flags.extend(options.controller_manager_args.iter().cloned());
    flags
}

fn scheduler(layout: &Layout<'_>) -> Vec<String> {
    vec![
        flag("kubeconfig", path(&layout.kubeconfig("kube-scheduler"))),
        flag("leader-elect", false),
        flag("secure-port", 0),
        flag("kube-api-qps", 300),
        flag("kube-api-burst", 500),
        flag("profiling", false),
    ]
}

fn kwok(layout: &Layout<'_>) -> Vec<String> {
    let stages = |file: &str| path(&source_dir().join("kwok").join(file));
    vec![
        flag("kubeconfig", path(&layout.kubeconfig("kwok"))),
        flag("config", stages("node.yaml")),
        flag("config", stages("pod.yaml")),
        flag("manage-nodes-with-label-selector", KUBELET_RUNNING),
        flag("disregard-status-with-label-selector", NEVER_KWOK),
        flag("disregard-status-with-annotation-selector", HANDS_OFF),
        // Leases are the fleet's.
        flag("node-lease-duration-seconds", 0),
        // What kwok's templates see of a node that it does not manage (TEST-NET-1); pod.yaml says what for.
        flag("node-ip", "192.0.2.255"),
        flag("cidr", "10.128.0.0/9"),
    ]
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

/// Paths end up in flags and in JSON. The directories are ours or the checkout's, and cargo itself wants those in UTF-8.
fn path(path: &Path) -> String {
    path.display().to_string()
}
