//! A running control plane.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::binaries::Binaries;
use crate::components::{self, Component, Layout, Ports};
use crate::error::{Error, Result};
use crate::instance::{self, Description, Instance};
use crate::supervisor::Supervisor;
use crate::tools::{self, Identity};

/// How long a server may take to become ready on a machine that is busy with other things. Usually it is 3 s.
const READY_PATIENCE: Duration = Duration::from_secs(120);

/// How many times other ports are tried when somebody took one between our choosing it and its use.
const PORT_ATTEMPTS: u32 = 5;

/// The components that talk to the API server. They are administrators, each under its own name in the audit log.
const CLIENTS: &[(&str, &str)] = &[
    ("admin", "rerail-e2e-admin"),
    ("kube-controller-manager", "system:kube-controller-manager"),
    ("kube-scheduler", "system:kube-scheduler"),
    ("kwok", "rerail-e2e-kwok"),
];

/// What a control plane is to be like. The default suits tests.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Its name, unique among those running; without one, a new one is made up.
    pub name: Option<String>,
    /// Write `audit.log`: one JSON event per request, at level Metadata.
    pub audit: bool,
    /// Write `audit.log`, with the bodies of patches, too.
    pub audit_patches: bool,
    /// For how long a node may be silent before it is not ready; 16 s unless given.
    pub node_monitor_grace_period: Option<Duration>,
    /// Kubelets are among its clients: they may only what the authorizer `Node` and the admission plugin
    /// `NodeRestriction` let them.
    pub kubelets: bool,
    /// More flags for kube-apiserver.
    pub api_server_args: Vec<String>,
    /// More flags for kube-controller-manager.
    pub controller_manager_args: Vec<String>,
    /// Keep the directory when it ends. (It is always kept when a test panics, and without etcd's data.)
    pub keep: bool,
}

/// A control plane of our own. It ends when this value is dropped and when this process dies.
#[derive(Debug)]
pub struct ControlPlane {
    name: String,
    dir: PathBuf,
    api_url: String,
    binaries: Binaries,
    keep: bool,
    /// None after `detach`.
    supervisor: Mutex<Option<Supervisor>>,
}

impl ControlPlane {
    /// Builds what is not built yet, starts a control plane and returns when pods can be created in the namespace
    /// `default`. Blocks; call it from `spawn_blocking` in async code.
    pub fn start(options: Options) -> Result<Self> {
        let binaries = Binaries::ensure()?;
        let (name, dir) = new_dir(options.name.as_deref())?;
        tools::write_pki(&binaries, &Layout(&dir).pki())?;
        let mut attempt = 1;
        loop {
            match Self::attempt(&name, &dir, &binaries, &options) {
                Err(Error::Gone { .. }) if attempt < PORT_ATTEMPTS && lost_a_port(&dir) => {
                    attempt += 1;
                    clear_logs(&dir)?;
                }
                result => return result,
            }
        }
    }

    fn attempt(name: &str, dir: &Path, binaries: &Binaries, options: &Options) -> Result<Self> {
        let ports = free_ports().map_err(Error::file("bind a port for", dir))?;
        let layout = Layout(dir);
        let api_url = format!("https://127.0.0.1:{}", ports.api);
        write_json(&dir.join("plan.json"), &components::plan(binaries, dir, ports, options))?;
        for (file, user) in CLIENTS {
            let identity = Identity::User(user, &["system:masters"]);
            tools::write_kubeconfig(
                binaries,
                &layout.pki(),
                &api_url,
                &layout.kubeconfig(file),
                &identity,
            )?;
        }
        let mut plane = Self {
            name: name.to_owned(),
            dir: dir.to_owned(),
            api_url,
            binaries: binaries.clone(),
            keep: true, // the logs of one that did not start are all that there is to look at
            supervisor: Mutex::new(Some(Supervisor::spawn(binaries, dir)?)),
        };
        plane.start_all(ports)?;
        write_json(&dir.join("instance.json"), &Description { api_url: plane.api_url.clone() })?;
        plane.keep = options.keep;
        Ok(plane)
    }

