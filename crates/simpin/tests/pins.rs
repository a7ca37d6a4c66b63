//! Every pin holds. All tests of this target go through [`rerail_simpin::run`].

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in helpers too")]

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    time::{Duration, SystemTime},
};

use rand::RngExt;
use rerail_simpin::{Error, START, run};
use tokio::time::{Instant, sleep};

/// Something of everybody who draws.
#[derive(Debug, PartialEq, Eq, Clone)]
struct Draws {
    rand: u64,
    std: u64,
    ahash: u64,
    fastrand: u64,
}

fn draws(seed: u64) -> Draws {
    run(seed, || async {
        Draws {
            rand: rand::rng().random(),
            std: RandomState::new().hash_one("x"),
            ahash: ahash::RandomState::new().hash_one("x"),
            fastrand: fastrand::u64(..),
        }
    })
    .unwrap()
}

#[test]
fn the_same_seed_draws_the_same_and_another_one_does_not() {
    let (one, again, other) = (draws(1), draws(1), draws(2));
    assert_eq!(one, again);
    assert_ne!(one.rand, other.rand);
    assert_ne!(one.std, other.std);
    assert_ne!(one.ahash, other.ahash);
    assert_ne!(one.fastrand, other.fastrand);
}

#[test]
fn simulations_beside_each_other_do_not_disturb_each_other() {
    let alone = draws(3);
    let threads: Vec<_> = (0..8).map(|_| std::thread::spawn(|| draws(3))).collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), alone);
    }
}

#[test]
fn the_wall_clock_is_virtual_and_never_says_the_same_twice() {
    #[allow(clippy::disallowed_methods, reason = "it is what is tested")]
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let (first, second, later, jiff) = run(4, move || async move {
        let (first, second) = (now(), now());
        sleep(Duration::from_hours(24)).await;
        #[allow(clippy::disallowed_methods, reason = "it is what is tested")]
        let jiff = jiff::Timestamp::now();
        (first, second, now(), jiff)
    })
    .unwrap();
    let little = Duration::from_micros(1);
    assert!(first >= START && first < START + little, "{first:?}");
    assert!(second > first);
    let day = Duration::from_hours(24);
    assert!(later >= START + day && later < START + day + little, "{later:?}");
    assert_eq!(jiff.to_string().get(..19), Some("2026-01-02T00:00:00"));
    // Outside of a simulation it is the real one.
    assert!(now() < START || now() > START + Duration::from_secs(60), "this machine's clock");
}

#[test]
fn time_passes_only_when_everybody_waits() {
    let passed = run(5, || async {
        let began = Instant::now();
        let other = tokio::task::spawn_local(sleep(Duration::from_millis(1)));
        sleep(Duration::from_millis(10)).await;
        other.await.unwrap();
        began.elapsed()
    })
    .unwrap();
    assert_eq!(passed, Duration::from_millis(10));
}

#[test]
fn a_panic_is_an_error_with_its_words() {
    let result = run(6, || async { panic!("on purpose") });
    assert!(matches!(result, Err::<(), _>(Error::Panicked(words)) if words == "on purpose"));
}
