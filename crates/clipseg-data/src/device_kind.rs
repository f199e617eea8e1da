//! Whether a device is the CPU or a GPU.

use burn::prelude::*;

/// Whether a device is the CPU.
///
/// What is sent to a GPU in fewer and smaller transfers is not sent to the CPU at all, and a GPU needs large
/// batches to be busy, which the CPU does not. So a few places choose by this, and the CPU computes the same
/// bits whatever is done for GPUs.
///
/// Burn answers this only with features that no library here turns on, so this reads the name of the device.
pub fn is_cpu(device: &Device) -> bool {
    let name = format!("{:?}", device.clone().without_autodiff());
    ["Flex", "NdArray"].iter().any(|cpu| name.contains(cpu))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flex_is_the_cpu() {
        assert!(is_cpu(&Device::flex()));
        assert!(is_cpu(&Device::flex().autodiff()));
    }
}
