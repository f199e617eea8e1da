//! The drawing of each shape, in parts that are painted over each other.
//!
//! Every drawing fits a circle of radius 1 around the origin; the y axis points down.

use super::shapes::Shape;
use std::f32::consts::TAU;
use tiny_skia::{FillRule, LineCap, Path, PathBuilder, Rect, Stroke, Transform};

/// The paint of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ink {
    /// Colour and texture of the object.
    Body,
    /// A second tone of the colour of the object.
    Accent,
    /// A tone that contrasts with the colour of the object.
    Detail,
    Tyre,
    Steel,
    Wood,
    Cream,
    Glass,
}

/// A part of a drawing. Later parts are painted over earlier ones.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) ink: Ink,
    pub(crate) path: Path,
    pub(crate) rule: FillRule,
}

impl Shape {
    /// Parts from bottom to top.
    pub(crate) fn parts(self) -> Vec<Part> {
        let drawing = Drawing::default();
        let drawing = match self {
            Self::House
            | Self::Tree
            | Self::Car
            | Self::Face
            | Self::Flower
            | Self::Fish
            | Self::Boat
            | Self::Mushroom
            | Self::Umbrella
            | Self::Rocket
            | Self::Table
            | Self::Cup => drawing.composed(self),
            _ => drawing.plain(self),
        };
        let fit = Transform::from_scale(self.fit(), self.fit());
        let fitted = drawing.parts.into_iter().filter_map(|part| {
            let path = part.path.transform(fit)?;
            Some(Part { path, ..part })
        });
        fitted.collect()
    }
}

/// `count` points on a circle around the origin, the first at the top.
fn around(count: usize, radius: impl Fn(usize) -> f32) -> Vec<[f32; 2]> {
    let point = |corner: usize| {
        let (sin, cos) = (TAU * corner as f32 / count as f32).sin_cos();
        [radius(corner) * sin, -radius(corner) * cos]
    };
    (0..count).map(point).collect()
}

#[derive(Default)]
struct Drawing {
    parts: Vec<Part>,
}

impl Drawing {
    fn plain(self, shape: Shape) -> Self {
        match shape {
            Shape::Square => self.rect(Ink::Body, [-0.78, -0.78, 1.56, 1.56]),
            Shape::Triangle => {
                let corners: Vec<[f32; 2]> = around(3, |_| 1.15)
                    .iter()
                    .map(|[x, y]| [*x, y + 0.2])
                    .collect();
                self.polygon(Ink::Body, &corners)
            }
            Shape::Star => {
                let radius = |corner: usize| if corner.is_multiple_of(2) { 1.0 } else { 0.42 };
                self.polygon(Ink::Body, &around(10, radius))
            }
            Shape::Diamond => self.polygon(
                Ink::Body,
                &[[0.0, -1.0], [0.62, 0.0], [0.0, 1.0], [-0.62, 0.0]],
            ),
            Shape::Cross => {
                let (a, b) = (0.28, 0.92);
                let arm = [[-a, -a], [-a, -b], [a, -b]];
                let turned = (0..4).flat_map(|quarter| {
                    arm.map(|point| (0..quarter).fold(point, |[x, y], _| [-y, x]))
                });
                self.polygon(Ink::Body, &turned.collect::<Vec<_>>())
            }
            Shape::Ring => self.shape(Ink::Body, FillRule::EvenOdd, |path| {
                path.push_circle(0.0, 0.0, 0.98);
                path.push_circle(0.0, 0.0, 0.56);
            }),
            Shape::Arrow => self.polygon(
                Ink::Body,
                &[
                    [-0.95, -0.24],
                    [0.1, -0.24],
                    [0.1, -0.7],
                    [0.98, 0.0],
                    [0.1, 0.7],
                    [0.1, 0.24],
                    [-0.95, 0.24],
                ],
            ),
            Shape::Heart => self.shape(Ink::Body, FillRule::Winding, |path| {
                path.move_to(0.0, 0.95);
                path.cubic_to(-1.3, 0.1, -1.05, -0.85, -0.5, -0.85);
                path.cubic_to(-0.2, -0.85, 0.0, -0.65, 0.0, -0.42);
                path.cubic_to(0.0, -0.65, 0.2, -0.85, 0.5, -0.85);
                path.cubic_to(1.05, -0.85, 1.3, 0.1, 0.0, 0.95);
            }),
            Shape::Moon => self.polygon(Ink::Body, &crescent()),
            _ => self.circles(Ink::Body, &[[0.0, 0.0, 0.96]]),
        }
    }

