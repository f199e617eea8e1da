//! Saves the tiny checkpoints for `round_trip.py`, which loads them into transformers.

use crate::support::{SEGMENTERS, device, fixtures};
use clipseg::model::Segmenter;
use std::path::PathBuf;

#[test]
#[ignore = "its other half is round_trip.py"]
fn save_for_transformers() {
    let out = std::env::var_os("CLIPSEG_ROUND_TRIP").expect("CLIPSEG_ROUND_TRIP names a folder");
    for name in SEGMENTERS {
        let segmenter =
            Segmenter::from_pretrained(&fixtures().join("models").join(name), &device())
                .expect("the fixture loads");
        segmenter
            .save_pretrained(&PathBuf::from(&out).join(name))
            .expect("the folder can be written");
    }
}
