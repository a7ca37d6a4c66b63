//! One machine: its files, its command line, and what can be done to it from outside.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fs, io, thread};

use rerail_controlplane::{Component, ControlPlane};
use serde_json::{Value, json};

use crate::{
    disk::Disk,
    error::{Error, Result},
    host::{find, run},
    qmp::Qmp,
};

/// Memory of a machine, in MiB. Less than 768 was never tried.
const MEMORY_MIB: u32 = 1024;

/// Processors of a machine.
const PROCESSORS: u32 = 2;

/// How large the translated code of an emulated machine may grow, in MiB: 256 keeps a machine at 1 GB of the host's
/// memory, where QEMU's own choice lets it grow to 1.75 GB.
const TRANSLATED_MIB: u32 = 256;

/// What the kernel is told. It panics at an NMI, and what has panicked stays down.
const KERNEL: &str = "console=ttyS0 net.ifnames=0 quiet mitigations=off cryptomgr.notests random.trust_cpu=on \
     unknown_nmi_panic panic=0";

/// The address that QEMU's user network gives to each machine: they do not see each other.
const ADDRESS: &str = "10.0.2.15";

/// Where QEMU's user network shows the host, whose loopback has the API server.
const HOST: &str = "10.0.2.2";

/// The address of the Service `kubernetes`: the first of `--service-cluster-ip-range`.
const API_SERVICE: &str = "10.96.0.1";

/// The serving certificate's name for where machines find the API server.
const API_NAME: &str = "kubernetes";

/// Paths of sockets have to fit into 108 bytes (unix(7)).
const LONGEST_SOCKET: usize = 107;

/// QEMU's socket is there some milliseconds after QEMU is.
const ANSWER_PAUSE: Duration = Duration::from_millis(100);
/// On a busy host it may be seconds.
const ANSWER_TRIES: u32 = 300;

/// A machine of a control plane.
#[derive(Debug, Clone)]
pub struct Machine {
    name: String,
    dir: PathBuf,
}

impl Machine {
    /// The machine of this number, from 1, of a control plane whose files are in `plane`; whether it is there or not.
    pub fn numbered(plane: &Path, number: u8) -> Self {
        let name = format!("machine-{number}");
        Machine { dir: plane.join(&name), name }
    }

    /// Its name, which is its node's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its kernel writes to its console.
    pub fn console_log(&self) -> PathBuf {
        self.dir.join("console.log")
    }

    /// Its console: a socket. Root has no password.
    pub fn console(&self) -> PathBuf {
        self.dir.join("console")
    }

    fn qmp(&self) -> PathBuf {
        self.dir.join("qmp")
    }

    /// Makes the machine's files and its Node, and switches it on. It ends with the control plane. `number`, from 1, is
    /// unique among the control plane's machines; `labels` are its node's.
    pub(crate) fn start(
        plane: &ControlPlane,
        disk: &Disk,
        number: u8,
        labels: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let machine = Machine::numbered(plane.dir(), number);
        let dir = &machine.dir;
        if machine.console().as_os_str().len() > LONGEST_SOCKET {
            let why = format!("{} is too long a path for a socket", machine.console().display());
            return Err(machine.failed("begin", &why));
        }
        fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
        machine.tell(plane, number)?;
        machine.register(plane, labels)?;
        let own = dir.join("disk");
        let mut create = Command::new("qemu-img");
        create.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(&disk.base);
        run(create.arg(&own))?;
        let argv = machine.command_line(disk, number);
        let name = machine.name.clone();
        plane.run(&Component { name, argv, guest: true, ..Component::default() })?;
        machine.answers(plane)?;
        Ok(machine)
    }

    /// The Node is there before its kubelet: one that finds none waits for up to two minutes (its CSINode is tried
    /// at longer and longer distances), and may give itself only some labels (`NodeRestriction`).
    fn register(&self, plane: &ControlPlane, labels: &BTreeMap<String, String>) -> Result<()> {
        let metadata = json!({ "name": self.name, "labels": labels });
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": metadata });
        self.write("node.json", &node.to_string())?;
        Ok(plane.apply(&self.dir.join("node.json"))?)
    }

