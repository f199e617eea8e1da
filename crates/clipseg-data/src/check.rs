//! Checking a data set: its records and the files of all pictures.

use crate::error::DataError;
use crate::files;
use crate::phrasecut::PhraseCut;
use crate::pictures::decode_stored_rgb;
use crate::problems::{Problem, ProblemKind};
use crate::records::{ImageRecord, Split};
use crate::report::{Report, SplitReport};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Ids of the pictures of the published PhraseCut data whose size differs from the recorded one.
/// CLIPSeg's own code skips them.
pub const OTHER_SIZE_PICTURES: [u64; 17] = [
    61530, 61564, 150333, 150344, 150417, 150516, 285665, 285743, 285761, 285814, 286065, 286093,
    498010, 498042, 498187, 498246, 498269,
];

/// Decodes the pictures of all phrases in parallel, and reports their problems together with those of
/// the records. A problem is part of the report and not an error.
///
/// `progress` is called after each picture with the number of pictures done and the total.
///
/// ```no_run
/// use clipseg_data::{PhraseCut, check};
///
/// let mut data = PhraseCut::open("VGPhraseCut_v0".as_ref())?;
/// let report = check(&data, &|done, all| eprint!("\r{done} of {all} pictures"));
/// for problem in report.problems() {
///     println!("{}: {problem}", problem.kind);
/// }
/// data.leave_out_unusable(&report);
/// # Ok::<(), clipseg_data::DataError>(())
/// ```
pub fn check(data: &PhraseCut, progress: &(dyn Fn(usize, usize) + Sync)) -> Report {
    let splits: Vec<Split> = data.splits().collect();
    check_splits(data, &splits, progress)
}

/// Runs a [`check`] on some of the splits, as training and scoring do before their first step.
///
/// ```no_run
/// use clipseg_data::{PhraseCut, Split, check_splits};
///
/// let mut data = PhraseCut::open("VGPhraseCut_v0".as_ref())?;
/// let report = check_splits(&data, &[Split::Train, Split::Val], &|_, _| ());
/// // Either stop at the first broken picture or continue without it.
/// report.require_pictures()?;
/// data.leave_out_unusable(&report);
/// # Ok::<(), clipseg_data::DataError>(())
/// ```
pub fn check_splits(
    data: &PhraseCut,
    splits: &[Split],
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Report {
    let parts: BTreeSet<Split> = splits
        .iter()
        .flat_map(|split| split.parts())
        .copied()
        .collect();
    let read: Vec<Split> = data
        .splits()
        .filter(|split| parts.contains(split))
        .collect();
    let mut named = BTreeMap::<u64, &ImageRecord>::new();
    for &split in &read {
        for phrase in data.phrases(split) {
            if let Some(image) = data.image(phrase.image_id) {
                named.insert(phrase.image_id, image);
            }
        }
    }
    let done = AtomicUsize::new(0);
    let images: Vec<&ImageRecord> = named.into_values().collect();
    let found: Vec<Option<Problem>> = images
        .par_iter()
        .map(|image| {
            let problem = examine_file(&data.image_path(image.image_id), image);
            progress(1 + done.fetch_add(1, Ordering::Relaxed), images.len());
            problem
        })
        .collect();

    let mut report = Report {
        splits: Vec::new(),
        problems: data
            .problems()
            .iter()
            .filter(|problem| problem.task_id.is_none() || read.contains(&problem.split))
            .cloned()
            .collect(),
    };
    report.problems.extend(found.into_iter().flatten());
    let bad = report.unusable_pictures();
    report.splits.extend(read.into_iter().map(|split| {
        let (phrases, left_out) = (data.phrases(split), data.left_out(split).phrases());
        let of_bad = phrases
            .iter()
            .filter(|phrase| bad.contains_key(&phrase.image_id));
        let pictures: HashSet<u64> = phrases.iter().map(|phrase| phrase.image_id).collect();
        SplitReport {
            split,
            pictures: pictures.len(),
            phrases: phrases.len() + left_out,
            unusable: of_bad.count() + left_out,
        }
    }));
    report
}

fn examine_file(path: &Path, image: &ImageRecord) -> Option<Problem> {
    match files::read(path) {
        Ok(bytes) => examine_picture(&bytes, path, image),
        Err(error) => {
            let kind = match error.kind() {
                ErrorKind::NotFound => ProblemKind::MissingPicture,
                _ => ProblemKind::UnreadablePicture,
            };
            let detail = DataError::io("read", path)(error).to_string();
            Some(Problem::of_picture(kind, image, detail))
        }
    }
}

/// Returns the problem of a picture, given the content of its file.
pub(crate) fn examine_picture(bytes: &[u8], path: &Path, image: &ImageRecord) -> Option<Problem> {
    let (kind, detail) = match decode_stored_rgb(bytes, path) {
        Err(error @ DataError::CutOff { .. }) => (ProblemKind::CutOffPicture, error.to_string()),
        Err(error) => (ProblemKind::UnreadablePicture, error.to_string()),
        Ok(picture) if picture.dimensions() != (image.width, image.height) => {
            let (width, height) = picture.dimensions();
            let known = if OTHER_SIZE_PICTURES.contains(&image.image_id) {
                " (a known mismatch of the published data)"
            } else {
                ""
            };
            (
                ProblemKind::OtherSize,
                format!(
                    "recorded as {}x{}, the file has {width}x{height}{known}",
                    image.width, image.height
                ),
            )
        }
        Ok(_) => return None,
    };
    Some(Problem::of_picture(kind, image, detail))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::scenes::{ScenesConfig, generate_scenes};

    #[test]
    fn a_named_pipe_is_reported_as_one() {
        let folder = tempfile::tempdir().unwrap();
        let scenes = folder.path().join("scenes");
        let config = ScenesConfig {
            images: 20,
            size: 32,
            seed: 1,
        };
        generate_scenes(&scenes, &config).unwrap();
        let data = PhraseCut::open(&scenes).unwrap();
        let pictures: BTreeSet<u64> = data
            .phrases(Split::Train)
            .iter()
            .map(|phrase| phrase.image_id)
            .collect();
        let path = data.image_path(*pictures.first().unwrap());
        std::fs::remove_file(&path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let report = check(&data, &|_, _| ());
        assert_eq!(
            report.count(ProblemKind::UnreadablePicture, Split::Train),
            1
        );
        let problem = report.broken_pictures().next().unwrap().to_string();
        assert!(problem.contains("it is a named pipe"), "{problem}");

        // The same for the files of the data set itself.
        let list = scenes.join("image_data_split3000.json");
        std::fs::remove_file(&list).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&list).status();
        assert!(made.unwrap().success());
        let error = PhraseCut::open(&scenes).unwrap_err().to_string();
        assert!(
            error.ends_with("json: it is a named pipe, expected a file"),
            "{error}"
        );
    }
}
