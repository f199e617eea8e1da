//! Saves the tiny checkpoints for `round_trip.py`, which loads them into transformers.

use crate::support::{SEGMENTERS, device, fixtures};
use clipseg::clip::Precision;
use clipseg::model::{ConvertOptions, ExportOptions, Segmenter, convert};
use std::path::PathBuf;

#[test]
#[ignore = "its other half is round_trip.py"]
fn save_for_transformers() {
    let out = std::env::var_os("CLIPSEG_ROUND_TRIP").expect("CLIPSEG_ROUND_TRIP names a folder");
    for name in SEGMENTERS {
        let segmenter =
            Segmenter::from_pretrained(&fixtures().join("models").join(name), &device())
                .expect("the fixture loads");
        let out = PathBuf::from(&out);
        segmenter
            .save_pretrained(&out.join(name))
            .expect("the folder can be written");
        let options = ExportOptions {
            precision: Precision::F32,
            ..ExportOptions::default()
        };
        segmenter
            .export(&out.join(format!("{name}-exported")), &options)
            .expect("the folder can be written");
    }
    let clip = fixtures().join("models/clip");
    let clip = clip.to_str().expect("a path in Unicode");
    let out = PathBuf::from(out).join("clip-converted");
    convert(clip, &out, &ConvertOptions::default(), &device()).expect("the folder can be written");
}
