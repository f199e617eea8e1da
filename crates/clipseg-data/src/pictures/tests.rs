//! Complete, broken, rotated and 16-bit pictures.

use super::*;
use crate::{
    CaptionOptions, Captions, PhraseCut, PhraseCutDataset, SampleOptions, ScenesConfig,
    SheetOptions, Split, check, contact_sheet, generate_scenes,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::PathBuf;
use std::sync::Arc;

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/cases")
        .join(name)
}

#[test]
fn the_kind_of_a_file_that_is_not_a_picture_is_named() {
    for (bytes, found) in [
        (&b""[..], "an empty file"),
        (b"just text", "a text file"),
        (b"<html>Sign in</html>", "a web page (HTML)"),
    ] {
        let error = decode_rgb(bytes, Path::new("cat.jpg")).unwrap_err();
        let expected = format!(
            "cat.jpg: not a readable picture: it is {found}, expected PNG, JPEG, WebP or BMP"
        );
        assert_eq!(error.to_string(), expected);
    }
    for (name, expected) in [
        ("x.heic", "a HEIC picture"),
        ("x.avif", "an AVIF picture"),
        ("x.tif", "a TIFF picture or a camera's raw file"),
    ] {
        let error = load_rgb(&case("formats").join(name)).unwrap_err();
        assert!(
            matches!(&error, DataError::NotAPicture { found, .. } if found == expected),
            "{error}"
        );
    }
    let missing = load_rgb(Path::new("no/such/cat.jpg"))
        .unwrap_err()
        .to_string();
    assert!(
        missing.starts_with("cannot read no/such/cat.jpg"),
        "{missing}"
    );
}

#[test]
fn what_is_cut_off_is_refused_in_every_format() {
    let picture = RgbImage::from_fn(50, 40, |x, y| {
        image::Rgb([
            (x * x * 31 + y * 17) as u8,
            (y * y * 7) as u8,
            (x * y) as u8,
        ])
    });
    for format in READ {
        let mut bytes = Vec::new();
        picture
            .write_to(&mut Cursor::new(&mut bytes), format)
            .unwrap();
        assert!(decode_rgb(&bytes, Path::new("a")).is_ok());
        for part in 2..19 {
            let error = decode_rgb(&bytes[..bytes.len() * part / 20], Path::new("a")).unwrap_err();
            assert!(
                matches!(error, DataError::CutOff { .. }),
                "{format:?}, {part} of 20: {error}"
            );
        }
    }
}

#[test]
fn an_orientation_stored_as_a_long_is_obeyed_by_photographs_only() {
    let path = case("exif/exif6-long.jpg");
    assert_eq!(load_rgb(&path).unwrap().dimensions(), (120, 160));
    assert_eq!(load_stored_rgb(&path).unwrap().dimensions(), (160, 120));
}

/// A valid PNG header with this size, and nearly no content.
fn bomb(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let small = DynamicImage::new_luma8(1, 1);
    small
        .write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)
        .unwrap();
    // The header chunk: its length, its name, then both sides; a checksum over name and fields.
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let checksum = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    })
}

#[test]
fn a_picture_beyond_the_limits_is_refused_before_it_is_decoded() {
    for (width, height) in [(40_000, 2), (30_000, 30_000)] {
        let error = decode_rgb(&bomb(width, height), Path::new("bomb.png")).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "bomb.png: a picture of {width}x{height} is too large, expected at most 32768 \
                 pixels per side and 179 megapixels"
            )
        );
    }
}

#[test]
fn a_photograph_is_turned_upright() {
    // Brighter to the right; orientation 6 rotates right to down.
    let wide = RgbImage::from_fn(32, 16, |x, _| image::Rgb([8 * x as u8; 3]));
    // The smallest EXIF block: little-endian, one field, 0x0112, a short of value 6.
    let exif: [u8; 26] = [
        b'I', b'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 0x01, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0,
    ];
    let mut bytes = Vec::new();
    let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 100);
    image::ImageEncoder::set_exif_metadata(&mut encoder, exif.to_vec()).unwrap();
    encoder.encode_image(&wide).unwrap();
    let upright = decode_rgb(&bytes, Path::new("turned.jpg")).unwrap();
    assert_eq!(upright.dimensions(), (16, 32));
    let [top, bottom] = [0, 31].map(|y| upright.get_pixel(8, y).0[0]);
    assert!(top < 20 && bottom > 230, "{top} above {bottom}");
}

