//! Photographs seen at other sizes, in tiles and mirrored, on a tiny checkpoint.

use crate::support::{device, fixtures};
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;
use clipseg::clip::{ImageProcessor, TargetSize};
use clipseg::data::load_rgb;
use clipseg::model::{
    ClipSeg, PhraseModel, Prompt, SegmentOptions, Segmenter, SegmenterWithViews, SoftMask, Views,
};
use image::RgbImage;
use image::imageops::flip_horizontal;

const PROMPTS: [&str; 2] = ["a cat", "the wooden table"];

fn segmenter() -> Segmenter {
    Segmenter::from_pretrained(&fixtures().join("models/clipseg-plain"), &device())
        .expect("the fixture loads")
}

fn photo() -> RgbImage {
    load_rgb(&fixtures().join("images/wide.png")).expect("a fixture")
}

fn masks(segmenter: &Segmenter, photo: &RgbImage, views: Views, prompts: &[&str]) -> Vec<SoftMask> {
    let encoded = segmenter.encode_views(photo, &views, |_| {}).unwrap();
    segmenter.segment(&encoded, prompts).unwrap()
}

fn furthest(a: &SoftMask, b: &SoftMask) -> f32 {
    let pairs = a.probabilities().iter().zip(b.probabilities());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn mirrored(mask: &SoftMask) -> SoftMask {
    let rows = mask.probabilities().chunks(mask.width() as usize);
    let values = rows.flat_map(|row| row.iter().rev().copied()).collect();
    SoftMask::from_probabilities(values, [mask.width(), mask.height()]).unwrap()
}

#[test]
fn one_tile_equals_no_tiling() {
    let (segmenter, photo) = (segmenter(), photo());
    let encoded = segmenter.encode_image(&photo).unwrap();
    let plain = segmenter.segment(&encoded, &PROMPTS).unwrap();
    for views in [Views::default(), Views::default().with_tiles(1)] {
        assert_eq!(masks(&segmenter, &photo, views, &PROMPTS), plain);
    }
    let tiled = masks(&segmenter, &photo, Views::default().with_tiles(2), &PROMPTS);
    assert!(furthest(&tiled[0], &plain[0]) > 1e-3, "tiles matter");
}

#[test]
fn views_are_blended_with_equal_weights() {
    // Two tiles side by side: where only the left one lies, the mask is the mean of its mask and the entire
    // photograph's.
    let (segmenter, photo) = (segmenter(), photo());
    let (width, height) = photo.dimensions();
    let views = Views::default().with_tiles(2);
    let plan = segmenter.plan_views([width, height], &views).unwrap();
    assert_eq!(plan.count(), 3, "{plan}");
    let mut encoded = 0;
    let image = segmenter.encode_views(&photo, &views, |count| encoded += count);
    assert_eq!((image.unwrap().views(), encoded), (3, 3));
    let blended = masks(&segmenter, &photo, views, &PROMPTS).remove(0);
    let alone = masks(&segmenter, &photo, Views::default(), &PROMPTS).remove(0);
    let tile = (4 * width).div_ceil(7);
    let left = image::imageops::crop_imm(&photo, 0, 0, tile, height).to_image();
    let of_tile = masks(&segmenter, &left, Views::default(), &PROMPTS).remove(0);
    let inside = (width - tile - 1) as usize;
    for y in 0..height as usize {
        for x in 0..inside {
            let at = y * width as usize + x;
            let expected =
                (alone.probabilities()[at] + of_tile.probabilities()[y * tile as usize + x]) / 2.0;
            assert!((blended.probabilities()[at] - expected).abs() < 1e-5);
        }
    }
}

/// Sets every parameter to 0, except for those of one value, which are biases of the last layer.
struct OnlyLastBias(f32);

impl ModuleMapper for OnlyLastBias {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, _) = param.consume();
        let is_bias = tensor.dims().iter().product::<usize>() == 1;
        let value = if is_bias { self.0 } else { 0.0 };
        Param::initialized(id, tensor.zeros_like().add_scalar(value))
    }
}

#[test]
fn a_constant_model_stays_constant() {
    let model = segmenter();
    let config = model.model().config().clone();
    let (clip, decoder) = model.model().clone().into_parts();
    let decoder = decoder.map(&mut OnlyLastBias(1.3));
    let constant = ClipSeg::from_parts(config, clip, decoder);
    let constant = Segmenter::new(
        constant,
        model.tokenizer().clone(),
        model.processor().clone(),
    );
    let expected = 1.0 / (1.0 + (-1.3f32).exp());
    let photo = RgbImage::from_fn(301, 173, |x, y| image::Rgb([x as u8, y as u8, 9]));
    for views in [
        Views::default().with_tiles(4),
        Views::default().with_tiles(3).with_flip(true),
        Views::default().with_keep_aspect(true).with_tiles(2),
    ] {
        for mask in masks(&constant, &photo, views, &PROMPTS) {
            for value in mask.probabilities() {
                assert!(
                    (value - expected).abs() < 1e-5,
                    "{value}, expected {expected}"
                );
            }
        }
    }
}

