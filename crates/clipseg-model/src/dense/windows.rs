//! Where windows lie, and the mean of what overlapping windows hold.

/// The first positions of windows along an axis: every `stride` pixels, the last one at the end.
pub(super) fn starts(length: u32, window: u32, stride: u32) -> Vec<u32> {
    let last = length.saturating_sub(window);
    let mut starts: Vec<u32> = (0..last).step_by(stride as usize).collect();
    starts.push(last);
    starts
}

/// The number of windows over each position of an axis.
fn counts(starts: &[u32], window: u32, length: u32) -> Vec<f32> {
    let mut counts = vec![0.0; length as usize];
    for &start in starts {
        let end = (start + window).min(length);
        for count in &mut counts[start as usize..end as usize] {
            *count += 1.0;
        }
    }
    counts
}

/// The mean of windows over a plane. Sizes are `[width, height]`.
#[derive(Debug)]
pub(super) struct Mean {
    size: [u32; 2],
    window: [u32; 2],
    sums: Vec<f32>,
}

impl Mean {
    pub(super) fn new(size: [u32; 2], window: [u32; 2]) -> Self {
        Self {
            size,
            window,
            sums: vec![0.0; size[0] as usize * size[1] as usize],
        }
    }

    /// Adds a window at a position; `values` are row by row.
    pub(super) fn add(&mut self, [left, top]: [u32; 2], values: &[f32]) {
        let (width, side) = (self.size[0] as usize, self.window[0] as usize);
        for (y, row) in values.chunks_exact(side).enumerate() {
            let from = (top as usize + y) * width + left as usize;
            for (sum, value) in self.sums[from..from + side].iter_mut().zip(row) {
                *sum += value;
            }
        }
    }

    /// The mean at each position, row by row. `columns` and `rows` are the starts along both axes, and a window
    /// must have been added at each pair of them.
    pub(super) fn finish(mut self, columns: &[u32], rows: &[u32]) -> Vec<f32> {
        let [width, height] = self.size;
        // The windows are a grid, so their number at a position is the product of those along the axes.
        let across = counts(columns, self.window[0], width);
        let down = counts(rows, self.window[1], height);
        for (row, down) in self.sums.chunks_exact_mut(width as usize).zip(down) {
            for (value, across) in row.iter_mut().zip(&across) {
                *value /= across * down;
            }
        }
        self.sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_an_axis_and_end_at_its_end() {
        assert_eq!(starts(336, 224, 112), [0, 112]);
        assert_eq!(starts(448, 224, 112), [0, 112, 224]);
        assert_eq!(starts(450, 224, 112), [0, 112, 224, 226]);
        assert_eq!(starts(224, 224, 112), [0]);
        assert_eq!(starts(5, 2, 2), [0, 2, 3]);
    }

    #[test]
    fn overlaps_are_averaged() {
        let (columns, rows) = (starts(3, 2, 1), starts(2, 2, 1));
        assert_eq!(
            (columns.as_slice(), rows.as_slice()),
            (&[0, 1][..], &[0][..])
        );
        let mut mean = Mean::new([3, 2], [2, 2]);
        mean.add([0, 0], &[1.0, 2.0, 3.0, 4.0]);
        mean.add([1, 0], &[6.0, 7.0, 8.0, 9.0]);
        let found = mean.finish(&columns, &rows);
        assert_eq!(found, [1.0, 4.0, 7.0, 3.0, 6.0, 9.0]);
    }
}
