//! The training loop that all runs share: steps, validations, checkpoints, stopping and resuming.
//!
//! A step is a pure function of the weights, the optimizer's moments, the random seed and the step's
//! number. A run that resumes from a checkpoint therefore does the same steps again.

use crate::error::{Result, TrainError};
use crate::run::checkpoint::{self, Resumable, TrainState};
use crate::run::folder::RunFolder;
use crate::run::interrupt::StopFlag;
use crate::run::journal::Journal;
use crate::run::outcome::End;
use crate::run::progress::Observer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;

/// What a run trains, and how: the part of the loop that differs between the decoder and CLIP.
pub(crate) trait Training {
    /// The module with its optimizer.
    type Trainer: Resumable;
    /// A line of the metrics file.
    type Record: Serialize + DeserializeOwned;

    fn trainer(&self) -> &Self::Trainer;

    fn trainer_mut(&mut self) -> &mut Self::Trainer;

    /// The state of a run before its first step.
    fn first_state(&self) -> TrainState {
        TrainState::default()
    }

    /// Loads what a run needs beside its last checkpoint; called before that one is loaded.
    fn load_best(&mut self, _folder: &RunFolder) -> Result<()> {
        Ok(())
    }

    /// Prepares the first step, or the step after the checkpoint that was loaded. Returns the number of
    /// steps that a progress bar starts with.
    fn begin(&mut self, state: &TrainState) -> Result<usize>;

    /// The number of steps of the run; `None` until it is decided.
    fn steps(&self, state: &TrainState) -> Option<usize>;

    /// Does the step after `run.state.step` and records it, now or in a later call of
    /// [`read_back`](Self::read_back).
    fn step(&mut self, steps: Option<usize>, run: &mut Running<'_, Self::Record>) -> Result<()>;

    /// Called after each step while the number of steps is not decided. The number is stored in
    /// `run.state.steps` as soon as it is known.
    fn decide_steps(&mut self, _run: &mut Running<'_, Self::Record>) -> Result<()> {
        Ok(())
    }

    /// Records the steps whose losses are still on the device only.
    fn read_back(&mut self, _run: &mut Running<'_, Self::Record>) -> Result<()> {
        Ok(())
    }

    /// Scores the module and records the scores.
    fn validate(&mut self, run: &mut Running<'_, Self::Record>) -> Result<()>;

    /// Whether the run ends early because validations bring no improvement.
    fn out_of_patience(&self, _state: &TrainState) -> bool {
        false
    }

    /// Writes files that belong to a checkpoint; called before it is written.
    fn before_checkpoint(&self, _folder: &RunFolder) -> Result<()> {
        Ok(())
    }

    /// Draws the curves.
    #[cfg(feature = "plots")]
    fn draw(&self, folder: &RunFolder, records: &[Self::Record]) -> Result<()>;
}

/// A run between two steps.
pub(crate) struct Running<'a, R> {
    pub(crate) state: TrainState,
    pub(crate) journal: Journal<R>,
    pub(crate) folder: Option<&'a RunFolder>,
    pub(crate) observer: &'a mut dyn Observer,
}

impl<R> Running<'_, R> {
    /// The path of the last checkpoint, if one was written.
    pub(crate) fn checkpoint(&self) -> Option<PathBuf> {
        last_checkpoint(self.folder)
    }

