//! The vision tower in bf16: masks against single precision, and refusals.

use crate::support::{SEGMENTERS, device, drawn, fixtures, shipped};
use burn::prelude::*;
use clipseg::clip::{ClipTokenizer, ImageProcessor, Precision, kernels_are_used};
use clipseg::data::load_rgb;
use clipseg::model::{ClipSeg, ClipSegConfig, Segmenter, SoftMask, TransformerDecoderConfig};
use clipseg::train::FrozenClip;
use std::io::Write;
use std::process::{Command, Output};

/// The start of the reason why the vision tower cannot compute in bf16 here, if it cannot.
fn obstacle() -> Option<&'static str> {
    let name = std::env::var("CLIPSEG_TEST_DEVICE").unwrap_or_else(|_| "cpu".into());
    #[cfg(target_arch = "x86_64")]
    let on_this_cpu = std::arch::is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    let on_this_cpu = false;
    if !kernels_are_used() {
        Some("its kernels are turned off, by CLIPSEG_KERNELS or `use_kernels`")
    } else if name != "cpu" {
        Some("only the device `cpu` (`flex`) has kernels for it; the weights are on ")
    } else if !on_this_cpu {
        Some("this CPU lacks the instructions, AVX-512 with bfloat16 (`avx512_bf16`)")
    } else {
        None
    }
}

/// The segmenter in bf16. Where that is not supported, the refusal is checked, and standard error says what
/// is skipped, also if the test runner hides the output of tests.
fn in_bf16(segmenter: Segmenter, skipped: &str) -> Option<Segmenter> {
    let result = segmenter.with_vision_precision(Precision::Bf16);
    let Some(obstacle) = obstacle() else {
        return Some(result.expect("the CPU has the instructions"));
    };
    let message = result.expect_err("bf16 is not supported").to_string();
    let expected = format!("the vision tower cannot compute in bf16: {obstacle}");
    assert!(message.starts_with(&expected), "{message}");
    let line = format!("skipped {skipped}: {message}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    None
}

/// A model with random weights and the shape of the published one, but of half the width.
fn random_model() -> Segmenter {
    let mut config = ClipSegConfig::small();
    let vision = &mut config.clip.vision_config;
    (vision.hidden_size, vision.intermediate_size) = (384, 1536);
    (vision.num_attention_heads, vision.num_hidden_layers) = (6, 10);
    (vision.image_size, vision.patch_size) = (224, 16);
    config.decoder = TransformerDecoderConfig::default().into();
    let model = drawn(0, || ClipSeg::init(&config, &device()));
    let tokenizer = ClipTokenizer::openai(77).expect("it is compiled in");
    Segmenter::new(model, tokenizer, ImageProcessor::clipseg(352))
}

/// A second segmenter with the same weights.
fn copy(segmenter: &Segmenter) -> Segmenter {
    let (tokenizer, processor) = (segmenter.tokenizer(), segmenter.processor());
    Segmenter::new(
        segmenter.model().clone(),
        tokenizer.clone(),
        processor.clone(),
    )
}

fn fixture(name: &str) -> Segmenter {
    let folder = fixtures().join("models").join(name);
    Segmenter::from_pretrained(&folder, &device()).expect("the fixture loads")
}

fn masks(segmenter: &Segmenter) -> Vec<SoftMask> {
    let photo = load_rgb(&fixtures().join("images/wide.png")).expect("a fixture");
    let encoded = segmenter.encode_image(&photo).unwrap();
    let prompts = ["a cat", "the wooden table", "something to drink from"];
    segmenter.segment(&encoded, &prompts).unwrap()
}

/// The intersection over union of two masks of the pixels above a threshold.
fn iou(a: &SoftMask, b: &SoftMask, threshold: f32) -> f64 {
    let pairs = a.probabilities().iter().zip(b.probabilities());
    let (mut both, mut either) = (0, 0);
    for (a, b) in pairs.map(|(a, b)| (*a > threshold, *b > threshold)) {
        both += i32::from(a && b);
        either += i32::from(a || b);
    }
    f64::from(both) / f64::from(either)
}

#[test]
fn masks_in_bf16_agree_with_single_precision() {
    for name in SEGMENTERS {
        let segmenter = fixture(name);
        let single = masks(&segmenter);
        let Some(segmenter) = in_bf16(segmenter, &format!("masks of {name} in bf16")) else {
            continue;
        };
        let half = masks(&segmenter);
        for (index, (half, single)) in half.iter().zip(&single).enumerate() {
            assert_ne!(half, single, "{name}: bf16 has no effect");
            // The median splits the picture in halves, so that no mask is empty or full.
            let mut sorted = single.probabilities().to_vec();
            sorted.sort_by(f32::total_cmp);
            let iou = iou(half, single, sorted[sorted.len() / 2]);
            println!("{name}, prompt {index}: IoU {iou:.5}");
            assert!(iou >= 0.99, "{name}, prompt {index}: IoU {iou}");
        }
        let again = segmenter.with_vision_precision(Precision::F32).unwrap();
        assert_eq!(masks(&again), single, "{name}: single precision again");
    }
}

#[test]
fn hidden_states_in_bf16_are_near_those_of_single_precision() {
    let single = random_model();
    let Some(half) = in_bf16(copy(&single), "hidden states in bf16") else {
        return;
    };
    let pixels = drawn(1, || {
        Tensor::<4>::random([2, 3, 64, 96], Default::default(), &device())
    });
    let states = |segmenter: &Segmenter| {
        let features = segmenter.model().encode_image(pixels.clone()).unwrap();
        features.hidden_states
    };
    for (layer, (half, single)) in states(&half).into_iter().zip(states(&single)).enumerate() {
        let norm = |x: Tensor<3>| x.square().sum().sqrt().into_scalar::<f32>();
        let relative = norm(half - single.clone()) / norm(single);
        // bf16 has eight significant bits: each rounding changes a number by at most 1 in 512.
        println!("layer {layer}: {relative:e}");
        assert!(
            (1e-4..1e-2).contains(&relative),
            "layer {layer}: {relative:e}"
        );
    }
    // Texts stay in single precision.
    let text = |segmenter: &Segmenter| segmenter.encode_text(&["a cat"]).unwrap().into_data();
    assert_eq!(text(&half), text(&single));
}

#[test]
fn training_encodes_in_single_precision() {
    let single = random_model();
    let Some(half) = in_bf16(copy(&single), "a frozen CLIP in bf16") else {
        return;
    };
    let frozen = |segmenter: &Segmenter| {
        let (model, tokenizer) = (segmenter.model(), segmenter.tokenizer().clone());
        let config = model.config().clone();
        let processor = segmenter.processor().clone();
        FrozenClip::new(model.clip().clone(), config, tokenizer, processor)
    };
    let pixels = drawn(1, || {
        Tensor::<4>::random([1, 3, 64, 64], Default::default(), &device())
    });
    let states = |clip: FrozenClip| {
        let features = clip.encode_pictures(pixels.clone()).unwrap();
        features.hidden_states.into_iter().map(Tensor::into_data)
    };
    let expected = states(frozen(&single));
    assert!(states(frozen(&half)).eq(expected));
    // The kernels in bf16 have no gradients.
    let trained = half.model().clip().clone().train();
    let error = trained
        .image_embedding(pixels.clone().autodiff())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the vision tower cannot compute in bf16: gradients are computed in single precision only; the \
         weights are on an autodiff device"
    );
}

