//! Trains CLIPSeg's decoder on PhraseCut, or on generated scenes where there is no data.
//!
//! ```text
//! cargo run --release --example train_phrasecut
//! cargo run --release --example train_phrasecut -- --data VGPhraseCut_v0 --clip clip-vit-base-patch16
//! ```

use burn::tensor::Device;
use clap::Parser;
use clipseg::clip::{Clip, ClipTokenizer, ImageProcessor, load_clip};
use clipseg::data::{
    PhraseCut, PhraseCutDataset, SampleOptions, ScenesConfig, Split, generate_scenes,
};
use clipseg::metrics::{Confusion, Loss};
use clipseg::model::{ClipSeg, ClipSegConfig, Segmenter, TransformerDecoderConfig};
use clipseg::train::{FrozenClip, Progress, TrainConfig, evaluate, train};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Parser)]
#[command(about = "Train CLIPSeg's decoder on PhraseCut or on generated scenes")]
struct Arguments {
    /// Folder in the layout of VGPhraseCut_v0; scenes are generated if there is none.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Folder of a CLIP or CLIPSeg checkpoint; a small CLIP with random weights if there is none.
    #[arg(long)]
    clip: Option<PathBuf>,
    /// What to minimise: bce, dice, focal, tversky or a sum such as 0.5*bce+dice.
    #[arg(long, default_value = "bce+dice")]
    loss: Loss,
    /// Steps of the optimizer.
    #[arg(long, default_value_t = 600)]
    steps: usize,
    /// Phrases in a step.
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Learning rate of the first step.
    #[arg(long, default_value_t = 1e-3)]
    learning_rate: f64,
    /// Steps over which the learning rate rises at the start.
    #[arg(long, default_value_t = 50)]
    warmup: usize,
    /// cpu, ndarray, wgpu, vulkan or cuda.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Decides the order of the data and all random weights.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for the trained model.
    #[arg(long, default_value = "runs/train_phrasecut")]
    out: PathBuf,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let device = clipseg::device(&arguments.device)?;
    device.seed(arguments.seed);

    let (clip, config, tokenizer, processor, side) = match &arguments.clip {
        Some(folder) => pretrained(folder, &device)?,
        None => {
            println!(
                "no --clip given: a small CLIP with random weights (seed {})",
                arguments.seed
            );
            let config = ClipSegConfig::small();
            let side = config.clip.vision_config.image_size as u32;
            let clip = Clip::init(&config.clip, &device);
            (
                clip,
                config,
                ClipTokenizer::openai(77)?,
                ImageProcessor::clipseg(side),
                side,
            )
        }
    };
    let folder = match arguments.data {
        Some(folder) => folder,
        None => generated_scenes()?,
    };
    let data = Arc::new(PhraseCut::open(&folder)?);
    let options = || SampleOptions::new(side, side);
    let training = PhraseCutDataset::new(data.clone(), Split::Train, options())?;
    let validation = PhraseCutDataset::new(data, Split::Val, options())?;
    println!(
        "{}: {} phrases to train on, {} to validate on",
        folder.display(),
        training.phrases(),
        validation.phrases()
    );

    let train_config = TrainConfig {
        steps: arguments.steps,
        batch_size: arguments.batch,
        loss: arguments.loss,
        learning_rate: arguments.learning_rate,
        warmup_steps: arguments.warmup,
        seed: arguments.seed,
        ..TrainConfig::default()
    };
    let model = ClipSeg::with_clip(&config, clip, &device);
    let (clip, decoder) = model.into_parts();
    let mut clip = FrozenClip::new(clip, config, tokenizer, processor);
    let outcome = train(
        &mut clip,
        decoder,
        &training,
        &train_config,
        &mut Progress::new(),
    )?;

    let (first, last) = outcome.first_and_last_loss();
    println!("loss {first:.4} at the start, {last:.4} at the end (means of a tenth of the steps)");
    println!("split  phrases  accuracy   Dice    IoU   mean IoU over phrases");
    for (name, data) in [("train", &training), ("val", &validation)] {
        if data.phrases() > 0 {
            let scores = evaluate(&mut clip, &outcome.decoder, data, 300, arguments.batch, 0.5)?;
            let pooled = scores.pooled();
            println!(
                "{name:<6} {:>7}  {:>8.3}  {:>5.3}  {:>5.3}   {:.3}",
                scores.len(),
                pooled.accuracy(),
                pooled.dice(),
                pooled.iou(),
                scores.mean(Confusion::iou)
            );
        }
    }

    let (clip, config, tokenizer, processor) = clip.into_parts();
    let model = ClipSeg::from_parts(config, clip, outcome.decoder);
    let segmenter = Segmenter::new(model, tokenizer, processor);
    segmenter.save_pretrained(&arguments.out)?;
    println!("model saved in {}", arguments.out.display());
    Ok(())
}

type Parts = (Clip, ClipSegConfig, ClipTokenizer, ImageProcessor, u32);

/// The encoders of a checkpoint, and a decoder's configuration for them.
fn pretrained(folder: &Path, device: &Device) -> Result<Parts, Box<dyn Error>> {
    let (clip_config, clip) = load_clip(folder, device)?;
    let depth = clip_config.vision_config.num_hidden_layers;
    // The published layers of a tower of twelve, and their like in others.
    let extract_layers = vec![depth / 4, depth / 2, depth * 3 / 4];
    let decoder = TransformerDecoderConfig {
        extract_layers,
        ..Default::default()
    };
    let positions = clip_config.text_config.max_position_embeddings;
    let tokenizer = ClipTokenizer::from_folder(folder, positions)?;
    let config = ClipSegConfig::new(clip_config, decoder)?;
    Ok((clip, config, tokenizer, ImageProcessor::clipseg(352), 352))
}

/// Scenes in the user's cache folder, made at the first run.
fn generated_scenes() -> Result<PathBuf, Box<dyn Error>> {
    let scenes = ScenesConfig::default();
    let cache = dirs::cache_dir().unwrap_or_else(std::env::temp_dir);
    let folder = cache.join("clipseg").join(scenes.folder_name());
    if !folder.is_dir() {
        println!(
            "no --data given: generating {} scenes in {}",
            scenes.images,
            folder.display()
        );
        generate_scenes(&folder, &scenes)?;
    }
    Ok(folder)
}
