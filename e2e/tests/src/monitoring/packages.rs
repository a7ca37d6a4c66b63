//! Prometheus and Alertmanager from Debian's packages, unpacked below `target/monitoring/`: nothing is
//! installed, and nobody has to be root. Without Debian's tools, those that are on the path.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use crate::Error;

const PACKAGES: [&str; 2] = ["prometheus", "prometheus-alertmanager"];

/// Where the programs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    bin: PathBuf,
}

impl Programs {
    /// Fetches and unpacks them, once.
    ///
    /// # Errors
    /// What a tool said that failed, and what to do.
    pub fn get() -> Result<Self, Error> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _one = ONE_AT_A_TIME.lock();
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
        let dir = std::path::absolute(dir.join("monitoring"))
            .map_err(|error| Error::File(dir.display().to_string(), error))?;
        let found = Programs { bin: dir.join("root/usr/bin") };
        if found.all().iter().all(|program| program.is_file()) {
            return Ok(found);
        }
        fetch(&dir)?;
        match found.all().into_iter().find(|program| !program.is_file()) {
            None => Ok(found),
            Some(missing) => Err(Error::Packages(format!(
                "Debian's packages {PACKAGES:?} hold no {}",
                missing.display()
            ))),
        }
    }

    fn all(&self) -> [PathBuf; 4] {
        [self.prometheus(), self.alertmanager(), self.promtool(), self.amtool()]
    }

    /// Prometheus.
    pub fn prometheus(&self) -> PathBuf {
        self.bin.join("prometheus")
    }

    /// Alertmanager.
    pub fn alertmanager(&self) -> PathBuf {
        self.bin.join("prometheus-alertmanager")
    }

    /// A command line that starts Alertmanager with these arguments. Debian's looks for its templates in
    /// `/usr/share`, and nowhere else: it gets a view of its own, in which they are there.
    pub fn run_alertmanager(&self, arguments: Vec<String>) -> Vec<String> {
        let root = self.bin.join("../share");
        let mount =
            "mount -t overlay overlay -o \"lowerdir=$0:/usr/share\" /usr/share && exec \"$@\"";
        let words = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount];
        let mut argv: Vec<String> = words.map(str::to_owned).into();
        argv.push(root.display().to_string());
        argv.push(self.alertmanager().display().to_string());
        argv.extend(arguments);
        argv
    }

    /// Checks and tests rules.
    pub fn promtool(&self) -> PathBuf {
        self.bin.join("promtool")
    }

    /// Checks routes, and speaks with an Alertmanager.
    pub fn amtool(&self) -> PathBuf {
        self.bin.join("amtool")
    }
}

/// `apt-get` with lists and caches of its own, so that it neither needs nor changes the system's.
fn fetch(dir: &Path) -> Result<(), Error> {
    for part in ["state/lists/partial", "cache/archives/partial", "root"] {
        let part = dir.join(part);
        std::fs::create_dir_all(&part)
            .map_err(|error| Error::File(part.display().to_string(), error))?;
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        for (option, part) in [("Dir::State", "state"), ("Dir::Cache", "cache")] {
            command.arg("-o").arg(format!("{option}={}", dir.join(part).display()));
        }
        command.args(["-o", "Dir::State::status=/var/lib/dpkg/status"]);
        command.args(["-o", "APT::Sandbox::User=", "-o", "Debug::NoLocking=true", "-qq"]);
        command.args(arguments).current_dir(dir);
        run(command)
    };
    apt(&["update"])?;
    apt(&[&["download"], PACKAGES.as_slice()].concat())?;
    let listed = std::fs::read_dir(dir).map_err(|e| Error::File(dir.display().to_string(), e))?;
    for entry in listed.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|end| end == "deb") {
            let mut command = Command::new("dpkg-deb");
            command.arg("-x").arg(&path).arg(dir.join("root"));
            run(command)?;
        }
    }
    // Its lists are five times as large as what they are for.
    let _ = std::fs::remove_dir_all(dir.join("state"));
    Ok(())
}

fn run(mut command: Command) -> Result<(), Error> {
    let words = format!("{command:?}");
    let failed = |what: String| {
        Error::Packages(format!(
            "{words} failed: {what}; Prometheus and Alertmanager come from Debian's packages {PACKAGES:?}"
        ))
    };
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return Err(failed(error.to_string())),
    };
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
