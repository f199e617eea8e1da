//! Measures what refinement of masks changes: IoU and boundary F with and without it, for several parameters.
//!
//! ```text
//! clipseg data scenes /tmp/scenes --images 300 --size 512 --seed 12
//! cargo run --example refinement -- /tmp/scenes --split val
//! cargo run --example refinement -- VGPhraseCut_v0 --split train --patches 22
//! ```
//!
//! `docs/refinement.md` has the tables.

use clap::Parser;
use clipseg::data::{Mask, PhraseCut, Split, load_stored_rgb, resize_plane};
use clipseg::metrics::{BoundaryCounts, Confusion};
use clipseg::model::{Refinement, SCENES, Segmenter, SoftMask, resolve};
use image::RgbImage;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Distance in pixels within which boundaries count as equal.
const TOLERANCE: f32 = 2.0;

#[derive(Parser)]
#[command(about = "Measure the refinement of masks: IoU and boundary F for several parameters")]
struct Arguments {
    /// Data set in the layout of VGPhraseCut_v0.
    data: PathBuf,
    /// Split to score; repeatable.
    #[arg(long = "split", required = true, value_name = "NAME")]
    splits: Vec<Split>,
    /// Use the true masks, averaged over a grid of N × N patches and enlarged again, instead of a model.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    patches: Option<u32>,
    /// CLIPSeg checkpoint: a folder, a hub id, or scenes.
    #[arg(long, default_value = SCENES, conflicts_with = "patches")]
    model: String,
    /// Probability above which a pixel belongs to the mask.
    #[arg(long, default_value_t = 0.5)]
    threshold: f32,
    /// Score only the refinements of `Refinement::guided` and `Refinement::pamr`.
    #[arg(long)]
    defaults: bool,
    /// Skip phrases whose masks cover a smaller fraction of the photograph.
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0)]
    smallest: f64,
    /// Largest number of phrases of each split, evenly spread.
    #[arg(long, value_name = "N")]
    phrases: Option<usize>,
}

/// Sums over phrases.
#[derive(Default)]
struct Sums {
    iou: f64,
    boundary: f64,
    time: Duration,
    megapixels: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let data = PhraseCut::open(&arguments.data)?;
    let segmenter = match arguments.patches {
        Some(_) => None,
        None => {
            let files = resolve(&arguments.model)?;
            Some(Segmenter::from_pretrained(
                &files,
                &clipseg::device("cpu")?,
            )?)
        }
    };
    let (mut sums, mut count) = (BTreeMap::<usize, (String, Sums)>::new(), 0);
    for &split in &arguments.splits {
        data.require_truth(split)?;
        let phrases = data.phrases(split);
        let wanted = arguments.phrases.unwrap_or(usize::MAX).min(phrases.len());
        for index in 0..wanted {
            let phrase = &phrases[index * phrases.len() / wanted];
            let photo = load_stored_rgb(&data.image_path(phrase.image_id))?;
            let truth = data.mask(phrase)?;
            let pixels = f64::from(photo.width()) * f64::from(photo.height());
            let covered = truth.area() as f64 / pixels;
            if covered == 0.0
                || covered < arguments.smallest
                || (truth.width(), truth.height()) != photo.dimensions()
            {
                continue;
            }
            let soft = match (&segmenter, arguments.patches) {
                (Some(segmenter), _) => {
                    let encoded = segmenter.encode_image(&photo)?;
                    segmenter.segment(&encoded, &[&phrase.phrase])?.remove(0)
                }
                (None, patches) => blurred(&truth, patches.unwrap_or(1))?,
            };
            count += 1;
            for (place, (name, refinement)) in
                methods(&photo, arguments.defaults).into_iter().enumerate()
            {
                let start = Instant::now();
                let refined = match refinement {
                    None => soft.clone(),
                    Some(refinement) => soft.refine(&photo, refinement)?,
                };
                let (_, sums) = sums.entry(place).or_insert_with(|| (name, Sums::default()));
                sums.time += start.elapsed();
                sums.megapixels += pixels / 1e6;
                let found = refined.threshold(arguments.threshold).to_vec();
                let (truth, width) = (truth.to_vec(), photo.width() as usize);
                sums.iou += Confusion::from_masks(&found, &truth, &phrase.task_id)?.iou();
                let counts =
                    BoundaryCounts::from_masks(&found, &truth, width, TOLERANCE, &phrase.task_id)?;
                sums.boundary += counts.f();
            }
        }
    }
    if count == 0 {
        return Err("the splits have no phrase with a picture and a mask".into());
    }
    println!("{count} phrases, means:\n");
    println!("| refinement | IoU | boundary F | ms per megapixel |\n|---|--:|--:|--:|");
    for (name, sums) in sums.into_values() {
        println!(
            "| {name} | {:.3} | {:.3} | {:.0} |",
            sums.iou / f64::from(count),
            sums.boundary / f64::from(count),
            1e3 * sums.time.as_secs_f64() / sums.megapixels
        );
    }
    Ok(())
}

/// The refinements with their names.
fn methods(photo: &RgbImage, only_defaults: bool) -> Vec<(String, Option<Refinement>)> {
    let (width, height) = photo.dimensions();
    let mut all = vec![("none".to_owned(), None)];
    if only_defaults {
        all.push(("guided".into(), Some(Refinement::guided(width, height))));
        all.push(("pamr".into(), Some(Refinement::pamr())));
        return all;
    }
    for share in [176, 88, 44, 22, 11] {
        for epsilon in [1e-6, 1e-5, 1e-4, 1e-3, 1e-2] {
            let radius = (width.max(height) / share).max(1);
            let name =
                format!("guided, radius 1/{share} of the longer side, epsilon {epsilon:.0e}");
            all.push((name, Some(Refinement::Guided { radius, epsilon })));
        }
    }
    for rounds in [2, 5, 10, 20] {
        all.push((
            format!("pamr, {rounds} rounds"),
            Some(Refinement::Pamr { rounds }),
        ));
    }
    all
}

/// A mask as a model sees it that decides by patches: averaged over a grid and enlarged bilinearly.
fn blurred(mask: &Mask, patches: u32) -> Result<SoftMask, Box<dyn Error>> {
    let size = [mask.width(), mask.height()];
    let plane: Vec<f32> = mask
        .pixels()
        .map(|inside| f32::from(u8::from(inside)))
        .collect();
    let grid = resize_plane(&plane, size, [patches, patches])?;
    let soft = resize_plane(&grid, [patches, patches], size)?;
    let soft = soft
        .into_iter()
        .map(|value| value.clamp(0.0, 1.0))
        .collect();
    Ok(SoftMask::from_probabilities(soft, size)?)
}
