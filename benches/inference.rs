//! Time of inference at the published size (ViT-B/16 at 352×352), random weights.
//!
//! `cargo bench --bench inference`; `CLIPSEG_BENCH_DEVICE` names another device than `cpu`.
//! The group `matmul` is the kernel that takes nearly all of the time: its throughput in
//! elements is FLOP/s and shows whether AVX-512 is in use.

use burn::prelude::*;
use burn::tensor::Distribution;
use clipseg::clip::{ClipConfig, ClipTokenizer};
use clipseg::model::{
    ClipSeg, ClipSegConfig, ConvDecoderConfig, Decoder, DecoderConfig, DeconvBaselineConfig,
    ImageFeatures, TransformerDecoderConfig,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

/// Keeps the memory of large tensors for the next ones.
#[global_allocator]
static ALLOCATOR: clipseg::Allocator = clipseg::Allocator;

const SIDE: usize = 352;
const PROMPTS: [&str; 4] = [
    "a cat",
    "the cat's ear",
    "a wooden table",
    "something to drink from",
];

fn device() -> Device {
    let name = std::env::var("CLIPSEG_BENCH_DEVICE").unwrap_or_else(|_| "cpu".into());
    clipseg::device(&name).expect("the device is there")
}

/// Waits until the device has finished.
fn finish<const D: usize>(tensor: Tensor<D>) {
    black_box(tensor.into_data());
}

fn matmul(criterion: &mut Criterion) {
    let device = device();
    let mut group = criterion.benchmark_group("matmul");
    for [m, k, n] in [[485, 768, 768], [485, 768, 3072], [485, 3072, 768]] {
        let random =
            |rows, columns| Tensor::<2>::random([rows, columns], Distribution::Default, &device);
        let (left, right) = (random(m, k), random(k, n));
        group.throughput(Throughput::Elements(2 * (m * k * n) as u64));
        group.bench_function(
            BenchmarkId::from_parameter(format!("{m}x{k}x{n}")),
            |bencher| {
                bencher.iter(|| finish(left.clone().matmul(right.clone())));
            },
        );
    }
}

fn model(criterion: &mut Criterion) {
    let device = device();
    device.seed(0);
    let model = ClipSeg::init(&ClipSegConfig::rd64_refined(), &device);
    let tokenizer = ClipTokenizer::openai(77).expect("there is room for the special tokens");
    let pixels = Tensor::<4>::random([1, 3, SIDE, SIDE], Distribution::Default, &device);
    let features = model
        .encode_image(pixels.clone())
        .expect("complete patches");
    let texts = tokenizer.batch(&PROMPTS, &device).expect("plain texts");
    let prompts = model
        .clip()
        .text_embedding(&texts)
        .expect("tokens of its own");

    let mut group = criterion.benchmark_group("full size");
    group.sample_size(10);
    group.bench_function("vision encoder", |bencher| {
        bencher.iter(|| {
            let features = model
                .encode_image(pixels.clone())
                .expect("complete patches");
            features.hidden_states.into_iter().for_each(finish);
        });
    });
    group.bench_function("text encoder, 4 prompts", |bencher| {
        bencher.iter(|| {
            finish(
                model
                    .clip()
                    .text_embedding(&texts)
                    .expect("tokens of its own"),
            )
        });
    });
    for count in [1, 4, 16] {
        let prompts = prompts.clone().repeat_dim(0, 4).slice(s![0..count, ..]);
        group.bench_function(BenchmarkId::new("decoder", count), |bencher| {
            bencher.iter(|| finish(model.decode(&features, prompts.clone())));
        });
    }
    for count in [1, 4, 16] {
        let texts: Vec<&str> = PROMPTS.into_iter().cycle().take(count).collect();
        let texts = tokenizer.batch(&texts, &device).expect("plain texts");
        group.bench_function(BenchmarkId::new("picture and prompts", count), |bencher| {
            bencher.iter(|| {
                let prompts = model
                    .clip()
                    .text_embedding(&texts)
                    .expect("tokens of its own");
                finish(
                    model
                        .forward(pixels.clone(), prompts)
                        .expect("complete patches"),
                );
            });
        });
    }
}

/// The kinds of decoders on the same hidden states.
fn decoders(criterion: &mut Criterion) {
    let device = device();
    device.seed(0);
    let clip = ClipConfig::vit_b_16();
    let grid = SIDE / clip.vision_config.patch_size;
    let picture = ConvDecoderConfig {
        picture_branch: true,
        ..ConvDecoderConfig::base()
    };
    let kinds: [(&str, DecoderConfig); 6] = [
        ("transformer", TransformerDecoderConfig::default().into()),
        ("conv tiny", ConvDecoderConfig::tiny().into()),
        ("conv base", ConvDecoderConfig::base().into()),
        ("conv base with picture", picture.into()),
        ("conv large", ConvDecoderConfig::large().into()),
        ("deconv", DeconvBaselineConfig::default().into()),
    ];
    let mut group = criterion.benchmark_group("decoders");
    group.sample_size(10);
    for (name, config) in kinds {
        let decoder = Decoder::init(&config, &clip, &device);
        let hidden = || Tensor::random([1, 1 + grid * grid, 768], Distribution::Default, &device);
        let features = ImageFeatures {
            hidden_states: config.extract_layers().iter().map(|_| hidden()).collect(),
            grid: [grid, grid],
            pixel_values: config
                .uses_pixels()
                .then(|| Tensor::random([1, 3, SIDE, SIDE], Distribution::Default, &device)),
        };
        for count in [1, 4] {
            let prompts = Tensor::<2>::random([count, 512], Distribution::Default, &device);
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| finish(decoder.forward(&features, prompts.clone())));
            });
        }
    }
}

criterion_group!(benches, matmul, model, decoders);
criterion_main!(benches);
