//! Decoders under the names of the original CLIPSeg project.

use crate::checkpoints::{Tensors, check_logits, checkpoints, message, segmenter, weights, write};
use crate::support::{SEGMENTERS, device};
use burn::prelude::*;
use clipseg::clip::load_clip;
use clipseg::model::{ClipSeg, ClipSegConfig, DecoderConfig, ModelError, OriginalOptions};
use std::path::Path;

/// The decoder of a fixture under the original names, with queries, keys and values concatenated.
fn decoder(name: &str) -> Tensors {
    let weights = weights(name);
    let mut original = Tensors::new();
    for (name, data) in &weights {
        let Some(name) = name.strip_prefix("decoder.") else {
            continue;
        };
        let theirs = name
            .replace("layers.", "blocks.")
            .replace("mlp.fc", "linear")
            .replace("layer_norm", "norm")
            .replace("transposed_convolution", "trans_conv");
        let Some((attention, kind)) = theirs.split_once("q_proj.") else {
            if !theirs.contains("k_proj") && !theirs.contains("v_proj") {
                original.insert(theirs, data.clone());
            }
            continue;
        };
        let parts = ["q_proj", "k_proj", "v_proj"]
            .map(|part| &weights[&format!("decoder.{}", name.replace("q_proj", part))]);
        let mut shape = data.shape().to_vec();
        shape[0] *= 3;
        let bytes = parts
            .iter()
            .flat_map(|part| part.as_bytes())
            .copied()
            .collect();
        let joined = TensorData::from_bytes_vec(bytes, shape, data.dtype());
        original.insert(format!("{attention}in_proj_{kind}"), joined);
    }
    original
}

fn options(name: &str) -> (ClipSegConfig, OriginalOptions) {
    let config = ClipSegConfig::from_file(&segmenter(name).join("config.json")).unwrap();
    let DecoderConfig::Transformer(decoder) = &config.decoder else {
        panic!("{name} has another decoder");
    };
    let options = OriginalOptions {
        extract_layers: decoder.extract_layers.clone(),
        heads: decoder.decoder_num_attention_heads,
        conditional_layer: decoder.conditional_layer,
    };
    (config, options)
}

fn load(name: &str, file: &Path, options: &OriginalOptions) -> Result<ClipSeg, ModelError> {
    let clip = load_clip(&segmenter(name), &device()).expect("the fixture loads");
    ClipSeg::from_original(file, clip, options)
}

#[test]
fn decoders_with_either_head() {
    let folder = tempfile::tempdir().unwrap();
    for name in SEGMENTERS {
        let file = folder.path().join(name).with_extension("pth");
        write(&file, &decoder(name));
        let (config, options) = options(name);
        let model = load(name, &file, &options).unwrap();
        assert_eq!(*model.config(), config);
        check_logits(name, &model);
        let wrapped: Tensors = decoder(name)
            .into_iter()
            .map(|(name, data)| (format!("model.decoder.{name}"), data))
            .collect();
        write(&file, &wrapped);
        check_logits(name, &load(name, &file, &options).unwrap());
    }
}

#[test]
fn a_file_of_pytorch_with_the_unused_map() {
    let name = "clipseg-refined";
    let model = load(name, &checkpoints().join("original.pth"), &options(name).1).unwrap();
    check_logits(name, &model);
}

#[test]
fn what_does_not_fit_is_said() {
    let name = "clipseg-refined";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("decoder.pth");
    let mut tensors = decoder(name);
    write(&file, &tensors);
    let fail = |change: fn(&mut OriginalOptions)| {
        let (_, mut options) = options(name);
        change(&mut options);
        let error = message(load(name, &file, &options));
        assert!(error.contains("decoder.pth"), "{error}");
        error
    };
    let layers = fail(|options| options.extract_layers = vec![1, 2]);
    assert!(
        layers.contains("has 3 layers, but `extract_layers` is [1, 2]"),
        "{layers}"
    );
    let depth = fail(|options| options.extract_layers = vec![0, 1, 99]);
    assert!(
        depth.contains("field `extract_layers`: [0, 1, 99]"),
        "{depth}"
    );
    let heads = fail(|options| options.heads = 3);
    assert!(
        heads.contains("3 heads do not divide the width 16"),
        "{heads}"
    );
    let prompt = fail(|options| options.conditional_layer = 3);
    assert!(prompt.contains("the prompt would be ignored"), "{prompt}");

    // A decoder for another tower, and an incomplete one.
    let wide = TensorData::zeros::<f32, _>([16, 768]);
    tensors.insert("reduces.1.weight".into(), wide);
    tensors.remove("blocks.2.linear2.bias");
    tensors.remove("blocks.0.self_attn.in_proj_weight");
    let extra = tensors["trans_conv.0.bias"].clone();
    tensors.insert("upsample_proj.bias".into(), extra);
    write(&file, &tensors);
    let error = fail(|_| {});
    for expected in [
        "2 missing: blocks.0.self_attn.in_proj_weight, blocks.2.linear2.bias",
        "1 unexpected: upsample_proj.bias",
        "reduces.1.weight has shape [16, 768], expected [16, 48]",
    ] {
        assert!(error.contains(expected), "{error}");
    }

    let other = segmenter(name).join("model.safetensors");
    let error = message(load(name, &other, &options(name).1));
    assert!(
        error.contains("not a decoder of the original project"),
        "{error}"
    );
}
