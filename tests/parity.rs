//! The encoders and decoders against transformers, on tiny checkpoints with large weights, on any
//! device.

use crate::support::{Answers, SEGMENTERS, fixtures, sizes};
use burn::tensor::Device;
use clipseg::clip::{TextBatch, load_clip};
use clipseg::model::{ClipSeg, Decoder};

fn texts(answers: &Answers, device: &Device) -> TextBatch {
    TextBatch {
        input_ids: answers.int("in.input_ids", device),
        attention_mask: Some(answers.int("in.attention_mask", device)),
    }
}

fn segmenter(name: &str, device: &Device) -> (Answers, ClipSeg) {
    let folder = fixtures().join("models").join(name);
    let model = ClipSeg::from_pretrained(&folder, device).expect("the fixture loads");
    (Answers::of(folder), model)
}

pub(crate) fn text_encoder(device: &Device, tolerance: f32) {
    for name in SEGMENTERS {
        let (answers, model) = segmenter(name, device);
        let batch = texts(&answers, device);
        let output = model.clip().text_model().forward(&batch).unwrap();
        answers.check(
            "out.text.last_hidden_state",
            output.last_hidden_state,
            tolerance,
        );
        answers.check("out.text.pooled", output.pooled, tolerance);
        answers.check(
            "out.text.embedding",
            model.clip().text_embedding(&batch).unwrap(),
            tolerance,
        );
    }
}

pub(crate) fn vision_encoder_at_every_layer_and_size(device: &Device, tolerance: f32) {
    for name in SEGMENTERS {
        let (answers, model) = segmenter(name, device);
        for size in sizes(&answers) {
            let pixels = answers.float(&format!("in.{size}.pixel_values"), device);
            let output = model.clip().vision_model().forward(pixels).unwrap();
            assert_eq!(
                output.hidden_states.len(),
                1 + model.clip().vision_model().num_layers()
            );
            for (index, hidden) in output.hidden_states.into_iter().enumerate() {
                answers.check(
                    &format!("out.{size}.vision.hidden.{index}"),
                    hidden,
                    tolerance,
                );
            }
            let pooled = output.pooled;
            answers.check(
                &format!("out.{size}.vision.pooled"),
                pooled.clone(),
                tolerance,
            );
            answers.check(
                &format!("out.{size}.vision.embedding"),
                model.clip().project_pooled(pooled),
                tolerance,
            );
        }
    }
}

pub(crate) fn decoder_layers_and_logits_of_text_and_visual_prompts(
    device: &Device,
    tolerance: f32,
) {
    for name in SEGMENTERS {
        let (answers, model) = segmenter(name, device);
        let Decoder::Transformer(decoder) = model.decoder() else {
            panic!("{name} has another decoder");
        };
        let prompts = model
            .clip()
            .text_embedding(&texts(&answers, device))
            .unwrap();
        for size in sizes(&answers) {
            let pixels = |kind: &str| answers.float(&format!("in.{size}.{kind}"), device);
            let features = model.encode_image(pixels("pixel_values")).unwrap();
            let layers = decoder.hidden_states(&features, prompts.clone());
            for (index, hidden) in layers.into_iter().enumerate() {
                answers.check(
                    &format!("out.{size}.decoder.hidden.{index}"),
                    hidden,
                    tolerance,
                );
            }
            let logits = model.decode(&features, prompts.clone());
            answers.check(&format!("out.{size}.logits"), logits, tolerance);
            let visual = model
                .clip()
                .image_embedding(pixels("conditional_pixel_values"))
                .unwrap();
            let logits = model.decode(&features, visual);
            answers.check(
                &format!("out.{size}.visual_prompt.logits"),
                logits,
                tolerance,
            );
        }
    }
}

pub(crate) fn contrastive_scores(device: &Device, tolerance: f32) {
    let folder = fixtures().join("models/clip");
    let clip = load_clip(&folder, device).expect("the fixture loads").clip;
    let answers = Answers::of(folder);
    let image = clip
        .image_embedding(answers.float("in.pixel_values", device))
        .unwrap();
    let text = clip.text_embedding(&texts(&answers, device)).unwrap();
    let unit = clipseg::clip::normalise;
    answers.check("out.image_embeds", unit(image.clone()), tolerance);
    answers.check("out.text_embeds", unit(text.clone()), tolerance);
    answers.check(
        "out.logits_per_image",
        clip.logits_per_image(image, text),
        tolerance,
    );
}
