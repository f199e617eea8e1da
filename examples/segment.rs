//! Segments a picture by text.
//!
//! ```text
//! cargo run --example segment -- docs/scene.jpg --prompt "red heart" --prompt tree
//! cargo run --example segment -- cat.jpg --model CIDAS/clipseg-rd64-refined --prompt "a cat"
//! ```

use clap::Parser;
use clipseg::data::load_rgb;
use clipseg::model::{SCENES, Segmenter, add_legend, heat_map, overlay, resolve};
use std::error::Error;
use std::path::PathBuf;

/// Keeps the memory of large tensors for the next ones.
#[global_allocator]
static ALLOCATOR: clipseg::Allocator = clipseg::Allocator;

#[derive(Parser)]
#[command(about = "Segment a picture by text")]
struct Arguments {
    /// The picture.
    photo: PathBuf,
    /// Phrase to segment by; repeatable.
    #[arg(long = "prompt", required = true)]
    prompts: Vec<String>,
    /// CLIPSeg checkpoint in Hugging Face's layout: a folder, a hub id, or a model saved by training.
    /// Default: scenes, the small model in this program.
    #[arg(long)]
    model: Option<String>,
    /// Probability above which a pixel belongs to the mask.
    #[arg(long, default_value_t = 0.3)]
    threshold: f32,
    /// Device to compute on: cpu, ndarray, wgpu, vulkan or cuda.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Output folder; it must not exist, so that nothing is overwritten.
    #[arg(long, default_value = "runs/segment")]
    out: PathBuf,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let out = arguments.out.display();
    if arguments.out.exists() {
        return Err(format!("{out} exists already; choose a new folder with --out").into());
    }
    if arguments.model.is_none() {
        eprintln!(
            "using the model `{SCENES}`, which knows generated scenes and not photographs;\n\
             --model CIDAS/clipseg-rd64-refined downloads one for photographs"
        );
    }
    let files = resolve(arguments.model.as_deref().unwrap_or(SCENES))?;
    let segmenter = Segmenter::from_pretrained(&files, &clipseg::device(&arguments.device)?)?;
    let photo = load_rgb(&arguments.photo)?;
    let encoded = segmenter.encode_image(&photo)?;
    let soft = segmenter.segment(&encoded, &arguments.prompts)?;
    let masks: Vec<_> = soft
        .iter()
        .map(|mask| mask.threshold(arguments.threshold))
        .collect();

    std::fs::create_dir_all(&arguments.out)?;
    for (index, (prompt, mask)) in arguments.prompts.iter().zip(&soft).enumerate() {
        let name = |kind: &str| arguments.out.join(format!("{}-{kind}.png", index + 1));
        heat_map(mask).save(name("heat"))?;
        masks[index].to_gray_image().save(name("mask"))?;
        let (highest, covered) = (mask.highest(), 100.0 * mask.coverage(arguments.threshold));
        println!("{prompt}: highest probability {highest:.3}, {covered:.1} % of the pixels");
    }
    let page = add_legend(&overlay(&photo, &masks), &arguments.prompts);
    page.save(arguments.out.join("overlay.png"))?;
    println!("pictures written to {out}");
    Ok(())
}
