//! Drawing two panels of curves as a picture.

use crate::error::{Result, TrainError};
use crate::report::canvas::Canvas;
use crate::run::folder::RunFolder;
use clipseg_data::{draw_text, text_width};
use image::{ImageFormat, Rgb, RgbImage};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::io::Cursor;
use std::path::Path;

pub(crate) const WIDTH: u32 = 1_000;
pub(crate) const HEIGHT: u32 = 760;
/// Height of a panel's title.
pub(crate) const TITLE: u32 = 30;
/// Largest number of points of a curve; more than the picture has columns would not be visible.
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

/// Draws two panels of curves, one below the other, and writes the picture into a run's folder.
pub(crate) fn write_panels(folder: &RunFolder, panels: &[Vec<Curve>; 2]) -> Result<()> {
    let path = folder.curves();
    let picture = draw(panels).map_err(|error| TrainError::run(&path, error))?;
    write_png(folder, &path, &picture)
}

/// Writes a picture into a run's folder atomically.
pub(crate) fn write_png(folder: &RunFolder, path: &Path, picture: &RgbImage) -> Result<()> {
    let mut bytes = Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, ImageFormat::Png)
        .map_err(|error| TrainError::run(path, error))?;
    folder.write(path, bytes.get_ref())
}

/// Draws two panels, one below the other.
pub(crate) fn draw(panels: &[Vec<Curve>; 2]) -> Result<RgbImage, String> {
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

/// The exponential moving average of points, with a weight of 0.05 for each new point.
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
        // Few points are validations, which are marked with dots.
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
