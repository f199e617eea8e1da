//! Finds in a photograph what an example shows and words describe: prompts are vectors, and the mean
//! of a visual prompt's and a phrase's is a prompt too.
//!
//! ```text
//! cargo run --example visual_prompt -- MODEL photo.jpg cup.jpg cup-mask.png "a blue cup" out.png
//! ```
//!
//! MODEL is the folder or hub id of a CLIPSeg checkpoint, or `scenes`. The mask is white on the example's object.

use clipseg::data::{load_mask, load_rgb, overlay};
use clipseg::model::{Segmenter, VisualPrompt, resolve};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, photo, example, mask, phrase, out] = arguments.as_slice() else {
        return Err("expected the arguments MODEL PHOTO EXAMPLE MASK PHRASE OUT".into());
    };
    if std::path::Path::new(out).exists() {
        return Err(format!("{out} exists already").into());
    }
    let segmenter = Segmenter::from_pretrained(&resolve(model)?, &clipseg::device("cpu")?)?;
    let photo = load_rgb(photo.as_ref())?;
    let example = VisualPrompt::with_mask(load_rgb(example.as_ref())?, load_mask(mask.as_ref())?)?;

    let words = segmenter.encode_text(&[phrase])?;
    let looks = segmenter.encode_visual(&example)?;
    let prompt = (words + looks) * 0.5;

    let encoded = segmenter.encode_image(&photo)?;
    let found = segmenter.segment_by_embedding(&encoded, prompt)?;
    let masks: Vec<_> = found.iter().map(|soft| soft.threshold(0.3)).collect();
    for mask in &masks {
        println!(
            "{} pixels, bounding box {:?}",
            mask.area(),
            mask.bounding_box()
        );
    }
    overlay(&photo, &masks).save(out)?;
    Ok(())
}
