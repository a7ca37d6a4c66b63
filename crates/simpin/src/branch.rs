//! A simulation that goes on more than once: its process is copied (`fork(2)`), so that what several
//! histories have in common is played once.

#![allow(unsafe_code, reason = "the C library's fork, waitpid and _exit")]

use std::{io, os::unix::process::ExitStatusExt, process::ExitStatus, thread, time::Duration};

use crate::symbols;

/// With this a copy ends that has told what came of it. A simulation that panics ends its copy with 0, as
/// every process does whose last thread ends.
const TOLD: i32 = 17;

/// And with this one that could not tell.
const SPEECHLESS: i32 = 18;

/// Seconds after which a copy is ended that has not ended by itself. A history takes milliseconds.
const PATIENCE: libc::c_uint = 600;

/// The kernel may show a thread for a moment longer that was waited for.
const LOOKS: usize = 20;

/// Who one is after a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Branch {
    /// The process that was there before. The copy has ended, and has told what came of it.
    Original,
    /// The copy, which ends with [`end`].
    Copy,
}

/// Why there is no branch.
#[derive(Debug, thiserror::Error)]
pub enum BranchError {
    /// A copy would have this thread only, and would wait for ever for what another one holds.
    #[error(
        "the process has {0} threads: a simulation branches only where nothing runs beside it but the thread \
         that waits for its end"
    )]
    NotAlone(usize),
    /// Not within [`run`](crate::run).
    #[error("this is no thread of a simulation")]
    NotSimulated,
    /// No copy.
    #[error("the process cannot be copied: {0}")]
    Fork(#[from] io::Error),
    /// It told nothing.
    #[error("the copy ended before its history was told: {0}")]
    Ended(ExitStatus),
}

/// Copies the process, within [`run`](crate::run). Returns at once in the copy, and in the original when the
/// copy has ended: one of them runs at a time. A copy that goes on for ten minutes is ended.
///
/// # Errors
/// In the original: there was no copy, or it fell over.
pub fn branch() -> Result<Branch, BranchError> {
    alone()?;
    // SAFETY: this thread is a simulation's, and the only other one waits for its end and holds nothing that
    // it may want, so that the copy is as whole as the original.
    let copy = unsafe { libc::fork() };
    if copy == 0 {
        // SAFETY: it only asks for a signal.
        unsafe { libc::alarm(PATIENCE) };
        return Ok(Branch::Copy);
    }
    if copy < 0 {
        return Err(io::Error::last_os_error().into());
    }
    let mut status = 0;
    // SAFETY: `status` may be written; the copy is ours, and nobody else waits for it.
    while unsafe { libc::waitpid(copy, &raw mut status, 0) } < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error.into());
        }
    }
    let status = ExitStatus::from_raw(status);
    match status.code() {
        Some(TOLD) => Ok(Branch::Original),
        _ => Err(BranchError::Ended(status)),
    }
}

/// A simulation, and beside it nobody but who waits for its end.
fn alone() -> Result<(), BranchError> {
    if symbols::position().is_none() {
        return Err(BranchError::NotSimulated);
    }
    let mut threads = 0;
    for _ in 0..LOOKS {
        threads = std::fs::read_dir("/proc/self/task")?.count();
        if threads <= 2 {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Err(BranchError::NotAlone(threads))
}

/// Ends a copy: whether it has told what came of it. Nothing is cleaned up: that is the original's.
pub fn end(told: bool) -> ! {
    // SAFETY: it only ends the process.
    unsafe { libc::_exit(if told { TOLD } else { SPEECHLESS }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test programs have more threads than two, so that `tests/branch.rs` is one of its own.
    #[test]
    fn beside_other_threads_nothing_is_copied() {
        assert!(matches!(branch(), Err(BranchError::NotSimulated)));
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let other = thread::spawn(move || wait.recv());
        let simulated = crate::run(0, || async { branch() });
        drop(stop);
        let _ = other.join();
        let threads = matches!(&simulated, Ok(Err(BranchError::NotAlone(n))) if *n > 2);
        assert!(threads, "{simulated:?}");
    }
}