/// `clipseg segment` of a fixture with a precision, and with the kernels on or off.
fn segment(out: &std::path::Path, precision: &str, kernels: &str) -> Output {
    let model = fixtures().join("models/clipseg-refined");
    Command::new(env!("CARGO_BIN_EXE_clipseg"))
        .args(["segment", "--prompt", "a cat", "--precision", precision])
        .args([fixtures().join("images/wide.png"), "--model".into(), model])
        .args(["--out".as_ref(), out.as_os_str()])
        .env("CLIPSEG_KERNELS", kernels)
        .output()
        .expect("the program starts")
}

#[test]
fn the_program_refuses_a_precision_that_would_have_no_effect() {
    let folder = tempfile::tempdir().unwrap();
    for (precision, kernels, expected) in [
        (
            "f16",
            "on",
            "--precision f16: the vision tower computes in f32 or bf16, not in f16",
        ),
        (
            "bf16",
            "off",
            "--precision bf16: the vision tower cannot compute in bf16: its kernels are turned off, by \
             CLIPSEG_KERNELS or `use_kernels`",
        ),
        (
            "half",
            "on",
            "`half` is not a precision, expected f32, f16 or bf16",
        ),
    ] {
        let output = segment(folder.path(), precision, kernels);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(errors.contains(expected), "{errors}");
        let written = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(written, 0, "nothing is written");
    }
}

#[test]
fn evaluation_refuses_a_precision_without_kernels() {
    let [data, model] = ["phrasecut/VGPhraseCut_v0", "models/clipseg-refined"];
    let output = Command::new(env!("CARGO_BIN_EXE_clipseg"))
        .args(["eval", "--split", "val", "--threshold", "0.3"])
        .args(["--precision", "bf16", "--data"])
        .args([
            shipped().join(data),
            "--model".into(),
            shipped().join(model),
        ])
        .env("CLIPSEG_KERNELS", "off")
        .output()
        .expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    let expected =
        "--precision bf16: the vision tower cannot compute in bf16: its kernels are turned off";
    assert!(errors.contains(expected), "{errors}");
}

#[test]
fn the_program_segments_in_bf16() {
    let name = std::env::var("CLIPSEG_TEST_DEVICE").unwrap_or_else(|_| "cpu".into());
    if name != "cpu" || in_bf16(fixture("clipseg-refined"), "the program in bf16").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let heat = |precision: &str| {
        let out = folder.path().join(precision);
        let output = segment(&out, precision, "on");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let map = image::open(out.join("wide-1-a-cat-heat.png")).unwrap();
        map.to_rgb8().into_raw()
    };
    let (half, single) = (heat("bf16"), heat("f32"));
    assert_eq!(half.len(), single.len());
    let pairs = half.iter().zip(&single);
    let largest = pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(largest > 0 && largest < 16, "colours differ by {largest}");
}
