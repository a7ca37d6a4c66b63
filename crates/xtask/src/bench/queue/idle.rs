//! What the operators cost while nothing happens but heartbeats.

use std::time::Duration;

use serde::Serialize;

use super::scene::Scene;
use crate::bench::{BenchError, progress};

/// Ticks of a second in `/proc/<pid>/stat`; the same on every Linux that Kubernetes runs on.
const TICKS: f64 = 100.0;

/// One operator.
#[derive(Debug, Serialize)]
pub struct Idle {
    /// `leader` or `standby`.
    pub role: &'static str,
    /// Requests per second, watches apart.
    pub requests: f64,
    /// By verb and resource, over the whole time.
    pub kinds: Vec<(String, u64)>,
    /// Resident memory in MiB, at the end and at its peak.
    pub resident: (f64, f64),
    /// Percent of one core.
    pub cpu: f64,
}

/// Watches both for so many seconds.
pub async fn measure(scene: &Scene, seconds: u64) -> Result<Vec<Idle>, BenchError> {
    progress::stage(&format!("nothing happens for {seconds} s"));
    // What follows the start is over by then.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let leader = scene.leader().await?;
    let before = scene.requests().await?;
    let cpu = |name: &str| scene.cluster.plane.pid(name).and_then(cpu_seconds).unwrap_or(0.0);
    let used: Vec<_> = scene.operators.iter().map(|operator| cpu(operator.name())).collect();
    let began = tokio::time::Instant::now();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let after = scene.requests().await?;
    let took = began.elapsed().as_secs_f64();
    let mut all = Vec::new();
    for (index, operator) in scene.operators.iter().enumerate() {
        let (Some(after), Some(before)) = (after.get(index), before.get(index)) else { continue };
        let asked = after.since(before);
        let name = operator.name();
        let memory = |field| {
            let memory = scene.cluster.plane.pid(name).and_then(|pid| memory(pid, field));
            memory.unwrap_or(0.0)
        };
        let kinds = asked.0.iter().map(|((verb, what), count)| (format!("{verb} {what}"), *count));
        all.push(Idle {
            role: if name == leader.name() { "leader" } else { "standby" },
            requests: asked.total() as f64 / took,
            kinds: kinds.collect(),
            resident: (memory("VmRSS:"), memory("VmHWM:")),
            cpu: (cpu(name) - used.get(index).copied().unwrap_or(0.0)) / took * 100.0,
        });
    }
    Ok(all)
}

fn memory(pid: u32, field: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? / 1024.0)
}

/// User and system time.
fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS)
}
