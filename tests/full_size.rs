//! A checkpoint of the published size (ViT-B/16 at 352×352), which is too large to ship. Run with
//! `CLIPSEG_FULL_SIZE=<folder> CLIPSEG_PHOTO=<picture> cargo test --release -- --ignored full_size`.
//!
//! The folder is a checkpoint with its tokenizer, its `preprocessor_config.json`, and an
//! `expected.safetensors` with the reference's `in.pixel_values` and `out.logits` for the picture and
//! the prompts below.

use crate::support::{Answers, device};
use clipseg::model::Segmenter;
use std::path::PathBuf;

const PROMPTS: [&str; 4] = [
    "a cat",
    "the cat's ear",
    "a wooden table",
    "something to drink from",
];

#[test]
#[ignore = "needs a checkpoint of the real size"]
fn full_size_logits_from_tensors_and_from_a_photograph() {
    let path = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .unwrap_or_else(|| panic!("{name} is not set"))
    };
    let folder = path("CLIPSEG_FULL_SIZE");
    let segmenter = Segmenter::from_pretrained(&folder, &device()).expect("the folder loads");
    let answers = Answers::of(folder);
    let expected = answers.values("out.logits");
    let prompts = segmenter.encode_text(&PROMPTS).expect("plain texts");
    let worst = |logits: burn::tensor::Tensor<3>| {
        let found: Vec<f32> = logits.into_data().try_to_vec().expect("floats");
        assert_eq!(found.len(), expected.len());
        found
            .iter()
            .zip(&expected)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max)
    };

    let model = segmenter.model();
    let pixels = answers.float("in.pixel_values", &device());
    let from_tensors = worst(model.decode(&model.encode_image(pixels).unwrap(), prompts.clone()));
    let photo = clipseg::data::load_rgb(&path("CLIPSEG_PHOTO")).expect("a picture");
    let encoded = segmenter.encode_image(&photo).expect("it can be encoded");
    let from_photo = worst(
        segmenter
            .logits(&encoded, prompts)
            .expect("the prompts fit"),
    );
    println!(
        "largest difference: {from_tensors:e} from tensors, {from_photo:e} from the photograph"
    );
    assert!(from_tensors <= 1e-3 && from_photo <= 2e-2);
}
