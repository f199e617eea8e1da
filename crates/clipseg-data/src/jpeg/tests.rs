//! Complete, truncated, damaged and unusual files, compared with the pixels of Pillow.

use super::*;
use crate::error::DataError;
use crate::pictures::{decode_rgb, load_rgb};
use image::codecs::jpeg::JpegEncoder;
use image::{ImageEncoder, Rgb, RgbImage};
use std::path::{Path, PathBuf};

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/cases/jpeg")
        .join(name)
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(case(name)).unwrap()
}

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

fn kind(bytes: &[u8]) -> Option<FaultKind> {
    check(bytes).err().map(|fault| fault.kind)
}

/// Mean and maximum difference over all values.
fn difference(a: &RgbImage, b: &RgbImage) -> (f64, u8) {
    assert_eq!(a.dimensions(), b.dimensions());
    let values = || {
        a.as_raw()
            .iter()
            .zip(b.as_raw())
            .map(|(a, b)| a.abs_diff(*b))
    };
    let sum: f64 = values().map(f64::from).sum();
    (sum / a.as_raw().len() as f64, values().max().unwrap_or(0))
}

#[test]
fn pixels_equal_those_of_pillow() {
    let mut files = ["s3-1x1.jpg", "s3-2x2.jpg", "mjpeg-no-dht.jpg"]
        .map(case)
        .to_vec();
    for entry in std::fs::read_dir(case("pillow")).unwrap() {
        files.push(entry.unwrap().path());
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jpg"));
    assert_eq!(files.len(), 46);
    let far = files.iter().filter_map(|path| {
        let ours = load_rgb(path).unwrap();
        let theirs = load_rgb(&path.with_extension("png")).unwrap();
        let (mean, largest) = difference(&ours, &theirs);
        let message = format!("{}: mean {mean}, maximum {largest}", path.display());
        (mean >= 1.5).then_some(message)
    });
    assert_eq!(far.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn default_tables_are_added_to_motion_jpeg() {
    let bare = read("mjpeg-no-dht.jpg");
    let Ok(Checked::File(whole)) = check(&bare) else {
        panic!("it contains all blocks");
    };
    assert!(whole.len() > bare.len());
    let picture = decode_rgb(&bare, Path::new("frame.jpg")).unwrap();
    assert_eq!(picture.dimensions(), (160, 120));
    // A file that defines its tables is not copied.
    let own = read("pillow/plain-2x2.jpg");
    assert!(matches!(check(&own), Ok(Checked::File(Cow::Borrowed(_)))));
}

#[test]
fn truncation_is_detected_at_any_position() {
    for name in [
        "pillow/plain-2x2.jpg",
        "pillow/restart-2x1.jpg",
        "pillow/progressive-2x2.jpg",
        "pillow/restart-progressive.jpg",
        "pillow/scans-2x2.jpg",
        "pillow/grey-progressive.jpg",
    ] {
        let whole = read(name);
        assert_eq!(kind(&whole), None, "{name}");
        let length = whole.len() - 2;
        for length in 2..length {
            assert_eq!(
                kind(&whole[..length]),
                Some(FaultKind::CutOff),
                "{name}: {length}"
            );
        }
        // Only the end marker is missing, completely or by half.
        assert_eq!(kind(&whole[..length]), None, "{name}");
        assert_eq!(kind(&whole[..=length]), None, "{name}");
        // Some cameras append data after the end.
        let longer = [&whole[..], &[0; 40]].concat();
        assert_eq!(kind(&longer), None, "{name}");
    }
}

#[test]
fn missing_blocks_are_detected_despite_an_end_marker() {
    for name in [
        "pillow/plain-2x2.jpg",
        "pillow/restart-2x1.jpg",
        "pillow/scans-1x1.jpg",
    ] {
        let whole = read(name);
        for part in [4, 6, 8] {
            let cut = [&whole[..whole.len() * part / 9], &[0xff, 0xd9]].concat();
            assert_eq!(kind(&cut), Some(FaultKind::CutOff), "{name}: {part} of 9");
        }
    }
}

#[test]
fn a_missing_end_marker_does_not_change_the_pixels() {
    for name in [
        "pillow/plain-2x2.jpg",
        "pillow/progressive-2x1.jpg",
        "pillow/scans-2x2.jpg",
    ] {
        let whole = read(name);
        let name = Path::new(name);
        let cut = decode_rgb(&whole[..whole.len() - 2], name).unwrap();
        assert_eq!(cut, decode_rgb(&whole, name).unwrap());
    }
}

#[test]
fn the_end_of_a_thumbnail_is_not_the_end_of_the_picture() {
    let thumbnail = encoded(None);
    let whole = encoded(Some(thumbnail.clone()));
    assert_eq!(kind(&whole), None);
    for length in thumbnail.len()..whole.len() - 2 {
        assert_eq!(kind(&whole[..length]), Some(FaultKind::CutOff), "{length}");
    }
}

#[test]
fn the_message_contains_the_position_of_the_truncation() {
    for name in ["cut60.jpg", "prog-cut60.jpg"] {
        let length = read(name).len();
        let error = load_rgb(&case(name)).unwrap_err();
        assert!(matches!(error, DataError::CutOff { .. }), "{error}");
        let message = error.to_string();
        let start = format!(
            "{}: the picture file is truncated: at byte {length}, ",
            case(name).display()
        );
        assert!(message.starts_with(&start), "{message}");
        assert!(message.contains("groups of blocks of scan"), "{message}");
    }
}

#[test]
fn the_message_contains_the_position_of_damage() {
    let whole = read("pillow/restart-1x1.jpg");
    // Without its second restart marker, the part of the picture after it is missing.
    let restarts = |bytes: &[u8]| -> Vec<usize> {
        let pairs = bytes.windows(2).enumerate();
        pairs
            .filter(|(_, pair)| pair[0] == 0xff && matches!(pair[1], 0xd0..=0xd7))
            .map(|(at, _)| at)
            .collect()
    };
    let places = restarts(&whole);
    let mut cut = whole.clone();
    cut.drain(places[1]..places[2]);
    let fault = check(&cut).err().unwrap();
    assert_eq!(fault.kind, FaultKind::CutOff);
    assert_eq!(fault.offset, cut.len() - 2);

    // An unexpected marker in the middle of the data.
    let middle = (places[1] + places[2]) / 2;
    let mut marked = whole;
    marked[middle..middle + 4].copy_from_slice(&[0xff, 0xfe, 0x00, 0x02]);
    let error = decode_rgb(&marked, Path::new("a.jpg")).unwrap_err();
    let expected = format!(
        "a.jpg: not a readable picture: byte {middle}: the data of the scan ends too early"
    );
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[test]
fn unsupported_processes_are_named() {
    let mut bytes = read("pillow/plain-1x1.jpg");
    let frame = bytes
        .windows(2)
        .position(|pair| pair == [0xff, 0xc0])
        .unwrap();
    for (marker, precision, expected) in [
        (
            0xc9,
            8,
            "a JPEG with arithmetic coding, which is not supported",
        ),
        (
            0xc3,
            8,
            "a lossless JPEG (T.81, process 14), which is not supported",
        ),
        (0xc5, 8, "a hierarchical JPEG, which is not supported"),
        (
            0xc1,
            12,
            "a JPEG with 12 bits per channel, which is not supported",
        ),
    ] {
        bytes[frame + 1] = marker;
        bytes[frame + 4] = precision;
        let fault = check(&bytes).err().unwrap();
        assert_eq!((fault.kind, fault.offset), (FaultKind::Unsupported, frame));
        assert_eq!(fault.message, expected);
    }
}

#[test]
fn files_that_are_not_jpegs_are_accepted() {
    assert!(check(b"").is_ok());
    assert!(check(b"\x89PNG").is_ok());
    assert_eq!(
        kind(&[0xff, 0xd8, 0xff, 0xe0, 0, 0]),
        Some(FaultKind::CutOff)
    );
}

/// Random small changes, which must lead to a picture or an error.
#[test]
fn damage_never_panics() {
    let mut state = 1u64;
    let mut random = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for name in [
        "pillow/plain-2x2.jpg",
        "pillow/restart-4x1.jpg",
        "pillow/progressive-1x2.jpg",
        "pillow/scans-2x2.jpg",
        "pillow/pairs-2x1.jpg",
        "pillow/grey.jpg",
        "mjpeg-no-dht.jpg",
    ] {
        let whole = read(name);
        for _ in 0..300 {
            let mut bytes = whole.clone();
            for _ in 0..=random(3) {
                let at = random(bytes.len());
                match random(3) {
                    0 => bytes[at] = random(256) as u8,
                    1 => drop(
                        bytes.drain(at..(at + 1 + random(9)).min(whole.len()).min(bytes.len())),
                    ),
                    _ => bytes.insert(at, [0x00, 0xff, 0xd9, 0xda][random(4)]),
                }
            }
            let _ = decode_rgb(&bytes, Path::new(name));
        }
    }
}
