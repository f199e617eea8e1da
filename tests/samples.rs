//! Samples: selection, augmentation, batches, and reproducibility by seed.

use crate::support::device;
use burn::data::dataloader::DataLoaderBuilder;
use clipseg::data::{
    BatchOrder, BatchPosition, Grouping, Loader, MaskScaling, NegativeRule, PhraseCut,
    PhraseCutDataset, Preprocessing, RasterRule, SampleBatch, SampleBatcher, SampleOptions,
    Selection, Split, TEMPLATES,
};
use image::{Rgb, RgbImage};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

const PICTURES: u64 = 24;
const COLOURS: [(&str, [u8; 3]); 4] = [
    ("red", [250, 10, 10]),
    ("green", [10, 250, 10]),
    ("blue", [10, 10, 250]),
    ("white", [250, 250, 250]),
];
const NAMES: [&str; 4] = ["square", "boxes", "tile on the left", "brick"];

/// Black pictures of 90×60, each with two rectangles of different colours. The first is named by its
/// colour and a noun, the second by its colour alone.
fn rectangles(folder: &std::path::Path) -> Arc<PhraseCut> {
    std::fs::create_dir(folder.join("images")).unwrap();
    let (mut images, mut phrases) = (Vec::new(), Vec::new());
    for image_id in 1..=PICTURES {
        let mut picture = RgbImage::new(90, 60);
        for second in [0, 1] {
            let colour = COLOURS[(image_id as usize + second) % 4];
            let left = 6 + (7 * image_id % 24) as u32 + 35 * second as u32;
            let (top, right, bottom) = (5 + (image_id % 9) as u32, left + 22, 50);
            for y in top..=bottom {
                for x in left..=right {
                    picture.put_pixel(x, y, Rgb(colour.1));
                }
            }
            let name = if second == 0 {
                NAMES[(image_id / 4) as usize % 4]
            } else {
                ""
            };
            let text = format!("{} {name}", colour.0).trim().to_owned();
            phrases.push(json!({
                "task_id": format!("{image_id}__{}", 2 * image_id + second as u64),
                "image_id": image_id,
                "ann_ids": [2 * image_id + second as u64],
                "instance_boxes": [[left, top, 23, bottom - top + 1]],
                "Polygons": [[[[left, top], [right, top], [right, bottom], [left, bottom]]]],
                "phrase": text,
                "phrase_structure": {"name": if second == 0 { name } else { colour.0 }},
            }));
        }
        // A lossless format under another name: the file's content decides how it is read.
        let path = folder.join(format!("images/{image_id}.jpg"));
        picture
            .save_with_format(path, image::ImageFormat::Png)
            .unwrap();
        images.push(json!({"image_id": image_id, "width": 90, "height": 60, "split": "train"}));
    }
    let write = |name: &str, list: &Vec<serde_json::Value>| {
        std::fs::write(folder.join(name), serde_json::to_vec(list).unwrap()).unwrap();
    };
    write("image_data_split.json", &images);
    write("refer_train.json", &phrases);
    Arc::new(PhraseCut::open(folder).unwrap())
}

fn colour_of(text: &str) -> [u8; 3] {
    let known = COLOURS.iter().find(|(name, _)| text.contains(name));
    known.expect("each phrase has a colour").1
}

fn everything(seed: u64) -> SampleOptions {
    SampleOptions {
        crop: Some(0.05),
        flip: 0.5,
        colour_jitter: 0.3,
        templates: TEMPLATES.map(str::to_owned).to_vec(),
        negatives: 0.3,
        support: true,
        seed,
        ..SampleOptions::new(32, 32)
    }
}

fn dataset(data: &Arc<PhraseCut>, options: SampleOptions) -> Arc<PhraseCutDataset> {
    Arc::new(PhraseCutDataset::new(data.clone(), Split::Train, options).unwrap())
}

/// The comparable parts of a batch.
fn contents(batch: SampleBatch) -> impl PartialEq + std::fmt::Debug {
    let supports: Vec<_> = batch
        .supports
        .into_iter()
        .map(|support| support.map(|s| (s.image_id, s.image.into_raw(), s.mask)))
        .collect();
    let words = (batch.task_ids, batch.phrases, batch.negative);
    (
        words,
        batch.pictures,
        batch.views,
        batch.picture_of,
        batch.masks,
        supports,
    )
}

