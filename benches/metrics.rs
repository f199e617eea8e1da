//! Time of a threshold sweep: 100 masks of 352×352 at 49 thresholds.
//!
//! `cargo bench --bench metrics`; `metrics.py` beside this file computes the same figures of the same
//! pixels in PyTorch, by sorting. Both print the figures, so that they can be compared.

use clipseg::metrics::{Grouped, SweepDefinition, SweepScores, ThresholdSweep};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rayon::prelude::*;
use std::hint::black_box;

/// Keeps the memory of large tensors for the next ones.
#[global_allocator]
static ALLOCATOR: clipseg::Allocator = clipseg::Allocator;

const MASKS: usize = 100;
const SIDE: usize = 352;

struct Pixels {
    probabilities: Vec<f32>,
    truth: Vec<u8>,
}

/// A disc, and noise from the upper bits of a product, the same in both languages.
fn mask(number: usize) -> Pixels {
    let turn = number as f32;
    let (x0, y0) = (176.0 + 40.0 * turn.cos(), 176.0 + 40.0 * turn.sin());
    let radius = (60 + number % 40) as f32;
    let pixels = (0..SIDE * SIDE).map(|pixel| {
        let (x, y) = ((pixel % SIDE) as f32, (pixel / SIDE) as f32);
        let inside = (x - x0).powi(2) + (y - y0).powi(2) < radius.powi(2);
        let word = (pixel as u32)
            .wrapping_add((number as u32).wrapping_mul(40_503))
            .wrapping_mul(2_654_435_761);
        let noise = (word >> 8) as f32 / (1u32 << 24) as f32 - 0.5;
        let logit = if inside { 3.0 } else { -3.0 } + 8.0 * noise;
        (1.0 / (1.0 + (-logit).exp()), u8::from(inside))
    });
    let (probabilities, truth) = pixels.unzip();
    Pixels {
        probabilities,
        truth,
    }
}

fn sweep(mask: &Pixels) -> ThresholdSweep {
    let mut sweep = ThresholdSweep::new();
    sweep
        .add_probabilities(&mask.probabilities, &mask.truth, "mask")
        .expect("sound pixels");
    sweep
}

/// All figures, each mask being its own group.
fn scores(sweeps: impl IntoIterator<Item = ThresholdSweep>) -> SweepScores {
    let mut groups: Grouped<usize, ThresholdSweep> = Grouped::new();
    for (number, sweep) in sweeps.into_iter().enumerate() {
        *groups.entry(number) += sweep;
    }
    groups.scores(SweepDefinition::Plain)
}

fn sweeps(criterion: &mut Criterion) {
    let masks: Vec<Pixels> = (0..MASKS).into_par_iter().map(mask).collect();
    let found = scores(masks.iter().map(sweep));
    println!(
        "best mIoU {:.6}, best IoU_FG {:.6}, best IoU_BIN {:.6}, average precision {:.6}",
        found.best_mean_iou().value,
        found.best_iou_fg().value,
        found.best_iou_bin().value,
        found.average_precision
    );
    let mut group = criterion.benchmark_group("sweep of 100 masks");
    group.throughput(Throughput::Elements((MASKS * SIDE * SIDE) as u64));
    group.bench_function("one thread", |bencher| {
        bencher.iter(|| scores(black_box(&masks).iter().map(sweep)));
    });
    group.bench_function("all threads", |bencher| {
        bencher.iter(|| {
            let sweeps: Vec<ThresholdSweep> = black_box(&masks).par_iter().map(sweep).collect();
            scores(sweeps)
        });
    });
}

criterion_group!(benches, sweeps);
criterion_main!(benches);
