//! Telling people how far a run is.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

/// Hears of a run's progress.
pub trait Observer {
    /// A run of so many steps begins.
    fn start(&mut self, steps: usize);
    /// A step, counted from 1, is done.
    fn step(&mut self, step: usize, loss: f32, learning_rate: f64);
    /// The last step is done.
    fn finish(&mut self);
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn start(&mut self, _steps: usize) {}
    fn step(&mut self, _step: usize, _loss: f32, _learning_rate: f64) {}
    fn finish(&mut self) {}
}

/// A progress bar where there is a terminal, a line now and then where there is none.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    steps: usize,
    smooth_loss: Option<f32>,
    began: Instant,
    last_line: Instant,
}

const BETWEEN_LINES: Duration = Duration::from_secs(5);

impl Progress {
    /// A bar on the standard error stream.
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            bar: ProgressBar::hidden(),
            steps: 0,
            smooth_loss: None,
            began: now,
            last_line: now,
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for Progress {
    fn start(&mut self, steps: usize) {
        self.bar = ProgressBar::new(steps as u64);
        if let Ok(style) = ProgressStyle::with_template(
            "{msg:24} {bar:30} {pos}/{len} steps, {per_sec}, {eta} left",
        ) {
            self.bar.set_style(style);
        }
        self.steps = steps;
        self.began = Instant::now();
        self.last_line = self.began;
    }

    fn step(&mut self, step: usize, loss: f32, learning_rate: f64) {
        let smooth = self
            .smooth_loss
            .map_or(loss, |smooth| 0.95 * smooth + 0.05 * loss);
        self.smooth_loss = Some(smooth);
        self.bar.set_message(format!("training, loss {smooth:.4}"));
        self.bar.set_position(step as u64);
        let last = step == self.steps;
        if self.bar.is_hidden() && (last || self.last_line.elapsed() >= BETWEEN_LINES) {
            self.last_line = Instant::now();
            let elapsed = self.began.elapsed().as_secs_f64();
            let rate = step as f64 / elapsed;
            let left = (self.steps - step) as f64 / rate;
            eprintln!(
                "step {step}/{}: loss {smooth:.4}, learning rate {learning_rate:.2e}, \
                 {rate:.2} steps/s, {left:.0} s left",
                self.steps
            );
        }
    }

    fn finish(&mut self) {
        self.bar.finish();
    }
}
