//! The coverage of pixels by drawings.

use tiny_skia::{FillRule, Mask as Alpha, Path, Transform};

/// Pixels with at least this coverage are inside.
const HALF: u8 = 128;

/// Coverage from 0 to 255 of the pixels in a rectangle, which may extend beyond the picture.
#[derive(Debug, Clone)]
pub(crate) struct Coverage {
    left: i32,
    top: i32,
    width: usize,
    values: Vec<u8>,
}

impl Coverage {
    /// Fills a path in coordinates of the picture, with antialiasing.
    pub(crate) fn of(path: &Path, rule: FillRule) -> Self {
        let bounds = path.bounds();
        let (left, top) = (bounds.left().floor(), bounds.top().floor());
        let width = (bounds.right().ceil() - left).max(1.0) as u32;
        let height = (bounds.bottom().ceil() - top).max(1.0) as u32;
        let values = Alpha::new(width, height).map(|mut alpha| {
            let shift = Transform::from_translate(-left, -top);
            alpha.fill_path(path, rule, true, shift);
            alpha.data().to_vec()
        });
        Self {
            left: left as i32,
            top: top as i32,
            width: width as usize,
            values: values.unwrap_or_default(),
        }
    }

    /// Combines drawings that are painted over each other.
    pub(crate) fn union<'a>(all: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let left = all.clone().map(|one| one.left).min().unwrap_or(0);
        let top = all.clone().map(|one| one.top).min().unwrap_or(0);
        let right = all.clone().map(|one| one.left + one.width as i32).max();
        let bottom = all.clone().map(|one| one.top + one.height() as i32).max();
        let width = (right.unwrap_or(0) - left) as usize;
        let height = (bottom.unwrap_or(0) - top) as usize;
        let mut values = vec![0u8; width * height];
        for one in all {
            for ([x, y], share) in one.pixels() {
                let value = &mut values[(y - top) as usize * width + (x - left) as usize];
                let open = u32::from(255 - *value) * u32::from(255 - share);
                *value = 255 - ((open + 127) / 255) as u8;
            }
        }
        Self {
            left,
            top,
            width,
            values,
        }
    }

    fn height(&self) -> usize {
        self.values.len().checked_div(self.width).unwrap_or(0)
    }

    /// Coverage of a pixel; 0 outside the rectangle.
    pub(crate) fn at(&self, x: i32, y: i32) -> u8 {
        let (column, row) = (x - self.left, y - self.top);
        if column < 0 || row < 0 || column as usize >= self.width {
            return 0;
        }
        let index = row as usize * self.width + column as usize;
        self.values.get(index).copied().unwrap_or(0)
    }

    /// All pixels with a coverage above 0: `[x, y]` and the coverage.
    pub(crate) fn pixels(&self) -> impl Iterator<Item = ([i32; 2], u8)> {
        let rows = self.values.chunks_exact(self.width.max(1)).enumerate();
        rows.flat_map(move |(row, values)| {
            let y = self.top + row as i32;
            let pixels = values.iter().enumerate();
            pixels
                .filter(|(_, share)| **share > 0)
                .map(move |(column, share)| ([self.left + column as i32, y], *share))
        })
    }

    /// All pixels inside, including those beyond the picture.
    pub(crate) fn inside(&self) -> impl Iterator<Item = [i32; 2]> {
        self.pixels()
            .filter(|(_, share)| *share >= HALF)
            .map(|(pixel, _)| pixel)
    }

    /// Indices, row by row, of the pixels inside that lie in a picture with this side.
    pub(crate) fn inside_of(&self, side: u32) -> impl Iterator<Item = usize> {
        self.inside().filter_map(move |pixel| index(pixel, side))
    }

    /// Number of pixels inside, including those beyond the picture.
    pub(crate) fn area(&self) -> usize {
        self.values.iter().filter(|value| **value >= HALF).count()
    }
}

/// Index of a pixel, row by row; `None` beyond the picture.
pub(crate) fn index([x, y]: [i32; 2], side: u32) -> Option<usize> {
    let (x, y) = (u32::try_from(x).ok()?, u32::try_from(y).ok()?);
    (x < side && y < side).then(|| y as usize * side as usize + x as usize)
}

/// The pixels enclosed by a drawing, including its holes: those that have pixels of it in all four
/// directions.
#[derive(Debug)]
pub(crate) struct Enclosure {
    left: i32,
    top: i32,
    rows: Vec<[i32; 2]>,
    columns: Vec<[i32; 2]>,
}

impl Enclosure {
    pub(crate) fn of(outline: &Coverage) -> Self {
        const NONE: [i32; 2] = [i32::MAX, i32::MIN];
        let mut found = Self {
            left: outline.left,
            top: outline.top,
            rows: vec![NONE; outline.height()],
            columns: vec![NONE; outline.width],
        };
        for [x, y] in outline.inside() {
            let row = &mut found.rows[(y - outline.top) as usize];
            *row = [row[0].min(x), row[1].max(x)];
            let column = &mut found.columns[(x - outline.left) as usize];
            *column = [column[0].min(y), column[1].max(y)];
        }
        found
    }

    pub(crate) fn holds(&self, [x, y]: [i32; 2]) -> bool {
        let within = |spans: &[[i32; 2]], line: i32, at: i32| {
            let span = usize::try_from(line).ok().and_then(|line| spans.get(line));
            span.is_some_and(|[from, to]| (*from..=*to).contains(&at))
        };
        within(&self.rows, y - self.top, x) && within(&self.columns, x - self.left, y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiny_skia::PathBuilder;

    fn ring() -> Coverage {
        let mut path = PathBuilder::new();
        path.push_circle(2.0, 3.0, 5.0);
        path.push_circle(2.0, 3.0, 3.0);
        Coverage::of(&path.finish().unwrap(), FillRule::EvenOdd)
    }

    #[test]
    fn a_ring_covers_its_band_and_encloses_its_hole() {
        let ring = ring();
        let expected = std::f32::consts::PI * 16.0;
        assert!(
            (ring.area() as f32 - expected).abs() < 6.0,
            "{}",
            ring.area()
        );
        assert!(ring.inside_of(4).count() < ring.area(), "some lies beyond");
        assert_eq!([ring.at(2, 3), ring.at(2, -1), ring.at(40, 3)], [0, 255, 0]);
        let enclosure = Enclosure::of(&ring);
        assert!(enclosure.holds([2, 3]) && enclosure.holds([2, -1]));
        assert!(!enclosure.holds([-3, -2]) && !enclosure.holds([90, 3]));
    }

    #[test]
    fn combined_drawings_cover_the_union() {
        let square = |left: f32| {
            let rect = tiny_skia::Rect::from_xywh(left, 0.0, 2.0, 2.0).unwrap();
            Coverage::of(&PathBuilder::from_rect(rect), FillRule::Winding)
        };
        let both = Coverage::union([square(-1.0), square(2.0)].iter());
        let row: Vec<u8> = (-2..5).map(|x| both.at(x, 0)).collect();
        assert_eq!(row, [0, 255, 255, 0, 255, 255, 0]);
    }
}
