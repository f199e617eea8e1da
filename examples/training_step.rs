//! A training step of your own: CLIPSeg's decoder, a loss that the library does not have, and Burn's
//! optimizer.
//!
//! ```text
//! cargo run --example training_step
//! ```

use burn::data::dataset::Dataset;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::prelude::*;
use clipseg::clip::{ClipTokenizer, ImageProcessor};
use clipseg::data::{
    PhraseCut, PhraseCutDataset, SampleOptions, ScenesConfig, Split, generate_scenes,
};
use clipseg::metrics::bce_with_logits;
use clipseg::model::{ClipSeg, ClipSegConfig};
use clipseg::train::FrozenClip;
use std::error::Error;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn Error>> {
    let device = clipseg::device("cpu")?;
    device.seed(0);
    let folder = tempfile::tempdir()?;
    let scenes = folder.path().join("scenes");
    generate_scenes(
        &scenes,
        &ScenesConfig {
            images: 40,
            size: 64,
            seed: 0,
        },
    )?;
    let data = Arc::new(PhraseCut::open(&scenes)?);
    let phrases = PhraseCutDataset::new(data, Split::Train, SampleOptions::new(64, 64))?;

    let config = ClipSegConfig::small();
    let (clip, decoder) = ClipSeg::init(&config, &device).into_parts();
    let (tokenizer, processor) = (ClipTokenizer::openai(77)?, ImageProcessor::clipseg(64));
    // CLIP stays on the plain device; only the decoder is on the autodiff device.
    let mut clip = FrozenClip::new(clip, config, tokenizer, processor);
    let mut decoder = decoder.train();
    let mut optimizer = AdamWConfig::new().init();
    for step in 0..20 {
        let indices: Vec<usize> = (0..8).map(|i| (8 * step + i) % phrases.len()).collect();
        let input = clip.encode(phrases.batch(&indices, 0, &device)?)?;
        let prompts = input.conditional_embedding.autodiff();
        let features = input.features.autodiff();
        let logits = decoder.forward_grouped(&features, prompts, &input.picture_of);
        let bce = bce_with_logits(logits.clone(), input.masks.autodiff(), None);
        // Total variation of the probabilities: the loss prefers masks with short outlines.
        let masks = burn::tensor::activation::sigmoid(logits);
        let right = masks.clone().slice(s![.., .., 1..]) - masks.clone().slice(s![.., .., ..-1]);
        let below = masks.clone().slice(s![.., 1.., ..]) - masks.slice(s![.., ..-1, ..]);
        let loss = bce + (right.abs().mean() + below.abs().mean()) * 0.1;
        println!("step {step}: loss {:.4}", loss.clone().into_scalar::<f32>());
        let gradients = GradientsParams::from_grads(loss.backward(), &decoder);
        decoder = optimizer.step(1e-3, decoder, gradients);
    }
    Ok(())
}
