//! Panics on the thread of a simulation, in whatever task: none may be lost.

use std::{cell::RefCell, sync::Once};

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Begins a run: from now on the panics of this thread are noted.
pub fn forget() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let in_simulation = std::thread::current().name() == Some("simulation");
            if in_simulation {
                // A panic while the list is written, or when the thread ends, is shown as usual.
                let noted = PANICS.try_with(|panics| {
                    panics.try_borrow_mut().map(|mut panics| panics.push(panic.to_string())).is_ok()
                });
                if noted == Ok(true) {
                    return;
                }
            }
            usual(panic);
        }));
    });
    PANICS.take();
}

/// The panics of this thread since the run began.
pub fn take() -> Vec<String> {
    PANICS.take()
}
