//! Rasterization in masks per second: 400 sets of polygons scaled to 640×480, on one thread.
//!
//! `cargo bench --bench rasterization`; `python benches/rasterization.py` does the same with Pillow.

use clipseg::data::{Polygons, RasterRule};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use std::hint::black_box;

/// Keeps the memory of large tensors for the next ones.
#[global_allocator]
static ALLOCATOR: clipseg::Allocator = clipseg::Allocator;

const WIDTH: u32 = 640;
const HEIGHT: u32 = 480;

#[derive(Deserialize)]
struct Case {
    width: f64,
    height: f64,
    polygons: Vec<Vec<[f64; 2]>>,
}

fn scaled(case: Case) -> Polygons {
    let scale = [
        f64::from(WIDTH) / case.width,
        f64::from(HEIGHT) / case.height,
    ];
    let polygons = case.polygons.into_iter().map(|polygon| {
        polygon
            .into_iter()
            .map(move |point| [point[0] * scale[0], point[1] * scale[1]])
    });
    [polygons].into_iter().collect()
}

fn masks(criterion: &mut Criterion) {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fixtures/polygons.json"
    );
    let json = std::fs::read(file).expect("the fixtures are part of the tests");
    let cases: Vec<Case> = serde_json::from_slice(&json).expect("a list of cases");
    let cases: Vec<Polygons> = cases.into_iter().map(scaled).collect();
    let mut group = criterion.benchmark_group("masks");
    group.throughput(Throughput::Elements(cases.len() as u64));
    for (name, rule) in [
        ("Pillow", RasterRule::Pillow),
        ("PixelCentre", RasterRule::PixelCentre),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for polygons in &cases {
                    black_box(rule.mask(polygons.iter(), WIDTH, HEIGHT));
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, masks);
criterion_main!(benches);