    fn start_all(&self, ports: Ports) -> Result<()> {
        self.order("start etcd")?;
        self.wait_for(None, &format!("http://127.0.0.1:{}/readyz", ports.etcd))?;
        self.order("start kube-apiserver")?;
        self.wait_for_api("/readyz")?;
        for name in ["kube-controller-manager", "kube-scheduler", "kwok"] {
            self.order(&format!("start {name}"))?;
        }
        // Without it the admission of every pod fails.
        self.wait_for_api("/api/v1/namespaces/default/serviceaccounts/default")
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its logs (`<component>.log`), kubeconfigs and certificates are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where its API server listens.
    pub fn api_url(&self) -> &str {
        &self.api_url
    }

    /// The audit log, if there is one.
    pub fn audit_log(&self) -> PathBuf {
        Layout(&self.dir).audit_log()
    }

    /// A kubeconfig that may do everything. For setting the scene only: what is tested runs under a name of its own.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        Layout(&self.dir).kubeconfig("admin")
    }

    /// The kubectl program of the same version.
    pub fn kubectl(&self) -> PathBuf {
        self.binaries.kubernetes("kubectl")
    }

    /// Runs kubectl as the administrator and gives back what it printed.
    pub fn run_kubectl(&self, args: &[&str]) -> Result<String> {
        let mut kubectl = Command::new(self.kubectl());
        kubectl.arg("--kubeconfig").arg(self.admin_kubeconfig()).args(args);
        // Not into the home directory of whoever runs the tests.
        kubectl.env("KUBECACHEDIR", self.dir.join("kubectl-cache"));
        tools::run(&mut kubectl, None)
    }

