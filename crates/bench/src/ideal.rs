//! How long a rolling reboot must take at least, whoever plans it, even with all boot times known in
//! advance. It knows numbers only, and nothing of the planner.

/// Boot times by rack, in microseconds.
pub type Racks = Vec<Vec<u64>>;

/// A time that no schedule can stay below: the most of what each limit by itself costs. Reboots are not
/// interrupted, at most `nodes` run at a time, and at most `racks` racks have one under way.
///
/// The best schedule takes this long or longer, so that an efficiency measured against it is never
/// flattered. For one node at a time, and for one rack after the other, it is the best schedule.
pub fn bound(boots: &Racks, nodes: usize, racks: usize) -> u64 {
    let all: Vec<u64> = boots.iter().flatten().copied().collect();
    // A rack is open for as long as its own reboots take on as many places as it can get.
    let open: Vec<u64> = boots.iter().map(|boots| on_machines(boots, nodes)).collect();
    on_machines(&all, nodes).max(on_machines(&open, racks))
}

/// A bound for jobs on machines that are alike: the longest job, the average load, and, since of the
/// `m·h + 1` longest jobs some machine gets `h + 1`, the sum of the `h + 1` shortest of these.
fn on_machines(jobs: &[u64], machines: usize) -> u64 {
    let machines = machines.clamp(1, jobs.len().max(1));
    let mut sorted = jobs.to_vec();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    let average = sorted.iter().sum::<u64>().div_ceil(machines as u64);
    let heights = 0..jobs.len().div_ceil(machines);
    let pigeons = heights.filter_map(|height| {
        let longest = sorted.get(..=machines * height)?;
        Some(longest.iter().rev().take(height + 1).sum::<u64>())
    });
    pigeons.max().unwrap_or(0).max(average)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_takes_the_sum_and_everything_at_once_the_longest() {
        let boots = vec![vec![3, 4], vec![5, 2]];
        assert_eq!(bound(&boots, 1, 2), 14);
        assert_eq!(bound(&boots, 4, 2), 5);
    }

    #[test]
    fn rack_after_rack_takes_the_sum_of_the_longest() {
        let boots = vec![vec![3, 4], vec![5, 2], vec![7, 7]];
        assert_eq!(bound(&boots, 2, 1), 4 + 5 + 7);
        // Three racks on two places: two of them share one, at best the two short ones.
        assert_eq!(bound(&boots, 4, 2), 4 + 5);
    }

    #[test]
    fn of_five_equal_jobs_on_two_machines_one_gets_three() {
        assert_eq!(on_machines(&[10; 5], 2), 30);
        assert_eq!(on_machines(&[], 2), 0);
    }

    #[test]
    fn no_schedule_of_a_small_case_is_shorter() {
        // Every assignment of six jobs to three machines.
        let jobs = [7, 5, 4, 4, 3, 1];
        let best = (0..3_u32.pow(6)).map(|code| {
            let mut loads = [0; 3];
            jobs.iter().zip(0..).for_each(|(job, position)| {
                loads[(code / 3_u32.pow(position) % 3) as usize] += job;
            });
            loads.into_iter().max().unwrap()
        });
        assert!(on_machines(&jobs, 3) <= best.min().unwrap());
    }
}
