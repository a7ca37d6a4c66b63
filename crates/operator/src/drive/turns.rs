//! Whose turn it is to look and to act. A driver waits before its look: the wait must not age what was
//! seen (SAFE-9).

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// How many runs are looked at and acted on at the same moment. A hundred at once make each other's
/// reads so slow that no last look is fresh any more (SAFE-9), and the Lease is not renewed in time:
/// with 100 runs on a busy API server leadership was lost again and again. One API server answers no
/// more writes a second to 64 clients than to few times 16 (docs/benchmarks.md).
const AT_ONCE: usize = 16;

/// How many of them may be beyond the cordon while others wait for theirs. Nodes that were admitted
/// together are all to be cordoned before the first is empty: else its pods are put on the next. More
/// than none, since a cordon that the API server does not answer must keep nobody else waiting
/// (SAFE-17).
const BESIDE_CORDONS: usize = 4;

/// The turns of the drivers.
pub struct Turns {
    all: Semaphore,
    beside_cordons: Semaphore,
    cordons: AtomicUsize,
}

/// A driver's turn, until it is dropped.
pub struct Turn<'a> {
    _one_of_all: Option<SemaphorePermit<'a>>,
    _beside_cordons: Option<SemaphorePermit<'a>>,
    _cordon: Option<Cordon<'a>>,
}

/// One that wants to cordon its node.
struct Cordon<'a>(&'a AtomicUsize);

impl<'a> Cordon<'a> {
    fn wanted(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Cordon(count)
    }
}

impl Drop for Cordon<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Turns {
    fn default() -> Self {
        Turns {
            all: Semaphore::new(AT_ONCE),
            beside_cordons: Semaphore::new(BESIDE_CORDONS),
            cordons: AtomicUsize::new(0),
        }
    }
}

impl Turns {
    /// Waits for the turn of a driver, which may want to cordon its node.
    pub async fn wait(&self, cordons: bool) -> Turn<'_> {
        let cordon = cordons.then(|| Cordon::wanted(&self.cordons));
        let others = self.cordons.load(Ordering::Relaxed) > 0;
        // Nobody closes the semaphores: there is always a permit to come.
        let beside = match cordon.is_none() && others {
            true => self.beside_cordons.acquire().await.ok(),
            false => None,
        };
        let one = self.all.acquire().await.ok();
        Turn { _one_of_all: one, _beside_cordons: beside, _cordon: cordon }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn sixteen_at_a_time_and_few_beside_the_cordons() {
        let turns = Turns::default();
        let now = |cordons| turns.wait(cordons).now_or_never();
        let drains: Vec<_> = (0..AT_ONCE).map(|_| now(false)).collect();
        assert!(drains.iter().all(Option::is_some));
        assert!(now(false).is_none() && now(true).is_none());
        drop(drains);
        let cordon = now(true);
        let drains: Vec<_> = (0..AT_ONCE).map(|_| now(false)).collect();
        assert_eq!(drains.iter().flatten().count(), BESIDE_CORDONS);
        let cordons: Vec<_> = (0..AT_ONCE).map(|_| now(true)).collect();
        assert_eq!(cordons.iter().flatten().count(), AT_ONCE - BESIDE_CORDONS - 1);
        drop((cordon, cordons, drains));
        let drains: Vec<_> = (0..AT_ONCE).map(|_| now(false)).collect();
        assert_eq!(drains.iter().flatten().count(), AT_ONCE, "nobody waits for a cordon any more");
    }
}
