//! Measures what is found of small objects in large pictures: with the entire picture at once, with a larger input, with
//! tiles, and with the mirror image. `docs/large_photographs.md` has a table.
//!
//! ```text
//! cargo run --example large_photographs
//! ```
//!
//! Each picture is a generated scene of 1,024×1,024 pixels, with objects as large as in scenes of 128 to 512 pixels. Half
//! of the pictures choose the threshold of each row, the other half is scored.

use clap::Parser;
use clipseg::data::{LargeScene, Mask, scene_of_small_objects};
use clipseg::metrics::Confusion;
use clipseg::model::{SCENES, Segmenter, SoftMask, Views, resolve};
use std::error::Error;

const SIDE: u32 = 1024;
/// Sides in pixels of the scenes that have objects of such sizes.
const UNITS: [u32; 3] = [128, 256, 512];
/// Bounds between the sizes of objects: the square root of the mask's area, in pixels.
const BOUNDS: [f64; 3] = [20.0, 40.0, 80.0];
const THRESHOLDS: [f32; 9] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

#[derive(Parser)]
#[command(about = "Measure what tiles find of small objects in large pictures")]
struct Arguments {
    /// Number of scenes with objects of each of three sizes.
    #[arg(long, default_value_t = 32)]
    scenes: usize,
    /// Random seed of the scenes.
    #[arg(long, default_value_t = 2024)]
    seed: u64,
    /// CLIPSeg checkpoint: a folder, a hub id, or scenes.
    #[arg(long, default_value = SCENES)]
    model: String,
}

/// Intersection over union of a phrase at each threshold, and the size of its mask.
struct Scored {
    size: usize,
    /// Whether it chooses the threshold instead of being scored.
    chooses: bool,
    iou: [f64; THRESHOLDS.len()],
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let mut pictures = Vec::new();
    for index in 0..arguments.scenes {
        for unit in UNITS {
            let scene = scene_of_small_objects(arguments.seed, index as u64, SIDE, unit)?;
            pictures.push((index, scene));
        }
    }
    let files = resolve(&arguments.model)?;
    let segmenter = Segmenter::from_pretrained(&files, &clipseg::device("cpu")?)?;
    let patch = segmenter.model().clip().vision_model().patch_size() as u32;
    let plain = Views::default();
    let double = 2 * segmenter.model().config().clip.vision_config.image_size as u32;
    let double = double.next_multiple_of(patch);
    println!("| | threshold | < 20 px | 20 to 40 px | 40 to 80 px | > 80 px | all |");
    println!("|---|---|---|---|---|---|---|");
    for (name, views) in [
        ("entire picture".to_owned(), plain),
        (format!("`--size {double}`"), plain.with_size(double)),
        ("`--flip`".to_owned(), plain.with_flip(true)),
        ("`--tiles 2`".to_owned(), plain.with_tiles(2)),
        ("`--tiles 4`".to_owned(), plain.with_tiles(4)),
        ("`--tiles 8`".to_owned(), plain.with_tiles(8)),
    ] {
        println!("{}", row(&name, &score(&segmenter, &views, &pictures)?));
    }
    Ok(())
}

fn score(
    segmenter: &Segmenter,
    views: &Views,
    pictures: &[(usize, LargeScene)],
) -> Result<Vec<Scored>, Box<dyn Error>> {
    let mut scored = Vec::new();
    for (index, scene) in pictures {
        let encoded = segmenter.encode_views(&scene.picture, views, |_| {})?;
        let phrases = scene.phrases.iter();
        let texts: Vec<&String> = phrases.map(|phrase| &phrase.phrase).collect();
        if texts.is_empty() {
            continue;
        }
        let masks = segmenter.segment(&encoded, &texts)?;
        for (soft, phrase) in masks.iter().zip(&scene.phrases) {
            let truth = phrase.mask(SIDE, SIDE);
            let side = (truth.area() as f64).sqrt();
            scored.push(Scored {
                size: BOUNDS.iter().filter(|bound| side >= **bound).count(),
                chooses: index % 2 == 0,
                iou: ious(soft, &truth),
            });
        }
    }
    Ok(scored)
}

/// Intersection over union at each threshold.
fn ious(soft: &SoftMask, truth: &Mask) -> [f64; THRESHOLDS.len()] {
    // Pixels outside and inside the mask, by the number of thresholds below their probability.
    let mut counts = [[0u64; 2]; THRESHOLDS.len() + 1];
    for (&probability, inside) in soft.probabilities().iter().zip(truth.pixels()) {
        let below = THRESHOLDS.partition_point(|&threshold| threshold < probability);
        counts[below][usize::from(inside)] += 1;
    }
    std::array::from_fn(|threshold| {
        let sum =
            |counts: &[[u64; 2]], inside: usize| counts.iter().map(|count| count[inside]).sum();
        let (lower, upper) = counts.split_at(threshold + 1);
        Confusion {
            true_positive: sum(upper, 1),
            false_positive: sum(upper, 0),
            false_negative: sum(lower, 1),
            true_negative: sum(lower, 0),
        }
        .iou()
    })
}

/// A row of the table: recall, the share of phrases with an IoU of at least a half, and mean IoU, by size.
fn row(name: &str, scored: &[Scored]) -> String {
    let mean = |values: &mut dyn Iterator<Item = f64>| {
        let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
        (sum / f64::from(count.max(1)), count)
    };
    let of = |threshold: usize| {
        let choosing = scored.iter().filter(|scored| scored.chooses);
        mean(&mut choosing.map(|scored| scored.iou[threshold])).0
    };
    let best = (0..THRESHOLDS.len())
        .max_by(|&a, &b| of(a).total_cmp(&of(b)))
        .unwrap_or(0);
    let sizes = (0..=BOUNDS.len()).map(Some).chain([None]);
    let cells: Vec<String> = sizes
        .map(|size| {
            let rest = scored.iter().filter(|scored| !scored.chooses);
            let rest = rest.filter(|scored| size.is_none_or(|size| scored.size == size));
            let values: Vec<f64> = rest.map(|scored| scored.iou[best]).collect();
            let (recall, count) =
                mean(&mut values.iter().map(|iou| f64::from(u8::from(*iou >= 0.5))));
            let (iou, _) = mean(&mut values.iter().copied());
            format!("{:.0} %, {iou:.2} ({count})", 100.0 * recall)
        })
        .collect();
    format!(
        "| {name} | {:.1} | {} |",
        THRESHOLDS[best],
        cells.join(" | ")
    )
}
