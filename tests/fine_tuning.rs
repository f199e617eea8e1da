//! CLIP fine-tuned together with the decoder: gradients, which weights change, and complete runs.

use crate::support::{device, drawn};
use crate::training_runs::{config, whole};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::Distribution;
use clipseg::clip::{Clip, ClipTokenizer, TunedClip, TunedPart};
use clipseg::metrics::Loss;
use clipseg::model::{ClipSeg, ClipSegConfig, ImageFeatures, Segmenter};
use clipseg::train::{
    AdamWOptions, DecoderTrainer, Engine, EvaluateOptions, FrozenClip, Record, Setup, Silent,
    Start, StepInput, TrainConfig, TrainOutcome, evaluate, mix_embeddings, run,
};
use std::collections::BTreeMap;

/// The weights of a module by name.
fn weights<M: Module>(module: &M) -> BTreeMap<String, Vec<f32>> {
    #[derive(Default)]
    struct All {
        path: Vec<String>,
        values: BTreeMap<String, Vec<f32>>,
    }
    impl ModuleVisitor for All {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let values = param.val().into_data().try_to_vec::<f32>();
            let values = values.expect("single precision");
            self.values.insert(self.path.join("."), values);
        }
    }
    let mut all = All::default();
    module.visit(&mut all);
    all.values
}

/// The names of the weights in which two modules differ.
fn changed<M: Module>(before: &M, after: &M) -> Vec<String> {
    let after = weights(after);
    let before = weights(before).into_iter();
    let changed = before.filter(|(name, values)| after[name] != *values);
    changed.map(|(name, _)| name).collect()
}

/// Compares the gradient of every parameter that has one in `expected` and is trained.
struct Compare<'a> {
    expected: &'a GradientsParams,
    found: &'a GradientsParams,
    path: Vec<String>,
    compared: usize,
    untrained: usize,
}

impl ModuleVisitor for Compare<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.join(".");
        let values = |gradients: &GradientsParams| -> Option<Vec<f32>> {
            let gradient = gradients.get::<D>(param.id)?;
            Some(gradient.into_data().try_to_vec().expect("single precision"))
        };
        let Some(found) = values(self.found) else {
            self.untrained += 1;
            return;
        };
        let expected = values(self.expected).expect("the entire model has it too");
        let pairs = found.iter().zip(&expected);
        let worst = pairs.fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
        let largest = expected
            .iter()
            .fold(0.0f32, |most, value| most.max(value.abs()));
        // Softmax ignores a shift of its input, so the gradient of a bias of keys is only rounding.
        let limit = match name.ends_with("k_proj.bias") {
            true => 1e-7,
            false => 1e-5 * largest,
        };
        assert!(worst <= limit, "{name}: {worst:e} of {largest:e}");
        self.compared += 1;
    }
}