    /// Waits until QEMU can be told something.
    fn answers(&self, plane: &ControlPlane) -> Result<()> {
        for _ in 0..ANSWER_TRIES {
            if Qmp::connect(&self.qmp()).is_ok() {
                return Ok(());
            }
            if plane.pid(&self.name).is_none() {
                break;
            }
            thread::sleep(ANSWER_PAUSE);
        }
        let log = plane.dir().join(format!("{}.log", self.name));
        let said = fs::read_to_string(&log).unwrap_or_default();
        Err(self.failed("begin", &format!("QEMU does not answer: {}", said.trim())))
    }

    /// What the firmware will tell the machine (`guest/setup.sh`).
    fn tell(&self, plane: &ControlPlane, number: u8) -> Result<()> {
        let name = &self.name;
        let port = plane.api_url().rsplit(':').next().unwrap_or_default();
        self.write("node", &about(name, number, port))?;
        let file = plane.kubeconfig_for_user(&format!("system:node:{name}"), &["system:nodes"])?;
        let text = fs::read_to_string(&file).map_err(Error::file("read", &file))?;
        let kubeconfig = seen_from_inside(&text, port).map_err(|error| {
            self.failed("begin", &format!("its kubeconfig is not JSON: {error}"))
        })?;
        self.write("kubeconfig", &kubeconfig)?;
        let authority = plane.dir().join("pki/ca.crt");
        fs::copy(&authority, self.dir.join("ca")).map(drop).map_err(Error::file("copy", &authority))
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let file = self.dir.join(name);
        fs::write(&file, text).map_err(Error::file("write", &file))
    }

    fn command_line(&self, disk: &Disk, number: u8) -> Vec<String> {
        let own = |name: &str| self.dir.join(name).display().to_string();
        let program = find("qemu-system-x86_64").unwrap_or_else(|| "qemu-system-x86_64".into());
        let mut words = vec![program.display().to_string()];
        let mut add = |option: &str, value: String| words.extend([format!("-{option}"), value]);
        add("accel", format!("tcg,thread=multi,tb-size={TRANSLATED_MIB}"));
        add("machine", "q35".into());
        // A processor with few features is translated faster than one with all.
        add("cpu", "Nehalem".into());
        add("smp", PROCESSORS.to_string());
        add("m", MEMORY_MIB.to_string());
        add("display", "none".into());
        add("kernel", disk.kernel.display().to_string());
        add("initrd", disk.initrd.display().to_string());
        add("append", format!("{KERNEL} systemd.hostname={}", self.name));
        // The node's systemUUID and, of a BMC, the system's UUID.
        add("uuid", format!("00000000-0000-4000-8000-{number:012}"));
        for file in ["kubeconfig", "ca", "node"] {
            add("fw_cfg", format!("name=opt/rerail/{file},file={}", own(file)));
        }
        add("qmp", format!("unix:{},server=on,wait=off", own("qmp")));
        let console = format!("path={},logfile={}", own("console"), own("console.log"));
        add("chardev", format!("socket,id=console,server=on,wait=off,{console}"));
        add("serial", "chardev:console".into());
        add("drive", format!("if=virtio,format=qcow2,cache=writeback,file={}", own("disk")));
        add("netdev", "user,id=net".into());
        add("device", "virtio-net-pci,netdev=net".into());
        add("device", "virtio-rng-pci".into());
        // A machine that switches itself off has a power button all the same.
        words.extend(["-nodefaults".into(), "-no-shutdown".into()]);
        words
    }

    /// Cuts its power: nothing of it goes on, and what it had not written to its disk is lost.
    pub fn power_off(&self) -> Result<()> {
        self.order("power off", |qmp| qmp.execute("stop"))
    }

    /// Gives it power: it boots. One that is on is reset.
    pub fn power_on(&self) -> Result<()> {
        self.order("power on", |qmp| {
            qmp.execute("system_reset")?;
            // It is asked for only; what goes on before it would go on from where it stopped.
            qmp.wait_for("RESET")?;
            qmp.execute("cont")
        })
    }

