//! Checkpoints of every format, converted into Hugging Face's layout and read back.

use crate::checkpoints::{Tensors, check_logits, checkpoints, read, segmenter, write};
use crate::running::run;
use crate::support::{device, drawn, fixtures};
use burn::prelude::*;
use clipseg::clip::{
    Activation, Clip, ClipConfig, ClipTokenizer, ImageProcessor, Precision, PretrainedClip,
    TargetSize, TextBatch, load_clip, save_clip,
};
use clipseg::data::load_rgb;
use clipseg::model::{
    ClipSeg, ConvertOptions, Exported, ModelError, OriginalOptions, Segmenter, convert,
};
use std::path::Path;

fn options() -> ConvertOptions {
    ConvertOptions::default()
}

fn converted(from: &Path, to: &Path, options: &ConvertOptions) -> Result<Exported, ModelError> {
    convert(from.to_str().expect("a plain name"), to, options, &device())
}

/// Embeddings of two pictures and two texts.
fn embeddings(PretrainedClip { config, clip }: &PretrainedClip) -> Vec<f32> {
    let (side, end) = (
        config.vision_config.image_size,
        config.text_config.eos_token_id,
    );
    let count = 2 * 3 * side * side;
    let values = (0..count).map(|index| (index % 17) as f32 / 8.0 - 1.0);
    let pixels = TensorData::new(values.collect::<Vec<f32>>(), [2, 3, side, side]);
    let pictures = clip.image_embedding(Tensor::from_data(pixels, &device()));
    let texts = TextBatch {
        input_ids: Tensor::from_data([[5, 9, 2, end], [3, 8, end, end]], &device()),
        attention_mask: None,
    };
    let texts = clip.text_embedding(&texts).unwrap();
    let both = Tensor::cat(vec![pictures.unwrap(), texts], 0);
    both.into_data().try_to_vec().unwrap()
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

#[test]
fn pickles_become_safetensors() {
    let parent = tempfile::tempdir().unwrap();
    let [from, to] = ["from", "to"].map(|name| parent.path().join(name));
    std::fs::create_dir(&from).unwrap();
    let model = segmenter("clipseg-plain");
    for file in ["config.json", "tokenizer.json", "preprocessor_config.json"] {
        std::fs::copy(model.join(file), from.join(file)).unwrap();
    }
    let pickle = "pytorch_model.bin";
    std::fs::copy(checkpoints().join(pickle), from.join(pickle)).unwrap();
    converted(&from, &to, &options()).unwrap();
    assert!(to.join("model.safetensors").is_file());
    let found = Segmenter::from_pretrained(&to, &device()).unwrap();
    check_logits("clipseg-plain", found.model());
    let expected = Segmenter::from_pretrained(&model, &device()).unwrap();
    assert_eq!(found.processor(), expected.processor());
    let photo = load_rgb(&fixtures().join("images/wide.png")).unwrap();
    let masks = |segmenter: &Segmenter| {
        let encoded = segmenter.encode_image(&photo).unwrap();
        segmenter.segment(&encoded, &["a cat"]).unwrap()
    };
    assert_eq!(masks(&found), masks(&expected));
}

#[test]
fn a_decoder_of_the_original_project_joins_its_clip() {
    let parent = tempfile::tempdir().unwrap();
    let to = parent.path().join("to");
    let (decoder, clip) = (
        checkpoints().join("original.pth"),
        segmenter("clipseg-refined"),
    );
    let mut settings = options();
    let message = converted(&decoder, &to, &settings).unwrap_err().to_string();
    assert!(
        message.contains("it contains a decoder only; set `clip`"),
        "{message}"
    );
    settings.clip = Some(clip.to_str().unwrap().to_owned());
    settings.original = Some(OriginalOptions {
        extract_layers: vec![1, 2, 4],
        ..OriginalOptions::default()
    });
    converted(&decoder, &to, &settings).unwrap();
    let found = ClipSeg::from_pretrained(&to, &device()).unwrap();
    check_logits("clipseg-refined", &found);
    let processor = ImageProcessor::from_folder(&to).unwrap().unwrap();
    let side = TargetSize::Exact {
        height: 352,
        width: 352,
    };
    assert_eq!(processor.size, Some(side));
}

#[test]
fn a_clip_in_every_precision() {
    let parent = tempfile::tempdir().unwrap();
    let from = fixtures().join("models/clip");
    let expected = load_clip(&from, &device()).unwrap();
    let exact = embeddings(&expected);
    for (precision, tolerance) in [
        (Precision::F32, 0.0),
        (Precision::F16, 0.05),
        (Precision::Bf16, 0.4),
    ] {
        let to = parent.path().join(precision.name());
        let mut settings = options();
        settings.export.precision = precision;
        settings.export.license = Some("mit".into());
        converted(&from, &to, &settings).unwrap();
        let found = load_clip(&to, &device()).unwrap();
        assert_eq!(found.config, expected.config);
        let largest = exact
            .iter()
            .fold(0f32, |largest, value| largest.max(value.abs()));
        let difference = furthest(&embeddings(&found), &exact) / largest;
        let is_exact = precision == Precision::F32;
        assert!(
            difference <= tolerance && (difference == 0.0) == is_exact,
            "{difference}"
        );
        ClipTokenizer::from_folder(&to, &found.config.text_config).unwrap();
        let processor = ImageProcessor::from_folder(&to).unwrap().unwrap();
        assert_eq!(processor, ImageProcessor::clip(32));
        let card = std::fs::read_to_string(to.join("README.md")).unwrap();
        for part in ["license: mit\n", "A CLIP", "32x32", precision.name()] {
            assert!(card.contains(part), "{part}: {card}");
        }
    }
}

/// A random CLIP with CLIP's vocabulary, saved under the names of OpenAI and open_clip, as in `model.py` of
/// openai/CLIP.
fn openai_file(folder: &Path, sizes: bool) -> PretrainedClip {
    let mut config = ClipConfig::small();
    (
        config.text_config.hidden_size,
        config.text_config.num_attention_heads,
    ) = (64, 1);
    (
        config.text_config.intermediate_size,
        config.text_config.num_hidden_layers,
    ) = (32, 1);
    (
        config.vision_config.hidden_size,
        config.vision_config.num_attention_heads,
    ) = (64, 1);
    (
        config.vision_config.image_size,
        config.vision_config.num_hidden_layers,
    ) = (32, 2);
    config.text_config.max_position_embeddings = 12;
    config.projection_dim = 24;
    let clip = drawn(5, || Clip::init(&config, &device()));
    let ours = folder.join("ours");
    save_clip(&ours, &config, &clip).unwrap();
    let weights = read(&ours.join("model.safetensors"));
    let mut theirs = Tensors::new();
    for (name, data) in &weights {
        if name.contains("k_proj") || name.contains("v_proj") {
            continue;
        }
        if let Some((before, kind)) = name.split_once("q_proj.") {
            let parts =
                ["q", "k", "v"].map(|part| &weights[&format!("{before}{part}_proj.{kind}")]);
            let bytes = parts.iter().flat_map(|part| part.as_bytes()).copied();
            let mut shape = data.shape().to_vec();
            shape[0] *= 3;
            let joined = TensorData::from_bytes_vec(bytes.collect(), shape, data.dtype());
            theirs.insert(openai_name(&format!("{before}in_proj_{kind}")), joined);
        } else if name.ends_with("_projection.weight") {
            let matrix = Tensor::<2>::from_data(data.clone(), &device());
            theirs.insert(openai_name(name), matrix.transpose().into_data());
        } else {
            theirs.insert(openai_name(name), data.clone());
        }
    }
    if sizes {
        for (name, value) in [
            ("input_resolution", 32),
            ("context_length", 12),
            ("vocab_size", 49_408),
        ] {
            theirs.insert(name.into(), TensorData::new(vec![i64::from(value)], [1]));
        }
    }
    write(&folder.join("theirs.safetensors"), &theirs);
    PretrainedClip { config, clip }
}

fn openai_name(name: &str) -> String {
    let name = match name.strip_prefix("vision_model.") {
        Some(rest) => format!("visual.{rest}"),
        None => name.replace("text_model.", ""),
    };
    match name.as_str() {
        "visual.embeddings.class_embedding" => "visual.class_embedding".into(),
        "visual.embeddings.patch_embedding.weight" => "visual.conv1.weight".into(),
        "visual.embeddings.position_embedding.weight" => "visual.positional_embedding".into(),
        "visual_projection.weight" => "visual.proj".into(),
        "embeddings.token_embedding.weight" => "token_embedding.weight".into(),
        "embeddings.position_embedding.weight" => "positional_embedding".into(),
        "text_projection.weight" => "text_projection".into(),
        other => other
            .replace("pre_layrnorm", "ln_pre")
            .replace("post_layernorm", "ln_post")
            .replace("final_layer_norm", "ln_final")
            .replace("encoder.layers", "transformer.resblocks")
            .replace("self_attn", "attn")
            .replace("layer_norm", "ln_")
            .replace("mlp.fc1", "mlp.c_fc")
            .replace("mlp.fc2", "mlp.c_proj"),
    }
}

#[test]
fn files_of_openai_and_open_clip() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("theirs.safetensors");
    let expected = openai_file(parent.path(), true);
    let to = parent.path().join("to");
    converted(&file, &to, &options()).unwrap();
    let found = load_clip(&to, &device()).unwrap();
    assert_eq!(found.config.text_config.hidden_act, Activation::QuickGelu);
    assert_eq!(embeddings(&found), embeddings(&expected));
    let tokenizer = ClipTokenizer::from_folder(&to, &found.config.text_config).unwrap();
    let same = ClipTokenizer::openai(12).unwrap();
    let text = "A photo of two cats, isn't it?";
    assert_eq!(tokenizer.encode(text).unwrap(), same.encode(text).unwrap());

    // Without the sizes that only OpenAI's files contain, the activation must be given.
    openai_file(parent.path(), false);
    let again = parent.path().join("again");
    let message = converted(&file, &again, &options())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("set `activation` to quick_gelu"),
        "{message}"
    );
    let mut gelu = options();
    gelu.activation = Some(Activation::Gelu);
    converted(&file, &again, &gelu).unwrap();
    let found = load_clip(&again, &device()).unwrap();
    assert_eq!(found.config.vision_config.hidden_act, Activation::Gelu);
}

