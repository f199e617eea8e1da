//! The data set of a run, which is checked before training.

use crate::config::train_config::{BrokenPictures, DataConfig};
use crate::error::{Result, TrainError};
use clipseg_data::{PhraseCut, ScenesConfig, Split, check_splits, generate_scenes};
use std::path::{Path, PathBuf};

/// Number of generated scenes if neither data nor the number is given.
const DEFAULT_SCENES: usize = 1_000;

/// Opens the existing splits of a run and checks every picture of their phrases. Without data, scenes are
/// used, which the first run generates in the user's cache folder.
///
/// # Errors
///
/// If a file cannot be read, or pictures are damaged and are not to be left out.
pub(crate) fn open_data(config: &DataConfig, mut note: impl FnMut(&str)) -> Result<PhraseCut> {
    let folder = match &config.folder {
        Some(folder) => folder.clone(),
        None => scenes(config.scenes.unwrap_or(DEFAULT_SCENES), &mut note)?,
    };
    let mut splits = vec![config.training];
    for (split, without) in [
        (
            config.validation,
            "the decoder after the last step counts as the best one",
        ),
        (config.test, "there is no table of new pictures"),
    ] {
        if !is_there(&folder, split) {
            note(&format!("the data has no split `{split}`: {without}"));
        } else if !splits.contains(&split) {
            splits.push(split);
        }
    }
    let mut data = PhraseCut::open_splits(&folder, &splits)?;
    let report = check_splits(&data, &splits, &|_, _| ());
    if config.broken_pictures == BrokenPictures::Refuse {
        report.require_pictures().map_err(|error| {
            let message = format!(
                "{error}\nset it to `leave_out` to leave their phrases out; the report gives their number"
            );
            TrainError::field("data.broken_pictures", message)
        })?;
    }
    data.leave_out_unusable(&report);
    Ok(data)
}

/// Whether a folder has the files of a split.
pub(crate) fn is_there(folder: &Path, split: Split) -> bool {
    split.parts().iter().all(|part| {
        [
            format!("refer_{part}.json"),
            format!("refer_input_{part}.json"),
        ]
        .iter()
        .any(|name| folder.join(name).is_file())
    })
}

/// The folder of a number of generated scenes.
fn scenes(images: usize, note: &mut impl FnMut(&str)) -> Result<PathBuf> {
    let scenes = ScenesConfig {
        images,
        ..ScenesConfig::default()
    };
    let cache = dirs::cache_dir().unwrap_or_else(std::env::temp_dir);
    let folder = cache.join("clipseg").join(scenes.folder_name());
    if !folder.is_dir() {
        note(&format!(
            "no data given: generating {} scenes in {}",
            scenes.images,
            folder.display()
        ));
        let made = generate_scenes(&folder, &scenes);
        // Another process may have generated the same scenes in the meantime.
        if !folder.is_dir() {
            made?;
        }
    }
    Ok(folder)
}