    /// Resets it: it boots, without a word to what runs on it.
    pub fn reset(&self) -> Result<()> {
        self.order("reset", |qmp| qmp.execute("system_reset"))
    }

    /// Crashes its kernel: it stays on and does nothing more, but for a processor of the host that it keeps busy. (By an
    /// NMI, at which the kernel panics.)
    pub fn crash(&self) -> Result<()> {
        self.order("crash", |qmp| qmp.execute("inject-nmi"))
    }

    /// Whether it has power.
    pub fn is_on(&self) -> Result<bool> {
        let status = self.ask("power state", |qmp| qmp.execute("query-status"))?;
        Ok(status["running"].as_bool().unwrap_or(false))
    }

    fn order(&self, order: &str, act: impl FnOnce(&mut Qmp) -> io::Result<Value>) -> Result<()> {
        self.ask(order, act).map(drop)
    }

    fn ask(&self, order: &str, act: impl FnOnce(&mut Qmp) -> io::Result<Value>) -> Result<Value> {
        let done = Qmp::connect(&self.qmp()).and_then(|mut qmp| act(&mut qmp));
        done.map_err(|error| self.failed(order, &error.to_string()))
    }

    fn failed(&self, order: &str, why: &str) -> Error {
        Error::Machine {
            machine: self.name.clone(),
            order: order.to_owned(),
            why: why.to_owned(),
            console: self.console_log(),
        }
    }
}

/// What a machine is told of itself, as `NAME=value` lines.
fn about(name: &str, number: u8, port: &str) -> String {
    let lines = [
        format!("NODE={name}"),
        format!("ADDRESS={ADDRESS}"),
        format!("POD_CIDR=10.244.{number}.0/24"),
        format!("API_SERVICE={API_SERVICE}"),
        format!("API_HOST={HOST}"),
        format!("API_PORT={port}"),
    ];
    format!("{}\n", lines.join("\n"))
}

/// A kubeconfig for where machines find the API server.
fn seen_from_inside(kubeconfig: &str, port: &str) -> serde_json::Result<String> {
    let mut kubeconfig: Value = serde_json::from_str(kubeconfig)?;
    for cluster in kubeconfig["clusters"].as_array_mut().into_iter().flatten() {
        cluster["cluster"]["server"] = format!("https://{HOST}:{port}").into();
        cluster["cluster"]["tls-server-name"] = API_NAME.into();
    }
    Ok(kubeconfig.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_told_who_it_is_and_finds_the_api_server_by_the_name_of_its_certificate() {
        let told = about("machine-2", 2, "6443");
        assert!(told.starts_with("NODE=machine-2\n") && told.contains("POD_CIDR=10.244.2.0/24\n"));
        let text = r#"{"clusters":[{"name":"e2e","cluster":{"server":"https://127.0.0.1:6443"}}]}"#;
        let inside: Value = serde_json::from_str(&seen_from_inside(text, "6443").unwrap()).unwrap();
        let cluster = &inside["clusters"][0]["cluster"];
        assert_eq!(cluster["server"], "https://10.0.2.2:6443");
        assert_eq!(cluster["tls-server-name"], "kubernetes");
        assert!(seen_from_inside("no JSON", "6443").is_err());
    }

    #[test]
    fn machines_differ_in_what_makes_them_one() {
        let disk = Disk { kernel: "k".into(), initrd: "i".into(), base: "b".into() };
        let line = |number| {
            let machine = Machine::numbered(Path::new("/plane"), number);
            machine.command_line(&disk, number).join(" ")
        };
        let first = line(1);
        assert!(first.contains("-uuid 00000000-0000-4000-8000-000000000001"), "{first}");
        assert!(first.contains("file=/plane/machine-1/disk"), "{first}");
        assert!(first.contains("systemd.hostname=machine-1"), "{first}");
        assert_ne!(first, line(2));
    }
}