#[test]
fn the_gradients_are_those_of_training_the_entire_model() {
    let device = device();
    let model = drawn(6, || {
        let config = ClipSegConfig::small();
        ClipSeg::init(&config, &device)
    });
    let [pixels, shown, noise] = drawn(7, || {
        [2, 3, 1].map(|pictures| {
            let shape = [pictures, 3, 64, 96];
            Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &device)
        })
    });
    let noise: Tensor<3> = noise.squeeze_dim(0);
    let masks = noise.greater_elem(0.3).float();
    let tokenizer = ClipTokenizer::openai(77).unwrap();
    let phrases = ["a red circle", "star", "the small blue square on the left"];
    let texts = tokenizer.batch(&phrases, &device).unwrap();
    let picture_of = vec![0, 1, 1];
    let shares = [0.3, 0.0, 0.8];
    let layers = model.config().decoder.extract_layers().to_vec();
    let loss = Loss::bce();

    // The entire model on the autodiff device, with masked padding.
    let entire = model.clone().train();
    let expected = |visual: bool| {
        let features = entire.encode_image(pixels.clone().autodiff()).unwrap();
        let mut prompts = entire.clip().text_embedding(&texts).unwrap();
        if visual {
            let shown = entire.clip().image_embedding(shown.clone().autodiff());
            prompts = mix_embeddings(prompts, shown.unwrap(), &shares);
        }
        let decoder = entire.decoder();
        let logits = decoder.forward_grouped(&features, prompts, &picture_of);
        let value = loss.forward(logits, masks.clone().autodiff());
        let gradients = GradientsParams::from_grads(value.backward(), &entire);
        (value.without_autodiff(), gradients)
    };

    // Layers 0, 1 and 3 of 4 are read, so no block is above the deepest one.
    let part = |text, vision_blocks, vision_output| TunedPart {
        text,
        vision_embeddings: text,
        vision_blocks,
        vision_output,
    };
    for (visual, part, tensors_of_clip) in [
        (false, part(false, 3..4, false), 16),
        (false, part(false, 1..4, false), 3 * 16),
        (false, part(false, 0..4, false), 4 * 16),
        (true, part(false, 3..4, true), 16 + 3),
        // Class, patches, positions and a norm; 4 + 2 blocks; tokens, positions, a norm and a projection.
        (false, part(true, 0..4, false), 5 + 6 * 16 + 5),
        (true, part(true, 0..4, true), 5 + 6 * 16 + 5 + 3),
    ] {
        let tuned = TunedClip::new(model.clip().clone(), part.clone()).unwrap();
        let states = tuned.hidden_states(pixels.clone(), &layers).unwrap();
        // Nothing is recorded for the blocks below the trained ones.
        let recorded = states.states.iter().map(Tensor::is_tracked);
        let first = part.vision_blocks.start;
        assert!(recorded.eq(layers.iter().map(|layer| *layer >= first)));
        let mut prompts = if part.text {
            tuned.text_embedding_unchecked(&texts)
        } else {
            model.clip().text_embedding(&texts).unwrap().autodiff()
        };
        if visual {
            let shown = tuned.image_embedding(shown.clone()).unwrap();
            prompts = mix_embeddings(prompts, shown, &shares);
        }
        let input = StepInput {
            features: ImageFeatures {
                hidden_states: states.states,
                grid: states.grid,
                pixel_values: None,
            },
            conditional_embedding: prompts,
            picture_of: picture_of.clone(),
            masks: masks.clone(),
        };
        let decoder = model.decoder().clone();
        let trainer = DecoderTrainer::new(decoder, &AdamWOptions::default(), loss.clone());
        let trainer = trainer.with_clip(tuned, 1.0);
        let (value, found) = trainer.gradients(&input);
        let (entire_value, expected) = expected(visual);
        let [value, entire_value] = [value, entire_value].map(|value| value.into_scalar::<f32>());
        assert!((value - entire_value).abs() < 1e-5);
        let mut compare = Compare {
            expected: &expected,
            found: &found,
            path: Vec::new(),
            compared: 0,
            untrained: 0,
        };
        model.clip().visit(&mut compare);
        assert_eq!(compare.compared, tensors_of_clip, "{part:?}");
        assert!(compare.untrained > 0, "at least the temperature is frozen");
        (compare.compared, compare.untrained) = (0, 0);
        model.decoder().visit(&mut compare);
        assert!(compare.compared > 20 && compare.untrained == 0, "{part:?}");
    }
}

#[test]
fn parts_that_cannot_be_trained_are_named() {
    let clip = ClipSegConfig::small().clip;
    let clip = drawn(1, || Clip::init(&clip, &device()));
    let message = |vision_blocks| {
        let part = TunedPart {
            text: false,
            vision_embeddings: false,
            vision_blocks,
            vision_output: false,
        };
        TunedClip::new(clip.clone(), part).unwrap_err().to_string()
    };
    assert!(message(0..0).contains("no weights to train are selected"));
    assert!(message(3..5).contains("block 4 of the vision tower does not exist, expected 0 to 3"));
}

/// Trains without a folder; returns CLIP before and the outcome.
fn train(config: &TrainConfig) -> (Clip, TrainOutcome, Setup) {
    let mut setup = Setup::new(config, &device(), |_| {}).unwrap();
    let (clip, model, tokenizer, processor) = setup.clip.into_parts();
    setup.clip = FrozenClip::new(clip.clone(), model, tokenizer, processor);
    let engine = Engine::new(&mut setup.clip, &setup.training, config).unwrap();
    let engine = engine.with_validation(&setup.validation);
    let outcome = engine.run(setup.decoder.clone(), &mut Silent).unwrap();
    (clip, outcome, setup)
}

#[test]
fn only_the_unfrozen_weights_change() {
    let folder = tempfile::tempdir().unwrap();
    // The decoder reads the layers 1, 2 and 3 of five blocks.
    let layers = "decoder.extract_layers=[1, 2, 3]";
    let changed = |changes: &[&str]| {
        let common = [layers, "schedule.steps=3", "validation.every=2"];
        let config = config(folder.path(), &[&common, changes].concat());
        let (before, outcome, _) = train(&config);
        let after = outcome.clip.expect("it is fine-tuned");
        changed(&before, &after)
    };
    let parts = |names: &[String]| {
        let mut parts: Vec<String> = names
            .iter()
            .map(|name| {
                let name = name.strip_prefix("vision_model.encoder.").unwrap_or(name);
                name.split('.').take(2).collect::<Vec<_>>().join(".")
            })
            .collect();
        parts.dedup();
        parts
    };
    let last = changed(&["clip.unfreeze=vision-last-1"]);
    assert_eq!(
        (parts(&last), last.len()),
        (vec!["layers.3".to_owned()], 16)
    );
    let last = changed(&["clip.unfreeze=vision-last-2"]);
    assert_eq!(parts(&last), ["layers.2", "layers.3"]);
    // Visual prompts read what is above.
    let mixed = changed(&["clip.unfreeze=vision-last-1", "augment.visual=[0.5, 1.0]"]);
    assert_eq!(
        parts(&mixed),
        [
            "layers.3",
            "layers.4",
            "vision_model.post_layernorm",
            "visual_projection.weight"
        ]
    );
    let both = parts(&changed(&["clip.unfreeze=clip"]));
    for part in ["layers.0", "layers.3", "text_projection.weight"] {
        assert!(both.iter().any(|found| found == part), "{part} in {both:?}");
    }
    for part in ["vision_model.embeddings", "text_model.encoder"] {
        assert!(both.iter().any(|found| found == part), "{part} in {both:?}");
    }
    for part in ["layers.4", "logit_scale", "visual_projection.weight"] {
        assert!(both.iter().all(|found| found != part), "{part} in {both:?}");
    }
}

