//! Prompts of every kind through the complete model, on a tiny checkpoint.

use crate::support::{device, fixtures};
use clipseg::data::{Mask, load_rgb};
use clipseg::model::{
    LabelMapBuilder, ModelError, Prompt, SegmentOptions, Segmenter, SoftMask, TEMPLATES,
    VisualPrompt, label_map, overlay, tint,
};
use image::RgbImage;

fn segmenter() -> Segmenter {
    Segmenter::from_pretrained(&fixtures().join("models/clipseg-refined"), &device())
        .expect("the fixture loads")
}

fn photo() -> RgbImage {
    load_rgb(&fixtures().join("images/wide.png")).expect("a fixture")
}

fn furthest(a: &SoftMask, b: &SoftMask) -> f32 {
    let pairs = a.probabilities().iter().zip(b.probabilities());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn masks_have_the_photographs_size_and_do_not_depend_on_their_neighbours() {
    let (segmenter, photo) = (segmenter(), photo());
    let encoded = segmenter.encode_image(&photo).unwrap();
    // More prompts than one batch of the decoder, of different lengths, one of them twice.
    let mut prompts: Vec<String> = (0..19)
        .map(|n| format!("thing {}", "very ".repeat(n)))
        .collect();
    prompts.push(prompts[3].clone());
    let together = segmenter.segment(&encoded, &prompts).unwrap();
    assert_eq!(together.len(), 20);
    assert_eq!(together[3], together[19]);
    for (prompt, mask) in prompts.iter().zip(&together) {
        assert_eq!((mask.width(), mask.height()), photo.dimensions());
        let alone = self::segmenter().segment(&encoded, &[prompt]).unwrap();
        assert!(furthest(mask, &alone[0]) < 1e-5, "{prompt}");
    }
    assert!(
        furthest(&together[0], &together[1]) > 1e-4,
        "prompts matter"
    );
}

#[test]
fn templates_average_and_negatives_take_away() {
    let (segmenter, photo) = (segmenter(), photo());
    let encoded = segmenter.encode_image(&photo).unwrap();
    let with = |options: SegmentOptions| {
        let masks = segmenter.segment_with(&encoded, &["a cat".into()], &options);
        masks.unwrap().remove(0)
    };
    let plain = segmenter.segment(&encoded, &["a cat"]).unwrap().remove(0);
    assert_eq!(with(SegmentOptions::default()), plain);
    let same = with(SegmentOptions::default().with_templates(["{}", "{}"]));
    assert!(furthest(&same, &plain) < 1e-5);
    let ensemble = with(SegmentOptions::default().with_templates(TEMPLATES));
    let sentences: Vec<String> = TEMPLATES.map(|t| t.replace("{}", "a cat")).into();
    let mean = segmenter.encode_text(&sentences).unwrap().mean_dim(0);
    let expected = segmenter.segment_by_embedding(&encoded, mean).unwrap();
    assert!(furthest(&ensemble, &expected[0]) < 1e-6);

    let dog = segmenter.segment(&encoded, &["a dog"]).unwrap();
    let left = with(SegmentOptions::default().with_negative_prompts(["a dog"]));
    assert_eq!(left, plain.except(&dog).unwrap());
}

#[test]
fn masks_one_after_another_are_those_that_come_together() {
    let (segmenter, photo) = (segmenter(), photo());
    let encoded = segmenter.encode_image(&photo).unwrap();
    let prompts: Vec<Prompt> = (0..37).map(|n| format!("thing {n}").into()).collect();
    let negatives: Vec<String> = (0..19).map(|n| format!("no {n}")).collect();
    for options in [
        SegmentOptions::default(),
        SegmentOptions::default().with_negative_prompts(negatives.clone()),
    ] {
        let together = segmenter
            .segment_with(&encoded, &prompts, &options)
            .unwrap();
        let mut labels = LabelMapBuilder::new(0.3);
        let (mut next, mut page) = (0, photo.clone());
        let each = |index: usize, mask: SoftMask| {
            assert_eq!(index, next);
            assert_eq!(mask, together[index]);
            next += 1;
            labels.add(&mask)?;
            tint(&mut page, &mask.threshold(0.5), index);
            Ok::<(), ModelError>(())
        };
        segmenter
            .for_each_mask(&encoded, &prompts, &options, each)
            .unwrap();
        assert_eq!(next, prompts.len());
        assert_eq!(labels.finish().unwrap(), label_map(&together, 0.3).unwrap());
        let masks: Vec<Mask> = together.iter().map(|mask| mask.threshold(0.5)).collect();
        assert_eq!(page, overlay(&photo, &masks));
    }

    // Negative prompts are combined by their maximum.
    let with = |negatives: &[String]| {
        let options = SegmentOptions::default().with_negative_prompts(negatives.to_vec());
        segmenter.segment_with(&encoded, &prompts[..1], &options)
    };
    let plain = segmenter.segment(&encoded, &["thing 0"]).unwrap().remove(0);
    let not_meant = segmenter.segment(&encoded, &negatives).unwrap();
    let expected = plain.except(&not_meant).unwrap();
    assert_eq!(with(&negatives).unwrap().remove(0), expected);

    // An error ends the iteration.
    let mut seen = 0;
    let stopped =
        segmenter.for_each_mask(&encoded, &prompts, &SegmentOptions::default(), |_, _| {
            seen += 1;
            match seen {
                5 => Err(ModelError::Input("enough".into())),
                _ => Ok(()),
            }
        });
    assert_eq!(
        (stopped.unwrap_err().to_string().as_str(), seen),
        ("enough", 5)
    );
}

#[test]
fn an_example_is_a_prompt() {
    let (segmenter, photo) = (segmenter(), photo());
    let encoded = segmenter.encode_image(&photo).unwrap();
    let (width, height) = photo.dimensions();
    let left_half = (0..width * height).map(|pixel| u8::from(pixel % width < width / 2));
    let mask = Mask::from_vec(width, height, left_half.collect());
    let prompts: [Prompt; 3] = [
        VisualPrompt::new(photo.clone()).into(),
        VisualPrompt::with_mask(photo, mask).unwrap().into(),
        "a cat".into(),
    ];
    let masks = segmenter
        .segment_with(&encoded, &prompts, &SegmentOptions::default())
        .unwrap();
    assert_eq!(masks.len(), 3);
    assert!(furthest(&masks[0], &masks[1]) > 1e-4, "the mask matters");
    let words = segmenter.segment(&encoded, &["a cat"]).unwrap();
    assert!(furthest(&masks[2], &words[0]) < 1e-5);
}

#[test]
fn a_saved_model_is_the_same_model() {
    let (segmenter, folder) = (segmenter(), tempfile::tempdir().unwrap());
    segmenter.save_pretrained(folder.path()).unwrap();
    let again = Segmenter::from_pretrained(folder.path(), &device()).unwrap();
    assert_eq!(again.model().config(), segmenter.model().config());
    assert_eq!(again.processor(), segmenter.processor());
    let mask = |segmenter: &Segmenter| {
        let encoded = segmenter.encode_image(&photo()).unwrap();
        segmenter.segment(&encoded, &["a cat"]).unwrap().remove(0)
    };
    assert_eq!(mask(&again), mask(&segmenter));
    let names: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert!(names.iter().all(|name| !name.starts_with('.')), "{names:?}");
}
