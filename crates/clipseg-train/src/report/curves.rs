//! Losses and scores of a run as a picture.

use crate::error::{Result, TrainError};
use crate::report::canvas::Canvas;
use crate::run::folder::RunFolder;
use crate::run::journal::Record;
use clipseg_data::{draw_text, text_width};
use image::{ImageFormat, Rgb, RgbImage};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::io::Cursor;
use std::path::Path;

const WIDTH: u32 = 1_000;
const HEIGHT: u32 = 760;
/// Height of a panel's title.
const TITLE: u32 = 30;
/// Points of a curve; more than the picture has columns show nothing.
const MOST_POINTS: usize = 2_000;

pub(crate) type Points = Vec<(f64, f64)>;

/// A line of a panel.
pub(crate) struct Curve {
    name: &'static str,
    colour: RGBColor,
    points: Points,
}

impl Curve {
    pub(crate) fn new(name: &'static str, colour: RGBColor, points: Points) -> Self {
        Self {
            name,
            colour,
            points,
        }
    }
}

pub(crate) const BLUE_GREY: RGBColor = RGBColor(170, 185, 205);
pub(crate) const DARK_BLUE: RGBColor = RGBColor(31, 78, 160);
pub(crate) const ORANGE: RGBColor = RGBColor(222, 110, 20);
pub(crate) const GREEN: RGBColor = RGBColor(30, 132, 73);
pub(crate) const PURPLE: RGBColor = RGBColor(125, 60, 152);

/// Draws losses above and scores below, and writes the picture into a run's folder.
pub(crate) fn write_curves(folder: &RunFolder, records: &[Record]) -> Result<()> {
    write_panels(folder, &panels(records))
}

/// Draws two panels of curves, one below the other, and writes the picture into a run's folder.
pub(crate) fn write_panels(folder: &RunFolder, panels: &[Vec<Curve>; 2]) -> Result<()> {
    let path = folder.curves();
    let picture = draw(panels).map_err(|error| TrainError::run(&path, error))?;
    write_png(folder, &path, &picture)
}

/// Writes a picture into a run's folder; the file appears whole or not at all.
pub(crate) fn write_png(folder: &RunFolder, path: &Path, picture: &RgbImage) -> Result<()> {
    let mut bytes = Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, ImageFormat::Png)
        .map_err(|error| TrainError::run(path, error))?;
    folder.write(path, bytes.get_ref())
}

fn draw(panels: &[Vec<Curve>; 2]) -> Result<RgbImage, String> {
    let mut picture = RgbImage::from_pixel(WIDTH, HEIGHT, Rgb([255; 3]));
    {
        let root = Canvas(&mut picture).into_drawing_area();
        let halves = root.split_evenly((2, 1));
        for (half, curves) in halves.into_iter().zip(panels) {
            let (_, area) = half.split_vertically(TITLE as i32);
            panel(&area, curves)?;
        }
        root.present().map_err(|error| error.to_string())?;
    }
    for (index, curves) in panels.iter().enumerate() {
        legend(&mut picture, curves, index as u32 * HEIGHT / 2);
    }
    Ok(picture)
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

/// A running mean that forgets by a twentieth a step.
pub(crate) fn smoothed(points: &[(f64, f64)]) -> Points {
    let mut mean = None;
    let smooth = points.iter().map(|&(step, value)| {
        let next = mean.map_or(value, |mean: f64| 0.95 * mean + 0.05 * value);
        mean = Some(next);
        (step, next)
    });
    smooth.collect()
}

fn panel(area: &DrawingArea<Canvas<'_>, Shift>, curves: &[Curve]) -> Result<(), String> {
    let fail = |error: &dyn std::fmt::Display| error.to_string();
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let last = all().map(|point| point.0).fold(1.0, f64::max);
    let highest = all().map(|point| point.1).fold(0.0, f64::max);
    let top = if highest > 0.0 { 1.05 * highest } else { 1.0 };
    let mut chart = ChartBuilder::on(area)
        .margin_right(20)
        .x_label_area_size(34)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..last, 0.0..top)
        .map_err(|error| fail(&error))?;
    chart
        .configure_mesh()
        .x_labels(8)
        .y_labels(6)
        .x_label_formatter(&|step| format!("{step:.0}"))
        .y_label_formatter(&|value| format!("{value:.3}"))
        .light_line_style(WHITE)
        .draw()
        .map_err(|error| fail(&error))?;
    for curve in curves.iter().filter(|curve| !curve.points.is_empty()) {
        let stride = curve.points.len().div_ceil(MOST_POINTS);
        let last = curve.points.last().copied();
        let points = curve.points.iter().copied().step_by(stride).chain(last);
        chart
            .draw_series(LineSeries::new(points.clone(), curve.colour))
            .map_err(|error| fail(&error))?;
        // Few points are validations, each worth seeing.
        if curve.points.len() <= 100 {
            let dots = points.map(|point| Circle::new(point, 3, curve.colour.filled()));
            chart.draw_series(dots).map_err(|error| fail(&error))?;
        }
    }
    Ok(())
}

fn legend(picture: &mut RgbImage, curves: &[Curve], top: u32) {
    let mut left = 64;
    for curve in curves.iter().filter(|curve| !curve.points.is_empty()) {
        let RGBColor(red, green, blue) = curve.colour;
        for (x, y) in (0..14).flat_map(|x| (0..14).map(move |y| (x, y))) {
            picture.put_pixel(left + x, top + 8 + y, Rgb([red, green, blue]));
        }
        draw_text(picture, curve.name, left + 20, top + 7);
        left += 20 + text_width(curve.name) + 28;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            best: true,
        });
        steps.chain(validations).collect()
    }

    fn pixels_of(
        picture: &RgbImage,
        RGBColor(red, green, blue): RGBColor,
        rows: [u32; 2],
    ) -> usize {
        // Slanted lines are blended with the paper.
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
    fn every_curve_is_in_its_panel_and_labels_are_written() {
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
