//! A simulation that goes on more than once: its process is copied (`fork(2)`), so that what several
//! histories have in common is played once.

#![allow(unsafe_code, reason = "the C library's fork, waitpid and _exit")]

use std::{io, os::unix::process::ExitStatusExt, process::ExitStatus};

/// With this a copy ends that has told what came of it. A simulation that panics ends its copy with 0, as
/// every process does whose last thread ends.
const TOLD: i32 = 17;

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
    /// A copy has this thread only, and would wait for ever for what another one holds.
    #[error(
        "the process has {0} threads: a simulation branches only where nothing runs beside it but the thread \
         that waits for its end"
    )]
    NotAlone(usize),
    /// No copy.
    #[error("the process cannot be copied: {0}")]
    Fork(#[from] io::Error),
    /// It told nothing.
    #[error("the copy ended before its history did: {0}")]
    Ended(ExitStatus),
}

/// Copies the process, within [`run`](crate::run). Returns at once in the copy, and in the original when the
/// copy has ended: one of them runs at a time.
///
/// # Errors
/// In the original: there was no copy, or it fell over.
pub fn branch() -> Result<Branch, BranchError> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads > 2 {
        return Err(BranchError::NotAlone(threads));
    }
    // SAFETY: the other thread waits for this one to end and holds nothing that this one may want, so that
    // the copy is as whole as the original.
    let copy = unsafe { libc::fork() };
    if copy == 0 {
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

/// Ends a copy that has told what came of it. Nothing is cleaned up: that is the original's.
pub fn end() -> ! {
    // SAFETY: it only ends the process.
    unsafe { libc::_exit(TOLD) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_other_threads_nothing_is_copied() {
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let others = std::thread::spawn(move || {
            std::thread::spawn(move || wait.recv()).join().map(|_| ()).unwrap_or_default();
        });
        let here = branch();
        drop(stop);
        let _ = others.join();
        assert!(matches!(here, Err(BranchError::NotAlone(threads)) if threads > 2), "{here:?}");
    }
}
