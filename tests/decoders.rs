//! Every decoder on a tiny CLIP: its inputs, its gradients, and that it learns.

use crate::support::{device, drawn, fixtures};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::prelude::*;
use burn::tensor::{Distribution, Tolerance};
use clipseg::clip::{Clip, ClipTokenizer, load_clip};
use clipseg::metrics::Loss;
use clipseg::model::{
    ClipSeg, ClipSegConfig, ConvDecoderConfig, Decoder, DecoderConfig, DeconvBaselineConfig,
    ImageFeatures, TransformerDecoderConfig, Upsampling,
};
use serde_json::{Value, json};
use std::path::Path;

/// Small decoders of every kind for the fixtures' CLIP, with their names.
pub(crate) fn kinds() -> Vec<(&'static str, DecoderConfig)> {
    let extract_layers = vec![1, 2, 4];
    let conv = ConvDecoderConfig {
        extract_layers: extract_layers.clone(),
        width: 32,
        ..ConvDecoderConfig::tiny()
    };
    let bilinear = ConvDecoderConfig {
        upsampling: Upsampling::Bilinear,
        ..conv.clone()
    };
    let picture = ConvDecoderConfig {
        picture_branch: true,
        blocks: 2,
        ..conv.clone()
    };
    let transformer = TransformerDecoderConfig {
        reduce_dim: 32,
        extract_layers,
        decoder_intermediate_size: 64,
        ..TransformerDecoderConfig::default()
    };
    let deconv = DeconvBaselineConfig {
        extract_layer: 4,
        ..DeconvBaselineConfig::default()
    };
    vec![
        ("transformer", transformer.into()),
        ("conv", conv.into()),
        ("conv, bilinear", bilinear.into()),
        ("conv, picture", picture.into()),
        ("deconv", deconv.into()),
    ]
}

/// A decoder on the fixtures' CLIP.
pub(crate) fn model(decoder: DecoderConfig) -> ClipSeg {
    let device = device();
    let read =
        load_clip(&fixtures().join("models/clipseg-refined"), &device).expect("the fixture loads");
    let config = ClipSegConfig::new(read.config, decoder).expect("the parts fit");
    drawn(0, || ClipSeg::with_clip(&config, read.clip, &device))
}

/// The embeddings of two words.
pub(crate) fn prompts(model: &ClipSeg) -> Tensor<2> {
    let folder = fixtures().join("models/clipseg-refined");
    let config = &model.config().clip.text_config;
    let tokenizer = ClipTokenizer::from_folder(&folder, config).expect("the fixture loads");
    let texts = tokenizer.batch(&["red", "a blue thing"], &device());
    model
        .clip()
        .text_embedding(&texts.expect("plain texts"))
        .unwrap()
}

fn random_pictures(count: usize) -> Tensor<4> {
    drawn(3, || {
        Tensor::random(
            [count, 3, 48, 64],
            Distribution::Normal(0.0, 1.0),
            &device(),
        )
    })
}

fn row<const D: usize>(x: &Tensor<D>, index: usize) -> Tensor<D> {
    x.clone().narrow(0, index, 1)
}

fn picture(features: &ImageFeatures, index: usize) -> ImageFeatures {
    let hidden = features.hidden_states.iter();
    ImageFeatures {
        hidden_states: hidden.map(|hidden| row(hidden, index)).collect(),
        grid: features.grid,
        pixel_values: features.pixel_values.as_ref().map(|x| row(x, index)),
    }
}

fn assert_close<const D: usize>(name: &str, a: Tensor<D>, b: Tensor<D>) {
    assert_eq!(a.dims(), b.dims(), "{name}");
    a.into_data()
        .assert_approx_eq::<f32>(&b.into_data(), Tolerance::rel_abs(1e-4, 1e-4));
}

fn furthest<const D: usize>(a: &Tensor<D>, b: &Tensor<D>) -> f32 {
    (a.clone() - b.clone()).abs().max().into_scalar::<f32>()
}

#[test]
fn prompts_share_a_picture_and_rows_share_nothing() {
    for (name, config) in kinds() {
        let model = model(config);
        let features = model.encode_image(random_pictures(2)).unwrap();
        let prompts = prompts(&model);
        let both = model.decode(&features, prompts.clone());
        assert_eq!(both.dims(), [2, 48, 64], "{name}");
        for index in 0..2 {
            let alone = model.decode(&picture(&features, index), row(&prompts, index));
            assert_close(name, row(&both, index), alone);
        }

        // Phrases of the pictures 1, 0, 0 and 1, compared with repeated pictures.
        let picture_of = [1, 0, 0, 1];
        let phrases = prompts.repeat_dim(0, 2);
        let grouped = model
            .decoder()
            .forward_grouped(&features, phrases.clone(), &picture_of);
        for (index, &owner) in picture_of.iter().enumerate() {
            let alone = model.decode(&picture(&features, owner), row(&phrases, index));
            assert_close(name, row(&grouped, index), alone);
        }
        // One picture and several prompts.
        let shared = model.decode(&picture(&features, 1), phrases.clone());
        let said = model
            .decoder()
            .forward_grouped(&picture(&features, 1), phrases, &[0, 0, 0, 0]);
        assert_close(name, shared, said);
    }
}

