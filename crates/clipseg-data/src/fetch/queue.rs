//! Which picture is next, and when no more are asked for.

use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// After so many pictures in a row that did not come, for whatever reason, no more are asked for: the
/// network is down, or the server does not want to be asked.
pub(super) const MOST_IN_VAIN: usize = 20;

/// The last so many of them are asked for from the end of the list. A download that goes on where an
/// earlier one was ended begins with the pictures that are not to be had, and those behind them may
/// well be.
const FROM_THE_END: usize = 5;

/// What the connections share: the pictures that are left, and what the server said.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    stopped: Condvar,
}

#[derive(Debug)]
struct State {
    left: Range<usize>,
    in_vain: usize,
    /// Why no more are asked for. Nothing undoes it.
    stop: Option<String>,
    /// Until when the server asked all connections to wait.
    not_before: Option<Instant>,
}

impl Queue {
    pub(super) fn new(pictures: usize) -> Self {
        Self {
            state: Mutex::new(State {
                left: 0..pictures,
                in_vain: 0,
                stop: None,
                not_before: None,
            }),
            stopped: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of the next picture, if there is one and it may be asked for.
    pub(super) fn next(&self) -> Option<usize> {
        let mut state = self.lock();
        if state.stop.is_some() {
            None
        } else if state.in_vain + FROM_THE_END >= MOST_IN_VAIN {
            state.left.next_back()
        } else {
            state.left.next()
        }
    }

    /// A picture came.
    pub(super) fn came(&self) {
        self.lock().in_vain = 0;
    }

    /// A picture was asked for and did not come.
    pub(super) fn did_not_come(&self, reason: &str) {
        let in_vain = {
            let mut state = self.lock();
            state.in_vain += 1;
            state.in_vain
        };
        if in_vain >= MOST_IN_VAIN {
            self.stop(format!(
                "{in_vain} pictures in a row did not come, the last because {reason}"
            ));
        }
    }

    /// No more are asked for. The first reason counts.
    pub(super) fn stop(&self, reason: String) {
        self.lock().stop.get_or_insert(reason);
        self.stopped.notify_all();
    }

    /// Why no more are asked for.
    pub(super) fn reason(&self) -> Option<String> {
        self.lock().stop.clone()
    }

    /// The server asked to wait. All connections do.
    pub(super) fn hold(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut state = self.lock();
        state.not_before = Some(state.not_before.map_or(until, |earlier| earlier.max(until)));
    }

    /// Waits for so long, and for as long as the server asked for, or until no more are asked for. Tells
    /// whether there is still something to do.
    pub(super) fn wait(&self, pause: Duration) -> bool {
        let pause = Instant::now() + pause;
        let mut state = self.lock();
        loop {
            if state.stop.is_some() {
                return false;
            }
            // Another connection may be told to wait longer while this one sleeps.
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
