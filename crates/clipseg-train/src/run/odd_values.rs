//! A test that no value of any field of a configuration makes a run panic.

use crate::config::train_config::TrainConfig;
use crate::error::Result;
use crate::run::engine::Engine;
use crate::run::interrupt::StopFlag;
use crate::run::progress::Observer;
use crate::run::setup::Setup;
use burn::prelude::*;
use clipseg_data::{ScenesConfig, generate_scenes};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use toml::{Table, Value};

/// Values of every type of TOML, with extreme and invalid ones.
const VALUES: [&str; 23] = [
    "0",
    "-1",
    "1",
    "2",
    "0.5",
    "-0.5",
    "nan",
    "inf",
    "-inf",
    "1e300",
    "1e-300",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "true",
    "\"\"",
    "\"FOLDER\"",
    "\"\\u0000\"",
    "[]",
    "[0]",
    "[3, 1]",
    "[nan, nan]",
    "[0, -1]",
];

/// Values for single fields.
const MORE: [(&str, &[&str]); 10] = [
    (
        "loss",
        &[
            "\"0*bce\"",
            "\"1e300*bce\"",
            "\"nan*dice\"",
            "\"-1*bce\"",
            "\"1e-300*dice\"",
        ],
    ),
    (
        "decoder.extract_layers",
        &["[2]", "[0, 1, 2, 3]", "[1, 1]", "[99]"],
    ),
    (
        "augment.visual",
        &["[0, 1]", "[1, 1]", "[0.5, 2]", "[1, 0]"],
    ),
    (
        "cache.memory",
        &["\"18446744073709551615 B\"", "\"1e300 TB\"", "\"1 B\""],
    ),
    (
        "cache.pictures",
        &["\"18446744073709551615 B\"", "\"-1 B\"", "\"1 B\""],
    ),
    (
        "cache.folder_limit",
        &["\"18446744073709551615 B\"", "\"1 B\""],
    ),
    (
        "data.held_out",
        &["[\"\"]", "[\"a\", \"the\"]", "[\"\\u0000\"]"],
    ),
    (
        "device",
        &[
            "\"cpu:1\"",
            "\"cpu:\"",
            "\":\"",
            "\"cuda:99999999999999999999\"",
        ],
    ),
    ("data.size", &["8", "16", "33"]),
    (
        "clip.unfreeze",
        &["\"clip\"", "\"vision-last-2\"", "\"vision-last-5\""],
    ),
];

/// A configuration with all fields, for runs of one step on scenes of 32 pixels.
fn full(folder: &Path, decoder: &str) -> String {
    let (scenes, cache) = (folder.join("scenes"), folder.join("cache"));
    format!(
        "seed = 1\ndevice = \"cpu\"\nloss = \"bce\"\n\
         [data]\nfolder = {scenes:?}\nsize = 32\nheld_out = [\"star\"]\nlimit = 12\n\
         [augment]\nnegatives = 0.5\nnegative_rule = \"any\"\n[clip]\ndata_type = \"f32\"\n[decoder]\n{decoder}\n[optimizer]\n\
         [schedule]\nsteps = 2\nbatch_size = 2\nclip_norm = 1.0\nwarmup_ratio = 0.1\n\
         [validation]\nevery = 1\nphrases = 2\npatience = 1\ntest_phrases = 2\n[checkpoints]\n\
         [cache]\nfolder = {cache:?}\nfolder_limit = \"1 MiB\"\n"
    )
}

/// The names of all fields of a table, with dots between the levels.
fn fields(table: &Table, prefix: &str) -> Vec<String> {
    let all = table.iter().map(|(name, value)| match value {
        Value::Table(inner) => fields(inner, &format!("{prefix}{name}.")),
        _ => vec![format!("{prefix}{name}")],
    });
    all.collect::<Vec<_>>().concat()
}

/// Stops a run after its first step.
struct First(StopFlag);

impl Observer for First {
    fn start(&mut self, _: usize, _: usize) {}
    fn step(&mut self, _: usize, _: f32, _: f64, _: usize) {
        self.0.raise();
    }
    fn note(&mut self, _: &str) {}
    fn finish(&mut self) {}
}

