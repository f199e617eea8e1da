//! The losses and scores of a pre-training run as curves.

use super::records::PretrainRecord;
use crate::error::Result;
use crate::report::chart::{
    BLUE_GREY, Curve, DARK_BLUE, GREEN, ORANGE, PURPLE, Points, smoothed, write_panels,
};
use crate::run::folder::RunFolder;

/// Draws a panel of losses above a panel of scores, and writes the picture into a run's folder.
pub(crate) fn write_pretrain_curves(folder: &RunFolder, records: &[PretrainRecord]) -> Result<()> {
    write_panels(folder, &panels(records))
}

fn panels(records: &[PretrainRecord]) -> [Vec<Curve>; 2] {
    let mut losses: Points = Vec::new();
    let [mut texts, mut pictures, mut names, mut colours, mut boxes]: [Points; 5] =
        Default::default();
    for record in records {
        match *record {
            PretrainRecord::Step { step, loss, .. } => losses.push((step as f64, f64::from(loss))),
            PretrainRecord::Validation { step, scores } => {
                let at = |value: f32| (step as f64, f64::from(value));
                texts.push(at(scores.text_at_1));
                pictures.push(at(scores.picture_at_1));
                names.extend(scores.names.map(at));
                colours.extend(scores.colours.map(at));
                boxes.extend(scores.region_names.map(at));
            }
        }
    }
    let smooth = smoothed(&losses);
    [
        vec![
            Curve::new("loss of each step", BLUE_GREY, losses),
            Curve::new("smoothed", DARK_BLUE, smooth),
        ],
        vec![
            Curve::new("text found", GREEN, texts),
            Curve::new("picture found", PURPLE, pictures),
            Curve::new("names", ORANGE, names),
            Curve::new("colours", DARK_BLUE, colours),
            Curve::new("names of boxes", BLUE_GREY, boxes),
        ],
    ]
}
