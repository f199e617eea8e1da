//! Refinement of soft masks, against the reference implementation.

use crate::support::{Answers, fixtures_with};
use clipseg::model::{Refinement, SoftMask};
use image::RgbImage;

/// The picture of the fixture, `[1, 3, height, width]` with levels from 0 to 1.
fn picture(answers: &Answers) -> RgbImage {
    let levels = answers.values("in.pamr.picture");
    let shape = answers.data("in.pamr.picture").shape().to_vec();
    let (height, width) = (shape[2], shape[3]);
    let plane = width * height;
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let at = y as usize * width + x as usize;
        image::Rgb([0, 1, 2].map(|channel| (255.0 * levels[channel * plane + at]).round() as u8))
    })
}

#[test]
fn pamr_equals_the_reference() {
    let folder = fixtures_with("dense/expected.safetensors").join("dense");
    let answers = Answers::of(folder);
    let photo = picture(&answers);
    let size = [photo.width(), photo.height()];
    let pixels = (size[0] * size[1]) as usize;
    let masks = answers.values("in.pamr.mask");
    assert!(masks.len() > pixels, "several masks");
    for rounds in [1, 10] {
        let expected = answers.values(&format!("out.pamr.mask.{rounds}"));
        for (mask, expected) in masks.chunks(pixels).zip(expected.chunks(pixels)) {
            let mask = SoftMask::from_probabilities(mask.to_vec(), size).unwrap();
            let refined = mask.refine(&photo, Refinement::Pamr { rounds }).unwrap();
            let pairs = refined.probabilities().iter().zip(expected);
            for (index, (found, expected)) in pairs.enumerate() {
                assert!(
                    (found - expected).abs() <= 1e-5,
                    "{rounds} rounds, pixel {index}: {found}, expected {expected}"
                );
            }
        }
    }
}
