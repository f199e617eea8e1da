//! Segments a photograph by text.
//!
//! ```text
//! cargo run --release --example segment -- cat.jpg --model clipseg-rd64-refined \
//!     --prompt "a cat" --prompt "a sofa"
//! ```

use clap::Parser;
use clipseg::data::load_rgb;
use clipseg::model::{Segmenter, heat_map, overlay};
use std::error::Error;
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "Segment a photograph by text")]
struct Arguments {
    /// The photograph.
    photo: PathBuf,
    /// What to look for; may be given several times.
    #[arg(long = "prompt", required = true)]
    prompts: Vec<String>,
    /// Folder of a CLIPSeg checkpoint in Hugging Face's layout, or one that the training example has saved.
    #[arg(long)]
    model: PathBuf,
    /// Probability above which a pixel is inside.
    #[arg(long, default_value_t = 0.3)]
    threshold: f32,
    /// cpu, ndarray, wgpu, vulkan or cuda.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Folder for the pictures.
    #[arg(long, default_value = "runs/segment")]
    out: PathBuf,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let segmenter =
        Segmenter::from_pretrained(&arguments.model, &clipseg::device(&arguments.device)?)?;
    let photo = load_rgb(&arguments.photo)?;
    let encoded = segmenter.encode_image(&photo)?;
    let soft = segmenter.segment(&encoded, &arguments.prompts)?;
    let masks: Vec<_> = soft
        .iter()
        .map(|mask| mask.threshold(arguments.threshold))
        .collect();

    std::fs::create_dir_all(&arguments.out)?;
    for (index, (prompt, mask)) in arguments.prompts.iter().zip(&soft).enumerate() {
        let name = |kind: &str| arguments.out.join(format!("{index}-{kind}.png"));
        heat_map(mask).save(name("heat"))?;
        masks[index].to_gray_image().save(name("mask"))?;
        let (highest, covered) = (mask.highest(), 100.0 * mask.coverage(arguments.threshold));
        println!("{prompt}: highest probability {highest:.3}, {covered:.1} % inside");
    }
    overlay(&photo, &masks).save(arguments.out.join("overlay.png"))?;
    println!("pictures written to {}", arguments.out.display());
    Ok(())
}
