//! Choosing a device by name, as a command line does.
//!
//! Burn's own `Device::default()` goes by what was compiled in and not by what the machine has,
//! so nothing in this workspace calls it.

use crate::error::{ClipError, Result};
use burn::prelude::*;

/// The names that [`device`] knows, and the Cargo feature that each needs.
pub const DEVICE_NAMES: [(&str, &str); 5] = [
    ("cpu", "flex"),
    ("ndarray", "ndarray"),
    ("wgpu", "wgpu"),
    ("vulkan", "vulkan"),
    ("cuda", "cuda"),
];

/// The device of that name: `cpu`, `ndarray`, `wgpu`, `vulkan`, `cuda`.
///
/// A number after a colon picks one of several cards: `cuda:1`, `vulkan:0` (the first discrete
/// one). `flex` is another name of `cpu`. A GPU is opened and asked for one sum, so that a missing
/// driver is an error here and not a panic in the middle of the work.
///
/// # Errors
///
/// [`ClipError::Device`] if the name is unknown, if the feature that it needs was not compiled in
/// (the message names it), or if the machine has no such device.
///
/// # Example
///
/// ```
/// # #[cfg(feature = "flex")]
/// let cpu = clipseg_clip::device("cpu")?;
/// assert!(clipseg_clip::device("abacus").is_err());
/// # Ok::<(), clipseg_clip::ClipError>(())
/// ```
pub fn device(name: &str) -> Result<Device> {
    let fail = |message: String| ClipError::Device {
        name: name.to_owned(),
        message,
    };
    let (kind, index) = match name.split_once(':') {
        None => (name, None),
        Some((kind, index)) => {
            let index = index.parse::<usize>().map_err(|_| {
                fail(format!(
                    "`{index}` after the colon is not a number, as in `cuda:1`"
                ))
            })?;
            (kind, Some(index))
        }
    };
    let kind = if kind == "flex" { "cpu" } else { kind };
    let Some((_, feature)) = DEVICE_NAMES.iter().find(|(known, _)| *known == kind) else {
        let known: Vec<&str> = DEVICE_NAMES.iter().map(|(known, _)| *known).collect();
        return Err(fail(format!("unknown; known are {}", known.join(", "))));
    };
    if index.is_some() && matches!(kind, "cpu" | "ndarray") {
        return Err(fail(
            "the processor is one device and takes no number".into(),
        ));
    }
    let device = construct(kind, index).ok_or_else(|| {
        fail(format!(
            "not compiled in; build with `--features {feature}`"
        ))
    })?;
    if !matches!(kind, "cpu" | "ndarray") {
        probe(&device).map_err(|message| fail(format!("does not answer: {message}")))?;
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

/// Burn's constructors are lazy and its GPU runtimes panic where there is no card.
fn probe(device: &Device) -> Result<(), String> {
    let device = device.clone();
    let answer = std::panic::catch_unwind(move || {
        let sum = Tensor::<1>::ones([2], &device).sum();
        sum.try_into_scalar::<f32>()
            .map_err(|error| error.to_string())
    });
    match answer {
        Ok(Ok(2.0)) => Ok(()),
        Ok(Ok(sum)) => Err(format!("1 + 1 came back as {sum}")),
        Ok(Err(message)) => Err(message),
        Err(panic) => Err(panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "the driver could not be opened".into())),
    }
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
    fn the_processor_has_two_names() {
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
    fn nonsense_is_refused() {
        assert_eq!(
            message("tpu"),
            "device `tpu`: unknown; known are cpu, ndarray, wgpu, vulkan, cuda"
        );
        assert!(message("cuda:one").contains("is not a number"));
        assert!(message("cpu:1").contains("takes no number"));
    }
}
