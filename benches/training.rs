//! Time of a training step at the published size (ViT-B/16 at 352×352, refined head), random
//! weights, four phrases.
//!
//! `cargo bench --bench training`; `CLIPSEG_BENCH_DEVICE` names another device than `cpu`.
//! Throughput is in phrases. *cold*: four pictures and four phrases through CLIP and the decoder, as
//! in a loop without grouping and cache. *grouped by picture*: four phrases of one picture.
//! *cached*: four pictures whose hidden states are in memory, in half precision. *decoder*: from
//! given hidden states.

use burn::prelude::*;
use burn::tensor::Distribution;
use clipseg::clip::{ClipTokenizer, ImageProcessor};
use clipseg::data::{
    PhraseCut, PhraseCutDataset, SampleOptions, ScenesConfig, SegmentationBatch, Split,
    generate_scenes,
};
use clipseg::metrics::Loss;
use clipseg::model::{ClipSeg, ClipSegConfig, ConvDecoderConfig, Decoder};
use clipseg::train::{AdamWOptions, CacheConfig, DecoderTrainer, FrozenClip, StepInput};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::collections::HashSet;
use std::hint::black_box;
use std::sync::Arc;

/// Keeps the memory of large tensors for the next ones.
#[global_allocator]
static ALLOCATOR: clipseg::Allocator = clipseg::Allocator;

const SIDE: usize = 352;
const PHRASES: [&str; 4] = [
    "a cat",
    "the cat's ear",
    "a wooden table",
    "something to drink from",
];

fn device() -> Device {
    let name = std::env::var("CLIPSEG_BENCH_DEVICE").unwrap_or_else(|_| "cpu".into());
    clipseg::device(&name).expect("the device is there")
}

/// One AdamW step, including the wait for the device.
fn step(trainer: &mut DecoderTrainer, input: &StepInput) {
    let (loss, gradients) = trainer.gradients(input);
    trainer.apply(gradients, 1e-3);
    black_box(loss.into_scalar::<f32>());
    let device = input.masks.device();
    device.sync().expect("the device answers");
}

fn training(criterion: &mut Criterion) {
    let device = device();
    device.seed(0);
    let config = ClipSegConfig::rd64_refined();
    let model = ClipSeg::init(&config, &device);
    let tokenizer = ClipTokenizer::openai(77).expect("there is room for the special tokens");
    let texts = tokenizer.batch(&PHRASES, &device).expect("plain texts");
    let random =
        |count| Tensor::<4>::random([count, 3, SIDE, SIDE], Distribution::Default, &device);
    let masks = Tensor::<3>::random([4, SIDE, SIDE], Distribution::Bernoulli(0.5), &device);
    let mut trainer = DecoderTrainer::new(
        model.decoder().clone(),
        &AdamWOptions::default(),
        Loss::bce(),
    );

    let mut group = criterion.benchmark_group("training step, 4 phrases");
    group.sample_size(10).throughput(Throughput::Elements(4));
    for (name, pictures, picture_of) in [
        ("cold", 4, vec![0, 1, 2, 3]),
        ("grouped by picture", 1, vec![0; 4]),
    ] {
        let pixels = random(pictures);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let input = StepInput {
                    features: model
                        .encode_image(pixels.clone())
                        .expect("complete patches"),
                    conditional_embedding: model
                        .clip()
                        .text_embedding(&texts)
                        .expect("tokens of its own"),
                    picture_of: picture_of.clone(),
                    masks: masks.clone(),
                };
                step(&mut trainer, &input);
            });
        });
    }

    let (clip, _) = model.into_parts();
    let processor = ImageProcessor::clipseg(SIDE as u32);
    let mut clip = FrozenClip::new(clip, config.clone(), tokenizer, processor)
        .with_cache(&CacheConfig::default())
        .expect("there is no folder");
    let batch = four_pictures(&device);
    let input = clip.encode(batch.clone()).expect("plain texts");
    group.bench_function("cached", |bencher| {
        bencher.iter(|| {
            let input = clip.encode(batch.clone()).expect("plain texts");
            step(&mut trainer, &input);
        });
    });
    for (name, decoder) in [
        ("decoder", config.decoder.clone()),
        ("conv base decoder", ConvDecoderConfig::base().into()),
    ] {
        let decoder = Decoder::init(&decoder, &config.clip, &device);
        let mut trainer = DecoderTrainer::new(decoder, &AdamWOptions::default(), Loss::bce());
        group.bench_function(name, |bencher| {
            bencher.iter(|| step(&mut trainer, &input));
        });
    }
}

/// Four phrases of four generated pictures.
fn four_pictures(device: &Device) -> SegmentationBatch {
    let folder = tempfile::tempdir().expect("there is room for pictures");
    let root = folder.path().join("scenes");
    let scenes = ScenesConfig {
        images: 20,
        size: SIDE as u32,
        seed: 0,
    };
    generate_scenes(&root, &scenes).expect("the folder is new");
    let data = Arc::new(PhraseCut::open(&root).expect("it was just made"));
    let options = SampleOptions::new(SIDE as u32, SIDE as u32);
    let dataset = PhraseCutDataset::new(data, Split::Train, options).expect("it has phrases");
    let mut seen = HashSet::new();
    let pictures = dataset.image_ids().into_iter().enumerate();
    let first: Vec<usize> = pictures
        .filter(|&(_, picture)| seen.insert(picture))
        .map(|(phrase, _)| phrase)
        .take(4)
        .collect();
    dataset
        .batch(&first, 0, device)
        .expect("the pictures are there")
}

criterion_group!(benches, training);
criterion_main!(benches);
