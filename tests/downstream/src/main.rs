//! What another crate needs to load a model, segment a photograph and save a mask: one dependency
//! beside Burn, whose device it names.
//!
//! `cargo run -- MODEL PHOTO PROMPT MASK.png`; `cargo test` does it with the tiny checkpoint.

use burn::tensor::Device;
use clipseg_model::{Segmenter, data};
use std::error::Error;
use std::path::Path;

fn segment(model: &Path, photo: &Path, prompt: &str, mask: &Path) -> Result<f64, Box<dyn Error>> {
    let segmenter = Segmenter::from_pretrained(model, &Device::flex())?;
    let photo = segmenter.encode_image(&data::load_rgb(photo)?)?;
    let soft = segmenter.segment(&photo, &[prompt])?.remove(0);
    soft.threshold(0.3).to_gray_image().save(mask)?;
    Ok(soft.coverage(0.3))
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, photo, prompt, mask] = arguments.as_slice() else {
        return Err("expected MODEL PHOTO PROMPT MASK.png".into());
    };
    let covered = segment(model.as_ref(), photo.as_ref(), prompt, mask.as_ref())?;
    println!("{:.1} % of {photo} is {prompt}", 100.0 * covered);
    Ok(())
}

#[test]
fn a_mask_is_saved() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    let mask = std::env::temp_dir().join(format!("downstream-{}.png", std::process::id()));
    let (model, photo) = ("models/clipseg-refined", "images/wide.png");
    let covered = segment(
        &fixtures.join(model),
        &fixtures.join(photo),
        "a cat",
        &mask,
    );
    assert!((0.0..=1.0).contains(&covered.unwrap()));
    let saved = data::load_rgb(&mask).unwrap();
    let original = data::load_rgb(&fixtures.join(photo)).unwrap();
    std::fs::remove_file(&mask).unwrap();
    assert_eq!(saved.dimensions(), original.dimensions());
    assert!(saved.pixels().all(|p| p.0 == [0; 3] || p.0 == [255; 3]));
}