    fn composed(self, shape: Shape) -> Self {
        match shape {
            Shape::House => self
                .rect(Ink::Body, [-0.66, -0.2, 1.32, 1.06])
                .polygon(Ink::Accent, &[[-0.9, -0.12], [0.0, -0.96], [0.9, -0.12]])
                .rect(Ink::Detail, [-0.16, 0.3, 0.32, 0.56])
                .rect(Ink::Glass, [-0.53, 0.08, 0.26, 0.28])
                .rect(Ink::Glass, [0.27, 0.08, 0.26, 0.28]),
            Shape::Tree => self.rect(Ink::Wood, [-0.14, 0.2, 0.28, 0.76]).circles(
                Ink::Body,
                &[
                    [-0.42, 0.02, 0.42],
                    [0.42, 0.02, 0.42],
                    [0.0, -0.46, 0.5],
                    [0.0, 0.0, 0.4],
                ],
            ),
            Shape::Car => self
                .polygon(
                    Ink::Body,
                    &[
                        [-0.98, 0.34],
                        [-0.98, 0.0],
                        [-0.7, -0.1],
                        [-0.44, -0.54],
                        [0.3, -0.54],
                        [0.6, -0.1],
                        [0.94, 0.0],
                        [0.98, 0.34],
                    ],
                )
                .polygon(
                    Ink::Glass,
                    &[[-0.54, -0.1], [-0.36, -0.43], [-0.1, -0.43], [-0.1, -0.1]],
                )
                .polygon(
                    Ink::Glass,
                    &[[0.02, -0.1], [0.02, -0.43], [0.24, -0.43], [0.44, -0.1]],
                )
                .circles(Ink::Tyre, &[[-0.5, 0.34, 0.23], [0.5, 0.34, 0.23]])
                .circles(Ink::Steel, &[[-0.5, 0.34, 0.1], [0.5, 0.34, 0.1]]),
            Shape::Face => self
                .circles(Ink::Body, &[[0.0, 0.0, 0.96]])
                .circles(Ink::Detail, &[[-0.34, -0.25, 0.14], [0.34, -0.25, 0.14]])
                .line(Ink::Detail, 0.14, |path| {
                    path.move_to(-0.48, 0.26);
                    path.quad_to(0.0, 0.8, 0.48, 0.26);
                }),
            Shape::Flower => {
                let petals: Vec<[f32; 3]> = around(6, |_| 0.6)
                    .iter()
                    .map(|[x, y]| [*x, *y, 0.37])
                    .collect();
                self.circles(Ink::Body, &petals)
                    .circles(Ink::Detail, &[[0.0, 0.0, 0.3]])
            }
            Shape::Fish => self
                .polygon(Ink::Accent, &[[-0.36, -0.3], [0.18, -0.72], [0.3, -0.2]])
                .shape(Ink::Body, FillRule::Winding, |path| {
                    path.move_to(-0.97, 0.0);
                    path.cubic_to(-0.7, -0.62, 0.1, -0.62, 0.5, -0.08);
                    path.line_to(0.95, -0.46);
                    path.line_to(0.95, 0.46);
                    path.line_to(0.5, 0.08);
                    path.cubic_to(0.1, 0.62, -0.7, 0.62, -0.97, 0.0);
                })
                .circles(Ink::Detail, &[[-0.6, -0.1, 0.1]]),
            Shape::Boat => self
                .rect(Ink::Wood, [-0.06, -0.95, 0.12, 1.3])
                .polygon(Ink::Body, &[[0.1, -0.88], [0.1, 0.16], [0.78, 0.16]])
                .polygon(Ink::Accent, &[[-0.1, -0.62], [-0.1, 0.16], [-0.62, 0.16]])
                .polygon(
                    Ink::Body,
                    &[[-0.93, 0.3], [0.93, 0.3], [0.6, 0.78], [-0.6, 0.78]],
                ),
            Shape::Mushroom => self
                .polygon(
                    Ink::Cream,
                    &[[-0.26, 0.0], [0.26, 0.0], [0.34, 0.86], [-0.34, 0.86]],
                )
                .shape(Ink::Body, FillRule::Winding, |path| {
                    path.move_to(-0.94, 0.12);
                    path.cubic_to(-0.94, -1.14, 0.94, -1.14, 0.94, 0.12);
                    path.quad_to(0.0, 0.34, -0.94, 0.12);
                }),
            Shape::Umbrella => self
                .line(Ink::Wood, 0.11, |path| {
                    path.move_to(0.0, -0.9);
                    path.line_to(0.0, 0.72);
                    path.cubic_to(0.0, 0.98, 0.32, 0.98, 0.32, 0.7);
                })
                .shape(Ink::Body, FillRule::Winding, |path| {
                    path.move_to(-0.98, 0.04);
                    path.cubic_to(-0.9, -1.14, 0.9, -1.14, 0.98, 0.04);
                    for step in 0..3 {
                        let right = 0.98 - 0.653_3 * step as f32;
                        path.quad_to(right - 0.326_7, -0.22, right - 0.653_3, 0.04);
                    }
                }),
            Shape::Rocket => self
                .polygon(Ink::Accent, &[[-0.2, 0.2], [-0.66, 0.9], [-0.2, 0.76]])
                .polygon(Ink::Accent, &[[0.2, 0.2], [0.66, 0.9], [0.2, 0.76]])
                .shape(Ink::Body, FillRule::Winding, |path| {
                    path.move_to(0.0, -1.0);
                    path.cubic_to(0.52, -0.5, 0.42, 0.3, 0.3, 0.84);
                    path.line_to(-0.3, 0.84);
                    path.cubic_to(-0.42, 0.3, -0.52, -0.5, 0.0, -1.0);
                })
                .circles(Ink::Glass, &[[0.0, -0.22, 0.17]]),
            Shape::Table => self
                .rect(Ink::Body, [-0.8, -0.4, 0.2, 1.12])
                .rect(Ink::Body, [0.6, -0.4, 0.2, 1.12])
                .rect(Ink::Body, [-0.97, -0.5, 1.94, 0.27]),
            _ => self
                .shape(Ink::Body, FillRule::EvenOdd, |path| {
                    path.push_circle(0.58, 0.0, 0.36);
                    path.push_circle(0.58, 0.0, 0.2);
                })
                .polygon(
                    Ink::Body,
                    &[[-0.72, -0.62], [0.5, -0.62], [0.36, 0.74], [-0.58, 0.74]],
                )
                .oval(Ink::Accent, [-0.72, -0.74, 1.22, 0.24]),
        }
    }

