//! Contrastive training of both towers against PyTorch, on any device.

use crate::support::{Answers, IntoGradients, drawn, fixtures, random};
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::Device;
use clipseg::clip::{Clip, ClipConfig, PretrainedClip, Regions, TextBatch, load_clip, save_clip};
use clipseg::train::{AdamWOptions, CaptionTensors, ClipTrainer, contrastive_loss};

const TOLERANCE: f32 = 1e-4;
/// Learning rate of the reference.
const RATE: f64 = 1e-3;

/// The tensors of a CLIP by their names in Hugging Face's files.
fn written(config: &ClipConfig, clip: &Clip) -> Answers {
    let scratch = tempfile::tempdir().unwrap();
    save_clip(scratch.path(), config, clip).expect("a temporary folder can be written");
    Answers::from_file(scratch.path().to_owned(), "model.safetensors")
}

/// What rounding can leave of the gradient of a bias of keys, which is zero in exact arithmetic: a
/// hundredth of the tolerance for the weights of the same map.
fn rounding(gradients: &Answers, bias: &str, tolerance: f32) -> f32 {
    let weight = bias.replace("bias", "weight");
    0.01 * tolerance * largest(&gradients.values(&weight))
}

fn largest(values: &[f32]) -> f32 {
    values
        .iter()
        .fold(0.0, |largest, value| largest.max(value.abs()))
}

fn check(answers: &Answers, prefix: &str, found: &Answers, tolerance: f32) {
    let names = answers.names(&format!("{prefix}."));
    assert_eq!(names.len(), found.names("").len(), "one for each parameter");
    for name in names {
        let own = name.strip_prefix(&format!("{prefix}.")).expect("as asked");
        let values = found.values(own);
        if name.ends_with("k_proj.bias") {
            // Softmax ignores a shift of its input, so this gradient is zero in exact arithmetic: in
            // double precision PyTorch leaves 7e-17. In single precision PyTorch leaves up to 3.1e-8 and
            // this library 2.3e-8 (four sets of weights), 4e-7 of the largest gradient of the same
            // map's weights. Adam divides this noise by its own size, so the only certain limit is how
            // far three steps can move both.
            let (bound, centre) = match prefix {
                "grad" => (rounding(found, own, tolerance), vec![0.0; values.len()]),
                _ => (2.0 * 3.0 * RATE as f32, answers.values(&name)),
            };
            let differences = values.iter().zip(centre).map(|(a, b)| (a - b).abs());
            let worst = differences.fold(0.0, f32::max);
            assert!(worst <= bound, "{name} is {worst:e}");
        } else {
            answers.check_values(&name, &values, tolerance);
        }
    }
}

#[test]
fn three_steps_on_both_towers_follow_pytorch() {
    three_contrastive_steps(&crate::support::device(), TOLERANCE);
}

pub(crate) fn three_contrastive_steps(device: &Device, tolerance: f32) {
    let folder = fixtures().join("models/clip");
    let PretrainedClip { config, clip } = load_clip(&folder, device).expect("the fixture loads");
    let inputs = Answers::of(folder.clone());
    let answers = Answers::from_file(folder, "contrastive.safetensors");
    let two = |ids: Tensor<2, Int>| ids.slice(s![0..2, ..]);
    let input = CaptionTensors {
        pixel_values: inputs.float("in.pixel_values", device),
        regions: None,
        texts: TextBatch {
            input_ids: two(inputs.int("in.input_ids", device)),
            attention_mask: Some(two(inputs.int("in.attention_mask", device))),
        },
        not_negatives: None,
    };
    // Like the reference, with weight decay on every parameter, the temperature too.
    let mut trainer = ClipTrainer::new(clip, &AdamWOptions::default());
    let mut losses = Vec::new();
    for step in 0..3 {
        let (loss, gradients) = trainer.gradients(&input).unwrap();
        losses.push(loss.into_scalar::<f32>());
        if step == 0 {
            let gradients = trainer.clip().map(&mut IntoGradients(&gradients));
            check(&answers, "grad", &written(&config, &gradients), tolerance);
        }
        trainer.apply(gradients, RATE);
    }
    answers.check_values("out.losses", &losses, tolerance);
    check(
        &answers,
        "trained",
        &written(&config, &trainer.clip()),
        tolerance,
    );
}

