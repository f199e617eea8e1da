//! Scores a segmentation method of your own on PhraseCut, by the rules of the official evaluator and
//! with a confidence interval over pictures.
//!
//! ```text
//! cargo run --example score_predictions -- tests/fixtures/phrasecut/VGPhraseCut_v0
//! ```

use clipseg::data::{Mask, PhraseCut, Split};
use clipseg::metrics::{Bootstrap, PhraseCutTask, PictureMetric, Ratio, Subset};
use clipseg::train::{TrainError, WordRanks, evaluate_phrasecut};
use std::error::Error;
use std::path::Path;

/// The method to score: this one marks the middle of every picture, whatever the phrase.
fn predict(task: &PhraseCutTask) -> Result<Option<Mask>, TrainError> {
    let (width, height) = (task.width, task.height);
    let is_middle = |at: u32, side: u32| (side / 4..3 * side / 4).contains(&at);
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let inside = pixels.map(|(x, y)| u8::from(is_middle(x, width) && is_middle(y, height)));
    Ok(Some(Mask::from_vec(width, height, inside.collect())))
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args()
        .nth(1)
        .ok_or("expected the data set's folder")?;
    let data = PhraseCut::open(Path::new(&folder))?;
    let ranks = WordRanks::open(data.root())?;
    let evaluation = evaluate_phrasecut(&data, Split::Val, ranks.as_ref(), predict)?;
    for exception in &evaluation.exceptions {
        println!("{exception}");
    }
    for scores in evaluation.evaluator.all_scores() {
        let (count, mean, total) = (scores.count, scores.mean_iou, scores.cumulative_iou);
        println!(
            "{:<10} {count:>5} phrases  mean IoU {mean:.4}  cum IoU {total:.4}",
            scores.subset
        );
    }
    let figure = PictureMetric::MeanIou;
    let pictures = evaluation
        .evaluator
        .by_picture(Subset::All, figure)
        .into_values();
    let interval = Bootstrap::default().interval(&pictures.collect::<Vec<Ratio>>())?;
    println!(
        "95 % confidence interval of the mean IoU: {:.4} to {:.4}",
        interval.low, interval.high
    );
    Ok(())
}
