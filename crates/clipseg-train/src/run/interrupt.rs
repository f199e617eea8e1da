//! Stopping a run between two steps.

use crate::error::{Result, TrainError};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Asks a run to save and stop after the step that it is in.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// A flag that nobody has raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// A flag that Ctrl-C raises, and a request to terminate too. A second one ends the process at
    /// once.
    ///
    /// # Errors
    ///
    /// If the system does not let the process listen for them.
    pub fn on_ctrl_c() -> Result<Self> {
        let flag = Self::new();
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag down and raises it.
            flag::register_conditional_shutdown(signal, 128 + signal, flag.0.clone())
                .and_then(|_| flag::register(signal, flag.0.clone()))
                .map_err(|error| TrainError::Signal(error.to_string()))?;
        }
        Ok(flag)
    }

    /// Asks the run to stop.
    pub fn raise(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether the run was asked to stop.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
