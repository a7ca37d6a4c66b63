//! One process of an operator, as the world sees it: it runs, is stopped, or is dead.

use std::{future::pending, sync::Arc, time::Duration};

use crate::signal::Signal;

/// How a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Runs,
    /// Runs, and is stopped as soon as it writes: `true` = where it decides whether it may.
    StopsAtAWrite(bool),
    /// Stopped; what it has sent already goes on its way.
    Stopped,
    /// Stopped just when it was sending: what it wanted to send is sent when it goes on, without
    /// another look at the clock.
    StoppedSending,
    Dead,
}

/// A process; clones are the same one.
#[derive(Clone)]
pub struct Process {
    inner: Arc<Inner>,
}

struct Inner {
    /// The operator's name.
    operator: String,
    /// Its number among the processes of this operator.
    number: u32,
    state: Signal<State>,
    /// When it comes back after its death.
    back_after: Signal<Duration>,
}

impl Process {
    /// A process that runs.
    pub fn new(operator: &str, number: u32) -> Self {
        let state = Signal::new(State::Runs);
        let back_after = Signal::new(Duration::from_secs(1));
        let inner = Inner { operator: operator.to_owned(), number, state, back_after };
        Process { inner: Arc::new(inner) }
    }

    /// The operator's name.
    pub fn operator(&self) -> &str {
        &self.inner.operator
    }

    /// The name under which it acts: one for each process, since the next one knows nothing of what this
    /// one has read or sent.
    pub fn name(&self) -> String {
        format!("{}/{}", self.inner.operator, self.inner.number)
    }

    /// Its number among the processes of this operator, from 1.
    pub fn number(&self) -> u32 {
        self.inner.number
    }

    /// `kill -9`: nothing of it reaches the world any more, and nothing of the world reaches it.
    pub fn kill(&self, back_after: Duration) {
        self.inner.back_after.modify(|after| *after = back_after);
        self.inner.state.modify(|state| *state = State::Dead);
    }

    /// `kill -STOP`. Where it stands then: about to decide whether it may send (`deciding`), or behind
    /// that, about to send.
    pub fn stop(&self, deciding: bool) {
        self.turn(if deciding { State::Stopped } else { State::StoppedSending });
    }

    /// The same, as soon as it is about to write something for which it needs its Lease.
    pub fn stop_at_a_write(&self, deciding: bool) {
        self.turn(State::StopsAtAWrite(deciding));
    }

    /// It is about to write: before the decision whether it may, or behind it.
    pub fn writes(&self, deciding: bool) {
        if self.inner.state.get() == State::StopsAtAWrite(deciding) {
            self.stop(deciding);
        }
    }

    /// Resolves when it is stopped, or dead.
    pub async fn stopped(&self) {
        self.inner
            .state
            .when(|state| !matches!(state, State::Runs | State::StopsAtAWrite(_)))
            .await;
    }

    /// `kill -CONT`.
    pub fn go_on(&self) {
        self.turn(State::Runs);
    }

    fn turn(&self, new: State) {
        self.inner.state.modify(|state| {
            if *state != State::Dead {
                *state = new;
            }
        });
    }

    /// True once it was killed.
    pub fn is_dead(&self) -> bool {
        self.inner.state.get() == State::Dead
    }

    /// True while it is stopped where it would decide whether it may send.
    pub fn is_stopped_deciding(&self) -> bool {
        self.inner.state.get() == State::Stopped
    }

    /// Resolves when it was killed, with how long it takes to come back.
    pub async fn died(&self) -> Duration {
        self.inner.state.when(|state| *state == State::Dead).await;
        self.inner.back_after.get()
    }

    /// Resolves when it runs: at once, when it goes on, or never. For all that reaches it, and all that
    /// it sends.
    pub async fn proceed(&self) {
        self.unless(|state| matches!(state, State::Stopped | State::StoppedSending)).await;
    }

    /// The same for what is about to pass its fence.
    pub async fn pass_the_gate(&self) {
        self.unless(|state| state == State::Stopped).await;
    }

    async fn unless(&self, stopped: impl Fn(State) -> bool) {
        if self.inner.state.when(|state| !stopped(*state)).await == State::Dead {
            pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn nothing_passes_while_it_is_stopped_and_never_again_once_it_is_dead() {
        let process = Process::new("operator-1", 1);
        assert!(process.proceed().now_or_never().is_some());
        process.stop(true);
        assert!(process.proceed().now_or_never().is_none());
        assert!(process.pass_the_gate().now_or_never().is_none());
        process.go_on();
        assert!(process.proceed().now_or_never().is_some());
        process.stop(false);
        assert!(process.proceed().now_or_never().is_none());
        assert!(process.pass_the_gate().now_or_never().is_some());
        process.go_on();
        process.stop_at_a_write(true);
        process.writes(false);
        assert!(process.stopped().now_or_never().is_none());
        process.writes(true);
        assert!(process.stopped().now_or_never().is_some());
        assert!(process.is_stopped_deciding());
        process.kill(Duration::from_secs(7));
        process.go_on();
        assert!(process.proceed().now_or_never().is_none());
        assert!(process.is_dead());
        assert_eq!(process.died().now_or_never(), Some(Duration::from_secs(7)));
    }
}
