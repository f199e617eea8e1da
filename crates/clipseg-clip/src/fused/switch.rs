//! Whether the kernels are used, for comparison with Burn's own operations.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Turns the kernels off if it is set to `off`, `0` or `false` when the process starts.
const VARIABLE: &str = "CLIPSEG_KERNELS";

fn switch() -> &'static AtomicBool {
    static SWITCH: OnceLock<AtomicBool> = OnceLock::new();
    SWITCH.get_or_init(|| {
        let value = std::env::var(VARIABLE).unwrap_or_default();
        AtomicBool::new(!matches!(value.as_str(), "off" | "0" | "false"))
    })
}

/// Turns the kernels of the `flex` device on or off, for the entire process.
///
/// They are on by default, unless the environment variable `CLIPSEG_KERNELS` is `off`. Without them, all
/// operations are Burn's own, which is slower; results differ by rounding.
pub fn use_kernels(on: bool) {
    switch().store(on, Ordering::Relaxed);
}

/// Whether the kernels are compiled in and turned on. They apply to the `flex` device only.
pub fn kernels_are_used() -> bool {
    cfg!(feature = "kernels") && switch().load(Ordering::Relaxed)
}
