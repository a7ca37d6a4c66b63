//! Many runs, on a few threads.

use std::{
    sync::{Mutex, PoisonError, mpsc},
    thread,
};

/// Threads that this machine is good for, at most these.
pub fn threads(most: usize) -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(most.max(1))
}

/// Does the work for each item on so many threads, and tells of each result as it comes. Ends early when
/// `tell` says `false`.
pub fn each<I, R>(
    threads: usize,
    items: I,
    work: impl Fn(I::Item) -> R + Sync,
    mut tell: impl FnMut(R) -> bool,
) where
    I: Iterator<Item: Send> + Send,
    R: Send,
{
    let items = Mutex::new(items);
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            let sender = sender.clone();
            let (items, work) = (&items, &work);
            scope.spawn(move || {
                loop {
                    let item = items.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(item) = item else { return };
                    if sender.send(work(item)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for result in &results {
            if !tell(result) {
                break;
            }
        }
        // Whoever still works finds nobody to tell, and ends.
        drop(results);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_done_once() {
        let mut done = Vec::new();
        each(
            3,
            0..100,
            |n| n * 2,
            |n| {
                done.push(n);
                true
            },
        );
        done.sort_unstable();
        assert_eq!(done, (0..100).map(|n| n * 2).collect::<Vec<_>>());
    }

    #[test]
    fn it_ends_when_enough_was_told() {
        let mut told = 0;
        each(
            2,
            0..,
            |n: u64| n,
            |_| {
                told += 1;
                told < 5
            },
        );
        assert_eq!(told, 5);
    }
}