type Change = fn(&mut ConvertOptions);

#[test]
fn what_cannot_be_converted_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let to = parent.path().join("to");
    let clip = segmenter("clipseg-refined");
    let decoder = checkpoints().join("original.pth");
    let open_clip = checkpoints().join("open_clip.pt");
    let refused = |from: &Path, change: Change| {
        let mut options = options();
        change(&mut options);
        let message = converted(from, &to, &options).unwrap_err().to_string();
        assert_eq!(
            std::fs::read_dir(parent.path()).unwrap().count(),
            0,
            "{message}"
        );
        message
    };
    let [weights, config] = ["model.safetensors", "config.json"].map(|file| clip.join(file));
    let archive = checkpoints().join("torchscript.pt");
    let cases: [(&Path, Change, &str); 11] = [
        (&clip, |o| o.clip = Some("x".into()), "`clip` has no effect"),
        (
            &clip,
            |o| o.activation = Some(Activation::Gelu),
            "`activation` has no effect",
        ),
        (
            &clip,
            |o| o.tokenizer = Some("x".into()),
            "`tokenizer` has no effect",
        ),
        (
            &clip,
            |o| o.original = Some(OriginalOptions::default()),
            "`original` has no effect",
        ),
        (
            &open_clip,
            |o| o.clip = Some("x".into()),
            "`clip` has no effect",
        ),
        (
            &open_clip,
            |_| {},
            "open_clip.pt: the file does not tell the activation",
        ),
        (
            &open_clip,
            |o| o.activation = Some(Activation::Gelu),
            "has 600 tokens, expected the 49408",
        ),
        (
            &decoder,
            |o| o.clip = Some("no/such/clip".into()),
            "`no/such/clip`",
        ),
        (
            &weights,
            |_| {},
            "pass weights with Hugging Face's names as the folder",
        ),
        (&config, |_| {}, "config.json"),
        (&archive, |_| {}, "TorchScript"),
    ];
    for (from, change, expected) in cases {
        let message = refused(from, change);
        assert!(message.contains(expected), "{message}");
    }
    std::fs::create_dir(&to).unwrap();
    std::fs::write(to.join("mine"), "kept").unwrap();
    let message = converted(&clip, &to, &options()).unwrap_err().to_string();
    assert!(
        message.contains("already exists; choose a new folder"),
        "{message}"
    );
    assert_eq!(std::fs::read_to_string(to.join("mine")).unwrap(), "kept");
}

