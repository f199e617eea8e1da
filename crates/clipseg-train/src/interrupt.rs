//! Stopping a run between two steps.

use crate::error::{Result, TrainError};
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
    /// If the process listens for them already.
    pub fn on_ctrl_c() -> Result<Self> {
        let flag = Self::new();
        let raised = flag.clone();
        ctrlc::set_handler(move || {
            if raised.0.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
        })
        .map_err(|error| TrainError::Signal(error.to_string()))?;
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
