//! NumPy's file format for a plane of numbers.

use crate::error::{DataError, Result};

/// The length of everything before the numbers is a multiple of this.
const ALIGNMENT: usize = 64;
/// Magic string, version and length of the header.
const BEFORE_HEADER: usize = 10;

/// The bytes of an `.npy` file with one 32-bit float for each pixel, which `numpy.load` reads as an array of shape
/// `(height, width)`. The format is that of version 1.0 of `numpy.lib.format`.
///
/// # Errors
///
/// If the number of values is not `width · height`.
pub fn npy(values: &[f32], width: u32, height: u32) -> Result<Vec<u8>> {
    if values.len() as u64 != u64::from(width) * u64::from(height) {
        return Err(DataError::Input(format!(
            "{} values for a plane of {width}x{height}, expected one for each pixel",
            values.len()
        )));
    }
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({height}, {width}), }}");
    // The line break at the end counts too.
    let end = (BEFORE_HEADER + header.len() + 1).next_multiple_of(ALIGNMENT);
    header.extend(std::iter::repeat_n(
        ' ',
        end - BEFORE_HEADER - header.len() - 1,
    ));
    header.push('\n');
    let mut bytes = Vec::with_capacity(end + size_of_val(values));
    bytes.extend(b"\x93NUMPY\x01\x00");
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_padded_and_followed_by_the_numbers() {
        let bytes = npy(&[0.0, 1.0, 0.5, -2.0, 0.25, 3.0], 3, 2).unwrap();
        assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
        let header = std::str::from_utf8(&bytes[10..128]).unwrap();
        assert!(
            header.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }  ")
                && header.ends_with(" \n"),
            "{header}"
        );
        assert_eq!(bytes.len(), 128 + 24);
        assert_eq!(&bytes[132..136], 1f32.to_le_bytes());
        assert!(npy(&[0.0; 5], 3, 2).is_err());
    }
}
