//! `cargo xtask controlplane`: a real Kubernetes control plane to look at, with a fleet of fake machines if wanted.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use rerail_api::names;
use rerail_controlplane::{Component, ControlPlane, Instance, Options};
use rerail_e2e::Error;

/// The name of the control plane that is meant when none is given.
const DEFAULT_NAME: &str = "default";

/// What to do with control planes.
#[derive(Debug, Subcommand)]
pub enum ControlplaneCommand {
    /// Start a control plane, and leave it running
    Up {
        /// Its name
        #[arg(long, default_value = DEFAULT_NAME)]
        name: String,
        /// Run a fleet of this many fake machines as its nodes
        #[arg(long, default_value_t = 0)]
        nodes: u32,
        /// Put the machines into this many racks
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        racks: u32,
        /// Write an audit log
        #[arg(long)]
        audit: bool,
    },
    /// End a control plane, and whatever runs on it
    Down {
        /// Its name
        #[arg(default_value = DEFAULT_NAME)]
        name: String,
        /// Its name, as for `up`
        #[arg(long = "name", conflicts_with = "name")]
        named: Option<String>,
    },
    /// List the control planes that are running, those of tests too
    Status,
}

/// Does it.
pub fn run(command: ControlplaneCommand) -> Result<(), Error> {
    match command {
        ControlplaneCommand::Up { name, nodes, racks, audit } => up(name, nodes, racks, audit),
        ControlplaneCommand::Down { name, named } => down(&named.unwrap_or(name)),
        ControlplaneCommand::Status => status(),
    }
}

/// Ends the control plane of this name, and whatever runs on it.
pub(crate) fn down(name: &str) -> Result<(), Error> {
    Instance::named(name)?.down()?;
    anstream::println!("`{name}` is gone");
    Ok(())
}

fn up(name: String, nodes: u32, racks: u32, audit: bool) -> Result<(), Error> {
    // Built first: nothing is left half-way if it does not compile.
    let fleet = if nodes > 0 { Some(rerail_e2e::program("rerail-fleet")?) } else { None };
    let plane = ControlPlane::start(Options { name: Some(name), audit, ..Options::default() })?;
    if let Some(program) = fleet {
        plane.run(&fleet_component(&plane, program, nodes, racks)?)?;
    }
    let about = format!("nodes    {nodes} in {racks} racks; they appear within seconds");
    leave_running(plane, if nodes > 0 { std::slice::from_ref(&about) } else { &[] })
}

/// Leaves a control plane running, and says what a person needs to work with it, with these lines between.
pub(crate) fn leave_running(plane: ControlPlane, about: &[String]) -> Result<(), Error> {
    let (kubectl, kubeconfig) = (plane.kubectl(), plane.admin_kubeconfig());
    let instance = plane.detach()?;
    anstream::println!("API      {}", instance.api_url);
    about.iter().for_each(|line| anstream::println!("{line}"));
    anstream::println!("logs     {}/*.log", instance.dir.display());
    anstream::println!("kubectl  {}", kubectl.display());
    anstream::println!("end      cargo xtask controlplane down {}", instance.name);
    anstream::println!();
    anstream::println!("export KUBECONFIG={}", kubeconfig.display());
    Ok(())
}

/// The fleet runs under its own name, with the rights that it says it needs.
fn fleet_component(
    plane: &ControlPlane,
    program: PathBuf,
    nodes: u32,
    racks: u32,
) -> Result<Component, Error> {
    let shown = |path: &Path| path.display().to_string();
    // One of the rights is in this namespace.
    plane.run_kubectl(&["create", "namespace", names::NODE_NAMESPACE])?;
    plane.apply(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/fleet/rbac.yaml"))?;
    let kubeconfig = plane.kubeconfig_for_user("rerail-fleet", &[])?;
    let mut argv = vec![shown(&program)];
    argv.extend(["--kubeconfig".to_owned(), shown(&kubeconfig)]);
    argv.extend(["--nodes".to_owned(), nodes.to_string(), "--racks".to_owned(), racks.to_string()]);
    argv.extend(["--truth-log".to_owned(), shown(&plane.dir().join("truth.jsonl"))]);
    Ok(Component { name: "fleet".to_owned(), argv, guest: true, ..Component::default() })
}

fn status() -> Result<(), Error> {
    let instances = Instance::list()?;
    if instances.is_empty() {
        anstream::println!("no control plane is running");
        return Ok(());
    }
    anstream::println!("{:20} {:>8}  {:26} {:9} UPTIME", "NAME", "PID", "API", "HEALTH");
    for instance in instances {
        let health = if instance.is_ready()? { "ready" } else { "not ready" };
        let uptime = format_uptime(instance.uptime);
        anstream::println!(
            "{:20} {:>8}  {:26} {health:9} {uptime}",
            instance.name,
            instance.pid,
            instance.api_url
        );
    }
    Ok(())
}

fn format_uptime(uptime: Duration) -> String {
    let seconds = uptime.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (hours, minutes, _) => format!("{hours}h {minutes}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_has_two_units_at_most() {
        let shown = |seconds| format_uptime(Duration::from_secs(seconds));
        assert_eq!([shown(59), shown(61), shown(3_660)], ["59s", "1m 1s", "1h 1m"]);
    }
}
