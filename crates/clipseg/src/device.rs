//! Choosing a device by name, as a command line does.
//!
//! Burn's own `Device::default()` depends on the features that were compiled in, not on what the
//! machine has, so nothing in this workspace calls it.

use crate::error::DeviceError;
use burn::prelude::*;

/// The names that [`device`] accepts, and the Cargo feature that each needs.
const DEVICE_NAMES: [(&str, &str); 5] = [
    ("cpu", "flex"),
    ("ndarray", "ndarray"),
    ("wgpu", "wgpu"),
    ("vulkan", "vulkan"),
    ("cuda", "cuda"),
];

/// Returns the device of a name: `cpu`, `ndarray`, `wgpu`, `vulkan` or `cuda`.
///
/// A number after a colon selects one of several GPUs: `cuda:1`, or `vulkan:0` for the first discrete
/// GPU. `flex` is another name of `cpu`. A GPU has to compute one sum here, so that a missing driver
/// is an error now and not a panic later.
///
/// # Errors
///
/// A [`DeviceError`] if the name is unknown, if the Cargo feature that it needs was not compiled in
/// (the message names the feature), or if the machine has no such device.
///
/// # Example
///
/// ```
/// # #[cfg(feature = "flex")]
/// let cpu = clipseg::device("cpu")?;
/// assert!(clipseg::device("abacus").is_err());
/// # Ok::<(), clipseg::DeviceError>(())
/// ```
pub fn device(name: &str) -> Result<Device, DeviceError> {
    let given = || name.to_owned();
    let (kind, index) = match name.split_once(':') {
        None => (name, None),
        Some((kind, index)) => {
            let number = index.parse::<usize>().map_err(|_| DeviceError::Index {
                name: given(),
                index: index.to_owned(),
            })?;
            (kind, Some(number))
        }
    };
    let kind = if kind == "flex" { "cpu" } else { kind };
    let Some((_, feature)) = DEVICE_NAMES.iter().find(|(known, _)| *known == kind) else {
        return Err(DeviceError::Unknown {
            name: given(),
            known: DEVICE_NAMES.map(|(known, _)| known).join(", "),
        });
    };
    if index.is_some() && matches!(kind, "cpu" | "ndarray") {
        return Err(DeviceError::NotNumbered { name: given() });
    }
    let no_answer = |message| DeviceError::NoAnswer {
        name: given(),
        message,
    };
    let device = catch(|| construct(kind, index)).map_err(no_answer)?;
    let device = device.ok_or_else(|| DeviceError::NotCompiled {
        name: given(),
        feature,
    })?;
    if !matches!(kind, "cpu" | "ndarray") {
        probe(&device).map_err(no_answer)?;
    }
    Ok(device)
}

#[cfg_attr(
    not(any(feature = "wgpu", feature = "vulkan", feature = "cuda")),
    expect(unused_variables, reason = "only GPUs are numbered")
)]
fn construct(kind: &str, index: Option<usize>) -> Option<Device> {
    #[cfg(any(feature = "wgpu", feature = "vulkan"))]
    let adapter = match index {
        None => DeviceKind::DefaultDevice,
        Some(index) => DeviceKind::DiscreteGpu(index),
    };
    match kind {
        #[cfg(feature = "flex")]
        "cpu" => Some(Device::flex()),
        #[cfg(feature = "ndarray")]
        "ndarray" => {
            #[expect(deprecated, reason = "asked for by name; Burn still ships it")]
            let device = Device::ndarray();
            Some(device)
        }
        #[cfg(feature = "wgpu")]
        "wgpu" => Some(Device::wgpu(adapter)),
        #[cfg(feature = "vulkan")]
        "vulkan" => Some(Device::vulkan(adapter)),
        #[cfg(feature = "cuda")]
        "cuda" => Some(Device::cuda(index.unwrap_or(0))),
        _ => None,
    }
}

/// Computes a sum: Burn's constructors are lazy, and its GPU runtimes panic if there is no GPU.
fn probe(device: &Device) -> Result<(), String> {
    let sum = catch(|| {
        let sum = Tensor::<1>::ones([2], device).sum();
        sum.try_into_scalar::<f32>()
    })?;
    match sum {
        Ok(2.0) => Ok(()),
        Ok(sum) => Err(format!("1 + 1 came back as {sum}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Runs a function that panics if a driver is missing, as Burn's CUDA runtime does without `libcuda`, and returns
/// the panic's message as an error.
fn catch<T>(open: impl FnOnce() -> T) -> Result<T, String> {
    // Nothing of the function is used after a panic.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(open)).map_err(|panic| {
        panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "the driver could not be opened".into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &str) -> String {
        match device(name) {
            Ok(_) => panic!("`{name}` was accepted"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    #[cfg(feature = "flex")]
    fn the_cpu_has_two_names() {
        assert_eq!(device("cpu").unwrap(), device("flex").unwrap());
    }

    #[test]
    fn a_missing_feature_is_named() {
        if !cfg!(feature = "cuda") {
            assert_eq!(
                message("cuda:1"),
                "device `cuda:1`: not compiled in; build with `--features cuda`"
            );
        }
        if !cfg!(feature = "vulkan") {
            assert!(message("vulkan").contains("--features vulkan"));
        }
    }

    #[test]
    fn a_driver_that_panics_is_an_error() {
        let missing = catch(|| -> u8 { panic!("no library {}", "libcuda.so") });
        assert_eq!(missing.unwrap_err(), "no library libcuda.so");
        assert!(catch(|| std::panic::panic_any(7)).is_err());
        assert_eq!(catch(|| 3), Ok(3));
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(
            message("tpu"),
            "device `tpu`: unknown; known are cpu, ndarray, wgpu, vulkan, cuda"
        );
        assert!(message("cuda:one").contains("is not a number"));
        assert!(message("cpu:1").contains("takes no number"));
    }
}
