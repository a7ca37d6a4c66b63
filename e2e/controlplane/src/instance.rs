//! Control planes found by name, whoever started them.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::binaries::{Binaries, state_dir};
use crate::components::Layout;
use crate::error::{Error, Result};
use crate::tools;

/// How long an API server that is well may take to say so.
const HEALTH_PATIENCE: Duration = Duration::from_secs(2);

/// A control plane that is running, as its directory tells.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// Where its logs, kubeconfigs and certificates are.
    pub dir: PathBuf,
    /// Where its API server listens.
    pub api_url: String,
    /// The process id of its supervisor.
    pub pid: u32,
    /// How long it has been running.
    pub uptime: Duration,
}

/// `instance.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) api_url: String,
}

impl Instance {
    /// Those that are running, by name.
    pub fn list() -> Result<Vec<Self>> {
        let runs = run_dir();
        if !runs.exists() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(&runs).map_err(Error::file("list", &runs))? {
            let entry = entry.map_err(Error::file("list", &runs))?;
            found.extend(Self::at(&entry.path(), &entry.file_name().to_string_lossy()));
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// The one of this name.
    pub fn named(name: &str) -> Result<Self> {
        let dir = dir_of(name)?;
        Self::at(&dir, name).ok_or_else(|| Error::NotUp { name: name.to_owned() })
    }

    /// A kubeconfig that may do everything.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        Layout(&self.dir).kubeconfig("admin")
    }

    /// Whether the API server says that it is ready.
    pub fn is_ready(&self) -> Result<bool> {
        let binaries = Binaries::ensure()?;
        let mut wait =
            tools::wait(&binaries, Some(&self.admin_kubeconfig()), "/readyz", HEALTH_PATIENCE);
        Ok(tools::run(&mut wait, None).is_ok())
    }

    /// Ends it; returns when every process is gone, and its directory.
    pub fn down(self) -> Result<()> {
        tools::end(&Binaries::ensure()?, &self.dir)?;
        fs::remove_dir_all(&self.dir).map_err(Error::file("remove", &self.dir))
    }

    /// What a directory says of itself, if its control plane is alive. One that is being started or ended is not.
    fn at(dir: &Path, name: &str) -> Option<Self> {
        if !is_alive(dir) {
            return None;
        }
        let description: Description =
            serde_json::from_str(&fs::read_to_string(dir.join("instance.json")).ok()?).ok()?;
        let pid_file = dir.join("supervisor.pid");
        let pid = fs::read_to_string(&pid_file).ok()?.trim().parse().ok()?;
        let uptime = fs::metadata(&pid_file).ok()?.modified().ok()?.elapsed().unwrap_or_default();
        Some(Self {
            name: name.to_owned(),
            dir: dir.to_owned(),
            api_url: description.api_url,
            pid,
            uptime,
        })
    }
}

/// Whether a supervisor holds the lock of this directory. (A process id alone could be somebody else's by now.)
pub(crate) fn is_alive(dir: &Path) -> bool {
    File::open(dir.join("supervisor.lock"))
        .is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// The directory of all instances.
pub(crate) fn run_dir() -> PathBuf {
    state_dir().join("run")
}

/// The directory of the instance of this name.
pub(crate) fn dir_of(name: &str) -> Result<PathBuf> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if name.is_empty() || !name.chars().all(fits) {
        return Err(Error::BadName { name: name.to_owned() });
    }
    Ok(run_dir().join(name))
}
