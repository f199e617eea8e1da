//! Segments a photograph by text.
//!
//! ```text
//! cargo run --release --example segment -- cat.jpg --model clipseg-rd64-refined \
//!     --prompt "a cat" --prompt "a sofa"
//! ```

use clap::Parser;
use clipseg::data::load_rgb;
use clipseg::model::{Segmenter, add_legend, heat_map, overlay};
use std::error::Error;
use std::path::{Path, PathBuf};

#[derive(Parser)]
#[command(about = "Segment a photograph by text")]
struct Arguments {
    /// The photograph.
    photo: Option<PathBuf>,
    /// What to look for; may be given several times.
    #[arg(long = "prompt")]
    prompts: Vec<String>,
    /// Folder of a CLIPSeg checkpoint in Hugging Face's layout, its id on the hub, or a folder that the
    /// training example has saved.
    #[arg(long)]
    model: Option<String>,
    /// Probability above which a pixel is inside.
    #[arg(long, default_value_t = 0.3)]
    threshold: f32,
    /// cpu, ndarray, wgpu, vulkan or cuda.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Folder for the pictures; made anew, so that nothing is overwritten.
    #[arg(long, default_value = "runs/segment")]
    out: PathBuf,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let (Some(photo), Some(model)) = (&arguments.photo, &arguments.model) else {
        eprintln!(
            "pass a photograph, a model and what to look for:\n\n    \
             cargo run --release --example segment -- cat.jpg \\\n        \
             --model CIDAS/clipseg-rd64-refined --prompt \"a cat\"\n\n\
             --model takes a CLIPSeg checkpoint's folder or its id on the hub, or the folder \
             runs/train_phrasecut/model\nof the example train_phrasecut."
        );
        std::process::exit(2);
    };
    let folder = clipseg::clip::resolve(model)?;
    segment(&arguments, &folder, photo)
}

fn segment(arguments: &Arguments, model: &Path, photo: &Path) -> Result<(), Box<dyn Error>> {
    let out = arguments.out.display();
    if arguments.out.exists() {
        return Err(format!("{out} is there already; choose a new folder by --out").into());
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
        println!("{prompt}: highest probability {highest:.3}, {covered:.1} % inside");
    }
    let page = add_legend(&overlay(&photo, &masks), &arguments.prompts);
    page.save(arguments.out.join("overlay.png"))?;
    println!("pictures written to {out}");
    Ok(())
}
