//! Gradients and steps of the optimizer against PyTorch, on any device.

use crate::support::{Answers, IntoGradients, SEGMENTERS, fixtures, sizes};
use burn::module::Module;
use burn::tensor::Device;
use clipseg::metrics::Loss;
use clipseg::model::{ClipSeg, Decoder};
use clipseg::train::{AdamWOptions, DecoderTrainer, StepInput};
use std::path::Path;

const TOLERANCE: f32 = 1e-4;

fn check_decoder(
    answers: &Answers,
    prefix: &str,
    model: &ClipSeg,
    decoder: Decoder,
    folder: &Path,
    tolerance: f32,
) {
    let model = ClipSeg::from_parts(model.config().clone(), model.clip().clone(), decoder);
    model
        .save_pretrained(folder)
        .expect("a temporary folder can be written");
    let found = Answers::from_file(folder.to_owned(), "model.safetensors");
    let names = answers.names(&format!("{prefix}.decoder."));
    assert_eq!(
        names.len(),
        found.names("decoder.").len(),
        "one answer for each parameter"
    );
    for name in names {
        let values = found.values(name.strip_prefix(&format!("{prefix}.")).expect("as asked"));
        if name.ends_with("k_proj.bias") {
            // Softmax ignores a shift of its input, so this gradient is zero but for rounding; Adam
            // then divides rounding by rounding.
            let (bound, centre) = match prefix {
                "grad" => (1e-8, vec![0.0; values.len()]),
                _ => (1e-3, answers.values(&name)),
            };
            let worst = values
                .iter()
                .zip(centre)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(
                worst <= bound,
                "{}: {name} is {worst:e}",
                answers.folder().display()
            );
        } else {
            answers.check_values(&name, &values, tolerance);
        }
    }
}

#[test]
fn three_steps_of_adamw_follow_pytorch() {
    three_steps_of_adamw(&crate::support::device(), TOLERANCE);
}

pub(crate) fn three_steps_of_adamw(device: &Device, tolerance: f32) {
    for name in SEGMENTERS {
        let folder = fixtures().join("models").join(name);
        let model = ClipSeg::from_pretrained(&folder, device).expect("the fixture loads");
        let answers = Answers::of(folder);
        let smallest = sizes(&answers)
            .into_iter()
            .min_by_key(|size| size.parse::<usize>().expect("a number"))
            .expect("a size");
        let texts = clipseg::clip::TextBatch {
            input_ids: answers.int("in.input_ids", device),
            attention_mask: Some(answers.int("in.attention_mask", device)),
        };
        let pixels = answers.float(&format!("in.{smallest}.pixel_values"), device);
        let input = StepInput {
            features: model.encode_image(pixels).unwrap(),
            conditional_embedding: model.clip().text_embedding(&texts).unwrap(),
            picture_of: vec![0, 1, 2],
            masks: answers.float("in.labels", device),
        };
        let mut trainer = DecoderTrainer::new(
            model.decoder().clone(),
            &AdamWOptions::default(),
            Loss::bce(),
        );
        let scratch = tempfile::tempdir().unwrap();
        let mut losses = Vec::new();
        for step in 0..3 {
            let (loss, gradients) = trainer.gradients(&input);
            losses.push(loss.into_scalar::<f32>());
            if step == 0 {
                let gradients = trainer.decoder().map(&mut IntoGradients(&gradients));
                check_decoder(
                    &answers,
                    "grad",
                    &model,
                    gradients,
                    scratch.path(),
                    tolerance,
                );
            }
            trainer.apply(gradients, 1e-3);
        }
        answers.check_values("out.training.losses", &losses, tolerance);
        check_decoder(
            &answers,
            "trained",
            &model,
            trainer.decoder(),
            scratch.path(),
            tolerance,
        );
    }
}
