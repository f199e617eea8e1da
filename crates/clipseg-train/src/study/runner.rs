//! Running a study: every run that is not finished, one after the other or several at a time.

use crate::error::{Result, TrainError};
use crate::frozen::encoding::FrozenClip;
use crate::run::engine::Engine;
use crate::run::folder::{RunFolder, Start};
use crate::run::interrupt::StopFlag;
use crate::run::journal::{Record, read_metrics};
use crate::run::outcome::End;
use crate::run::progress::Observer;
use crate::study::alteration::Alteration;
use crate::study::config::StudyConfig;
use crate::study::folder::StudyFolder;
use crate::study::material::Material;
use crate::study::memory::{peak_memory, reset_peak_memory};
use crate::study::phrase_scores::{PhraseScore, TestPhrase};
use crate::study::planned_run::PlannedRun;
use crate::study::result::{Cost, CurvePoint, RunResult};
use crate::study::scores::{Scored, Scoring};
use crate::study::shown::{Shown, png};
use crate::study::step_clock::{StepClock, StudyProgress};
use burn::module::Module;
use burn::prelude::*;
use image::DynamicImage;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// More runs at a time than any machine can hold.
const MOST_JOBS: usize = 256;

/// The result of running a study.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StudyOutcome {
    /// The results of all finished runs, including those of earlier processes, in the order of the runs.
    pub results: Vec<RunResult>,
    /// How it ended: [`End::Finished`] or [`End::Stopped`].
    pub end: End,
}

/// Trains and scores all runs of a study and writes their results into a folder: a line of `results.jsonl` for each
/// run, and the scores of each test phrase beside it. [`write_study_report`](crate::write_study_report) draws the
/// report from these files.
///
/// The decoder after the last step is scored, so that all runs are compared at equal steps. A choice of the best step by
/// the IoU at a fixed threshold would favour losses whose probabilities fit that threshold early.
///
/// Pictures go through CLIP once for all runs, as long as the cache has room for their hidden states. `jobs` runs train
/// at the same time, each with a part of the cache's memory. With [`Start::Resume`] the study in the folder is resumed:
/// finished runs are kept, and an unfinished run resumes from its checkpoint. On the CPU the results are then the same
/// as without the interruption, except for the measured cost.
///
/// A run whose loss, gradient norm or weights become NaN or infinite is recorded as failed, and the study goes on.
///
/// # Errors
///
/// If the configuration is invalid, a decoder does not fit CLIP, an alteration has no effect on the data, or anything
/// cannot be read or written. The results of the finished runs are then complete.
///
/// # Example
///
/// ```no_run
/// use burn::tensor::Device;
/// use clipseg_train::{Progress, Start, StopFlag, StudyConfig, run_study, write_study_report};
///
/// let study = StudyConfig::preset("quick")?;
/// let (device, folder) = (Device::flex(), "runs/study".as_ref());
/// let stop = StopFlag::on_ctrl_c()?;
/// run_study(&study, &device, folder, Start::New, 1, &stop, &mut Progress::new())?;
/// println!("{}", write_study_report(folder)?.display());
/// # Ok::<(), clipseg_train::TrainError>(())
/// ```
pub fn run_study(
    study: &StudyConfig,
    device: &Device,
    root: &Path,
    start: Start,
    jobs: usize,
    stop: &StopFlag,
    observer: &mut (dyn Observer + Send),
) -> Result<StudyOutcome> {
    crate::config::values::count("jobs", jobs, 1, MOST_JOBS)?;
    let study = study.clone().with_absolute_paths();
    let runs = study.runs()?;
    let folder = StudyFolder::open(root, &study, start)?;
    let results = folder.read_results(&runs)?;
    let material = Material::new(&study, device, |line| observer.note(line));
    let material = match material {
        Ok(material) => material,
        Err(error) => {
            // Otherwise the folder could not be used again after the error is fixed.
            folder.abandon();
            return Err(error);
        }
    };
    let described = TestPhrase::all(&material.test, &material.unseen)?;
    folder.keep_phrases(&described)?;
    let shown = Shown::spread(described.len(), study.sheet_phrases);
    if !folder.shown().exists() {
        let path = folder.shown();
        folder.write(&path, &shown.pictures(&material.test, &path)?)?;
    }
    for line in &material.left_out {
        observer.note(line);
    }
    let is_finished = |run: &&PlannedRun| results.iter().any(|result| result.name == run.name);
    let queue: VecDeque<&PlannedRun> = runs.iter().filter(|run| !is_finished(run)).collect();
    observer.note(&format!(
        "{} runs, {} of them finished before; {} phrases for validation, {} for the scores, {} of \
         them unseen",
        runs.len(),
        results.len(),
        material.validation.len(),
        described.len(),
        material.unseen.len()
    ));
    let steps = study.schedule.total_steps(|_| 0);
    let (before, all) = (results.len() * steps, runs.len() * steps);
    let pool = Pool {
        study: &study,
        runs: &runs,
        folder: &folder,
        material: &material,
        described: &described,
        shown: &shown,
        jobs: jobs.min(queue.len()).max(1),
        stop,
        progress: StudyProgress::new(observer, before, all),
        queue: Mutex::new(queue),
        results: Mutex::new(results),
    };
    pool.run()?;
    let results = pool.results.into_inner();
    let results = results.unwrap_or_else(PoisonError::into_inner);
    let end = if results.len() == runs.len() {
        End::Finished
    } else {
        End::Stopped
    };
    Ok(StudyOutcome { results, end })
}

