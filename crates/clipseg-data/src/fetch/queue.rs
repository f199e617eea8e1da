//! The queue of pictures, and when a download stops.

use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The download stops after this number of failures in a row, for whatever reasons: the network is down
/// or the server refuses requests.
pub(super) const MOST_FAILURES: usize = 20;

/// The last of these failures are pictures from the end of the list. A resumed download begins with the
/// pictures that are unavailable, while later ones may be available.
const FROM_THE_END: usize = 5;

/// Shared by all connections: the pictures that are left, and requests of the server to wait or stop.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    stopped: Condvar,
}

#[derive(Debug)]
struct State {
    left: Range<usize>,
    /// Failures since the last success.
    failures: usize,
    /// Reason of a stop, which is final.
    stop: Option<String>,
    /// Time until which all connections wait at the request of the server.
    not_before: Option<Instant>,
}

impl Queue {
    pub(super) fn new(pictures: usize) -> Self {
        Self {
            state: Mutex::new(State {
                left: 0..pictures,
                failures: 0,
                stop: None,
                not_before: None,
            }),
            stopped: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Index of the next picture; `None` at the end or after a stop.
    pub(super) fn next(&self) -> Option<usize> {
        let mut state = self.lock();
        if state.stop.is_some() {
            None
        } else if state.failures + FROM_THE_END >= MOST_FAILURES {
            state.left.next_back()
        } else {
            state.left.next()
        }
    }

    /// Counts a success.
    pub(super) fn succeeded(&self) {
        self.lock().failures = 0;
    }

    /// Counts a failed picture, and stops the download after too many.
    pub(super) fn failed(&self, reason: &str) {
        let failures = {
            let mut state = self.lock();
            state.failures += 1;
            state.failures
        };
        if failures >= MOST_FAILURES {
            self.stop(format!(
                "{failures} pictures in a row failed, the last because {reason}"
            ));
        }
    }

    /// Stops the download. If it was stopped before, the first reason is kept.
    pub(super) fn stop(&self, reason: String) {
        self.lock().stop.get_or_insert(reason);
        self.stopped.notify_all();
    }

    /// Reason of the stop, if any.
    pub(super) fn reason(&self) -> Option<String> {
        self.lock().stop.clone()
    }

    /// Makes all connections wait, as the server requests.
    pub(super) fn hold(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut state = self.lock();
        state.not_before = Some(state.not_before.map_or(until, |earlier| earlier.max(until)));
    }

    /// Waits for `pause` and for as long as the server requests, or until a stop. Returns `false` after a
    /// stop.
    pub(super) fn wait(&self, pause: Duration) -> bool {
        let pause = Instant::now() + pause;
        let mut state = self.lock();
        loop {
            if state.stop.is_some() {
                return false;
            }
            // Another connection may receive a longer wait while this one sleeps.
            let until = state.not_before.map_or(pause, |until| until.max(pause));
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            (state, _) = self
                .stopped
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}