#[test]
fn batches_do_not_depend_on_the_number_of_workers() {
    let folder = tempfile::tempdir().unwrap();
    let data = rectangles(folder.path());
    for (grouping, preprocessing) in [
        (Grouping::Phrase, Preprocessing::ClipSeg),
        (Grouping::Picture, Preprocessing::HuggingFace),
    ] {
        // Each with its own data set, so that no cache is shared.
        let load = |workers: usize, cache_bytes: u64, from: BatchPosition| -> Vec<_> {
            let options = SampleOptions {
                preprocessing,
                cache_bytes,
                ..everything(9)
            };
            let dataset = dataset(&data, options);
            let order = BatchOrder::new(&dataset, 7, grouping, 5);
            let loader = Loader::new(dataset, order, from, workers).unwrap();
            loader
                .take(20)
                .map(|batch| contents(batch.unwrap()))
                .collect()
        };
        let one = load(1, 0, BatchPosition::default());
        assert!(one == load(2, 0, BatchPosition::default()), "two workers");
        assert!(one == load(4, 0, BatchPosition::default()), "four workers");
        assert!(
            one == load(4, 100_000, BatchPosition::default()),
            "some of it kept in memory"
        );
        assert!(
            one == load(2, 1 << 30, BatchPosition::default()),
            "all of it kept in memory"
        );
        let passes = BatchOrder::new(&dataset(&data, everything(9)), 7, grouping, 5);
        let place = passes.locate(9).unwrap();
        assert!(place.epoch > 0, "the tenth batch is in a later epoch");
        assert!(
            one[9..] == load(2, 0, place)[..11],
            "from the tenth batch on"
        );
    }
}

#[test]
fn the_seed_and_the_pass_change_what_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let data = rectangles(folder.path());
    let load = |seed, epoch| {
        contents(
            dataset(&data, everything(seed))
                .load(&[0, 1, 2, 3, 4, 5], epoch)
                .unwrap(),
        )
    };
    assert!(load(1, 0) == load(1, 0));
    assert!(load(1, 0) != load(2, 0));
    assert!(load(1, 0) != load(1, 1));
}

#[test]
fn pictures_masks_and_words_are_turned_together() {
    let folder = tempfile::tempdir().unwrap();
    let data = rectangles(folder.path());
    for (preprocessing, mask_scaling) in [
        (Preprocessing::HuggingFace, MaskScaling::Resize),
        (Preprocessing::HuggingFace, MaskScaling::Polygons),
        (Preprocessing::ClipSeg, MaskScaling::PyTorchNearest),
    ] {
        for crop in [None, Some(0.05)] {
            let options = SampleOptions {
                preprocessing,
                crop,
                flip: 0.5,
                mask_scaling,
                rule: RasterRule::Pillow,
                ..SampleOptions::new(60, 60)
            };
            let samples = dataset(&data, options);
            let mut flipped = 0;
            for index in 0..samples.phrases() {
                let sample = samples.sample(index, 1).unwrap();
                let record = samples.record(index);
                let colour = colour_of(&sample.phrase);
                // Pixels at borders have mixed colours, so only pixels away from them are compared.
                let (sure, beyond) = (sample.mask.erode(3), sample.mask.dilate(3));
                assert!(sure.area() > 50, "{record:?}");
                for (pixel, place) in sample.image.to_rgb8().pixels().zip(0..) {
                    let alike = pixel.0.iter().zip(colour).all(|(a, b)| a.abs_diff(b) < 12);
                    if sure.contains(place % 60, place / 60) {
                        assert!(alike, "{}: {:?} at {place}", record.task_id, pixel.0);
                    } else if !beyond.contains(place % 60, place / 60) {
                        assert!(!alike, "{}: {:?} at {place}", record.task_id, pixel.0);
                    }
                }
                flipped += usize::from(sample.view.flipped);
                if record.phrase.ends_with("left") {
                    let side = if sample.view.flipped { "right" } else { "left" };
                    assert!(sample.phrase.ends_with(side), "{}", sample.phrase);
                }
            }
            assert!((10..38).contains(&flipped), "{flipped} of 48 are mirrored");
        }
    }
}

#[test]
fn negatives_do_not_hold() {
    let folder = tempfile::tempdir().unwrap();
    let data = rectangles(folder.path());
    let options = SampleOptions {
        negatives: 0.4,
        ..SampleOptions::new(16, 16)
    };
    let samples = dataset(&data, options);
    let mut words = BTreeMap::<u64, String>::new();
    for index in 0..samples.phrases() {
        let record = samples.record(index);
        let text = words.entry(record.image_id).or_default();
        *text = format!("{text} {}", record.phrase.replace("boxes", "box boxes"));
    }
    let all: Vec<usize> = (0..samples.phrases()).collect();
    let (mut count, mut drawn) = (0, BTreeSet::new());
    for epoch in 0..20 {
        let batch = samples.load(&all, epoch).unwrap();
        for (item, &negative) in batch.negative.iter().enumerate() {
            let (phrase, record) = (&batch.phrases[item], samples.record(item));
            assert_eq!(batch.task_ids[item], record.task_id);
            if !negative {
                assert_eq!(*phrase, record.phrase);
                assert!(batch.masks[item].area() > 0);
                continue;
            }
            count += 1;
            drawn.insert(phrase.clone());
            assert_eq!(batch.masks[item].area(), 0);
            let here: HashSet<&str> = words[&record.image_id].split(' ').collect();
            let named = NAMES.iter().find(|name| phrase.ends_with(*name));
            let name = named.map_or(phrase.as_str(), |name| name.split(' ').next().unwrap());
            assert!(!here.contains(name), "`{phrase}` in a picture of {here:?}");
        }
    }
    // 960 draws with probability 0.4: mean 384, standard deviation 15.
    assert!((310..460).contains(&count), "{count}");
    assert!(drawn.len() > 10, "{drawn:?}");
}

