//! Command-line flags for training, shared by the program and the examples.

use clipseg_metrics::Loss;
use clipseg_train::{
    PretrainConfig, Result, RunFolder, Settings, Start, StudyConfig, TrainConfig, TrainError,
};
use std::path::{Path, PathBuf};

/// Flags that every kind of training has.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct RunArguments {
    /// Device to compute on: cpu, ndarray, wgpu, vulkan or cuda; cuda:1 is the second GPU.
    #[arg(long)]
    pub device: Option<String>,
    /// Number of optimizer steps.
    #[arg(long)]
    pub steps: Option<usize>,
    /// Batch size: phrases, or captioned pictures, in one step.
    #[arg(long)]
    pub batch: Option<usize>,
    /// Learning rate after the warm-up.
    #[arg(long)]
    pub learning_rate: Option<f64>,
    /// Random seed for data order, initial weights and augmentation.
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: Option<u64>,
    /// Set any other field, such as `optimizer.weight_decay=0`; repeatable, once for each field.
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    pub fields: Vec<String>,
    /// Run folder, created if missing. Other files in it are kept. Without this flag, a new folder
    /// under `runs`.
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Continue the run in the folder, or start it if the folder has none.
    #[arg(long)]
    pub resume: bool,
}

impl RunArguments {
    /// The run folder: `--out`, or `default`, or a numbered sibling of `default` if that already
    /// holds a run that is not resumed.
    pub fn folder(&self, default: impl AsRef<Path>) -> PathBuf {
        match &self.out {
            Some(out) => out.clone(),
            None if self.resume => default.as_ref().to_owned(),
            None => RunFolder::unused(default.as_ref()),
        }
    }

    /// Whether the run is new or resumed, by `--resume`.
    pub fn start(&self) -> Start {
        if self.resume {
            Start::Resume
        } else {
            Start::New
        }
    }

    fn overrides(&self) -> Overrides {
        let mut overrides = Overrides::default();
        overrides.text("device", self.device.as_deref());
        overrides.value("schedule.steps", self.steps);
        overrides.value("schedule.batch_size", self.batch);
        overrides.float("schedule.learning_rate", self.learning_rate);
        overrides.value("seed", self.seed);
        overrides.0.extend(self.fields.iter().cloned());
        overrides
    }
}

/// Flags for training a decoder.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TrainArguments {
    /// Data set in the layout of `VGPhraseCut_v0`. Without it, scenes are generated.
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// CLIP or CLIPSeg checkpoint: a folder, a Hugging Face hub id, scenes for the small one in this
    /// program, or random for a small one with random weights. Default: random, or the preset's.
    #[arg(long, value_name = "FOLDER-OR-ID")]
    pub clip: Option<String>,
    /// Train a part of CLIP too: clip (both towers), or vision-last-N (the last N blocks of the vision
    /// tower up to the deepest layer that the decoder reads). Its learning rate is
    /// `--set clip.learning_rate=…`, 1e-5 by default. Without this flag, CLIP is frozen.
    #[arg(long, value_name = "PART")]
    pub unfreeze: Option<String>,
    /// Decoder: transformer, conv or deconv. A kind other than the configured one starts from its
    /// own defaults.
    #[arg(long, value_name = "KIND")]
    pub decoder: Option<String>,
    /// Loss: bce, dice, `dice_image`, focal, tversky, or a weighted sum such as `0.5*bce+dice`.
    #[arg(long)]
    pub loss: Option<Loss>,
    /// Number of epochs, instead of steps.
    #[arg(long, conflicts_with = "steps")]
    pub epochs: Option<usize>,
    /// What every kind of training has.
    #[command(flatten)]
    pub run: RunArguments,
}

impl TrainArguments {
    /// The configuration with the flags applied.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`] for an unknown or repeated field, a value that training cannot use, or a
    /// path that is not Unicode.
    pub fn apply(&self, config: TrainConfig) -> Result<TrainConfig> {
        let mut overrides = self.run.overrides();
        let folder = self.data.as_deref().map(|path| quoted("data.folder", path));
        overrides.value("data.folder", folder.transpose()?);
        overrides.text("clip.checkpoint", self.clip.as_deref());
        overrides.text("clip.unfreeze", self.unfreeze.as_deref());
        overrides.text("decoder.kind", self.decoder.as_deref());
        let loss = self.loss.as_ref().map(Loss::to_string);
        overrides.text("loss", loss.as_deref());
        overrides.value("schedule.epochs", self.epochs);
        config.with_overrides(&overrides.0)
    }
}

