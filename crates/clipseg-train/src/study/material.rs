//! What all runs of a study share: the frozen CLIP with its hidden states, and the phrases.

use crate::config::bytes::ByteSize;
use crate::config::train_config::{CacheConfig, TrainConfig};
use crate::error::{Result, TrainError};
use crate::frozen::encoding::FrozenClip;
use crate::run::data::open_data;
use crate::run::parts::Base;
use crate::run::phrase_sets::{InputSize, PhraseSets, training_phrases};
use crate::scoring::phrases::Phrases;
use crate::step::randomness::drawing;
use crate::study::alteration::Alteration;
use crate::study::config::StudyConfig;
use crate::study::planned_run::PlannedRun;
use burn::prelude::*;
use clipseg_clip::Clip;
use clipseg_data::{PhraseCut, PhraseCutDataset};
use clipseg_model::{ClipSegConfig, Decoder};
use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// The seed of a random CLIP is that of its run with these bits changed, so that its weights are not drawn from the
/// numbers of the decoder's.
const RANDOM_CLIP: u64 = 0x0000_636c_6970;

/// What all runs of a study share.
pub(crate) struct Material {
    base: Base,
    device: Device,
    shared: TrainConfig,
    size: InputSize,
    data: Arc<PhraseCut>,
    /// The data sets with changed polygons.
    altered: Vec<(Alteration, Arc<PhraseCut>)>,
    /// The configuration of one of the models, with which a CLIP starts before its first run.
    any_model: ClipSegConfig,
    /// The layers of the vision tower that any decoder uses.
    layers: Vec<usize>,
    /// The training phrases of the last run, with their decoded pictures. The next run with the same ones shares them.
    training: Mutex<Option<TrainingPhrases>>,
    pub(crate) validation: Phrases,
    pub(crate) test: Phrases,
    /// The indices of the unseen phrases of `test`.
    pub(crate) unseen: HashSet<usize>,
    pub(crate) left_out: Vec<String>,
}

/// The training phrases of runs with the same seed and the same polygons.
struct TrainingPhrases {
    seed: u64,
    /// The alteration of the polygons.
    altered: Option<Alteration>,
    phrases: Arc<PhraseCutDataset>,
}

/// What one run needs.
pub(crate) struct RunMaterial {
    pub(crate) decoder: Decoder,
    pub(crate) training: Arc<PhraseCutDataset>,
    /// The CLIP of this run, if it is not the shared one.
    pub(crate) own_clip: Option<FrozenClip>,
    pub(crate) model_config: ClipSegConfig,
}

impl Material {
    /// Loads CLIP and the data, checks every picture, and checks that every decoder fits and every alteration has an
    /// effect. `note` is called with a line for each choice that was made for the user.
    ///
    /// # Errors
    ///
    /// If something cannot be read, a decoder does not fit CLIP, a split that is scored has no phrase, or an
    /// alteration changes nothing; the message names the field.
    pub(crate) fn new(
        study: &StudyConfig,
        device: &Device,
        mut note: impl FnMut(&str),
    ) -> Result<Self> {
        let shared = study.shared();
        let base = {
            let _alone = drawing(device, shared.seed);
            Base::new(&shared, device, &mut note)?
        };
        let mut layers = BTreeSet::new();
        let mut any_model = None;
        for (name, decoder) in &study.decoders {
            let config = TrainConfig {
                decoder: decoder.clone(),
                ..shared.clone()
            };
            let model = base
                .model_config(&config)
                .map_err(|error| TrainError::field(&format!("decoders.{name}"), error))?;
            layers.extend(model.decoder.extract_layers().iter().copied());
            any_model = Some(model);
        }
        let Some(any_model) = any_model else {
            return Err(TrainError::field("decoders", "none, expected at least one"));
        };
        let patch = base.config.vision_config.patch_size;
        let size = InputSize::new(base.side, base.processor.preprocessing, patch)?;
        let data = Arc::new(open_data(&shared.data, &mut note)?);
        // Every seed may train on another part, and an unseen phrase must be unseen for all of them.
        let mut all = shared.clone();
        all.data.limit = None;
        let sets = PhraseSets::new(&all, &data, size, &mut note)?;
        for (phrases, split) in [(&sets.validation, "validation"), (&sets.test, "test")] {
            if phrases.is_empty() {
                return Err(TrainError::Empty(split));
            }
        }
        let mut altered = Vec::new();
        for &alteration in &study.alterations.kinds {
            if alteration.changes_polygons() {
                let changed = change_polygons(alteration, &data, &shared, size, &mut note)?;
                altered.push((alteration, Arc::new(changed)));
            }
        }
        Ok(Self {
            base,
            device: device.clone(),
            shared,
            size,
            data,
            altered,
            any_model,
            layers: layers.into_iter().collect(),
            training: Mutex::new(None),
            validation: sets.validation,
            test: sets.test,
            unseen: sets.unseen,
            left_out: sets.left_out,
        })
    }

