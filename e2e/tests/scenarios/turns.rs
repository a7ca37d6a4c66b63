//! Whose turn it is. Every scenario may be started at once (`cargo xtask test` does): those on a shared
//! cluster wait until one of a few is free, those with a cluster of their own until there is room for
//! another one. So machines are busy, and never busier than that, however many scenarios there are.

use std::{future::Future, sync::Arc};

use tokio::sync::{Mutex, MutexGuard, OnceCell, Semaphore, SemaphorePermit};

use crate::shared::Shared;

/// How many clusters are shared. In each, one scenario after the other is played.
const SHARED: usize = 2;

/// How many scenarios are played at a time on clusters of their own, besides the long one.
const OWN: usize = 2;

static FREE: Semaphore = Semaphore::const_new(SHARED);
static CLUSTERS: [Turns; SHARED] = [const { Turns::new() }; SHARED];
static ROOM: Semaphore = Semaphore::const_new(OWN);

struct Turns {
    turn: Mutex<()>,
    cluster: OnceCell<Arc<Shared>>,
}

impl Turns {
    const fn new() -> Self {
        Turns { turn: Mutex::const_new(()), cluster: OnceCell::const_new() }
    }
}

/// A shared cluster, for one scenario, until this is dropped.
pub struct Turn {
    pub cluster: &'static Arc<Shared>,
    // In this order: whoever gets the permit finds a turn that is free.
    _turn: MutexGuard<'static, ()>,
    _permit: SemaphorePermit<'static>,
}

/// Waits for a turn on a shared cluster; the first one there starts it.
pub async fn shared<F: Future<Output = Shared>>(start: impl FnOnce() -> F) -> Turn {
    let permit = FREE.acquire().await.unwrap();
    let free = |turns: &'static Turns| turns.turn.try_lock().ok().map(|turn| (turns, turn));
    let (turns, turn) = CLUSTERS.iter().find_map(free).unwrap();
    let cluster = turns.cluster.get_or_init(|| async { Arc::new(start().await) }).await;
    Turn { cluster, _turn: turn, _permit: permit }
}

/// Waits until there is room for another scenario on a cluster of its own.
pub async fn own() -> SemaphorePermit<'static> {
    ROOM.acquire().await.unwrap()
}