    /// Refuses values of a step that are NaN or infinite; `step` counts from 1, and `tasks` names what
    /// the step learned from.
    pub(crate) fn require_finite(
        &self,
        step: usize,
        values: &[(&'static str, Option<f32>)],
        tasks: impl FnOnce() -> Vec<String>,
    ) -> Result<()> {
        let mut values = values.iter();
        let broken = values.find(|(_, value)| value.is_some_and(|value| !value.is_finite()));
        let Some((quantity, Some(value))) = broken else {
            return Ok(());
        };
        Err(TrainError::Diverged {
            quantity,
            value: *value,
            step,
            tasks: tasks(),
            checkpoint: self.checkpoint(),
        })
    }

    /// Refuses weights that are NaN or infinite: a checkpoint of them would be useless.
    pub(crate) fn require_finite_weights<T: Resumable>(&self, trainer: &T) -> Result<()> {
        let tensors = trainer.non_finite();
        if tensors.is_empty() {
            return Ok(());
        }
        Err(TrainError::BrokenWeights {
            step: self.state.step,
            tensors,
            checkpoint: self.checkpoint(),
        })
    }
}

/// How often a run validates and saves, and what can stop it.
pub(crate) struct TrainingLoop<'a> {
    pub(crate) folder: Option<&'a RunFolder>,
    pub(crate) stop: &'a StopFlag,
    /// Steps between two validations; `None` without validation.
    pub(crate) validate_every: Option<usize>,
    /// Steps between two checkpoints.
    pub(crate) save_every: usize,
}

impl TrainingLoop<'_> {
    /// Trains from the beginning or from the checkpoint in the folder. Returns how the run ended and all
    /// its records.
    pub(crate) fn run<T: Training>(
        &self,
        training: &mut T,
        observer: &mut dyn Observer,
    ) -> Result<(End, Vec<T::Record>)> {
        if cfg!(not(feature = "plots")) && self.folder.is_some() {
            observer.note("no curves and examples are drawn: built without the feature `plots`");
        }
        let mut state = training.first_state();
        if let (Some(folder), Some(path)) = (self.folder, last_checkpoint(self.folder)) {
            training.load_best(folder)?;
            let expected = state.phrases;
            state = checkpoint::load(&path, training.trainer_mut())?;
            if state.phrases != expected {
                let message = "the phrases are not those that the run was trained on, so it cannot be \
                               resumed: a record or a picture was added, removed or damaged";
                return Err(TrainError::run(&path, message));
            }
            observer.note(&format!("resuming after step {}", state.step));
        }
        let journal = match self.folder {
            Some(folder) => Journal::open(&folder.metrics(), state.metrics_length)?,
            None => Journal::default(),
        };
        let shown_steps = training.begin(&state)?;
        let mut run = Running {
            state,
            journal,
            folder: self.folder,
            observer,
        };
        run.observer.start(run.state.step, shown_steps);
        let end = loop {
            let steps = training.steps(&run.state);
            if training.out_of_patience(&run.state) {
                break End::NoImprovement;
            }
            if steps.is_some_and(|steps| run.state.step >= steps) {
                break End::Finished;
            }
            if self.stop.is_raised() {
                break End::Stopped;
            }
            training.step(steps, &mut run)?;
            run.state.step += 1;
            if steps.is_none() {
                training.decide_steps(&mut run)?;
            }
            let last = training.steps(&run.state) == Some(run.state.step);
            let due = |every: usize| last || run.state.step.is_multiple_of(every);
            let validate = self.validate_every.is_some_and(due);
            if validate || due(self.save_every) {
                training.read_back(&mut run)?;
                if validate {
                    training.validate(&mut run)?;
                    #[cfg(feature = "plots")]
                    self.draw(training, &run)?;
                }
                self.save(training, &mut run)?;
            }
        };
        training.read_back(&mut run)?;
        if end == End::Stopped {
            self.save(training, &mut run)?;
        }
        #[cfg(feature = "plots")]
        self.draw(training, &run)?;
        run.observer.finish();
        Ok((end, run.journal.into_records()))
    }

    fn save<T: Training>(&self, training: &T, run: &mut Running<'_, T::Record>) -> Result<()> {
        let Some(folder) = self.folder else {
            return Ok(());
        };
        run.require_finite_weights(training.trainer())?;
        training.before_checkpoint(folder)?;
        run.state.metrics_length = run.journal.sync()?;
        let path = folder.last_checkpoint();
        checkpoint::save(folder.staging(), &path, training.trainer(), &run.state)
    }

    #[cfg(feature = "plots")]
    fn draw<T: Training>(&self, training: &T, run: &Running<'_, T::Record>) -> Result<()> {
        match self.folder {
            Some(folder) => training.draw(folder, run.journal.records()),
            None => Ok(()),
        }
    }
}

/// The path of the last checkpoint in a folder, if one was written.
fn last_checkpoint(folder: Option<&RunFolder>) -> Option<PathBuf> {
    let path = folder?.last_checkpoint();
    path.is_file().then_some(path)
}