#[test]
fn the_prompt_and_every_layer_of_clip_matter() {
    for (name, config) in kinds() {
        let model = model(config);
        let features = model.encode_image(random_pictures(2)).unwrap();
        let (one, other) = (picture(&features, 0), picture(&features, 1));
        let prompts = prompts(&model);
        let prompt = row(&prompts, 0);
        let logits = model.decode(&one, prompt.clone());
        let changed = |what: &str, found: Tensor<3>| {
            let change = furthest(&logits, &found);
            assert!(change > 1e-3, "{name}: {what} moves logits by {change}");
        };
        changed("the prompt", model.decode(&one, row(&prompts, 1)));
        for layer in 0..one.hidden_states.len() {
            let mut mixed = one.clone();
            mixed.hidden_states[layer] = other.hidden_states[layer].clone();
            let what = format!("hidden state {layer}");
            changed(&what, model.decode(&mixed, prompt.clone()));
        }
        if model.config().decoder.uses_pixels() {
            let mut mixed = one.clone();
            mixed.pixel_values = other.pixel_values.clone();
            changed("the picture", model.decode(&mixed, prompt.clone()));
        } else {
            assert!(one.pixel_values.is_none(), "{name} keeps no pictures");
        }
    }
}

/// Values that a configuration field may contain by mistake.
fn mistakes() -> Vec<Value> {
    let numbers = [0, 1, 2, 3, 4, 5, 7, 8, 24, 33, 1 << 17, 1 << 40, u64::MAX];
    let others = [
        json!(-1),
        json!(0.5),
        json!(1e300),
        json!("x"),
        json!(true),
        json!({}),
        json!([]),
        json!([4]),
        json!([0, 4]),
        json!([4, 1]),
        json!([2, 2]),
        json!([0, 1, 2, 3, 4]),
        json!([5]),
        json!([u64::MAX]),
        json!(["x"]),
    ];
    numbers.map(Value::from).into_iter().chain(others).collect()
}

/// Checks that a configuration is refused with a field's name, or gives a working decoder.
fn works_or_is_refused(clip: &Clip, json: &Value) -> bool {
    println!("{json}"); // shown if anything below panics
    let config = match ClipSegConfig::from_json(json, Path::new("config.json")) {
        Ok(config) => config,
        Err(error) => {
            let message = error.to_string();
            assert!(message.starts_with("config.json: field `"), "{message}");
            return false;
        }
    };
    let device = device();
    let decoder = drawn(0, || Decoder::init(&config.decoder, &config.clip, &device));
    let pictures = drawn(1, || {
        Tensor::random([1, 3, 16, 32], Distribution::Default, &device)
    });
    let features = ImageFeatures::extract(clip, &config.decoder, pictures).unwrap();
    let prompts = drawn(2, || {
        Tensor::random([2, 32], Distribution::Default, &device)
    });
    let logits = decoder.forward_grouped(&features, prompts, &[0, 0]);
    assert_eq!(logits.dims(), [2, 16, 32]);
    let loss = Loss::bce().forward(logits, Tensor::ones([2, 16, 32], &device));
    assert!(loss.into_scalar::<f32>().is_finite());
    true
}

#[test]
fn no_configuration_of_a_decoder_panics() {
    let folder = fixtures().join("models/clipseg-refined");
    let clip = load_clip(&folder, &device())
        .expect("the fixture loads")
        .clip;
    let mut worked = 0;
    for (_, config) in kinds() {
        let whole = model(config).config().to_json();
        assert!(works_or_is_refused(&clip, &whole));
        // The decoder's fields; CLIPSeg's own are stored beside the encoders'.
        let place = whole.get("decoder_config").map(|_| "/decoder_config");
        let (place, skipped) = match place {
            Some(place) => (place, &[][..]),
            None => ("", &["text_config", "vision_config", "model_type"][..]),
        };
        let object = whole.pointer(place).and_then(Value::as_object).unwrap();
        let mut fields: Vec<String> = object.keys().cloned().collect();
        if place.is_empty() {
            fields.retain(|field| !skipped.contains(&field.as_str()));
            fields.retain(|field| !["projection_dim", "architectures"].contains(&field.as_str()));
            fields.push("dropout".into());
        }
        let changed = |changes: &[(&String, &Value)]| {
            let mut json = whole.clone();
            for (field, value) in changes {
                let object = json.pointer_mut(place).and_then(Value::as_object_mut);
                object.unwrap().insert((*field).clone(), (*value).clone());
            }
            usize::from(works_or_is_refused(&clip, &json))
        };
        for field in &fields {
            for value in &mistakes() {
                worked += changed(&[(field, value)]);
            }
            worked += changed(&[(field, &Value::Null)]);
        }
        // Two invalid numbers at once.
        let few = [0u64, 1, 3, 8, 1 << 40].map(Value::from);
        for (index, first) in fields.iter().enumerate() {
            for second in &fields[index + 1..] {
                for (a, b) in few.iter().flat_map(|a| few.iter().map(move |b| (a, b))) {
                    worked += changed(&[(first, a), (second, b)]);
                }
            }
        }
    }
    assert!(worked > 100, "only {worked} configurations worked");
}

