//! The one place of the fleet that reads the clock.

use std::time::Duration;

use jiff::Timestamp;

/// The time now. A fake machine stamps heartbeats and the truth log with the world's own time; who
/// observes a cluster beside the truth log takes the same.
#[allow(
    clippy::disallowed_methods,
    reason = "a fixture that plays kubelets is the world, not a decision about it"
)]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Waits until the clock shows a later whole second than that.
///
/// Heartbeats are whole seconds. No real machine boots within the second of its last report, and
/// what tells reports before a boot from those after it relies on that; a fake machine can boot in
/// milliseconds.
pub(crate) async fn later_second_than(time: Option<Timestamp>) {
    let Some(time) = time else { return };
    while now().as_second() <= time.as_second() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// `metav1.Time`: whole seconds.
pub(crate) fn seconds(t: Timestamp) -> String {
    format!("{t:.0}")
}

/// `metav1.MicroTime`: six places, always.
pub(crate) fn micros(t: Timestamp) -> String {
    format!("{t:.6}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_as_the_api_server_writes_it() {
        let t: Timestamp = "2026-11-23T14:00:05.9876543Z".parse().unwrap();
        assert_eq!(seconds(t), "2026-11-23T14:00:05Z");
        assert_eq!(micros(t), "2026-11-23T14:00:05.987654Z");
    }
}
