//! Channels of pixels as planes.

/// Writes the three channels of pixels as planes one after the other.
///
/// `value` gives the value of a level in a channel (0, 1 or 2 for red, green and blue).
///
/// # Shapes
///
/// - pixels: `[height, width, 3]`
/// - planes: `[3, height, width]`
///
/// # Panics
///
/// If `planes` has another length than `pixels`.
pub fn write_planes<T: Copy, U>(pixels: &[T], planes: &mut [U], value: impl Fn(usize, T) -> U) {
    assert_eq!(pixels.len(), planes.len(), "one value for each level");
    let (pixels, _) = pixels.as_chunks::<3>();
    for (channel, plane) in planes.chunks_exact_mut(pixels.len().max(1)).enumerate() {
        for (target, levels) in plane.iter_mut().zip(pixels) {
            *target = value(channel, levels[channel]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_follow_each_other() {
        let mut planes = [0.0; 6];
        let value = |channel, level: u8| f32::from(level) + 100.0 * channel as f32;
        write_planes(&[1, 2, 3, 4, 5, 6], &mut planes, value);
        assert_eq!(planes, [1.0, 4.0, 102.0, 105.0, 203.0, 206.0]);
        write_planes(&[0u8; 0], &mut [], value);
    }
}
