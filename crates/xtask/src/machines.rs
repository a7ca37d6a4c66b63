//! `cargo xtask machines`: virtual machines with real kernels and kubelets, as nodes of a control plane to look at.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use rerail_controlplane::{Instance, Options};
use rerail_machines::{Machine, Site};
use tokio::time::Instant;

use crate::controlplane;

/// The name of the control plane that is meant when none is given.
const DEFAULT_NAME: &str = "machines";

/// How long a machine may take from its power to a node that is Ready, on a host with other work.
const PATIENCE: &str = "300s";

/// What to do with machines.
#[derive(Debug, Subcommand)]
pub enum MachinesCommand {
    /// Start a control plane with machines, and leave it running
    Up {
        /// How many machines; each takes 1 GB of memory
        #[arg(default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=4))]
        count: u8,
        /// The control plane's name
        #[arg(long, default_value = DEFAULT_NAME)]
        name: String,
    },
    /// End the control plane, and its machines
    Down {
        /// The control plane's name
        #[arg(long, default_value = DEFAULT_NAME)]
        name: String,
    },
    /// Say what a machine's kernel wrote, and where its console is
    Console(Which),
    /// Crash a machine's kernel: it stays on and does nothing more
    Hang(Which),
    /// Give a machine power, cut it, or reset it
    Power {
        #[command(flatten)]
        which: Which,
        /// What to do
        order: Order,
    },
}

/// A machine.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// Its number, from 1
    number: u8,
    /// The control plane's name
    #[arg(long, default_value = DEFAULT_NAME)]
    name: String,
}

/// What to do with a machine's power.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Order {
    /// It boots
    On,
    /// Nothing of it goes on
    Off,
    /// It boots, without a word to what runs on it
    Reset,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum MachinesError {
    /// Machines.
    #[error(transparent)]
    Machines(#[from] rerail_machines::Error),
    /// Their control plane.
    #[error(transparent)]
    ControlPlane(#[from] rerail_controlplane::Error),
    /// The program that Pods of the operator run there.
    #[error(transparent)]
    Program(#[from] rerail_e2e::Error),
    /// A machine's node is not Ready.
    #[error("the node {node} is not Ready ({source}); its console: {}", console.display())]
    NotReady {
        /// The node.
        node: String,
        /// What its kernel wrote.
        console: PathBuf,
        /// What kubectl said.
        source: rerail_controlplane::Error,
    },
    /// A machine's console.
    #[error("the console {} cannot be read: {source}", path.display())]
    Console {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Does it.
pub fn run(command: MachinesCommand) -> Result<(), MachinesError> {
    match command {
        MachinesCommand::Up { count, name } => up(count, name),
        MachinesCommand::Down { name } => Ok(controlplane::down(&name)?),
        MachinesCommand::Console(which) => console(&which.machine()?),
        MachinesCommand::Hang(which) => Ok(which.machine()?.crash()?),
        MachinesCommand::Power { which, order } => {
            let machine = which.machine()?;
            Ok(match order {
                Order::On => machine.power_on(),
                Order::Off => machine.power_off(),
                Order::Reset => machine.reset(),
            }?)
        }
    }
}

impl Which {
    fn machine(&self) -> Result<Machine, MachinesError> {
        let instance = Instance::named(&self.name)?;
        Ok(Machine::numbered(&instance.dir, self.number))
    }
}

fn up(count: u8, name: String) -> Result<(), MachinesError> {
    let program = rerail_e2e::program("rerail")?;
    // What a machine that does not come wrote is all that there is to look at.
    let options = Options { name: Some(name), keep: true, ..Options::default() };
    let site = Site::start(options, &program, &vec![BTreeMap::new(); count.into()])?;
    let began = Instant::now();
    for machine in &site.machines {
        wait_for(&site, machine)?;
        let took = began.elapsed().as_secs();
        anstream::println!("{} is Ready, {took} s after its power came", machine.name());
    }
    Ok(controlplane::leave_running(site.plane, &[])?)
}

fn wait_for(site: &Site, machine: &Machine) -> Result<(), MachinesError> {
    let (node, limit) = (format!("node/{}", machine.name()), format!("--timeout={PATIENCE}"));
    let ready = site.plane.run_kubectl(&["wait", "--for=condition=Ready", &node, &limit]);
    ready.map(drop).map_err(|source| MachinesError::NotReady {
        node: machine.name().to_owned(),
        console: machine.console_log(),
        source,
    })
}

fn console(machine: &Machine) -> Result<(), MachinesError> {
    let path = machine.console_log();
    let wrote = std::fs::read(&path);
    let wrote = wrote.map_err(|source| MachinesError::Console { path, source })?;
    anstream::println!("{}", String::from_utf8_lossy(&wrote).trim_end());
    anstream::println!();
    anstream::println!("its console: {} (root has no password)", machine.console().display());
    Ok(())
}
