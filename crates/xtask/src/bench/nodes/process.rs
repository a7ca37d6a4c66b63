//! What the kernel says of a process.

use std::time::Duration;

use crate::bench::BenchError;

/// Linux counts the time of processes in these (`USER_HZ`, the same on every architecture).
const TICKS_A_SECOND: f64 = 100.0;

/// Memory and time of a process.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Resident now, in KiB.
    pub resident_kib: u64,
    /// Of that, what is the process's own: not mapped from a file, such as its program.
    pub anonymous_kib: u64,
    /// The most that was resident at any time, in KiB.
    pub peak_kib: u64,
    /// CPU time so far.
    pub cpu: Duration,
}

/// Reads it.
pub fn usage(pid: u32) -> Result<Usage, BenchError> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}"));
    let (status, stat) = (read("status")?, read("stat")?);
    let missing = || BenchError::Metrics(format!("/proc/{pid} is not as expected"));
    Ok(Usage {
        resident_kib: kib(&status, "VmRSS").ok_or_else(missing)?,
        anonymous_kib: kib(&status, "RssAnon").ok_or_else(missing)?,
        peak_kib: kib(&status, "VmHWM").ok_or_else(missing)?,
        cpu: cpu(&stat).ok_or_else(missing)?,
    })
}

fn kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// User and system time: fields 14 and 15, counted from behind the name, which may hold spaces.
fn cpu(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some(Duration::from_secs_f64((ticks()? + ticks()?) / TICKS_A_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_says_of_a_process() {
        assert_eq!(kib("Name:\tx\nVmHWM:\t  20 kB\nVmRSS:\t   12 kB\n", "VmRSS"), Some(12));
        let stat = "7 (a b) c) S 1 7 7 0 -1 0 0 0 0 0 150 50 0 0 20 0 4 0 1 1 1";
        assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
        let own = usage(std::process::id()).unwrap();
        assert!(own.peak_kib >= own.resident_kib && own.resident_kib >= own.anonymous_kib);
    }
}
