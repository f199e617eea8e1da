//! Draws a picture with the masks and heat maps of several prompts, such as the one in the README.
//!
//! ```text
//! cargo run --example sheet -- docs/scene.jpg "red heart" tree --out sheet.jpg
//! ```

use clap::Parser;
use clipseg::data::load_rgb;
use clipseg::model::{SCENES, Segmenter, add_legend, heat_map, resolve, tint};
use image::RgbImage;
use image::imageops::{FilterType, replace, resize};
use std::error::Error;
use std::path::PathBuf;

/// Side of each cell, and of the gaps between cells, in pixels.
const SIDE: u32 = 200;
const GAP: u32 = 6;

#[derive(Parser)]
#[command(about = "Draw a picture with the masks and heat maps of several prompts")]
struct Arguments {
    /// The picture.
    photo: PathBuf,
    /// Phrases to segment by.
    #[arg(required = true)]
    prompts: Vec<String>,
    /// CLIPSeg checkpoint: a folder, a hub id, or scenes.
    #[arg(long, default_value = SCENES)]
    model: String,
    /// Probability above which a pixel belongs to the mask.
    #[arg(long, default_value_t = 0.5)]
    threshold: f32,
    /// Picture to write; it must not exist.
    #[arg(long)]
    out: PathBuf,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    if arguments.out.exists() {
        return Err(format!("{} exists already", arguments.out.display()).into());
    }
    let files = resolve(&arguments.model)?;
    let segmenter = Segmenter::from_pretrained(&files, &clipseg::device("cpu")?)?;
    let photo = load_rgb(&arguments.photo)?;
    let encoded = segmenter.encode_image(&photo)?;

    // The first column has the picture and all masks, each other column a prompt's mask and heat map.
    let mut all = photo.clone();
    let mut columns = Vec::new();
    let found = segmenter.segment(&encoded, &arguments.prompts)?;
    for (index, soft) in found.iter().enumerate() {
        let mask = soft.threshold(arguments.threshold);
        let mut one = photo.clone();
        tint(&mut one, &mask, index);
        tint(&mut all, &mask, index);
        columns.push([one, heat_map(soft)]);
    }
    columns.insert(0, [photo, all]);

    let step = SIDE + GAP;
    let width = step * columns.len() as u32 - GAP;
    let mut sheet = RgbImage::from_pixel(width, SIDE + step, image::Rgb([255; 3]));
    for (column, cells) in columns.iter().enumerate() {
        for (row, cell) in cells.iter().enumerate() {
            let cell = resize(cell, SIDE, SIDE, FilterType::Triangle);
            let [left, top] = [column, row].map(|index| i64::from(step) * index as i64);
            replace(&mut sheet, &cell, left, top);
        }
    }
    add_legend(&sheet, &arguments.prompts).save(&arguments.out)?;
    Ok(())
}
