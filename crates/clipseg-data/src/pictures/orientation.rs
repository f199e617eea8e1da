//! The orientation of a photograph from its metadata.

use image::ImageDecoder;
use image::metadata::Orientation;

/// Tag of the orientation (EXIF 2.3, 4.6.4; TIFF 6.0, section 8).
const ORIENTATION: u16 = 0x0112;

/// The orientation from EXIF or else from XMP, as in Pillow's `exif_transpose`. Broken metadata is ignored,
/// because the pixels are readable.
pub(super) fn of(decoder: &mut impl ImageDecoder) -> Orientation {
    let exif = decoder.exif_metadata().ok().flatten();
    let value = exif.as_deref().and_then(in_exif).or_else(|| {
        let xmp = decoder.xmp_metadata().ok().flatten()?;
        in_xmp(&xmp)
    });
    value
        .and_then(|value| Orientation::from_exif(u8::try_from(value).ok()?))
        .unwrap_or(Orientation::NoTransforms)
}

/// Byte order of a TIFF block.
struct Tiff<'a> {
    bytes: &'a [u8],
    little: bool,
}

impl Tiff<'_> {
    fn field<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let mut field: [u8; N] = self.bytes.get(at..)?.first_chunk().copied()?;
        if self.little {
            field.reverse();
        }
        Some(field)
    }

    fn short(&self, at: usize) -> Option<u16> {
        self.field(at).map(u16::from_be_bytes)
    }

    fn long(&self, at: usize) -> Option<u32> {
        self.field(at).map(u32::from_be_bytes)
    }
}

/// The value in the first directory of an EXIF block, of any integer type. The standard requires a SHORT,
/// but some programs write a LONG.
fn in_exif(bytes: &[u8]) -> Option<u32> {
    // Some programs keep the identifier of the JPEG segment.
    let bytes = bytes.strip_prefix(b"Exif\0\0").unwrap_or(bytes);
    let little = match bytes.first_chunk()? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let tiff = Tiff { bytes, little };
    let directory = tiff.long(4)? as usize;
    let entries = usize::from(tiff.short(directory)?);
    let found = (0..entries)
        .map(|entry| directory + 2 + 12 * entry)
        .find(|&at| tiff.short(at) == Some(ORIENTATION))?;
    if tiff.long(found + 4)? != 1 {
        return None;
    }
    // Types of TIFF 6.0, section 2. Values shorter than four bytes are left-aligned.
    match tiff.short(found + 2)? {
        1 | 6 => tiff.field(found + 8).map(|[value]: [u8; 1]| value.into()),
        3 | 8 => tiff.short(found + 8).map(u32::from),
        4 | 9 => tiff.long(found + 8),
        _ => None,
    }
}

/// The value of `tiff:Orientation` in XMP, as an attribute or as an element.
fn in_xmp(bytes: &[u8]) -> Option<u32> {
    let name = b"tiff:Orientation";
    let at = bytes
        .windows(name.len())
        .position(|window| window == name)?;
    let digit = match &bytes[at + name.len()..] {
        [b'=', b'"' | b'\'', digit, ..] | [b'>', digit, ..] => *digit,
        _ => return None,
    };
    char::from(digit).to_digit(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest EXIF block: one field with one value.
    fn block(little: bool, kind: u16, count: u32, value: &[u8]) -> Vec<u8> {
        let short = |value: u16| {
            if little {
                value.to_le_bytes()
            } else {
                value.to_be_bytes()
            }
        };
        let long = |value: u32| {
            if little {
                value.to_le_bytes()
            } else {
                value.to_be_bytes()
            }
        };
        let mut block = if little { *b"II" } else { *b"MM" }.to_vec();
        block.extend(short(42));
        block.extend(long(8));
        block.extend(short(1));
        block.extend(short(ORIENTATION));
        block.extend(short(kind));
        block.extend(long(count));
        block.extend(value);
        block.extend([0; 4]);
        block
    }

    #[test]
    fn all_integer_types_are_read_in_both_byte_orders() {
        for (kind, little, value) in [
            (1, true, [6, 0, 0, 0]),
            (1, false, [6, 0, 0, 0]),
            (3, true, [6, 0, 0, 0]),
            (3, false, [0, 6, 0, 0]),
            (4, true, [6, 0, 0, 0]),
            (4, false, [0, 0, 0, 6]),
            (8, true, [6, 0, 0, 0]),
            (9, false, [0, 0, 0, 6]),
        ] {
            let bytes = block(little, kind, 1, &value);
            assert_eq!(in_exif(&bytes), Some(6), "type {kind}, little {little}");
            assert_eq!(in_exif(&[b"Exif\0\0", &bytes[..]].concat()), Some(6));
        }
        // A text, a list, and another tag.
        assert_eq!(in_exif(&block(true, 2, 1, b"6\0\0\0")), None);
        assert_eq!(in_exif(&block(true, 3, 2, &[6, 0, 6, 0])), None);
        let mut other = block(true, 3, 1, &[6, 0, 0, 0]);
        other[10] = 0x13;
        assert_eq!(in_exif(&other), None);
    }

    #[test]
    fn broken_metadata_is_ignored() {
        let whole = block(true, 4, 1, &[6, 0, 0, 0]);
        for length in 0..22 {
            assert_eq!(in_exif(&whole[..length]), None, "{length}");
        }
        let mut far = whole;
        far[4..8].fill(0xff);
        assert_eq!(in_exif(&far), None);
    }

    #[test]
    fn xmp_is_read_as_pillow_reads_it() {
        assert_eq!(in_xmp(b"<a tiff:Orientation=\"8\"/>"), Some(8));
        assert_eq!(in_xmp(b"<tiff:Orientation>3</tiff:Orientation>"), Some(3));
        assert_eq!(in_xmp(b"<tiff:Orientation"), None);
        assert_eq!(in_xmp(b"tiff:Make"), None);
    }
}