#[test]
fn the_program_converts_and_export_is_an_alias() {
    let parent = tempfile::tempdir().unwrap();
    let [new, old, joined] = ["new", "old", "joined"].map(|name| parent.path().join(name));
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let model = path(&segmenter("clipseg-plain"));
    let output = run(&["convert", &model, &path(&new), "--precision", "f16"]);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.ends_with("MB with weights in f16\n"), "{output:?}");
    let output = run(&["export", "--model", &model, "--out", &path(&old)]);
    assert!(output.status.success(), "{output:?}");
    for file in [
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "preprocessor_config.json",
    ] {
        let [new, old] = [&new, &old].map(|folder| std::fs::read(folder.join(file)).unwrap());
        assert!(new == old, "{file}");
    }

    let decoder = path(&checkpoints().join("original.pth"));
    let clip = path(&segmenter("clipseg-refined"));
    let arguments = ["convert", &decoder, &path(&joined), "--clip", &clip];
    let output = run(&[&arguments[..], &["--extract-layers", "1,2,4"]].concat());
    assert!(output.status.success(), "{output:?}");
    check_logits(
        "clipseg-refined",
        &ClipSeg::from_pretrained(&joined, &device()).unwrap(),
    );

    let refused = parent.path().join("refused");
    for (arguments, expected) in [
        (vec![&*decoder], "set --clip to its CLIP"),
        (vec![&*model, "--clip", "x"], "--clip has no effect"),
        (
            vec![&*model, "--heads", "2"],
            "--extract-layers and --heads have no effect",
        ),
        (
            vec![&*model, "--precision", "f8"],
            "`f8` is not a precision",
        ),
        (vec!["no/such/file.pt"], "`no/such/file.pt`"),
    ] {
        let mut all = vec!["convert"];
        all.extend(&arguments[..1]);
        let target = path(&refused);
        all.push(&target);
        all.extend(&arguments[1..]);
        let output = run(&all);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && message.contains(expected),
            "{message}"
        );
        assert!(!refused.exists());
    }
}