/// Lists the parameters without a gradient, or with a gradient of zeros.
struct WithoutGradient<'a> {
    gradients: &'a GradientsParams,
    path: Vec<String>,
    names: Vec<String>,
    without: Vec<String>,
}

impl ModuleVisitor for WithoutGradient<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.join(".");
        let largest = self
            .gradients
            .get::<D>(param.id)
            .map_or(0.0, |gradient| gradient.abs().max().into_scalar::<f32>());
        // Softmax ignores a shift of all keys, so this one is zero but for rounding.
        let vanishes = name.ends_with("k_proj.bias");
        if !(largest.is_finite() && (largest > 0.0 || vanishes)) {
            self.without.push(name.clone());
        }
        self.names.push(name);
    }
}

#[test]
fn gradients_reach_every_parameter() {
    for (name, config) in kinds() {
        let model = model(config);
        let features = model.encode_image(random_pictures(2)).unwrap().autodiff();
        let prompts = prompts(&model).autodiff();
        let (_, decoder) = model.into_parts();
        let decoder = decoder.train();
        let logits = decoder.forward_grouped(&features, prompts.repeat_dim(0, 2), &[0, 0, 1, 1]);
        let truth = drawn(4, || {
            Tensor::random(logits.dims(), Distribution::Bernoulli(0.3), &device())
        });
        let loss = Loss::bce().forward(logits, truth.autodiff());
        let gradients = GradientsParams::from_grads(loss.backward(), &decoder);
        let mut visitor = WithoutGradient {
            gradients: &gradients,
            path: Vec::new(),
            names: Vec::new(),
            without: Vec::new(),
        };
        decoder.visit(&mut visitor);
        let none: [&str; 0] = [];
        assert_eq!(visitor.without, none, "{name}");
        if matches!(decoder, Decoder::Conv(_)) {
            for level in 0..4 {
                for part in ["film_mul.weight", "film_add.weight"] {
                    let expected = format!("levels.{level}.{part}");
                    let there = visitor.names.iter().any(|name| name.ends_with(&expected));
                    assert!(there, "{expected} is none of {:?}", visitor.names);
                }
            }
            let projections = visitor
                .names
                .iter()
                .filter(|name| name.ends_with("projection.weight"));
            assert_eq!(projections.count(), 3);
        }
    }
}

/// Two pictures, one with a red top and a blue bottom and one the other way round, normalised, and
/// the masks of red and of blue in each.
fn scenes() -> (Tensor<4>, Tensor<3>) {
    let (height, width) = (64, 64);
    let colour = |red: bool, channel: usize| match (red, channel) {
        (true, 0) | (false, 2) => 2.0f32,
        _ => -1.5,
    };
    let (mut pixels, mut masks) = (Vec::new(), Vec::new());
    for red_on_top in [true, false] {
        let is_red = |y: usize| (y < height / 2) == red_on_top;
        for channel in 0..3 {
            for y in 0..height {
                pixels.extend(vec![colour(is_red(y), channel); width]);
            }
        }
        for wanted in [true, false] {
            for y in 0..height {
                masks.extend(vec![f32::from(u8::from(is_red(y) == wanted)); width]);
            }
        }
    }
    let device = device();
    (
        Tensor::from_data(TensorData::new(pixels, [2, 3, height, width]), &device),
        Tensor::from_data(TensorData::new(masks, [4, height, width]), &device),
    )
}

#[test]
fn four_masks_are_learnt() {
    for (name, config) in kinds() {
        let model = model(config);
        let (pixels, masks) = scenes();
        let features = model.encode_image(pixels).unwrap();
        let prompts = prompts(&model).repeat_dim(0, 2);
        let picture_of = [0, 0, 1, 1];
        let (_, decoder) = model.into_parts();
        let mut decoder = decoder.train();
        let mut optimizer = AdamWConfig::new().with_weight_decay(0.01).init();
        let (on_tape, asked) = (features.autodiff(), prompts.clone().autodiff());
        for _ in 0..60 {
            let logits = decoder.forward_grouped(&on_tape, asked.clone(), &picture_of);
            let loss = Loss::bce().forward(logits, masks.clone().autodiff());
            let gradients = GradientsParams::from_grads(loss.backward(), &decoder);
            decoder = optimizer.step(5e-3, decoder, gradients);
        }
        let logits = decoder
            .valid()
            .forward_grouped(&features, prompts, &picture_of);
        let found = logits.greater_elem(0.0).float();
        let sum = |x: Tensor<3>| x.sum_dim(2).sum_dim(1).into_data().try_to_vec::<f32>();
        let both = sum(found.clone() * masks.clone()).expect("floats");
        let either = sum((found + masks).clamp_max(1.0)).expect("floats");
        for (both, either) in both.iter().zip(&either) {
            let iou = both / either;
            assert!(iou > 0.95, "{name} learns masks to an IoU of {iou}");
        }
    }
}