#[test]
fn without_a_learning_rate_for_clip_the_run_is_that_of_a_frozen_clip() {
    let folder = tempfile::tempdir().unwrap();
    let losses = |changes: &[&str]| -> Vec<f32> {
        let common = [
            "schedule.steps=6",
            "validation.every=3",
            "cache.memory=0",
            "augment.visual=[0.0, 1.0]",
            "schedule.clip_norm=1000",
        ];
        let config = config(folder.path(), &[&common, changes].concat());
        let (_, outcome, _) = train(&config);
        let records = outcome.records.iter().map(|record| match record {
            Record::Step { loss, .. } | Record::Validation { loss, .. } => *loss,
            _ => unreachable!("there is no other kind"),
        });
        records.collect()
    };
    let frozen = losses(&[]);
    assert_eq!(frozen.len(), 8);
    for unfreeze in ["clip.unfreeze=vision-last-1", "clip.unfreeze=clip"] {
        let still = losses(&[unfreeze, "clip.learning_rate=1e-30"]);
        for (a, b) in still.iter().zip(&frozen) {
            assert!((a - b).abs() < 1e-5, "{still:?} {frozen:?}");
        }
        let tuned = losses(&[unfreeze, "clip.learning_rate=1e-2"]);
        let pairs = tuned.iter().zip(&frozen);
        let most = pairs.fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(most > 1e-3, "{unfreeze}: {tuned:?} {frozen:?}");
    }
}

#[test]
fn the_best_decoder_is_saved_with_its_own_clip() {
    let folder = tempfile::tempdir().unwrap();
    // At the threshold of 0.3 every pixel counts as inside for these few steps, so that all validations have the
    // same mean IoU and the first stays the best.
    let changes = ["clip.unfreeze=clip", "clip.learning_rate=1e-4"];
    let config = config(folder.path(), &changes);
    let root = folder.path().join("run");
    let outcome = whole(&config, &root, Start::New);
    let validations: Vec<(usize, f32, bool)> = outcome
        .training
        .records
        .iter()
        .filter_map(|record| match record {
            Record::Validation {
                step, loss, best, ..
            } => Some((*step, *loss, *best)),
            _ => None,
        })
        .collect();
    let best = validations.iter().rfind(|(_, _, best)| *best).unwrap();
    assert!(
        best.0 < 14,
        "otherwise this test shows nothing: {validations:?}"
    );
    let best_clip = outcome.training.best_clip.as_ref().unwrap();
    let last_clip = outcome.training.clip.as_ref().unwrap();
    assert!(!changed(best_clip, last_clip).is_empty());

    let saved = drawn(0, || {
        Segmenter::from_pretrained(root.join("model").as_path(), &device()).unwrap()
    });
    let (tokenizer, processor) = (saved.tokenizer().clone(), saved.processor().clone());
    let shape = saved.model().config().clone();
    let (clip, decoder) = saved.model().clone().into_parts();
    assert!(changed(best_clip, &clip).is_empty());
    assert!(changed(&outcome.training.best, &decoder).is_empty());
    let mut clip = FrozenClip::new(clip, shape, tokenizer, processor);
    let setup = Setup::new(&config, &device(), |_| {}).unwrap();
    let options = EvaluateOptions::default()
        .with_batch_size(config.schedule.batch_size)
        .with_loss(config.loss.clone());
    let scores = evaluate(&mut clip, &decoder, &setup.validation, &options).unwrap();
    assert!(
        (scores.loss as f32 - best.1).abs() < 1e-5,
        "{} {validations:?}",
        scores.loss
    );
    let report = std::fs::read_to_string(root.join("report.md")).unwrap();
    assert!(
        report.contains(
            "- Decoder with its fine-tuned CLIP in `model/` and in the table: that after"
        ),
        "{report}"
    );
}