#[test]
fn the_papers_negatives_are_any_other_phrase() {
    let folder = tempfile::tempdir().unwrap();
    let data = rectangles(folder.path());
    let options = SampleOptions {
        negatives: 0.4,
        negative_rule: NegativeRule::Any,
        ..SampleOptions::new(16, 16)
    };
    let samples = dataset(&data, options);
    let all: Vec<usize> = (0..samples.phrases()).collect();
    let texts: BTreeSet<&str> = all
        .iter()
        .map(|&index| samples.record(index).phrase.as_str())
        .collect();
    let (mut count, mut shown, mut drawn) = (0, 0, BTreeMap::<String, usize>::new());
    for epoch in 0..40 {
        let batch = samples.load(&all, epoch).unwrap();
        for (item, _) in batch.negative.iter().enumerate().filter(|(_, n)| **n) {
            let (phrase, record) = (&batch.phrases[item], samples.record(item));
            assert_ne!(*phrase, record.phrase);
            assert_eq!(batch.masks[item].area(), 0);
            count += 1;
            *drawn.entry(phrase.clone()).or_default() += 1;
            shown += usize::from(all.iter().any(|&other| {
                let other = samples.record(other);
                other.image_id == record.image_id && other.phrase == *phrase
            }));
        }
    }
    // 1,920 draws with probability 0.4: mean 768, standard deviation 21.
    assert!((680..860).contains(&count), "{count}");
    assert!(shown > 0, "it does not look at what the picture shows");
    // Every text is equally likely, however many phrases have it.
    assert_eq!(drawn.len(), texts.len());
    let expected = count as f64 / texts.len() as f64;
    for (text, times) in drawn {
        let times = times as f64;
        assert!(
            (times - expected).abs() < 5.0 * expected.sqrt(),
            "{text}: {times}"
        );
    }
}

#[test]
fn a_support_picture_shows_the_same_phrase_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let data = rectangles(folder.path());
    let samples = dataset(
        &data,
        SampleOptions {
            support: true,
            ..SampleOptions::new(16, 16)
        },
    );
    let mut found = 0;
    for index in 0..samples.phrases() {
        let sample = samples.sample(index, 3).unwrap();
        let alone = (0..samples.phrases())
            .filter(|&other| samples.record(other).phrase == sample.phrase)
            .count()
            == 1;
        assert_eq!(sample.support.is_none(), alone, "{}", sample.phrase);
        let Some(support) = sample.support else {
            continue;
        };
        found += 1;
        assert_ne!(support.image_id, sample.image_id);
        let inside = support.mask.erode(1);
        let mut pixels = support.image.pixels().zip(inside.pixels());
        assert!(inside.area() > 0);
        assert!(pixels.all(|(pixel, inside)| !inside || pixel.0 == colour_of(&sample.phrase)));
    }
    assert!(found > 10, "{found}");
}

#[test]
fn selections_are_disjoint_by_picture() {
    let folder = tempfile::tempdir().unwrap();
    let data = rectangles(folder.path());
    let pictures = |selection: Selection| -> BTreeSet<u64> {
        let options = SampleOptions::new(16, 16);
        let samples = PhraseCutDataset::new(data.clone(), selection, options).unwrap();
        samples.image_ids().into_iter().collect()
    };
    let new = || Selection::new(Split::Train);
    let (most, rest) = (
        pictures(new().share(0.0..0.75)),
        pictures(new().share(0.75..1.0)),
    );
    assert_eq!((most.len(), rest.len()), (18, 6));
    assert!(most.is_disjoint(&rest));
    assert_ne!(rest, pictures(new().share(0.75..1.0).seed(1)));

    let (first, then) = (
        pictures(new().phrases(0..13)),
        pictures(new().phrases(13..48)),
    );
    assert_eq!(first.len(), 7, "two phrases a picture");
    assert!(first.is_disjoint(&then) && first.len() + then.len() == 24);

    let skipped = pictures(new().skipping([3, 5]));
    assert!(skipped.len() == 22 && !skipped.contains(&3) && !skipped.contains(&5));

    let wrong = PhraseCutDataset::new(
        data.clone(),
        new().share(0.5..1.5),
        SampleOptions::new(8, 8),
    );
    assert_eq!(
        wrong.unwrap_err().to_string(),
        "a share of 0.5..1.5, expected a range within 0.0..1.0"
    );
}