    /// Applies a manifest, or a directory of them, as the administrator.
    pub fn apply(&self, path: &Path) -> Result<()> {
        let path = path.display().to_string();
        self.run_kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &path]).map(drop)
    }

    /// A kubeconfig for a user in these groups, known by a client certificate. RBAC says what it may do.
    pub fn kubeconfig_for_user(&self, user: &str, groups: &[&str]) -> Result<PathBuf> {
        self.write_kubeconfig(&format!("user-{user}"), &Identity::User(user, groups))
    }

    /// A kubeconfig for a service account that exists, with a token that is good for a day.
    pub fn kubeconfig_for_service_account(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let token = self.run_kubectl(&[
            "create",
            "token",
            name,
            "--namespace",
            namespace,
            "--duration=24h",
        ])?;
        let user = format!("system:serviceaccount:{namespace}:{name}");
        let file = format!("serviceaccount-{namespace}-{name}");
        self.write_kubeconfig(&file, &Identity::Token { name: &user, token: &token })
    }

    fn write_kubeconfig(&self, file: &str, identity: &Identity<'_>) -> Result<PathBuf> {
        let layout = Layout(&self.dir);
        let out = layout.kubeconfig(&file.replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
        tools::write_kubeconfig(&self.binaries, &layout.pki(), &self.api_url, &out, identity)?;
        Ok(out)
    }

    /// The process id of a component, if it runs.
    pub fn pid(&self, component: &str) -> Option<u32> {
        fs::read_to_string(self.dir.join(format!("{component}.pid"))).ok()?.trim().parse().ok()
    }

    /// Makes a program known, and starts it. It lives and dies with the control plane, and has its log there.
    pub fn run(&self, component: &Component) -> Result<()> {
        let text = serde_json::to_string(component).map_err(io::Error::other);
        self.order(&format!(
            "add {}",
            text.map_err(Error::file("describe", Path::new(&component.name)))?
        ))?;
        self.order(&format!("start {}", component.name))
    }

    /// Ends a component with SIGTERM (and SIGKILL after 10 s); returns when it is gone. Nothing starts it again.
    pub fn stop_component(&self, name: &str) -> Result<()> {
        self.order(&format!("stop {name}"))
    }

    /// Ends a component with SIGKILL; returns when it is gone. Nothing starts it again.
    pub fn kill_component(&self, name: &str) -> Result<()> {
        self.order(&format!("kill {name}"))
    }

    /// Freezes a component (SIGSTOP): it keeps its connections and answers nobody.
    pub fn pause_component(&self, name: &str) -> Result<()> {
        self.order(&format!("pause {name}"))
    }

    /// Lets a frozen component go on (SIGCONT).
    pub fn resume_component(&self, name: &str) -> Result<()> {
        self.order(&format!("cont {name}"))
    }

    /// Starts a component that was stopped or killed. For kube-apiserver, returns when it is ready.
    pub fn start_component(&self, name: &str) -> Result<()> {
        self.order(&format!("start {name}"))?;
        if name != "kube-apiserver" {
            return Ok(());
        }
        self.wait_for_api("/readyz")?;
        // kwok drops what it was doing when a connection breaks half-way, and looks at all pods only when it starts.
        if self.pid("kwok").is_some() {
            self.order("kill kwok")?;
            self.order("start kwok")?;
        }
        Ok(())
    }

    /// Stops a component and starts it again.
    pub fn restart_component(&self, name: &str) -> Result<()> {
        self.stop_component(name)?;
        self.start_component(name)
    }

    /// Leaves it running when this process ends, until [`Instance::down`].
    pub fn detach(self) -> Result<Instance> {
        if let Some(supervisor) = self.supervisor().take() {
            supervisor.detach()?;
        }
        Instance::named(&self.name)
    }

    fn order(&self, order: &str) -> Result<()> {
        self.with_supervisor(|supervisor| supervisor.order(order))
    }

    fn wait_for_api(&self, path: &str) -> Result<()> {
        self.wait_for(Some(&self.admin_kubeconfig()), path)
    }

    fn wait_for(&self, kubeconfig: Option<&Path>, url: &str) -> Result<()> {
        let mut helper = tools::wait(&self.binaries, kubeconfig, url, READY_PATIENCE);
        self.with_supervisor(|supervisor| supervisor.wait_for(&mut helper))
    }

    fn with_supervisor(&self, act: impl FnOnce(&mut Supervisor) -> Result<()>) -> Result<()> {
        match self.supervisor().as_mut() {
            Some(supervisor) => act(supervisor),
            None => Err(Error::NotUp { name: self.name.clone() }),
        }
    }

    /// A panic of another thread while it gave an order is no reason not to give the next one.
    fn supervisor(&self) -> MutexGuard<'_, Option<Supervisor>> {
        self.supervisor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let Some(supervisor) = self.supervisor().take() else { return };
        supervisor.end();
        if !self.keep && !thread::panicking() {
            // Leftovers in the target directory hurt nobody.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Makes the directory of a new instance.
fn new_dir(name: Option<&str>) -> Result<(String, PathBuf)> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let runs = instance::run_dir();
    fs::create_dir_all(&runs).map_err(Error::file("create", &runs))?;
    if let Some(name) = name {
        let dir = instance::dir_of(name)?;
        if instance::is_alive(&dir) {
            return Err(Error::AlreadyUp { name: name.to_owned() });
        }
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(Error::file("remove", &dir))?;
        }
        fs::create_dir(&dir).map_err(Error::file("create", &dir))?;
        return Ok((name.to_owned(), dir));
    }
    loop {
        let name = format!("t{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = runs.join(&name);
        match fs::create_dir(&dir) {
            Ok(()) => return Ok((name, dir)),
            // Left by a dead process that had our process id.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::file("create", &dir)(error)),
        }
    }
}

/// Ports that are free now. They are held together, so that they differ.
fn free_ports() -> io::Result<Ports> {
    let bind = || TcpListener::bind(("127.0.0.1", 0));
    let (etcd, etcd_peer, api) = (bind()?, bind()?, bind()?);
    Ok(Ports {
        etcd: etcd.local_addr()?.port(),
        etcd_peer: etcd_peer.local_addr()?.port(),
        api: api.local_addr()?.port(),
    })
}

/// Whether a component says that its port was taken.
fn lost_a_port(dir: &Path) -> bool {
    let taken = |name: &str| {
        fs::read_to_string(dir.join(format!("{name}.log")))
            .is_ok_and(|log| log.contains("address already in use"))
    };
    taken("etcd") || taken("kube-apiserver")
}

fn clear_logs(dir: &Path) -> Result<()> {
    for name in ["etcd.log", "kube-apiserver.log", "failed"] {
        let file = dir.join(name);
        if file.exists() {
            fs::remove_file(&file).map_err(Error::file("remove", &file))?;
        }
    }
    Ok(())
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::other);
    text.and_then(|text| fs::write(path, text)).map_err(Error::file("write", path))
}