#[test]
fn the_mirrored_photograph_has_the_mirrored_mask() {
    let (segmenter, photo) = (segmenter(), photo());
    let flipped = flip_horizontal(&photo);
    let with = |photo: &RgbImage, views: Views, prompt: &str| {
        masks(&segmenter, photo, views, &[prompt]).remove(0)
    };
    let flip = Views::default().with_flip(true);
    let plain = with(&photo, Views::default(), "a cat");
    let of_flipped = with(&flipped, Views::default(), "a cat");
    assert!(furthest(&mirrored(&of_flipped), &plain) > 1e-3);
    assert_eq!(
        with(&flipped, flip, "a cat"),
        mirrored(&with(&photo, flip, "a cat"))
    );
    let mean = |index: usize| {
        let other = mirrored(&of_flipped).probabilities()[index];
        (plain.probabilities()[index] + other) / 2.0
    };
    let found = with(&photo, flip, "a cat");
    for (index, value) in found.probabilities().iter().enumerate() {
        assert!((value - mean(index)).abs() < 1e-6);
    }
    let tiles = flip.with_tiles(3);
    let expected = mirrored(&with(&photo, tiles, "a cat"));
    assert!(furthest(&with(&flipped, tiles, "a cat"), &expected) < 1e-5);

    // Sides are exchanged in the mirror image, also in templates and in negative prompts.
    let expected = mirrored(&with(&photo, flip, "the cup on the right"));
    assert_eq!(with(&flipped, flip, "the cup on the left"), expected);
    let options = |side: &str, other: &str| {
        SegmentOptions::default()
            .with_templates([format!("{{}} on the {side}")])
            .with_negative_prompts([Prompt::from(format!("the {other} edge"))])
    };
    let segmented = |photo: &RgbImage, options: &SegmentOptions| {
        let encoded = segmenter.encode_views(photo, &flip, |_| {}).unwrap();
        let masks = segmenter.segment_with(&encoded, &["a cup".into()], options);
        masks.unwrap().remove(0)
    };
    let left = segmented(&flipped, &options("left", "right"));
    assert_eq!(
        left,
        mirrored(&segmented(&photo, &options("right", "left")))
    );
}

#[test]
fn the_size_and_the_aspect_ratio_of_the_input() {
    let (segmenter, photo) = (segmenter(), photo());
    let with = |size: TargetSize| {
        let mut processor = segmenter.processor().clone();
        processor.size = Some(size);
        let tokenizer = segmenter.tokenizer().clone();
        let other = Segmenter::new(segmenter.model().clone(), tokenizer, processor);
        let encoded = other.encode_image(&photo).unwrap();
        other.segment(&encoded, &PROMPTS).unwrap()
    };
    let exact = |width, height| TargetSize::Exact { height, width };
    let large = masks(&segmenter, &photo, Views::default().with_size(96), &PROMPTS);
    assert_eq!(large, with(exact(96, 96)));

    let views = Views::default().with_size(64).with_keep_aspect(true);
    let (width, height) = photo.dimensions();
    let sides = [(width, height), (height, width)].map(|(a, b)| {
        let patches = 8.0 * (f64::from(a) / f64::from(b)).sqrt();
        8 * patches.round() as u32
    });
    assert!(sides[0] > sides[1]);
    let plan = segmenter.plan_views([width, height], &views).unwrap();
    let text = plan.to_string();
    let expected = format!("1 view of up to {}x{} pixels", sides[0], sides[1]);
    assert!(text.starts_with(&expected), "{text}");
    let kept = masks(&segmenter, &photo, views, &PROMPTS);
    assert_eq!(kept, with(exact(sides[0], sides[1])));

    // Without a size, the number of pixels is the checkpoint's.
    let ImageProcessor {
        size: Some(TargetSize::Exact { width: side, .. }),
        ..
    } = *segmenter.processor()
    else {
        panic!("the fixture has an exact size");
    };
    let keep = Views::default().with_keep_aspect(true);
    assert_eq!(
        masks(&segmenter, &photo, keep, &PROMPTS),
        masks(&segmenter, &photo, keep.with_size(side), &PROMPTS)
    );
}

#[test]
fn what_cannot_be_encoded_is_refused() {
    let (segmenter, photo) = (segmenter(), photo());
    let message = |views: Views| {
        let encoded = segmenter.encode_views(&photo, &views, |_| {});
        encoded.unwrap_err().to_string()
    };
    assert!(message(Views::default().with_size(100)).contains("multiple of the patch size 8"));
    assert!(message(Views::default().with_tiles(0)).contains("expected 1 to 32"));
    let large = message(Views::default().with_size(80_000));
    assert!(large.contains("GiB, expected at most 4 GiB"), "{large}");
    assert!(segmenter.plan_views([0, 5], &Views::default()).is_err());

    let tiled = Views::default().with_tiles(2);
    let encoded = segmenter.encode_views(&photo, &tiled, |_| {}).unwrap();
    let texts = segmenter.encode_text(&PROMPTS).unwrap();
    let error = segmenter.logits(&encoded, texts).unwrap_err().to_string();
    assert!(error.contains("encoded by 3 views"), "{error}");
}

#[test]
fn evaluation_uses_the_blended_masks() {
    let (segmenter, photo) = (segmenter(), photo());
    let scored = |views: Views| {
        let model = SegmenterWithViews {
            segmenter: &segmenter,
            views,
        };
        let encoded = model.encode(&photo).unwrap();
        model.phrase_logits(&encoded, &PROMPTS).unwrap()
    };
    let plain = scored(Views::default());
    let encoded = segmenter.encode(&photo).unwrap();
    assert_eq!(plain, segmenter.phrase_logits(&encoded, &PROMPTS).unwrap());

    let views = Views::default().with_tiles(2).with_flip(true);
    let logits = scored(views);
    assert_eq!(logits.size, [photo.width(), photo.height()]);
    let pixels = (photo.width() * photo.height()) as usize;
    let expected = masks(&segmenter, &photo, views, &PROMPTS);
    for (logits, mask) in logits.values.chunks(pixels).zip(&expected) {
        let found = SoftMask::from_logits(logits, logits_size(&photo), logits_size(&photo));
        assert!(furthest(&found.unwrap(), mask) < 1e-5);
    }
}

fn logits_size(photo: &RgbImage) -> [u32; 2] {
    [photo.width(), photo.height()]
}
