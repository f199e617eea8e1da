//! How large pictures may be.

/// Longest side in pixels of a picture that is decoded.
const LONGEST_SIDE: u32 = 32_768;
/// Most pixels of a picture that is decoded: Pillow's limit against decompression bombs.
pub(crate) const MOST_PIXELS: u64 = 178_956_970;

/// Whether a picture of this size is refused.
pub(crate) fn is_too_large(width: u32, height: u32) -> bool {
    width.max(height) > LONGEST_SIDE || u64::from(width) * u64::from(height) > MOST_PIXELS
}