/// The threads that run a study, and what they share.
struct Pool<'a> {
    study: &'a StudyConfig,
    runs: &'a [PlannedRun],
    folder: &'a StudyFolder,
    material: &'a Material,
    described: &'a [TestPhrase],
    shown: &'a Shown,
    jobs: usize,
    stop: &'a StopFlag,
    progress: StudyProgress<'a>,
    queue: Mutex<VecDeque<&'a PlannedRun>>,
    results: Mutex<Vec<RunResult>>,
}

impl<'a> Pool<'a> {
    /// Runs until the queue is empty, the flag is raised or a run cannot go on. Then the other threads finish the run
    /// that they are at.
    fn run(&self) -> Result<()> {
        let ends: Vec<Result<()>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.jobs)
                .map(|_| scope.spawn(|| self.work()))
                .collect();
            let ends = workers.into_iter().map(|worker| match worker.join() {
                Ok(end) => end,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            ends.collect()
        });
        self.progress.finish();
        ends.into_iter().collect()
    }

    /// Takes runs from the queue. One CLIP serves all of them, so that its hidden states stay in memory.
    fn work(&self) -> Result<()> {
        let mut clip = self.material.clip(self.jobs)?;
        while !self.stop.is_raised() {
            let next = self.with_queue(VecDeque::pop_front);
            let Some(run) = next else { break };
            let place = self.runs.iter().position(|other| other == run);
            self.progress.note(&format!(
                "run {} of {}: {}",
                place.unwrap_or_default() + 1,
                self.runs.len(),
                run.name
            ));
            if let Err(error) = self.train_and_score(run, &mut clip) {
                self.with_queue(VecDeque::clear);
                return Err(error);
            }
        }
        Ok(())
    }

    fn with_queue<T>(&self, act: impl FnOnce(&mut VecDeque<&'a PlannedRun>) -> T) -> T {
        act(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Trains and scores a run and records its result, unless it was stopped.
    fn train_and_score(&self, run: &PlannedRun, shared: &mut FrozenClip) -> Result<()> {
        let config = run.train_config(self.study);
        let folder = RunFolder::open(&self.folder.run(&run.name), &config, Start::Resume)?;
        let mut own = self.material.of_run(run, &config)?;
        let parameters = own.decoder.num_params();
        let clip = own.own_clip.as_mut().unwrap_or(shared);
        clip.set_decoder(own.model_config);
        clip.set_input(run.alteration.map(Alteration::input).unwrap_or_default());
        reset_peak_memory();
        let mut clock = StepClock::new(&self.progress);
        let mut engine = Engine::new(clip, &own.training, &config)?
            .with_best_threshold()
            .with_validation(&self.material.validation)
            .with_folder(&folder)
            .with_stop(self.stop.clone());
        if run.alteration == Some(Alteration::SigmoidTwice) {
            engine = engine.with_sigmoid_twice();
        }
        let steps = engine.steps();
        let trained = engine.run(own.decoder, &mut clock);
        let mut result = RunResult {
            name: run.name.clone(),
            decoder: run.decoder.clone(),
            loss: run.loss.clone(),
            alteration: run.alteration,
            seed: run.seed,
            steps,
            batch_size: config.schedule.batch_size,
            parameters,
            failure: None,
            cost: Cost::default(),
            scores: None,
            curve: Vec::new(),
        };
        match trained {
            Ok(outcome) if outcome.end == End::Stopped => return Ok(()),
            Ok(outcome) => {
                result.curve = curve(&outcome.records);
                let scoring = Scoring {
                    validation: &self.material.validation,
                    test: &self.material.test,
                    described: self.described,
                    shown: self.shown,
                    batch_size: config.schedule.batch_size,
                };
                let scored = scoring.score(clip, &outcome.decoder)?;
                self.write_phrases(run, &scored)?;
                result.scores = Some(scored.scores);
            }
            Err(error) => {
                let Some((step, failure)) = failure(&error) else {
                    return Err(error);
                };
                self.progress.note(&format!("{}: {failure}", run.name));
                self.progress.skip(steps.saturating_sub(step));
                (result.steps, result.failure) = (step, Some(failure));
                result.curve = curve(&read_metrics(&folder.metrics())?);
            }
        }
        result.cost = Cost {
            seconds_per_step: clock.seconds_per_step(),
            peak_memory: peak_memory(),
            jobs: self.jobs,
        };
        {
            let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
            results.push(result);
            self.folder.write_results(&mut results, self.runs)?;
        }
        // The scored decoder is the last one, which stays. Nothing reads the other one.
        let best = folder.best_checkpoint();
        if best.exists() {
            std::fs::remove_file(&best).map_err(TrainError::io("remove", &best))?;
        }
        Ok(())
    }

    /// Writes what the report needs beside the result. A run without its line in the results writes it again.
    fn write_phrases(&self, run: &PlannedRun, scored: &Scored) -> Result<()> {
        let path = self.folder.phrase_scores(&run.name);
        let table = PhraseScore::to_csv(&scored.phrases);
        self.folder.write(&path, table.as_bytes())?;
        let path = self.folder.masks(&run.name);
        let picture = DynamicImage::from(scored.masks.clone());
        self.folder.write(&path, &png(&picture, &path)?)
    }
}

/// The step at which a training failed and the reason, without the paths of this machine; `None` for other errors.
fn failure(error: &TrainError) -> Option<(usize, String)> {
    match error {
        TrainError::Diverged {
            quantity,
            value,
            step,
            ..
        } => Some((*step, format!("the {quantity} is {value} at step {step}"))),
        TrainError::BrokenWeights { step, .. } => {
            let message = format!("weights are NaN or infinite after step {step}");
            Some((*step, message))
        }
        _ => None,
    }
}

/// The validations of a run, each with the mean training loss of the steps before it.
fn curve(records: &[Record]) -> Vec<CurvePoint> {
    let (mut losses, mut points) = (Vec::new(), Vec::new());
    for record in records {
        match *record {
            Record::Step { loss, .. } => losses.push(f64::from(loss)),
            Record::Validation {
                step,
                loss,
                mean_iou,
                mean_iou_at_best,
                ..
            } => {
                let count = losses.len().max(1) as f64;
                points.push(CurvePoint {
                    step,
                    training_loss: losses.drain(..).sum::<f64>() / count,
                    validation_loss: f64::from(loss),
                    mean_iou: f64::from(mean_iou),
                    mean_iou_at_best: f64::from(mean_iou_at_best.unwrap_or(mean_iou)),
                });
            }
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: usize, loss: f32) -> Record {
        Record::Step {
            step,
            epoch: 0,
            loss,
            learning_rate: 1e-3,
            gradient_norm: None,
        }
    }

    fn validation(step: usize) -> Record {
        Record::Validation {
            step,
            loss: 0.25,
            accuracy: 0.9,
            dice: 0.5,
            iou: 0.5,
            mean_iou: 0.5,
            mean_iou_at_best: Some(0.625),
            best: true,
        }
    }

    #[test]
    fn the_curve_has_the_mean_losses_between_validations() {
        let records = [
            step(1, 1.0),
            step(2, 0.5),
            validation(2),
            step(3, 0.25),
            validation(3),
        ];
        let curve = curve(&records);
        let losses: Vec<f64> = curve.iter().map(|point| point.training_loss).collect();
        assert_eq!(losses, [0.75, 0.25]);
        assert_eq!((curve[1].step, curve[1].validation_loss), (3, 0.25));
        assert_eq!((curve[1].mean_iou, curve[1].mean_iou_at_best), (0.5, 0.625));
    }

    #[test]
    fn only_a_training_that_diverged_is_a_failed_run() {
        let error = TrainError::Diverged {
            quantity: "loss",
            value: f32::NAN,
            step: 7,
            tasks: Vec::new(),
            checkpoint: None,
        };
        assert_eq!(
            failure(&error),
            Some((7, "the loss is NaN at step 7".into()))
        );
        assert_eq!(failure(&TrainError::Empty("test")), None);
    }
}