/// Pseudo-random pictures with texts for the fixture's CLIP.
fn batch(config: &ClipConfig, size: usize, device: &Device) -> CaptionTensors {
    batch_with_boxes(config, &vec![Vec::new(); size], device)
}

/// Pseudo-random pictures with these regions, and texts of the pictures and regions.
fn batch_with_boxes(
    config: &ClipConfig,
    boxes: &[Vec<[f32; 4]>],
    device: &Device,
) -> CaptionTensors {
    let pictures = boxes.len();
    let size = pictures + boxes.iter().flatten().count();
    let text = &config.text_config;
    let tokens = 9;
    let ids: Vec<i64> = (0..size * tokens)
        .map(|place| match place % tokens {
            0 => text.bos_token_id,
            8 => text.eos_token_id,
            _ => (place as i64 * 7919) % 512,
        })
        .collect();
    // Some texts are also true of the neighbouring picture.
    let mask: Vec<bool> = (0..size * size)
        .map(|place| place / size + 1 == place % size && place % 3 == 0)
        .collect();
    let side = config.vision_config.image_size;
    // Not by the device's generator, which all tests that run at the same time share.
    let mut random = random();
    let pixels: Vec<f32> = (0..pictures * 3 * side * side)
        .map(|_| random(1 << 24) as f32 / (1 << 24) as f32)
        .collect();
    CaptionTensors {
        pixel_values: Tensor::from_data(TensorData::new(pixels, [pictures, 3, side, side]), device),
        regions: (size > pictures)
            .then(|| Regions::new(boxes, [side / config.vision_config.patch_size; 2]).unwrap()),
        texts: TextBatch {
            input_ids: Tensor::from_data(TensorData::new(ids, [size, tokens]), device),
            attention_mask: None,
        },
        not_negatives: Some(Tensor::from_data(
            TensorData::new(mask, [size, size]),
            device,
        )),
    }
}

#[test]
fn pieces_give_the_gradients_of_the_whole_batch() {
    let device = crate::support::device();
    let PretrainedClip { config, clip } =
        load_clip(&fixtures().join("models/clip"), &device).unwrap();
    let trainer = ClipTrainer::new(clip, &AdamWOptions::default());
    let input = batch(&config, 10, &device);
    pieces_equal_the_whole(&config, &trainer, &input, &[1, 3, 5, 10, 64]);
}

/// Ten pictures with none to three regions; the fourth has none and is a piece on its own.
fn boxes() -> Vec<Vec<[f32; 4]>> {
    let box_of = |number: usize| {
        let start = number as f32 * 0.07;
        [start, 0.3 - start / 2.0, 0.6 + start / 2.0, 1.0 - start]
    };
    [2, 1, 3, 0, 1, 0, 0, 2, 0, 3]
        .map(|count| (0..count).map(box_of).collect())
        .into()
}

#[test]
fn pieces_with_regions_give_the_gradients_of_the_whole_batch() {
    let device = crate::support::device();
    let PretrainedClip { config, clip } =
        load_clip(&fixtures().join("models/clip"), &device).unwrap();
    let trainer = ClipTrainer::new(clip, &AdamWOptions::default());
    let input = batch_with_boxes(&config, &boxes(), &device);
    pieces_equal_the_whole(&config, &trainer, &input, &[1, 3, 4, 9, 10]);
}

#[test]
fn the_loss_contrasts_pictures_and_regions_in_one_batch() {
    let device = crate::support::device();
    let PretrainedClip { config, clip } =
        load_clip(&fixtures().join("models/clip"), &device).unwrap();
    let input = batch_with_boxes(&config, &boxes(), &device);
    let pixels = || input.pixel_values.clone();
    let (pictures, regions) = clip
        .region_embedding(pixels(), input.regions.as_ref().unwrap())
        .unwrap();
    let alone = clip.image_embedding(pixels()).unwrap();
    assert_eq!(pictures.to_data(), alone.into_data());
    assert_eq!(regions.dims(), [12, config.projection_dim]);
    let expected = contrastive_loss(
        Tensor::cat(vec![pictures, regions], 0),
        clip.text_embedding(&input.texts).unwrap(),
        clip.logit_scale(),
        input.not_negatives.clone(),
    );
    let trainer = ClipTrainer::new(clip, &AdamWOptions::default());
    let (found, _) = trainer.gradients(&input).unwrap();
    let [found, expected] = [found, expected].map(|loss| loss.into_scalar::<f32>());
    assert!((found - expected).abs() < 1e-5, "{found} {expected}");
}