    /// Adds a part. A path that cannot be closed has no area and is left out.
    fn add(mut self, ink: Ink, rule: FillRule, path: Option<Path>) -> Self {
        self.parts.extend(path.map(|path| Part { ink, path, rule }));
        self
    }

    fn shape(self, ink: Ink, rule: FillRule, draw: impl FnOnce(&mut PathBuilder)) -> Self {
        let mut builder = PathBuilder::new();
        draw(&mut builder);
        self.add(ink, rule, builder.finish())
    }

    fn polygon(self, ink: Ink, points: &[[f32; 2]]) -> Self {
        self.shape(ink, FillRule::Winding, |path| {
            for (index, [x, y]) in points.iter().enumerate() {
                if index == 0 {
                    path.move_to(*x, *y);
                } else {
                    path.line_to(*x, *y);
                }
            }
            path.close();
        })
    }

    /// Adds circles, given by centre and radius, as one part.
    fn circles(self, ink: Ink, circles: &[[f32; 3]]) -> Self {
        self.shape(ink, FillRule::Winding, |path| {
            for [x, y, radius] in circles {
                path.push_circle(*x, *y, *radius);
            }
        })
    }

    /// Adds a rectangle, given by left, top, width and height.
    fn rect(self, ink: Ink, [x, y, width, height]: [f32; 4]) -> Self {
        let path = Rect::from_xywh(x, y, width, height).map(PathBuilder::from_rect);
        self.add(ink, FillRule::Winding, path)
    }