/// Does one step with a setup, and a validation if there is one.
fn one_step(setup: &mut Setup, config: &TrainConfig) -> Result<()> {
    let stop = StopFlag::new();
    Engine::new(&mut setup.clip, &setup.training, config)?
        .with_validation(&setup.validation)
        .with_stop(stop.clone())
        .run(setup.decoder.clone(), &mut First(stop))?;
    Ok(())
}

/// The sections that only the training loop uses, so that the setup can be reused.
const OF_THE_LOOP: [&str; 5] = ["schedule", "optimizer", "validation", "checkpoints", "loss"];

#[test]
fn no_value_of_any_field_makes_a_run_panic() {
    let folder = tempfile::tempdir().unwrap();
    let scenes = ScenesConfig {
        images: 20,
        size: 32,
        seed: 2,
    };
    generate_scenes(&folder.path().join("scenes"), &scenes).unwrap();
    let nowhere = folder.path().join("no/such");
    let (mut done, mut refused) = (Vec::<TrainConfig>::new(), 0);
    let mut fields_seen = 0;
    let full = |decoder: &str| full(folder.path(), decoder);
    let transformer = full("reduce_dim = 8\nintermediate_size = 8\nextract_layers = [0, 1, 3]");
    let tuned = "[clip]\nunfreeze = \"vision-last-1\"\nlearning_rate = 1e-4\n";
    let tuned = transformer.replace("[clip]\n", tuned);
    // A fine-tuned CLIP has no cache on disk.
    let (tuned, _) = tuned.split_once("[cache]").unwrap();
    // Each configuration, and which of its fields are changed: the others are the same in all of them.
    for (text, changed_fields) in [
        (transformer.as_str(), ""),
        (
            &full("kind = \"conv\"\nsize = \"tiny\"\nextract_layers = [0, 1, 3]"),
            "decoder.",
        ),
        (
            &full("kind = \"deconv\"\nreduce_dim = 8\nextract_layers = [3]"),
            "decoder.",
        ),
        (tuned, "clip."),
    ] {
        let base = TrainConfig::from_toml(text, Path::new("x")).unwrap();
        let mut setup = Setup::new(&base, &Device::flex(), |_| {}).unwrap();
        one_step(&mut setup, &base).unwrap();
        for field in fields(&Table::try_from(&base).unwrap(), "") {
            if !field.starts_with(changed_fields) {
                continue;
            }
            fields_seen += 1;
            let section = field.split('.').next().unwrap_or_default();
            let more = MORE.iter().filter(|(name, _)| *name == field);
            let values = VALUES.iter().chain(more.flat_map(|(_, values)| *values));
            // A number would be a valid path in the current folder.
            let is_folder = field.ends_with(".folder");
            let values = values.filter(|value| !is_folder || value.starts_with(['"', '[']));
            for value in values {
                let value = value.replace("FOLDER", &nowhere.display().to_string());
                let text = format!("{field}={value}");
                let tried = catch_unwind(AssertUnwindSafe(|| {
                    let changed = match base.clone().with_overrides(&[&text]) {
                        Ok(changed) => changed,
                        Err(error) => {
                            // The message is about this field.
                            assert!(error.to_string().contains(section), "{text}: {error}");
                            return None;
                        }
                    };
                    // Any error is fine.
                    let _ = if done.contains(&changed) {
                        Ok(())
                    } else if OF_THE_LOOP.contains(&section) {
                        one_step(&mut setup, &changed)
                    } else {
                        Setup::new(&changed, &Device::flex(), |_| {})
                            .and_then(|mut setup| one_step(&mut setup, &changed))
                    };
                    Some(changed)
                }));
                match tried {
                    Ok(Some(changed)) => done.push(changed),
                    Ok(None) => refused += 1,
                    Err(_) => panic!("{text}, with {base:?}"),
                }
            }
        }
    }
    assert!(fields_seen > 50 && refused > 500 && done.len() > 50);
}
