//! Stopping a run between two steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that makes a run save a checkpoint and stop after the current step. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Creates a flag that is not raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a flag that Ctrl-C (SIGINT) or SIGTERM raises. A second signal ends the process at once.
    /// Needs the feature `signals`.
    ///
    /// # Errors
    ///
    /// If the operating system does not let the process handle these signals.
    #[cfg(feature = "signals")]
    pub fn on_ctrl_c() -> crate::error::Result<Self> {
        use signal_hook::consts::{SIGINT, SIGTERM};
        use signal_hook::flag;

        let flag = Self::new();
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag down and raises it.
            flag::register_conditional_shutdown(signal, 128 + signal, flag.0.clone())
                .and_then(|_| flag::register(signal, flag.0.clone()))
                .map_err(|error| crate::error::TrainError::Signal(error.to_string()))?;
        }
        Ok(flag)
    }

    /// Raises the flag.
    pub fn raise(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether the flag is raised.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
