//! Checks that every decoder's configuration uses, and the error that names the field.

use crate::error::{ModelError, Result};
use clipseg_clip::{ClipConfig, ClipError};
use std::path::Path;

/// The largest width of a layer.
const MAX_WIDTH: usize = 1 << 16;
/// The largest number of parameters of a decoder, 2³⁰ bytes of them in single precision. It is checked
/// before the memory is allocated, so that a wrong number in a file is an error and not a crash.
const MAX_PARAMETERS: f64 = (1u64 << 28) as f64;

/// The error for a field of a configuration.
pub(crate) fn field_error(path: &Path, field: &str, message: String) -> ModelError {
    ClipError::Config {
        path: path.to_owned(),
        field: field.to_owned(),
        message,
    }
    .into()
}

/// Checks that a width is from `least` to [`MAX_WIDTH`].
pub(super) fn check_width(field: &str, value: usize, least: usize, path: &Path) -> Result<()> {
    if value < least {
        let message = format!("{value}, expected at least {least}");
        return Err(field_error(path, field, message));
    }
    if value > MAX_WIDTH {
        let message = format!("{value}, expected at most {MAX_WIDTH}");
        return Err(field_error(path, field, message));
    }
    Ok(())
}

/// Checks the approximate number of parameters of a decoder.
pub(super) fn check_parameters(field: &str, parameters: f64, path: &Path) -> Result<()> {
    if parameters <= MAX_PARAMETERS {
        return Ok(());
    }
    let message = format!(
        "gives a decoder of {parameters:.1e} parameters, expected at most {MAX_PARAMETERS:.1e}"
    );
    Err(field_error(path, field, message))
}

/// Checks that there is at least one layer, that the vision encoder has all of them, and that they are
/// listed in ascending order.
pub(super) fn check_layers(
    field: &str,
    layers: &[usize],
    clip: &ClipConfig,
    path: &Path,
) -> Result<()> {
    let depth = clip.vision_config.num_hidden_layers;
    if layers.is_empty() || layers.iter().any(|&layer| layer >= depth) {
        let expected = match depth {
            0 => "a vision encoder with layers".to_owned(),
            _ => format!("one or more of 0 to {}", depth - 1),
        };
        let message = format!("{layers:?}, expected {expected}");
        return Err(field_error(path, field, message));
    }
    if !layers.is_sorted_by(|shallow, deep| shallow < deep) {
        let message = format!("{layers:?}, expected each layer once, in ascending order");
        return Err(field_error(path, field, message));
    }
    Ok(())
}
