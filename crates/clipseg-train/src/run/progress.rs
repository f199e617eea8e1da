//! Telling people how far a run is.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;
use std::time::{Duration, Instant};

/// Hears of a run's progress.
pub trait Observer {
    /// A run of so many steps begins, or goes on after `done` of them.
    fn start(&mut self, done: usize, steps: usize);
    /// A step, counted from 1, is done; it learnt from so many phrases.
    fn step(&mut self, step: usize, loss: f32, learning_rate: f64, phrases: usize);
    /// Something happened that a line tells.
    fn note(&mut self, line: &str);
    /// The last step is done.
    fn finish(&mut self);
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn start(&mut self, _done: usize, _steps: usize) {}
    fn step(&mut self, _step: usize, _loss: f32, _learning_rate: f64, _phrases: usize) {}
    fn note(&mut self, _line: &str) {}
    fn finish(&mut self) {}
}

/// A progress bar where there is a terminal, a line now and then where there is none.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    steps: usize,
    /// What a step learns from.
    unit: &'static str,
    smooth_loss: Option<f32>,
    began: Instant,
    steps_here: usize,
    phrases_here: usize,
    last_line: Instant,
}

const BETWEEN_LINES: Duration = Duration::from_secs(5);

impl Progress {
    /// A bar on the standard error stream.
    pub fn new() -> Self {
        Self::of("phrases")
    }

    /// A bar for a run that does not learn from phrases but from captions, say.
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

/// Writes a line to the standard error stream. Where nobody reads it, the run goes on.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

impl Observer for Progress {
    fn start(&mut self, done: usize, steps: usize) {
        self.bar = ProgressBar::new(steps as u64);
        if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len}, {eta} left") {
            self.bar.set_style(style);
        }
        self.bar.set_position(done as u64);
        // What was done before must not count for the speed.
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
            tell(&format!(
                "step {step}/{}: loss {smooth:.4}, learning rate {learning_rate:.2e}, \
                 {samples:.1} {}/s, {left:.0} s left",
                self.steps, self.unit
            ));
        }
    }

    fn note(&mut self, line: &str) {
        self.bar.suspend(|| tell(line));
    }

    fn finish(&mut self) {
        self.bar.finish_and_clear();
    }
}