    /// A frozen CLIP for one of `jobs` threads, with the layers of all decoders. The threads share the memory for
    /// hidden states.
    pub(crate) fn clip(&self, jobs: usize) -> Result<FrozenClip> {
        let memory = self.shared.cache.memory.0 / jobs.max(1) as u64;
        let cache = CacheConfig {
            memory: ByteSize(memory),
            ..self.shared.cache.clone()
        };
        self.frozen(self.base.clip.clone(), &cache)
    }

    fn frozen(&self, clip: Clip, cache: &CacheConfig) -> Result<FrozenClip> {
        let (base, config) = (&self.base, self.any_model.clone());
        FrozenClip::new(clip, config, base.tokenizer.clone(), base.processor.clone())
            .with_layers(self.layers.clone())
            .with_precision(self.shared.clip.data_type)?
            .with_cache(cache)
    }

    /// What a run needs. The decoder has the weights that `clipseg train` gives it with the same seed.
    pub(crate) fn of_run(&self, run: &PlannedRun, config: &TrainConfig) -> Result<RunMaterial> {
        let model_config = self.base.model_config(config)?;
        let clip_config = &self.base.config;
        let own_clip = if run.alteration == Some(Alteration::RandomClip) {
            let clip = {
                let _alone = drawing(&self.device, run.seed ^ RANDOM_CLIP);
                Clip::init(clip_config, &self.device)
            };
            // These hidden states are of one run only, so they stay out of the folder.
            let cache = CacheConfig {
                folder: None,
                folder_limit: None,
                ..self.shared.cache.clone()
            };
            Some(self.frozen(clip, &cache)?)
        } else {
            None
        };
        let decoder = {
            let _alone = drawing(&self.device, run.seed);
            Decoder::init(&model_config.decoder, clip_config, &self.device)
        };
        Ok(RunMaterial {
            training: self.training(run, config)?,
            decoder,
            own_clip,
            model_config,
        })
    }

    /// The phrases that a run trains on.
    fn training(&self, run: &PlannedRun, config: &TrainConfig) -> Result<Arc<PhraseCutDataset>> {
        let altered = run.alteration.filter(|it| it.changes_polygons());
        let mut last = self.training.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &*last
            && (last.seed, last.altered) == (run.seed, altered)
        {
            return Ok(last.phrases.clone());
        }
        let mut changed = self.altered.iter();
        let data = changed
            .find(|(alteration, _)| altered == Some(*alteration))
            .map_or(&self.data, |(_, data)| data);
        let phrases = training_phrases(config, data.clone(), self.size)?;
        *last = Some(TrainingPhrases {
            seed: run.seed,
            altered,
            phrases: phrases.clone(),
        });
        Ok(phrases)
    }
}

/// The data with changed polygons of the training split.
fn change_polygons(
    alteration: Alteration,
    data: &PhraseCut,
    shared: &TrainConfig,
    size: InputSize,
    note: &mut impl FnMut(&str),
) -> Result<PhraseCut> {
    let split = shared.data.training;
    let (altered, changed) = alteration.change_polygons(data, split, size.side);
    let all = data.phrases(split).len();
    if changed == 0 {
        let reason = match alteration {
            Alteration::OriginalScale => format!(
                "every picture of the split `{split}` has the model's input size, {} pixels; expected \
                 another `data.size`",
                size.side
            ),
            _ => format!("no phrase of the split `{split}` has more than one instance"),
        };
        let message = format!("`{alteration}` has no effect, because {reason}");
        return Err(TrainError::field("alterations.kinds", message));
    }
    note(&format!(
        "{alteration}: the training polygons of {changed} of {all} phrases change"
    ));
    Ok(altered)
}