#[test]
fn words_are_held_out() {
    let folder = tempfile::tempdir().unwrap();
    let data = rectangles(folder.path());
    let phrases = |selection: Selection| -> Vec<String> {
        let options = SampleOptions::new(16, 16);
        let samples = PhraseCutDataset::new(data.clone(), selection, options).unwrap();
        (0..samples.phrases())
            .map(|index| samples.record(index).phrase.clone())
            .collect()
    };
    let new = || Selection::new(Split::Train);
    let (seen, unseen) = (
        phrases(new().without_words(["box", "tile"])),
        phrases(new().only_words(["box", "tile"])),
    );
    assert_eq!(seen.len() + unseen.len(), 48);
    assert!(
        unseen.len() >= 8
            && unseen
                .iter()
                .all(|p| p.contains("boxes") || p.contains("tile"))
    );
    assert!(
        !seen
            .iter()
            .any(|p| p.contains("boxes") || p.contains("tile"))
    );

    let counted = |words: &[&str]| -> Vec<[usize; 2]> {
        let selection = new().only_words(words.iter().copied());
        let matches = selection.word_matches(&data).unwrap();
        let counts = matches.iter().map(|found| [found.words, found.unmatched]);
        counts.collect()
    };
    assert_eq!(
        counted(&["tile", "zebra", "box", "box zebra"]),
        [[1, 0], [1, 1], [1, 0], [1, 1]]
    );
    let list = clipseg::data::held_out_list("pascal-zero-shot-2").unwrap();
    assert_eq!(
        counted(&["list:pascal-zero-shot-2"]),
        [[list.len(), list.len()]]
    );

    let large = phrases(new().minimum_area(23 * 44));
    assert!(!large.is_empty() && large.len() < 48);
    assert!(phrases(new().minimum_area(90 * 60)).is_empty());
}

#[test]
fn bad_options_name_their_field() {
    let folder = tempfile::tempdir().unwrap();
    let data = rectangles(folder.path());
    let message = |options: SampleOptions| {
        let dataset = PhraseCutDataset::new(data.clone(), Split::Train, options);
        dataset.unwrap_err().to_string()
    };
    let sound = || SampleOptions::new(8, 8);
    assert_eq!(
        message(SampleOptions::new(0, 8)),
        "samples of 0x8 have no pixels"
    );
    assert_eq!(
        message(SampleOptions {
            negatives: 1.5,
            ..sound()
        }),
        "field `negatives`: 1.5, expected a number from 0 to 1"
    );
    assert_eq!(
        message(SampleOptions {
            crop: Some(f32::NAN),
            ..sound()
        }),
        "field `crop`: NaN, expected a number from 0 to 1"
    );
    assert_eq!(
        message(SampleOptions {
            templates: vec!["a photo".into()],
            ..sound()
        }),
        "field `templates`: `a photo` has no `{}` for the phrase"
    );
}

#[test]
fn a_picture_that_is_gone_ends_the_loader_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let data = rectangles(folder.path());
    std::fs::remove_file(folder.path().join("images/5.jpg")).unwrap();
    let samples = dataset(&data, SampleOptions::new(16, 16));
    let order = BatchOrder::new(&samples, 4, Grouping::Picture, 0);
    let batches: Vec<_> = Loader::new(samples, order, BatchPosition::default(), 2)
        .unwrap()
        .collect();
    let (last, sound) = batches.split_last().unwrap();
    assert!(sound.iter().all(Result::is_ok));
    let message = last.as_ref().unwrap_err().to_string();
    assert!(
        message.starts_with("cannot read") && message.contains("5.jpg"),
        "{message}"
    );
}

#[test]
fn burns_own_loader_takes_the_samples() {
    let folder = tempfile::tempdir().unwrap();
    let data = rectangles(folder.path());
    let samples = PhraseCutDataset::new(data, Split::Train, SampleOptions::new(24, 16)).unwrap();
    let loader = DataLoaderBuilder::new(SampleBatcher)
        .batch_size(5)
        .num_workers(2)
        .set_device(device())
        .build(samples);
    let mut phrases = 0;
    for batch in loader.iter() {
        let batch = batch.expect("every picture is there");
        let items = batch.phrases.len();
        assert_eq!(batch.pixels.dims(), [items, 3, 16, 24]);
        assert_eq!(batch.masks.dims(), [items, 16, 24]);
        assert!(batch.masks.sum().into_scalar::<f32>() > 0.0);
        phrases += items;
    }
    assert_eq!(phrases, 48);
}
