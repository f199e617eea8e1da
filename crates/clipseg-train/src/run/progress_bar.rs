//! A progress bar for runs.

use crate::run::progress::Observer;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;
use std::time::{Duration, Instant};

/// Shows a progress bar on a terminal, and prints a line every few seconds where there is none. Needs the
/// feature `progress`.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    steps: usize,
    /// What the samples of a step are called.
    unit: &'static str,
    smooth_loss: Option<f32>,
    began: Instant,
    steps_here: usize,
    phrases_here: usize,
    last_line: Instant,
}

const BETWEEN_LINES: Duration = Duration::from_secs(5);

impl Progress {
    /// Creates a bar on the standard error stream for a run on phrases.
    pub fn new() -> Self {
        Self::of("phrases")
    }

    /// Creates a bar for a run whose samples are called `unit`, such as `captions`.
    pub fn of(unit: &'static str) -> Self {
        let now = Instant::now();
        Self {
            bar: ProgressBar::hidden(),
            steps: 0,
            unit,
            smooth_loss: None,
            began: now,
            steps_here: 0,
            phrases_here: 0,
            last_line: now,
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes a line to the standard error stream. A stream that is closed does not stop the run.
fn print_line(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

impl Observer for Progress {
    fn start(&mut self, done: usize, steps: usize) {
        self.bar = ProgressBar::new(steps as u64);
        if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len}, {eta} left") {
            self.bar.set_style(style);
        }
        self.bar.set_position(done as u64);
        // Steps of an earlier process must not count for the speed.
        self.bar.reset_eta();
        self.steps = steps;
        self.began = Instant::now();
        self.last_line = self.began;
        (self.steps_here, self.phrases_here) = (0, 0);
    }

    fn step(&mut self, step: usize, loss: f32, learning_rate: f64, phrases: usize) {
        let smooth = self
            .smooth_loss
            .map_or(loss, |smooth| 0.95 * smooth + 0.05 * loss);
        self.smooth_loss = Some(smooth);
        self.steps_here += 1;
        self.phrases_here += phrases;
        let elapsed = self.began.elapsed().as_secs_f64().max(1e-9);
        let rate = self.steps_here as f64 / elapsed;
        let samples = self.phrases_here as f64 / elapsed;
        self.bar
            .set_message(format!("loss {smooth:.4}, {samples:.1} {}/s", self.unit));
        self.bar.set_position(step as u64);
        let last = step == self.steps;
        if self.bar.is_hidden() && (last || self.last_line.elapsed() >= BETWEEN_LINES) {
            self.last_line = Instant::now();
            let left = self.steps.saturating_sub(step) as f64 / rate;
            print_line(&format!(
                "step {step}/{}: loss {smooth:.4}, learning rate {learning_rate:.2e}, \
                 {samples:.1} {}/s, {left:.0} s left",
                self.steps, self.unit
            ));
        }
    }

    fn note(&mut self, line: &str) {
        self.bar.suspend(|| print_line(line));
    }

    fn finish(&mut self) {
        self.bar.finish_and_clear();
    }
}
