//! Segments a photograph by text.
//!
//! ```text
//! cargo run --example segment -- cat.jpg --model CIDAS/clipseg-rd64-refined \
//!     --prompt "a cat" --prompt "a sofa"
//! ```

use clap::Parser;
use clipseg::data::load_rgb;
use clipseg::model::{Segmenter, add_legend, heat_map, overlay};
use std::error::Error;
use std::path::{Path, PathBuf};

/// Keeps the memory of large tensors for the next ones.
#[global_allocator]
static ALLOCATOR: clipseg::Allocator = clipseg::Allocator;

#[derive(Parser)]
#[command(about = "Segment a photograph by text")]
struct Arguments {
    /// The photograph.
    photo: Option<PathBuf>,
    /// Phrase to segment by; repeatable.
    #[arg(long = "prompt")]
    prompts: Vec<String>,
    /// CLIPSeg checkpoint in Hugging Face's layout: a folder, a hub id, or a model saved by training.
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
    let (Some(photo), Some(model)) = (&arguments.photo, &arguments.model) else {
        eprintln!(
            "expected a photograph, a model and a prompt:\n\n    \
             cargo run --example segment -- cat.jpg \\\n        \
             --model CIDAS/clipseg-rd64-refined --prompt \"a cat\"\n\n\
             --model is the folder or hub id of a CLIPSeg checkpoint, or runs/train_phrasecut/model \
             after\nrunning the example train_phrasecut."
        );
        std::process::exit(2);
    };
    let folder = clipseg::clip::resolve(model)?;
    segment(&arguments, &folder, photo)
}

fn segment(arguments: &Arguments, model: &Path, photo: &Path) -> Result<(), Box<dyn Error>> {
    let out = arguments.out.display();
    if arguments.out.exists() {
        return Err(format!("{out} exists already; choose a new folder with --out").into());
    }
    let segmenter = Segmenter::from_pretrained(model, &clipseg::device(&arguments.device)?)?;
    let photo = load_rgb(photo)?;
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
