//! The losses and scores of a training run as curves.

use crate::error::Result;
use crate::report::chart::{
    BLUE_GREY, Curve, DARK_BLUE, GREEN, ORANGE, PURPLE, Points, smoothed, write_panels,
};
use crate::run::folder::RunFolder;
use crate::run::journal::Record;

/// Draws a panel of losses above a panel of scores, and writes the picture into a run's folder.
pub(crate) fn write_curves(folder: &RunFolder, records: &[Record]) -> Result<()> {
    write_panels(folder, &panels(records))
}

fn panels(records: &[Record]) -> [Vec<Curve>; 2] {
    let mut of_steps: Points = Vec::new();
    let [mut loss, mut dice, mut iou, mut mean]: [Points; 4] = Default::default();
    for record in records {
        match *record {
            Record::Step { step, loss, .. } => of_steps.push((step as f64, f64::from(loss))),
            Record::Validation {
                step,
                loss: value,
                dice: of_dice,
                iou: of_iou,
                mean_iou,
                ..
            } => {
                let step = step as f64;
                loss.push((step, f64::from(value)));
                dice.push((step, f64::from(of_dice)));
                iou.push((step, f64::from(of_iou)));
                mean.push((step, f64::from(mean_iou)));
            }
        }
    }
    let curve = Curve::new;
    let smooth = smoothed(&of_steps);
    [
        vec![
            curve("loss of each step", BLUE_GREY, of_steps),
            curve("smoothed", DARK_BLUE, smooth),
            curve("validation", ORANGE, loss),
        ],
        vec![
            curve("Dice", GREEN, dice),
            curve("IoU", PURPLE, iou),
            curve("mean IoU over phrases", ORANGE, mean),
        ],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::chart::{HEIGHT, TITLE, WIDTH, draw};
    use image::{Rgb, RgbImage};
    use plotters::style::RGBColor;

    fn records() -> Vec<Record> {
        let steps = (1..=300).map(|step| Record::Step {
            step,
            epoch: 0,
            loss: 1.0 / step as f32,
            learning_rate: 1e-3,
            gradient_norm: None,
        });
        let validations = (1..=3).map(|index| Record::Validation {
            step: 100 * index,
            loss: 0.5 / index as f32,
            accuracy: 0.9,
            dice: 0.2 * index as f32,
            iou: 0.15 * index as f32,
            mean_iou: 0.1 * index as f32,
            mean_iou_at_best: None,
            best: true,
        });
        steps.chain(validations).collect()
    }

    fn pixels_of(
        picture: &RgbImage,
        RGBColor(red, green, blue): RGBColor,
        rows: [u32; 2],
    ) -> usize {
        // Slanted lines are blended with the background.
        let near = |pixel: &Rgb<u8>| {
            let channels = pixel.0.iter().zip([red, green, blue]);
            channels.into_iter().all(|(a, b)| a.abs_diff(b) <= 20)
        };
        picture
            .enumerate_pixels()
            .filter(|(_, y, pixel)| (rows[0]..rows[1]).contains(y) && near(pixel))
            .count()
    }

    #[test]
    fn every_curve_is_in_its_panel_and_axes_have_labels() {
        let picture = draw(&panels(&records())).unwrap();
        let below_legend = [TITLE, HEIGHT / 2];
        for colour in [BLUE_GREY, DARK_BLUE, ORANGE] {
            assert!(pixels_of(&picture, colour, below_legend) > 50, "{colour:?}");
        }
        let lower = [HEIGHT / 2 + TITLE, HEIGHT];
        for colour in [GREEN, PURPLE, ORANGE] {
            assert!(pixels_of(&picture, colour, lower) > 50, "{colour:?}");
        }
        assert_eq!(pixels_of(&picture, GREEN, below_legend), 0);
        let dark = picture
            .enumerate_pixels()
            .filter(|(x, y, pixel)| *x < 60 && *y > TITLE && pixel.0[0] < 100)
            .count();
        assert!(dark > 200, "numbers beside the axis: {dark}");
    }

    #[test]
    fn a_run_without_a_step_has_an_empty_picture() {
        assert_eq!(draw(&panels(&[])).unwrap().dimensions(), (WIDTH, HEIGHT));
    }
}