/// Flags for contrastive pre-training.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PretrainArguments {
    /// Folders with a caption list captions.tsv (picture, tab, text) or in the layout of
    /// `VGPhraseCut_v0`. Without them, scenes are generated.
    #[arg(long, value_name = "FOLDER", num_args = 1..)]
    pub data: Vec<PathBuf>,
    /// CLIP checkpoint to continue from: a folder, a Hugging Face hub id, or scenes. Without it, weights start
    /// at random.
    #[arg(long, value_name = "FOLDER-OR-ID")]
    pub clip: Option<String>,
    /// Train for this many minutes, instead of a number of steps.
    #[arg(long, conflicts_with = "steps")]
    pub minutes: Option<f64>,
    /// What every kind of training has.
    #[command(flatten)]
    pub run: RunArguments,
}

impl PretrainArguments {
    /// The configuration with the flags applied.
    ///
    /// # Errors
    ///
    /// As [`TrainArguments::apply`].
    pub fn apply(&self, config: PretrainConfig) -> Result<PretrainConfig> {
        let mut overrides = self.run.overrides();
        if !self.data.is_empty() {
            let folders = self.data.iter().map(|path| quoted("data.folders", path));
            let folders = folders.collect::<Result<Vec<_>>>()?.join(", ");
            overrides.value("data.folders", Some(format!("[{folders}]")));
        }
        overrides.text("clip.checkpoint", self.clip.as_deref());
        overrides.float("schedule.minutes", self.minutes);
        config.with_overrides(&overrides.0)
    }
}

/// Flags for a study.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct StudyArguments {
    /// Data set in the layout of `VGPhraseCut_v0`. Without it, scenes are generated.
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// CLIP checkpoint: a folder, a Hugging Face hub id, scenes for the small one in this program, or random.
    /// Default: scenes, or that of the configuration.
    #[arg(long, value_name = "FOLDER-OR-ID")]
    pub clip: Option<String>,
    /// Device to compute on: cpu, ndarray, wgpu, vulkan or cuda; cuda:1 is the second GPU.
    #[arg(long)]
    pub device: Option<String>,
    /// Number of optimizer steps of each run.
    #[arg(long)]
    pub steps: Option<usize>,
    /// Batch size: phrases in one step.
    #[arg(long)]
    pub batch: Option<usize>,
    /// Set any other field, such as `seeds=[0,1]`; repeatable, once for each field.
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    pub fields: Vec<String>,
    /// Folder of the study, created if missing. Other files in it are kept. Without this flag, a new folder under
    /// `runs`.
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Continue the study in the folder, or start it if the folder has none.
    #[arg(long)]
    pub resume: bool,
    /// Number of runs at the same time. Default: 1, because one run uses all cores of a CPU.
    #[arg(long, value_name = "NUMBER")]
    pub jobs: Option<usize>,
}

impl StudyArguments {
    /// The folder of the study, as [`RunArguments::folder`].
    pub fn folder(&self, default: impl AsRef<Path>) -> PathBuf {
        self.as_run().folder(default)
    }

    /// Whether the study is new or resumed, by `--resume`.
    pub fn start(&self) -> Start {
        self.as_run().start()
    }

    /// The configuration with the flags applied.
    ///
    /// # Errors
    ///
    /// As [`TrainArguments::apply`].
    pub fn apply(&self, study: StudyConfig) -> Result<StudyConfig> {
        let mut overrides = self.as_run().overrides();
        let folder = self.data.as_deref().map(|path| quoted("data.folder", path));
        overrides.value("data.folder", folder.transpose()?);
        overrides.text("clip.checkpoint", self.clip.as_deref());
        let mut study = study;
        if self.data.is_some() {
            // The number of scenes would have no effect.
            study.data.scenes = None;
        }
        study.with_overrides(&overrides.0)
    }

    fn as_run(&self) -> RunArguments {
        RunArguments {
            device: self.device.clone(),
            steps: self.steps,
            batch: self.batch,
            learning_rate: None,
            seed: None,
            fields: self.fields.clone(),
            out: self.out.clone(),
            resume: self.resume,
        }
    }
}

/// Fields of a configuration to change, each as `field=value` with the value in TOML.
#[derive(Default)]
struct Overrides(Vec<String>);

impl Overrides {
    fn value(&mut self, field: &str, value: Option<impl ToString>) {
        let value = value.map(|value| format!("{field}={}", value.to_string()));
        self.0.extend(value);
    }

    /// A JSON string is a TOML string.
    fn text(&mut self, field: &str, text: Option<&str>) {
        self.value(field, text.map(serde_json::Value::from));
    }

    /// TOML writes `nan` where Rust writes `NaN`.
    fn float(&mut self, field: &str, value: Option<f64>) {
        self.value(
            field,
            value.map(|value| format!("{value:?}").to_lowercase()),
        );
    }
}

/// A path as a quoted TOML string.
fn quoted(field: &str, path: &Path) -> Result<String> {
    let text = path.to_str().ok_or_else(|| TrainError::Config {
        field: field.into(),
        message: format!(
            "the path {} is not Unicode, and configurations are stored as TOML, which holds Unicode \
             only",
            path.display()
        ),
    })?;
    Ok(serde_json::Value::from(text).to_string())
}
