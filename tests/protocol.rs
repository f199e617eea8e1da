//! From files to samples, compared with the formulas of CLIPSeg's own code.

use crate::support::{Answers, device, fixtures_with};
use clipseg::data::{
    Mask, Omission, PhraseCut, PhraseCutDataset, Preprocessing, SampleOptions, Split, resize_rgb,
};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::sync::Arc;

const SIDE: u32 = 16;
/// A set of fixtures with this file has all of `protocol`.
const EXPECTED: &str = "protocol/expected.safetensors";

fn dataset(options: SampleOptions) -> PhraseCutDataset {
    let folder = fixtures_with(EXPECTED).join("protocol/VGPhraseCut_v0");
    let data = Arc::new(PhraseCut::open_splits(&folder, &[Split::Test]).unwrap());
    PhraseCutDataset::new(data, Split::Test, options).unwrap()
}

fn answers() -> Answers {
    Answers::of(fixtures_with(EXPECTED).join("protocol"))
}

/// Another order of additions may change the last digit of float32.
fn check_pixels(name: &str, found: &[f32]) {
    let expected = answers().values(name);
    assert_eq!(found.len(), expected.len(), "{name}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() <= 1e-6,
            "{name}: {found}, {expected}"
        );
    }
}

fn check_mask(name: &str, mask: &Mask) {
    let expected = answers().values(name);
    let found: Vec<f32> = mask.to_vec().into_iter().map(f32::from).collect();
    assert!(found == expected, "{name}: {mask:?}");
}

#[test]
fn whole_pictures_and_masks_are_those_of_the_formulas() {
    let samples = dataset(SampleOptions::clipseg(SIDE));
    // Three pictures with two phrases each; the other phrases are left out and counted.
    assert_eq!(samples.phrases(), 6);
    let left_out = samples.left_out();
    assert_eq!(left_out.phrases_for(Omission::SkippedPicture), 3);
    assert_eq!(left_out.phrases_for(Omission::EmptyMask), 3);
    assert_eq!(
        left_out.to_string(),
        "test: 6 of 12 phrases are left out: 3 of 1 picture to be skipped, 3 with empty masks"
    );
    for index in 0..6 {
        let batch = samples.batch(&[index], 0, &device()).unwrap();
        let pixels: Vec<f32> = batch.pixels.into_data().try_to_vec().unwrap();
        check_pixels(
            &format!("pixels.{}", samples.record(index).image_id),
            &pixels,
        );
        let sample = samples.sample(index, 0).unwrap();
        check_mask(&format!("mask.{}", sample.task_id), &sample.mask);
    }
}

#[test]
fn parts_are_cut_out_before_they_are_squashed() {
    for cache_bytes in [0, 1 << 20] {
        let samples = dataset(SampleOptions {
            crop: Some(0.05),
            cache_bytes,
            ..SampleOptions::clipseg(SIDE)
        });
        let mut windows = BTreeSet::new();
        for epoch in 0..60 {
            // The two phrases of the picture that is not square.
            for index in [0, 1] {
                let sample = samples.sample(index, epoch).unwrap();
                assert_eq!((sample.image_id, sample.view.window.width), (1, 43));
                let x = sample.view.window.x;
                windows.insert(x);
                let batch = samples.batch(&[index], epoch, &device()).unwrap();
                assert_eq!(batch.views[0], sample.view);
                let pixels: Vec<f32> = batch.pixels.into_data().try_to_vec().unwrap();
                check_pixels(&format!("crop.{x}.pixels"), &pixels);
                check_mask(&format!("crop.{x}.mask.{}", sample.task_id), &sample.mask);
            }
        }
        assert!(windows.len() > 12, "{windows:?}");
    }
}

#[test]
fn each_setting_of_the_protocol_makes_a_difference() {
    let exact = dataset(SampleOptions::clipseg(SIDE));
    let rounded = dataset(SampleOptions {
        preprocessing: Preprocessing::HuggingFace,
        ..SampleOptions::clipseg(SIDE)
    });
    let [exact, rounded] = [&exact, &rounded].map(|samples| samples.sample(0, 0).unwrap());
    assert_ne!(exact.image.to_rgb8(), rounded.image.to_rgb8());
    let plain = dataset(SampleOptions::new(SIDE, SIDE));
    // A polygon without a pixel centre has a pixel by the evaluator's rule, and its phrase is kept.
    assert_eq!((plain.phrases(), plain.left_out().phrases()), (9, 3));
    assert_ne!(plain.sample(0, 0).unwrap().mask, exact.mask);
    let whole = plain.data().image_path(1);
    let whole = clipseg::data::load_rgb(&whole).unwrap();
    let squashed = resize_rgb(&whole, SIDE, SIDE, clipseg::data::Filter::Bilinear);
    assert_eq!(rounded.image.to_rgb8(), squashed);
}

#[test]
fn masks_are_resized_as_pytorch_resizes_them() {
    #[derive(Deserialize)]
    struct Case {
        from: u32,
        to: u32,
        pixels: Vec<u32>,
    }
    let folder = fixtures_with(EXPECTED).join("protocol");
    let json = std::fs::read(folder.join("nearest.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&json).unwrap();
    let mut rounded = 0;
    for Case { from, to, pixels } in cases {
        // No two rows of pixels are equal.
        let inside = |x: u32| u8::from(x.wrapping_mul(2_654_435_761) >> 16 & 1 == 1);
        let values: Vec<u8> = (0..from).map(inside).collect();
        let expected: Vec<u8> = pixels.iter().map(|&x| inside(x)).collect();
        let row = Mask::from_vec(from, 1, values.clone());
        assert_eq!(row.resize_floor(to, 1).to_vec(), expected, "{from} to {to}");
        let column = Mask::from_vec(1, from, values);
        assert_eq!(
            column.resize_floor(1, to).to_vec(),
            expected,
            "{from} to {to}"
        );
        let whole = |index: u32| (u64::from(index) * u64::from(from) / u64::from(to)) as u32;
        rounded += pixels
            .iter()
            .zip(0..)
            .filter(|(x, index)| **x != whole(*index))
            .count();
    }
    assert!(rounded > 0, "single precision shows somewhere");
    assert_eq!(Mask::new(0, 3).resize_floor(4, 4), Mask::new(4, 4));
}
