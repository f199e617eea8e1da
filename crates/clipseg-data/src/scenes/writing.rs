//! Writing scenes in the layout of PhraseCut.

use super::config::ScenesConfig;
use super::painting::paint;
use super::phrases::describe;
use super::placing::{Looks, Scene, place};
use super::unseen::UnseenPairs;
use crate::error::{DataError, Result};
use crate::records::{ImageRecord, Phrase, Split};
use crate::writer::PhraseCutWriter;
use image::codecs::jpeg::JpegEncoder;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

const FIRST_PICTURE: u64 = 1;
const JPEG_QUALITY: u8 = 95;

/// The record of a picture and its phrases.
struct Entry {
    record: ImageRecord,
    phrases: Vec<Phrase>,
}

/// Places the objects of a scene. The random generator is returned for its phrases and its painting.
pub(super) fn compose(config: &ScenesConfig, index: usize) -> (Scene, ChaCha8Rng) {
    // One generator per picture, so that pictures can be generated in any order.
    let mut random = ChaCha8Rng::seed_from_u64(config.seed);
    random.set_stream(index as u64);
    let looks = match config.split_of(index) {
        Split::Train => Looks::Seen,
        _ => Looks::WithUnseen,
    };
    let scene = place(&mut random, config.size, config.size, looks);
    (scene, random)
}

pub(super) fn image_id(index: usize) -> u64 {
    FIRST_PICTURE + index as u64
}

/// Paints, describes and writes all pictures.
pub(super) fn write_all(
    writer: &mut PhraseCutWriter,
    config: &ScenesConfig,
    progress: &(dyn Fn() + Sync),
) -> Result<()> {
    let entries: Vec<Entry> = (0..config.images)
        .into_par_iter()
        .map(|index| {
            let entry = write_picture(writer, config, index)?;
            progress();
            Ok(entry)
        })
        .collect::<Result<_>>()?;
    for Entry { record, phrases } in entries {
        writer.add_record(record)?;
        for phrase in phrases {
            writer.add_phrase(phrase)?;
        }
    }
    writer.write_list(UnseenPairs::file(), &UnseenPairs::of_scenes())
}

fn write_picture(writer: &PhraseCutWriter, config: &ScenesConfig, index: usize) -> Result<Entry> {
    let (scene, mut random) = compose(config, index);
    let image_id = image_id(index);
    let phrases = describe(&mut random, &scene, image_id);
    let picture = paint(&mut random, &scene);

    let mut bytes = Vec::new();
    picture
        .write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY))
        .map_err(|source| DataError::Picture {
            path: writer.picture_path(image_id),
            source,
        })?;
    writer.write_picture(image_id, &bytes)?;

    let record = ImageRecord {
        image_id,
        coco_id: None,
        flickr_id: None,
        width: config.size,
        height: config.size,
        url: String::new(),
        split: config.split_of(index),
    };
    Ok(Entry { record, phrases })
}