#[test]
fn what_is_not_cached_is_reported_and_blocks_that_are_not_read_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let setup = |changes: &[&str]| {
        let mut notes = Vec::new();
        let config = config(folder.path(), changes);
        let setup = Setup::new(&config, &device(), |line| notes.push(line.to_owned()));
        let error = setup.err().map(|error| error.to_string());
        (notes.join("\n"), error.unwrap_or_default())
    };
    let (notes, _) = setup(&["clip.unfreeze=vision-last-2"]);
    let expected = "CLIP is fine-tuned (`vision-last-2`), so hidden states of pictures are not cached; \
                    `cache.memory` bounds embeddings of phrases only";
    assert!(notes.contains(expected), "{notes}");
    let (notes, _) = setup(&["clip.unfreeze=clip", "cache.memory=0"]);
    assert!(
        notes.ends_with("hidden states of pictures are not cached"),
        "{notes}"
    );
    let (notes, _) = setup(&[]);
    assert!(!notes.contains("fine-tuned"), "{notes}");
    let (_, error) = setup(&[
        "clip.unfreeze=vision-last-4",
        "decoder.extract_layers=[0, 1, 2]",
    ]);
    assert_eq!(
        error,
        "field `clip.unfreeze`: `vision-last-4`, expected 1 to 3 blocks, because the deepest layer that \
         the decoder reads is the output of block 3 of the vision tower"
    );
    // A run that cannot start leaves no folder.
    let bad = ["clip.unfreeze=vision-last-6"];
    let root = folder.path().join("bad");
    let stop = clipseg::train::StopFlag::new();
    let bad = config(folder.path(), &bad);
    let error = run(&bad, &device(), &root, Start::New, &stop, &mut Silent).unwrap_err();
    assert!(
        error.to_string().contains("expected 1 to 4 blocks"),
        "{error}"
    );
    assert!(!root.exists());
}

#[cfg(feature = "scenes")]
#[test]
fn the_program_fine_tunes_the_clip_of_the_model_scenes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("train.toml");
    std::fs::write(&file, crate::training_runs::small_run(folder.path())).unwrap();
    let clipseg = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_clipseg"))
            .args(["train", "--clip", "scenes", "--config"])
            .arg(&file)
            .args(arguments)
            .output()
            .expect("it starts");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), stderr)
    };
    let root = folder.path().join("run");
    let out = root.to_str().unwrap();
    let unfreeze = ["--unfreeze", "vision-last-1", "--out", out, "--steps", "4"];
    let (code, stderr) = clipseg(&unfreeze);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stderr.contains("CLIP is fine-tuned (`vision-last-1`)"),
        "{stderr}"
    );
    let saved = std::fs::read_to_string(root.join("config.toml")).unwrap();
    assert!(saved.contains("unfreeze = \"vision-last-1\""), "{saved}");
    let (tuned, original) = drawn(0, || {
        let tuned = Segmenter::from_pretrained(root.join("model").as_path(), &device());
        let original = ClipSeg::from_pretrained(clipseg::model::scenes(), &device());
        (tuned.unwrap(), original.unwrap())
    });
    let layers = tuned.model().config().decoder.extract_layers();
    let last = layers.iter().max().unwrap();
    let block = format!("vision_model.encoder.layers.{last}.");
    let names = changed(original.clip(), tuned.model().clip());
    assert_eq!(names.len(), 16);
    assert!(
        names.iter().all(|name| name.starts_with(&block)),
        "{names:?}"
    );

    // The model is a checkpoint to go on from.
    let next = folder.path().join("next");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_clipseg"))
        .args(["train", "--clip"])
        .arg(root.join("model"))
        .arg("--data")
        .arg(folder.path().join("scenes"))
        .args(["--set", "decoder.pretrained=true", "--unfreeze", "clip"])
        .args([
            "--steps",
            "2",
            "--batch",
            "2",
            "--set",
            "validation.test_phrases=2",
        ])
        .arg("--out")
        .arg(&next)
        .output()
        .expect("it starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    for (arguments, expected) in [
        (
            &["--unfreeze", "vision-last-0"][..],
            "field `clip.unfreeze`: `vision-last-0`, expected at least one block",
        ),
        (
            &["--set", "clip.learning_rate=1e-4"],
            "field `clip.learning_rate`: has no effect without `clip.unfreeze`",
        ),
        (
            &["--unfreeze", "clip", "--set", "cache.folder=cache"],
            "field `cache.folder`: has no effect with `clip.unfreeze` (`clip`)",
        ),
        (
            &["--unfreeze", "clip", "--set", "clip.unfreeze=clip"],
            "field `clip.unfreeze`: given twice",
        ),
    ] {
        let refused = folder.path().join("refused");
        let out = ["--out", refused.to_str().unwrap()];
        let (code, stderr) = clipseg(&[arguments, &out].concat());
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
        assert!(!refused.exists());
    }
}
