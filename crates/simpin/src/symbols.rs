//! The two functions of the C library that are replaced, for threads that are pinned. On all others they
//! ask the kernel, as the originals do.

#![allow(
    unsafe_code,
    reason = "functions of the C library take pointers, and are called by their names"
)]

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

/// What the wall clock says when a simulation begins: 2026-01-01T00:00:00Z, as the simulated API
/// server's does.
pub const START: Duration = Duration::from_secs(1_767_225_600);

/// What a pinned thread has. `Copy`, so that the cell needs no destructor and can be read while the
/// thread ends.
#[derive(Clone, Copy)]
struct Pins {
    /// Where the stream of random numbers is.
    state: u64,
    /// When the runtime's clock started; `None` before there is one.
    origin: Option<Instant>,
    /// How often the wall clock was asked. Each answer is a nanosecond later than the one before: a real
    /// clock never says the same twice, and kube names Events by it.
    asked: u32,
}

thread_local! {
    static PINS: Cell<Option<Pins>> = const { Cell::new(None) };
}

/// A thread is pinned while this lives.
pub(crate) struct Pinned(());

impl Pinned {
    pub(crate) fn new(seed: u64) -> Self {
        PINS.set(Some(Pins { state: seed, origin: None, asked: 0 }));
        Pinned(())
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        PINS.set(None);
    }
}

/// From now on the wall clock follows tokio's. Within the runtime.
pub(crate) fn let_time_pass() {
    if let Some(pins) = PINS.get() {
        PINS.set(Some(Pins { origin: Some(Instant::now()), ..pins }));
    }
}

/// Where the thread's stream is: it moves with every draw.
pub(crate) fn position() -> Option<u64> {
    PINS.get().map(|pins| pins.state)
}

/// The next number of the thread's stream (splitmix64).
fn draw() -> Option<u64> {
    let mut pins = PINS.get()?;
    pins.state = pins.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    PINS.set(Some(pins));
    let z = (pins.state ^ (pins.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Some(z ^ (z >> 31))
}

/// Source of ahash's states: the seed's on a pinned thread, one and the same elsewhere.
pub(crate) struct Drawn;

impl ahash::random_state::RandomSource for Drawn {
    fn gen_hasher_seed(&self) -> usize {
        usize::try_from(draw().unwrap_or_default() >> 1).unwrap_or_default()
    }
}

/// The wall clock of a pinned thread whose runtime runs.
fn wall_clock() -> Option<Duration> {
    let mut pins = PINS.get()?;
    let passed = Instant::now().duration_since(pins.origin?);
    pins.asked = pins.asked.wrapping_add(1);
    PINS.set(Some(pins));
    Some(START + passed + Duration::from_nanos(u64::from(pins.asked)))
}

/// `getrandom(2)`, as std and the crates that draw from the operating system call it.
///
/// # Safety
/// `buffer` points to `length` bytes that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, flags: u32) -> isize {
    if PINS.get().is_none() {
        // SAFETY: the caller's promise is the one that the kernel asks for.
        let got = unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) };
        return isize::try_from(got).unwrap_or(-1);
    }
    // SAFETY: by the caller's promise; a slice of no bytes may not come from a null pointer.
    let bytes: &mut [u8] = if length == 0 {
        &mut []
    } else {
        unsafe { std::slice::from_raw_parts_mut(buffer, length) }
    };
    for chunk in bytes.chunks_mut(8) {
        let drawn = draw().unwrap_or_default().to_le_bytes();
        chunk.iter_mut().zip(drawn).for_each(|(byte, drawn)| *byte = drawn);
    }
    isize::try_from(length).unwrap_or(isize::MAX)
}

/// `clock_gettime(2)`.
///
/// # Safety
/// `time` points to a `timespec` that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(
    clock: libc::clockid_t,
    time: *mut libc::timespec,
) -> libc::c_int {
    if clock == libc::CLOCK_REALTIME
        && let Some(now) = wall_clock()
    {
        let seconds = libc::time_t::try_from(now.as_secs()).unwrap_or(libc::time_t::MAX);
        let nanoseconds = libc::c_long::from(now.subsec_nanos().cast_signed());
        // SAFETY: by the caller's promise.
        unsafe { time.write(libc::timespec { tv_sec: seconds, tv_nsec: nanoseconds }) };
        return 0;
    }
    // SAFETY: the caller's promise is the one that the kernel asks for.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
    libc::c_int::try_from(result).unwrap_or(-1)
}
