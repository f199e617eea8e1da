//! Converts pictures, mask PNGs and a table of phrases into a data set to train on.
//!
//! ```text
//! cargo run --example own_data -- table.csv mydata
//! clipseg data show mydata --split train --out sheet.png
//! clipseg train --data mydata
//! ```
//!
//! The table is separated by commas, or by tabs if its name ends in `.tsv`. Paths are relative to the
//! table's folder. Rows with the same picture and phrase are several instances of one phrase:
//!
//! ```text
//! picture,mask,phrase,split
//! photos/pets.jpg,masks/cat.png,black cat,train
//! photos/pets.jpg,masks/dog-1.png,dogs,train
//! photos/pets.jpg,masks/dog-2.png,dogs,train
//! ```

use clap::Parser;
use clipseg::data::{Mask, PhraseCutWriter, Split, load_mask};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

#[derive(Parser)]
#[command(about = "Convert pictures, mask PNGs and a table of phrases into a data set")]
struct Arguments {
    /// Table with the columns picture, mask, phrase and split.
    table: PathBuf,
    /// Folder to create, in the layout of `VGPhraseCut_v0`.
    out: PathBuf,
}

#[derive(Deserialize)]
struct Row {
    picture: PathBuf,
    mask: PathBuf,
    phrase: String,
    split: Split,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { table, out } = Arguments::parse();
    let phrases = convert(&table, &out).map_err(|error| format!("{}: {error}", table.display()))?;
    println!("{phrases} phrases in {}", out.display());
    Ok(())
}

/// Writes the data set and returns its number of phrases.
pub(crate) fn convert(table: &Path, out: &Path) -> Result<usize, Box<dyn Error>> {
    let tabs = table.extension().is_some_and(|ending| ending == "tsv");
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(if tabs { b'\t' } else { b',' })
        .trim(csv::Trim::All)
        .from_path(table)?;
    let folder = table.parent().unwrap_or(Path::new(""));
    let mut writer = PhraseCutWriter::new(out)?;
    let mut pictures = BTreeMap::<PathBuf, (u64, Split)>::new();
    let mut phrases = BTreeMap::<(u64, String), Vec<Mask>>::new();
    for row in reader.deserialize() {
        let row: Row = row?;
        let image_id = match pictures.get(&row.picture) {
            Some(&(image_id, split)) if split == row.split => image_id,
            Some((_, split)) => {
                let (picture, other) = (row.picture.display(), row.split);
                return Err(format!("{picture} is in {split} and in {other}").into());
            }
            None => {
                let image_id = writer.add_picture(&folder.join(&row.picture), row.split)?;
                pictures.insert(row.picture, (image_id, row.split));
                image_id
            }
        };
        let masks = phrases.entry((image_id, row.phrase)).or_default();
        masks.push(load_mask(&folder.join(row.mask))?);
    }
    for ((image_id, phrase), masks) in &phrases {
        writer.add_masks(*image_id, phrase, masks)?;
    }
    writer.finish()?;
    Ok(phrases.len())
}