#[test]
fn sixteen_bits_are_read_as_eight() {
    let deep = image::ImageBuffer::from_fn(2, 1, |x, _| image::Luma([x as u16 * u16::MAX]));
    let mut bytes = Vec::new();
    DynamicImage::ImageLuma16(deep)
        .write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)
        .unwrap();
    let picture = decode_rgb(&bytes, Path::new("deep.png")).unwrap();
    assert_eq!(picture.as_raw(), &[0, 0, 0, 255, 255, 255]);
}

/// A JPEG file with an EXIF orientation.
fn turned(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let block = [
        &b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"[..],
        &[orientation, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    let length = (block.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, &block, &jpeg[2..]].concat()
}

#[test]
fn pictures_of_a_data_set_are_not_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let scenes = folder.path().join("scenes");
    let config = ScenesConfig {
        images: 10,
        size: 48,
        seed: 5,
    };
    generate_scenes(&scenes, &config).unwrap();
    let read = || Arc::new(PhraseCut::open(&scenes).unwrap());
    let first = |data: Arc<PhraseCut>| {
        let dataset =
            PhraseCutDataset::new(data, Split::Train, SampleOptions::new(48, 48)).unwrap();
        dataset.sample(0, 0).unwrap()
    };
    // An epoch of all pictures.
    let captioned = || {
        let captions = Captions::open(&[&scenes], CaptionOptions::new(32)).unwrap();
        let samples = 4 * captions.pictures().unwrap();
        captions.batch(0, samples).unwrap().pixels()
    };
    let before = first(read());
    let pixels = captioned();
    let path = read().image_path(before.image_id);
    let plain = std::fs::read(&path).unwrap();
    for orientation in 2..=8 {
        std::fs::write(&path, turned(&plain, orientation)).unwrap();
        // A photograph would be rotated.
        assert_ne!(load_rgb(&path).unwrap(), load_stored_rgb(&path).unwrap());
        let after = first(read());
        assert_eq!(
            (after.image, after.mask),
            (before.image.clone(), before.mask.clone())
        );
        assert!(captioned() == pixels, "orientation {orientation}");
        let report = check(&read(), &|_, _| ());
        assert!(report.problems().is_empty(), "{:?}", report.problems());
        let sheet = |seed| {
            let options = SheetOptions {
                seed,
                ..SheetOptions::default()
            };
            contact_sheet(&read(), Split::Train, &options).unwrap()
        };
        let shown = sheet(1);
        std::fs::write(&path, &plain).unwrap();
        assert_eq!(shown, sheet(1));
    }
}

/// Random small changes, which must lead to a picture or an error.
#[test]
fn damage_never_panics() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut files: Vec<Vec<u8>> = ["masks/bg1.png", "masks/m16-1.png", "masks/q75.jpg"]
        .map(|name| std::fs::read(case(name)).unwrap())
        .to_vec();
    let picture = RgbImage::from_fn(20, 15, |x, y| image::Rgb([(x * y) as u8, x as u8, 200]));
    for format in READ {
        let mut bytes = Vec::new();
        picture
            .write_to(&mut Cursor::new(&mut bytes), format)
            .unwrap();
        files.push(bytes);
    }
    let (mut read, mut refused) = (0, 0);
    for whole in &files {
        for _ in 0..200 {
            let mut bytes = whole.clone();
            for _ in 0..random.random_range(1..4) {
                // Headers matter more than pixels.
                let end = if random.random() { 80 } else { bytes.len() };
                let at = random.random_range(0..end.min(bytes.len()));
                bytes[at] = random.random();
            }
            match decode(&bytes, Path::new("a"), Turn::Upright) {
                Ok(_) => read += 1,
                Err(_) => refused += 1,
            }
        }
    }
    assert!(read > 50 && refused > 50, "{read} read, {refused} refused");
}

#[test]
fn a_picture_without_pixels_is_refused() {
    let mut bytes = Vec::new();
    RgbImage::new(1, 1)
        .write_to(&mut Cursor::new(&mut bytes), ImageFormat::Bmp)
        .unwrap();
    // The width and height in the header.
    for at in [18, 22] {
        let mut empty = bytes.clone();
        empty[at] = 0;
        assert!(decode_rgb(&empty, Path::new("a.bmp")).is_err(), "{at}");
    }
}

#[cfg(unix)]
#[test]
fn a_named_pipe_is_reported_without_blocking() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("1.jpg");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    for error in [
        load_rgb(&path).unwrap_err(),
        load_stored_rgb(&path).unwrap_err(),
        crate::load_mask(&path).unwrap_err(),
    ] {
        let message = error.to_string();
        assert!(
            message.ends_with("1.jpg: it is a named pipe, expected a file"),
            "{message}"
        );
    }
}