    fn oval(self, ink: Ink, [x, y, width, height]: [f32; 4]) -> Self {
        let path = Rect::from_xywh(x, y, width, height).and_then(PathBuilder::from_oval);
        self.add(ink, FillRule::Winding, path)
    }

    fn line(self, ink: Ink, width: f32, draw: impl FnOnce(&mut PathBuilder)) -> Self {
        let mut builder = PathBuilder::new();
        draw(&mut builder);
        let stroke = Stroke {
            width,
            line_cap: LineCap::Round,
            ..Stroke::default()
        };
        // Scale for which curves are flattened: about that of a drawing in a picture.
        let path = builder.finish().and_then(|path| path.stroke(&stroke, 40.0));
        self.add(ink, FillRule::Winding, path)
    }
}

/// A disc minus another disc that covers its right part.
fn crescent() -> Vec<[f32; 2]> {
    let (outer, inner, shift) = (0.97f32, 0.8f32, 0.45f32);
    // Intersections of the two circles.
    let x = (shift * shift + outer * outer - inner * inner) / (2.0 * shift);
    let y = (outer * outer - x * x).sqrt();
    let (from, back) = (y.atan2(x), y.atan2(x - shift));
    let arc = |centre: f32, radius: f32, from: f32, to: f32| {
        (0..=24).map(move |step| {
            let (sin, cos) = (from + (to - from) * step as f32 / 24.0).sin_cos();
            [centre + radius * cos, radius * sin]
        })
    };
    let outside = arc(0.0, outer, from, TAU - from);
    outside.chain(arc(shift, inner, TAU - back, back)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiny_skia::{PathSegment, Point};

    /// Points on an outline, densely sampled on curves.
    fn points(path: &Path) -> Vec<[f32; 2]> {
        let mut points = Vec::new();
        let mut last = Point::zero();
        for segment in path.segments() {
            let (controls, end) = match segment {
                PathSegment::MoveTo(end) | PathSegment::LineTo(end) => (vec![end, end], end),
                PathSegment::QuadTo(a, end) => (vec![last, a, end], end),
                PathSegment::CubicTo(a, b, end) => (vec![last, a, b, end], end),
                PathSegment::Close => continue,
            };
            for step in 0..=64 {
                // De Casteljau's algorithm.
                let (t, mut between) = (step as f32 / 64.0, controls.clone());
                while between.len() > 1 {
                    let pairs = between.windows(2);
                    between = pairs
                        .map(|pair| {
                            let [a, b] = [pair[0], pair[1]];
                            Point::from_xy(a.x + (b.x - a.x) * t, a.y + (b.y - a.y) * t)
                        })
                        .collect();
                }
                points.push([between[0].x, between[0].y]);
            }
            last = end;
        }
        points
    }

    #[test]
    fn every_drawing_fits_its_circle_and_has_a_body() {
        let mut outlines = Vec::new();
        for shape in Shape::ALL {
            let parts = shape.parts();
            assert!(parts.iter().any(|part| part.ink == Ink::Body), "{shape:?}");
            let points = parts.iter().flat_map(|part| points(&part.path));
            let furthest = points.map(|[x, y]| x.hypot(y)).fold(0.0, f32::max);
            assert!((0.9..=1.0001).contains(&furthest), "{shape:?}: {furthest}");
            let bounds = parts.iter().map(|part| part.path.bounds());
            outlines.push((parts.len(), bounds.collect::<Vec<_>>()));
        }
        for (index, outline) in outlines.iter().enumerate() {
            assert!(
                !outlines[..index].contains(outline),
                "{index} is drawn twice"
            );
        }
    }
}