#[test]
fn regions_of_other_pictures_are_errors() {
    let device = crate::support::device();
    let PretrainedClip { config, clip } =
        load_clip(&fixtures().join("models/clip"), &device).unwrap();
    let pixels = batch(&config, 2, &device).pixel_values;
    let side = config.vision_config.image_size / config.vision_config.patch_size;
    let message = |boxes: &[Vec<[f32; 4]>], grid| {
        let regions = Regions::new(boxes, grid).unwrap();
        let error = clip.region_embedding(pixels.clone(), &regions).unwrap_err();
        error.to_string()
    };
    let one = || vec![[0.0, 0.0, 1.0, 0.5]];
    let error = message(&[one(), one(), one()], [side; 2]);
    assert!(error.starts_with("regions of 3 pictures"), "{error}");
    let error = message(&[one(), one()], [side, side + 1]);
    assert!(
        error.contains(&format!("{side}x{} patches", side + 1)),
        "{error}"
    );
    let error = message(&[vec![], vec![]], [side; 2]);
    assert_eq!(error, "no region, expected at least one");
}

fn pieces_equal_the_whole(
    config: &ClipConfig,
    trainer: &ClipTrainer,
    input: &CaptionTensors,
    pieces: &[usize],
) {
    let as_answers = |gradients: GradientsParams| {
        written(config, &trainer.clip().map(&mut IntoGradients(&gradients)))
    };
    let (whole_loss, whole) = trainer.gradients(input).unwrap();
    let (whole_loss, whole) = (whole_loss.into_scalar::<f32>(), as_answers(whole));
    for &piece in pieces {
        let (loss, gradients) = trainer.gradients_in_pieces(input, piece).unwrap();
        assert!((loss.into_scalar::<f32>() - whole_loss).abs() < 1e-5 * whole_loss);
        let found = as_answers(gradients);
        for name in whole.names("") {
            if name.ends_with("k_proj.bias") {
                let left = largest(&found.values(&name));
                assert!(
                    left <= rounding(&whole, &name, TOLERANCE),
                    "{name} is {left:e}, pieces of {piece}"
                );
            } else {
                whole.check_values(&name, &found.values(&name), 1e-5);
            }
        }
    }
}

#[test]
fn the_temperature_is_learnt_and_stops_at_a_hundred() {
    let device = crate::support::device();
    let mut config = load_clip(&fixtures().join("models/clip"), &device)
        .unwrap()
        .config;
    config.logit_scale_init_value = 99.9f64.ln();
    let clip = drawn(3, || Clip::init(&config, &device));
    let mut trainer = ClipTrainer::new(clip, &AdamWOptions::default());
    let input = batch(&config, 6, &device);
    let scale = |trainer: &ClipTrainer| trainer.clip().logit_scale().exp().into_scalar::<f32>();
    for _ in 0..12 {
        let (_, gradients) = trainer.gradients(&input).unwrap();
        trainer.apply(gradients, 1e-2);
        assert!(scale(&trainer) < 100.01, "{}", scale(&trainer));
    }
    assert!((scale(&trainer) - 99.9).abs() > 1e-3, "it never moved");
}

#[test]
fn gains_biases_and_the_temperature_can_be_left_out_of_the_decay() {
    let device = crate::support::device();
    let PretrainedClip { config, clip } =
        load_clip(&fixtures().join("models/clip"), &device).unwrap();
    let input = batch(&config, 4, &device);
    let trained = |weight_decay: f32| {
        let options = AdamWOptions {
            weight_decay,
            decay_biases_and_norms: false,
            ..AdamWOptions::default()
        };
        let mut trainer = ClipTrainer::new(clip.clone(), &options);
        let (_, gradients) = trainer.gradients(&input).unwrap();
        trainer.apply(gradients, 1e-3);
        written(&config, &trainer.clip())
    };
    let (without, with) = (trained(0.0), trained(0.5));
    for name in without.names("") {
        let same = without.values(&name) == with.values(&name);
        let undecayed = name.ends_with("bias") || name.contains("norm") || name == "logit_scale";
        assert_eq!(same, undecayed, "{name}");
    }
}
