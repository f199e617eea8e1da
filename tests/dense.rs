//! Segmentation by a CLIP alone, against the reference implementation.

use crate::support::{Answers, device, fixtures_with};
use burn::tensor::Tensor;
use clipseg::clip::{ClipTokenizer, ImageProcessor, load_clip};
use clipseg::data::load_rgb;
use clipseg::model::{DenseClass, DenseClip, DenseOptions};

/// The names and the sentences of the fixture.
const NAMES: [&str; 3] = ["red circle", "cat", "wooden table"];
const SENTENCES: [&str; 3] = ["a {}.", "the {} on it.", "{}"];

/// The pictures of the fixture, `HxW`.
fn sizes(answers: &Answers) -> Vec<String> {
    let names = answers.names("in.").into_iter();
    let sizes = names.filter_map(|name| {
        let size = name.strip_prefix("in.")?.strip_suffix(".pixel_values")?;
        Some(size.to_owned())
    });
    sizes.collect()
}

fn clip() -> (Answers, DenseClip) {
    let folder = fixtures_with("dense/expected.safetensors");
    let answers = Answers::of(folder.join("dense"));
    let clip = folder.join("models/clip");
    let model = load_clip(&clip, &device()).expect("the fixture loads");
    let tokenizer = ClipTokenizer::from_folder(&clip, &model.config.text_config).unwrap();
    let dense = DenseClip::new(model, tokenizer, ImageProcessor::clip(32));
    (answers, dense)
}

fn classes() -> [DenseClass; 3] {
    NAMES.map(|name| name.parse().unwrap())
}

#[test]
fn patches_and_texts_equal_the_reference() {
    let (answers, dense) = clip();
    let sentences: Vec<String> = NAMES
        .iter()
        .flat_map(|name| SENTENCES.map(|sentence| sentence.replace("{}", name)))
        .collect();
    let batch = dense.tokenizer().batch(&sentences, &device()).unwrap();
    let ids = batch.input_ids.into_data().convert::<i64>();
    assert_eq!(
        ids.try_to_vec::<i64>().unwrap(),
        answers.data("in.input_ids").try_to_vec::<i64>().unwrap()
    );
    let text = dense.encode_text(&NAMES, &SENTENCES.map(Into::into));
    answers.check("out.text", text.unwrap(), 1e-4);
    let sizes = sizes(&answers);
    assert!(sizes.len() >= 2, "a square and a rectangle");
    for size in sizes {
        let pixels = answers.float(&format!("in.{size}.pixel_values"), &device());
        let (tokens, _) = dense.clip().patch_embedding(pixels, 5.0).unwrap();
        answers.check(&format!("out.{size}.tokens"), tokens, 1e-4);
    }
}

#[test]
fn similarities_and_probabilities_equal_the_reference() {
    let (answers, dense) = clip();
    let options = DenseOptions::default().with_templates(SENTENCES);
    let text = dense.encode_text(&NAMES, &options.templates).unwrap();
    for size in sizes(&answers) {
        let pixels: Tensor<4> = answers.float(&format!("in.{size}.pixel_values"), &device());
        let image = dense.encode_pixels(pixels, 5.0).unwrap();
        let planes = image.similarities(&text, None).unwrap().concat();
        answers.check_values(&format!("out.{size}.upsampled"), &planes, 1e-4);
        let masks = dense.segment(&image, &classes(), &options).unwrap();
        let found: Vec<f32> = masks
            .iter()
            .flat_map(|mask| mask.probabilities().to_vec())
            .collect();
        answers.check_values(&format!("out.{size}.probability"), &found, 1e-4);
    }
}

#[test]
fn windows_backgrounds_and_names_change_the_masks_as_documented() {
    let (_, dense) = clip();
    let photo = load_rgb(&fixtures_with("images/wide.png").join("images/wide.png")).unwrap();
    let options = DenseOptions::default();
    let image = dense.encode_image(&photo, &options).unwrap();
    assert!(image.windows() > 1);
    let masks = dense.segment(&image, &classes(), &options).unwrap();
    let pixels = (photo.width() * photo.height()) as usize;
    for pixel in 0..pixels {
        let sum: f32 = masks.iter().map(|mask| mask.probabilities()[pixel]).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    }

    // A name of the background competes like a class.
    let behind = DenseOptions::default().with_background([NAMES[2]]);
    let others = dense.segment(&image, &classes()[..2], &behind).unwrap();
    assert_eq!(others, masks[..2]);

    // A class of two names has the larger probability of both.
    let joined = [
        DenseClass::new(&NAMES[..2]).unwrap(),
        NAMES[2].parse().unwrap(),
    ];
    let joined = dense.segment(&image, &joined, &options).unwrap();
    for pixel in 0..pixels {
        let [a, b] = [0, 1].map(|class| masks[class].probabilities()[pixel]);
        assert_eq!(joined[0].probabilities()[pixel], a.max(b));
    }
    assert_eq!(joined[1], masks[2]);

    // One window over a square picture, and PAMR over the similarities.
    let square = image::imageops::crop_imm(&photo, 0, 0, 40, 40).to_image();
    let single = DenseOptions::default().with_size(32);
    let encoded = dense.encode_image(&square, &single).unwrap();
    assert_eq!((encoded.windows(), encoded.resized_size()), (1, [32, 32]));
    let plain = dense.segment(&encoded, &classes(), &single).unwrap();
    let smooth = single.with_pamr_rounds(10);
    let refined = dense.segment(&encoded, &classes(), &smooth).unwrap();
    assert_ne!(plain, refined);

    // A background name that equals the phrase does not compete with it.
    let alone = dense.logits_against_background(&encoded, &["Wooden  table"], &behind);
    let message = alone.unwrap_err().to_string();
    assert!(message.contains("add a background"), "{message}");

    // The logits of a phrase against the background are those of its probability.
    let logits = dense.logits_against_background(&encoded, &NAMES[..1], &behind);
    let logits = logits.unwrap();
    let text = dense.encode_text(&[NAMES[0], NAMES[2]], &[]).unwrap();
    let planes = encoded.similarities(&text, None).unwrap();
    for (logit, (a, b)) in logits.iter().zip(planes[0].iter().zip(&planes[1])) {
        assert!((logit - 40.0 * (a - b)).abs() < 1e-4);
    }
}

#[test]
fn what_cannot_be_segmented_is_refused() {
    let (answers, dense) = clip();
    let photo = image::RgbImage::new(64, 48);
    let options = DenseOptions::default();
    let image = dense.encode_image(&photo, &options).unwrap();
    let message = |classes: &[&str], options: &DenseOptions| {
        let classes: Vec<DenseClass> = classes.iter().map(|c| c.parse().unwrap()).collect();
        dense
            .segment(&image, &classes, options)
            .unwrap_err()
            .to_string()
    };
    assert!(message(&["cat"], &options).contains("add a background"));
    assert!(message(&["cat", "Cat"], &options).contains("`Cat` is given twice"));
    let bad = DenseOptions::default().with_templates(["no place"]);
    assert!(message(&["cat", "dog"], &bad).contains("`no place`"));
    let window = DenseOptions::default().with_window(30);
    let error = dense.encode_image(&photo, &window).unwrap_err().to_string();
    assert!(error.contains("multiple of the patch size 8"), "{error}");

    let pixels: Tensor<4> = answers.float("in.32x32.pixel_values", &device());
    let encoded = dense.encode_pixels(pixels, 5.0).unwrap();
    let pamr = options.with_pamr_rounds(1);
    let error = dense.segment(&encoded, &classes(), &pamr).unwrap_err();
    assert!(error.to_string().contains("PAMR needs the photograph"));
}
