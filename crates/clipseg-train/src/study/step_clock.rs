//! The time of the steps of a run, and its place in the progress of the study.

use crate::run::progress::Observer;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The progress of a study, which its runs share.
#[derive(Clone)]
pub(crate) struct StudyProgress<'a>(Arc<Mutex<Shared<'a>>>);

struct Shared<'a> {
    observer: &'a mut (dyn Observer + Send),
    /// Steps of all runs that are done.
    done: usize,
}

impl<'a> StudyProgress<'a> {
    /// Starts the progress of a study of `steps` steps in all runs together, after `done` of them.
    pub(crate) fn new(observer: &'a mut (dyn Observer + Send), done: usize, steps: usize) -> Self {
        observer.start(done, steps);
        Self(Arc::new(Mutex::new(Shared { observer, done })))
    }

    fn with(&self, act: impl FnOnce(&mut Shared<'_>)) {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn note(&self, line: &str) {
        self.with(|shared| shared.observer.note(line));
    }

    /// Adds steps that were done before, or that will not be done.
    pub(crate) fn skip(&self, steps: usize) {
        self.with(|shared| shared.done += steps);
    }

    pub(crate) fn finish(&self) {
        self.with(|shared| shared.observer.finish());
    }
}

/// Observes one run: it measures the time between steps and forwards them to the progress of the study. The notes
/// of single runs are not forwarded; their numbers are in the metrics file of the run.
pub(crate) struct StepClock<'a> {
    progress: StudyProgress<'a>,
    last: Option<Instant>,
    seconds: Vec<f64>,
}

impl<'a> StepClock<'a> {
    pub(crate) fn new(progress: &StudyProgress<'a>) -> Self {
        Self {
            progress: progress.clone(),
            last: None,
            seconds: Vec::new(),
        }
    }

    /// The median of the seconds between the ends of two successive steps; `None` if this process did fewer than two.
    ///
    /// The median leaves out the intervals with a validation or a checkpoint, which are few.
    pub(crate) fn seconds_per_step(&self) -> Option<f64> {
        let mut seconds = self.seconds.clone();
        seconds.sort_unstable_by(f64::total_cmp);
        seconds.get(seconds.len() / 2).copied()
    }
}

impl Observer for StepClock<'_> {
    fn start(&mut self, done: usize, _steps: usize) {
        self.progress.skip(done);
        self.last = None;
    }

    fn step(&mut self, _step: usize, loss: f32, learning_rate: f64, samples: usize) {
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            self.seconds.push((now - last).as_secs_f64());
        }
        self.progress.with(|shared| {
            shared.done += 1;
            shared
                .observer
                .step(shared.done, loss, learning_rate, samples);
        });
    }

    fn note(&mut self, _line: &str) {}

    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::progress::Silent;

    #[derive(Default)]
    struct Steps(Vec<usize>);

    impl Observer for Steps {
        fn start(&mut self, _done: usize, _steps: usize) {}
        fn step(&mut self, step: usize, _loss: f32, _learning_rate: f64, _samples: usize) {
            self.0.push(step);
        }
        fn note(&mut self, _line: &str) {}
        fn finish(&mut self) {}
    }

    #[test]
    fn steps_of_all_runs_are_counted_together() {
        let mut observer = Steps::default();
        let progress = StudyProgress::new(&mut observer, 10, 20);
        let [mut first, mut second] = [0, 0].map(|_| StepClock::new(&progress));
        first.start(0, 5);
        second.start(3, 5);
        first.step(1, 0.5, 1e-3, 4);
        second.step(4, 0.5, 1e-3, 4);
        first.step(2, 0.5, 1e-3, 4);
        drop((first, second, progress));
        assert_eq!(observer.0, [14, 15, 16]);
    }

    #[test]
    fn the_median_ignores_a_long_interval() {
        let mut observer = Silent;
        let progress = StudyProgress::new(&mut observer, 0, 20);
        let mut clock = StepClock::new(&progress);
        assert_eq!(clock.seconds_per_step(), None);
        clock.seconds = vec![0.1, 9.0, 0.2, 0.1, 0.2];
        assert_eq!(clock.seconds_per_step(), Some(0.2));
    }
}
