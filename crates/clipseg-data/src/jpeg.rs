//! Whether a JPEG file is there to its end.
//!
//! The decoder fills what is not there with grey and does not say so, which is how a photograph
//! whose download broke off would become training data.

const START_OF_IMAGE: [u8; 2] = [0xff, 0xd8];
const END_OF_IMAGE: u8 = 0xd9;
const START_OF_SCAN: u8 = 0xda;

/// Whether the end of the picture is among the bytes. Files of other formats, whose decoders notice
/// it themselves, always are whole.
///
/// A file may contain a smaller picture with an end of its own, so the segments are followed
/// (ITU-T T.81, annex B).
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    let Some(mut rest) = bytes.strip_prefix(&START_OF_IMAGE) else {
        return true;
    };
    while let Some((marker, after)) = next_marker(rest) {
        rest = match marker {
            END_OF_IMAGE => return true,
            // These have no length.
            0x01 | 0xd0..=0xd8 => after,
            _ => {
                let Some(&length) = after.first_chunk() else {
                    return false;
                };
                let Some(next) = after.get(usize::from(u16::from_be_bytes(length))..) else {
                    return false;
                };
                if marker == START_OF_SCAN {
                    after_scan(next)
                } else {
                    next
                }
            }
        };
    }
    false
}

/// The next marker and what follows it. Anything before it is passed over, as decoders do.
fn next_marker(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let first = bytes
        .windows(2)
        .position(|pair| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xff))?;
    Some((bytes[first + 1], &bytes[first + 2..]))
}

/// What follows the coded pixels: the first marker that cannot be one of theirs.
fn after_scan(bytes: &[u8]) -> &[u8] {
    let end = bytes
        .windows(2)
        .position(|pair| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xd0..=0xd7 | 0xff));
    &bytes[end.unwrap_or(bytes.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::jpeg::JpegEncoder;
    use image::{ImageEncoder, Rgb, RgbImage};

    fn encoded(exif: Option<Vec<u8>>) -> Vec<u8> {
        let picture = RgbImage::from_fn(64, 48, |x, y| Rgb([4 * x as u8, 5 * y as u8, 77]));
        let mut bytes = Vec::new();
        let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 90);
        if let Some(exif) = exif {
            encoder.set_exif_metadata(exif).unwrap();
        }
        encoder.encode_image(&picture).unwrap();
        bytes
    }

    #[test]
    fn what_is_cut_off_is_noticed_wherever_it_is_cut() {
        let whole = encoded(None);
        assert!(is_whole(&whole));
        for length in 2..whole.len() {
            assert!(!is_whole(&whole[..length]), "{length} of {}", whole.len());
        }
        // Some cameras leave something behind the end.
        let mut longer = whole;
        longer.extend([0; 40]);
        assert!(is_whole(&longer));
    }

    #[test]
    fn the_end_of_a_thumbnail_is_not_the_end() {
        let thumbnail = encoded(None);
        let whole = encoded(Some(thumbnail.clone()));
        assert!(is_whole(&whole));
        for length in thumbnail.len()..whole.len() {
            assert!(!is_whole(&whole[..length]), "{length} of {}", whole.len());
        }
    }

    #[test]
    fn what_is_no_jpeg_is_left_to_others() {
        assert!(is_whole(b""));
        assert!(is_whole(b"\x89PNG"));
        assert!(!is_whole(&[0xff, 0xd8, 0xff, 0xe0, 0, 0]));
    }
}
