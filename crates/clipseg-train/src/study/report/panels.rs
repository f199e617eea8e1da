//! Panels of curves in a grid, each with a title, axes and a legend.

use crate::error::{Result, TrainError};
use crate::report::canvas::Canvas;
use clipseg_data::{LETTER_HEIGHT, draw_text, text_width};
use image::{Rgb, RgbImage};
use plotters::prelude::*;
use std::path::Path;

/// Size of the plot of a panel in pixels.
const WIDTH: u32 = 620;
const HEIGHT: u32 = 300;
const COLUMNS: usize = 2;
const LINE: u32 = LETTER_HEIGHT + 4;
/// Side of a square in the legend.
const SQUARE: u32 = 12;

/// Colours that stay apart for readers who do not see all colours (Okabe and Ito 2008), then darker ones.
const COLOURS: [RGBColor; 10] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(80, 80, 80),
    RGBColor(120, 60, 20),
    RGBColor(90, 20, 120),
    RGBColor(20, 80, 40),
];

/// A line of a panel.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A plot with its title. Axes begin at 0.
pub(crate) struct Panel {
    pub(crate) title: String,
    /// What the axes show.
    pub(crate) axes: [&'static str; 2],
    pub(crate) lines: Vec<Line>,
    /// Whether the diagonal is drawn, on which both values are equal.
    pub(crate) diagonal: bool,
}

/// Draws panels in two columns; `path` is used in error messages.
pub(crate) fn draw_panels(panels: &[Panel], path: &Path) -> Result<RgbImage> {
    let legends: Vec<Vec<Vec<usize>>> = panels.iter().map(legend_lines).collect();
    let lines = legends.iter().map(Vec::len).max().unwrap_or(0) as u32;
    let cell = LINE * (1 + lines) + HEIGHT;
    let columns = panels.len().clamp(1, COLUMNS);
    let rows = panels.len().div_ceil(columns).max(1) as u32;
    let mut page = RgbImage::from_pixel(WIDTH * columns as u32, cell * rows, Rgb([255; 3]));
    for (index, (panel, legend)) in panels.iter().zip(&legends).enumerate() {
        let left = WIDTH * (index % columns) as u32;
        let top = cell * (index / columns) as u32;
        let plot = plot(panel).map_err(|error| TrainError::run(path, error))?;
        let below = top + LINE * (1 + lines);
        image::imageops::replace(&mut page, &plot, i64::from(left), i64::from(below));
        draw_text(&mut page, &panel.title, left + 8, top + 2);
        draw_legend(&mut page, panel, legend, [left + 8, top + LINE]);
    }
    Ok(page)
}

fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

fn entry_width(name: &str) -> u32 {
    SQUARE + 4 + text_width(name) + 16
}

/// The indices of the curves in each line of a legend.
fn legend_lines(panel: &Panel) -> Vec<Vec<usize>> {
    let mut lines: Vec<Vec<usize>> = Vec::new();
    let mut used = u32::MAX;
    for (index, line) in panel.lines.iter().enumerate() {
        let width = entry_width(&line.name);
        if used.saturating_add(width) > WIDTH - 16 {
            lines.push(Vec::new());
            used = 0;
        }
        used += width;
        if let Some(last) = lines.last_mut() {
            last.push(index);
        }
    }
    lines
}

fn draw_legend(page: &mut RgbImage, panel: &Panel, legend: &[Vec<usize>], [left, top]: [u32; 2]) {
    for (row, indices) in legend.iter().enumerate() {
        let top = top + LINE * row as u32;
        let mut left = left;
        for &index in indices {
            let RGBColor(red, green, blue) = colour(index);
            for (x, y) in (0..SQUARE).flat_map(|x| (0..SQUARE).map(move |y| (x, y))) {
                let (x, y) = (left + x, top + 3 + y);
                if x < page.width() && y < page.height() {
                    page.put_pixel(x, y, Rgb([red, green, blue]));
                }
            }
            let name = &panel.lines[index].name;
            draw_text(page, name, left + SQUARE + 4, top + 1);
            left += entry_width(name);
        }
    }
}

fn plot(panel: &Panel) -> Result<RgbImage, String> {
    let fail = |error: &dyn std::fmt::Display| error.to_string();
    let mut picture = RgbImage::from_pixel(WIDTH, HEIGHT, Rgb([255; 3]));
    {
        let root = Canvas(&mut picture).into_drawing_area();
        let points = || panel.lines.iter().flat_map(|line| &line.points);
        let reach = |value: fn(&(f64, f64)) -> f64, diagonal: f64| {
            let least = if panel.diagonal { diagonal } else { 0.0 };
            let most = points().map(value).fold(least, f64::max);
            if most > 0.0 { most } else { 1.0 }
        };
        let right = reach(|point| point.0, 1.0);
        let top = reach(|point| point.1, 1.0);
        let mut chart = ChartBuilder::on(&root)
            .margin_right(24)
            .margin_top(6)
            .x_label_area_size(44)
            .y_label_area_size(80)
            .build_cartesian_2d(0.0..right, 0.0..1.02 * top)
            .map_err(|error| fail(&error))?;
        let decimals = usize::from(right < 20.0) * 2;
        chart
            .configure_mesh()
            .x_labels(6)
            .y_labels(6)
            .x_desc(panel.axes[0])
            .y_desc(panel.axes[1])
            .x_label_formatter(&|value| format!("{value:.decimals$}"))
            .y_label_formatter(&|value| format!("{value:.2}"))
            .light_line_style(WHITE)
            .draw()
            .map_err(|error| fail(&error))?;
        if panel.diagonal {
            let ends = [(0.0, 0.0), (right.min(top), right.min(top))];
            chart
                .draw_series(LineSeries::new(ends, RGBColor(190, 190, 190)))
                .map_err(|error| fail(&error))?;
        }
        for (index, line) in panel.lines.iter().enumerate() {
            let points = line.points.iter().copied();
            chart
                .draw_series(LineSeries::new(points.clone(), colour(index)))
                .map_err(|error| fail(&error))?;
            let dots = points.map(|point| Circle::new(point, 2, colour(index).filled()));
            chart.draw_series(dots).map_err(|error| fail(&error))?;
        }
        root.present().map_err(|error| fail(&error))?;
    }
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(lines: usize) -> Panel {
        Panel {
            title: "dice".into(),
            axes: ["step", "mean IoU"],
            lines: (0..lines)
                .map(|index| Line {
                    name: format!("transformer-{index}"),
                    points: vec![
                        (0.0, 0.1 * (1 + index) as f64),
                        (100.0, 0.1 * (1 + index) as f64),
                    ],
                })
                .collect(),
            diagonal: false,
        }
    }

    #[test]
    fn every_line_is_drawn_and_named() {
        let panels = [panel(6), panel(2), panel(1)];
        let page = draw_panels(&panels, "x.png".as_ref()).unwrap();
        assert_eq!(page.width(), 2 * WIDTH);
        let near = |pixel: &Rgb<u8>, RGBColor(red, green, blue): RGBColor| {
            let pairs = pixel.0.into_iter().zip([red, green, blue]);
            pairs.into_iter().all(|(a, b)| a.abs_diff(b) <= 20)
        };
        for index in 0..6 {
            let inked = page.enumerate_pixels().filter(|(x, y, pixel)| {
                *x < WIDTH && *y > 3 * LINE && *y < page.height() / 2 && near(pixel, colour(index))
            });
            assert!(inked.count() > 400, "{index}");
        }
        let all: usize = legend_lines(&panels[0]).iter().map(Vec::len).sum();
        assert_eq!(all, 6);
        assert!(legend_lines(&panels[0]).len() > 1, "too long for one line");
    }

    #[test]
    fn a_panel_without_points_is_empty() {
        let empty = Panel {
            lines: Vec::new(),
            diagonal: true,
            ..panel(0)
        };
        assert_eq!(
            draw_panels(&[empty], "x.png".as_ref()).unwrap().width(),
            WIDTH
        );
        draw_panels(&[], "x.png".as_ref()).unwrap();
    }
}
