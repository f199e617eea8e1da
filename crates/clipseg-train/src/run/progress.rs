//! Observing the progress of a run.

/// Receives the progress of a run.
pub trait Observer {
    /// Called when a run of `steps` steps starts, or resumes after `done` of them; called again when the
    /// number of steps changes.
    fn start(&mut self, done: usize, steps: usize);
    /// Called after a step. `step` counts from 1; `samples` is the number of phrases or captions in it.
    fn step(&mut self, step: usize, loss: f32, learning_rate: f64, samples: usize);
    /// Called with a message of one line for the user.
    fn note(&mut self, line: &str);
    /// Called after the last step.
    fn finish(&mut self);
}

/// An observer that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn start(&mut self, _done: usize, _steps: usize) {}
    fn step(&mut self, _step: usize, _loss: f32, _learning_rate: f64, _samples: usize) {}
    fn note(&mut self, _line: &str) {}
    fn finish(&mut self) {}
}
