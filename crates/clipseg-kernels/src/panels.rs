//! The right-hand side of a matrix product, laid out in the order in which the kernel reads it.
//!
//! The columns are cut into panels of `LANES * PANEL_VECTORS` columns. A panel holds its first row,
//! then its second, and so on. The last panel may be narrower; it is padded with zeros to a
//! multiple of `LANES` columns.

use rayon::prelude::*;

use crate::level::Level;
use crate::simd::panel_shape;
use crate::view::View;

/// Numbers from which on a matrix is packed on all threads.
const LARGE: usize = 1 << 17;

/// How a matrix of `depth` rows and `columns` columns is cut into panels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PanelLayout {
    pub(crate) level: Level,
    pub(crate) depth: usize,
    pub(crate) columns: usize,
    lanes: usize,
    width: usize,
}

/// One panel: where its numbers start, and its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panel {
    /// Index of its first number.
    pub(crate) offset: usize,
    /// Its first column in the matrix.
    pub(crate) column: usize,
    /// Its columns without padding.
    pub(crate) columns: usize,
    /// Vectors in a row, padding included.
    pub(crate) vectors: usize,
}

impl PanelLayout {
    pub(crate) fn new(level: Level, depth: usize, columns: usize) -> Self {
        let (lanes, vectors) = panel_shape(level);
        Self {
            level,
            depth,
            columns,
            lanes,
            width: lanes * vectors,
        }
    }

    /// Numbers in a vector.
    pub(crate) fn lanes(&self) -> usize {
        self.lanes
    }

    /// Numbers in all panels, padding included.
    pub(crate) fn len(&self) -> usize {
        self.depth * self.columns.next_multiple_of(self.lanes)
    }

    /// Number of panels.
    pub(crate) fn panels(&self) -> usize {
        self.columns.div_ceil(self.width)
    }

    /// The panel at `index`.
    pub(crate) fn panel(&self, index: usize) -> Panel {
        let column = index * self.width;
        let columns = self.width.min(self.columns - column);
        Panel {
            offset: column * self.depth,
            column,
            columns,
            vectors: columns.div_ceil(self.lanes),
        }
    }

    /// Lays out `matrix`, of `depth` rows and `columns` columns, in `packed`, of `len()` numbers;
    /// on all threads if the matrix is large.
    pub(crate) fn pack(&self, matrix: View<'_>, packed: &mut [f32]) {
        assert_eq!(
            (matrix.rows, matrix.columns),
            (self.depth, self.columns),
            "shape of the matrix to pack"
        );
        assert_eq!(packed.len(), self.len(), "length of the packed matrix");
        if packed.is_empty() {
            return;
        }
        let one = |(index, packed): (usize, &mut [f32])| {
            self.pack_panel(matrix, self.panel(index), packed);
        };
        let whole = self.depth * self.width;
        if packed.len() < LARGE {
            packed.chunks_mut(whole).enumerate().for_each(one);
        } else {
            packed.par_chunks_mut(whole).enumerate().for_each(one);
        }
    }

    /// Lays out one panel of `matrix` in `packed`.
    pub(crate) fn pack_panel(&self, matrix: View<'_>, panel: Panel, packed: &mut [f32]) {
        let columns = matrix.columns_from(panel.column, panel.columns);
        pack_columns(columns, packed, panel.vectors * self.lanes);
    }
}

/// Copies `matrix` into rows of `width` numbers, padded with zeros.
fn pack_columns(matrix: View<'_>, packed: &mut [f32], width: usize) {
    /// Rows that are transposed together: they stay in the first-level cache.
    const BLOCK: usize = 64;
    let columns = matrix.columns;
    if matrix.column_stride == 1 {
        for (row, packed) in packed.chunks_exact_mut(width).enumerate() {
            packed[..columns].copy_from_slice(matrix.row(row));
            packed[columns..].fill(0.0);
        }
    } else if matrix.row_stride == 1 {
        let transposed = matrix.transposed();
        for first in (0..matrix.rows).step_by(BLOCK) {
            let rows = BLOCK.min(matrix.rows - first);
            let packed = &mut packed[first * width..(first + rows) * width];
            for column in 0..columns {
                let from = &transposed.row(column)[first..first + rows];
                packed[column..]
                    .iter_mut()
                    .step_by(width)
                    .zip(from)
                    .for_each(|(to, &x)| *to = x);
            }
            for padding in columns..width {
                packed[padding..]
                    .iter_mut()
                    .step_by(width)
                    .for_each(|to| *to = 0.0);
            }
        }
    } else {
        for (row, packed) in packed.chunks_exact_mut(width).enumerate() {
            for (column, to) in packed.iter_mut().enumerate() {
                *to = if column < columns {
                    matrix.at(row, column)
                } else {
                    0.0
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_of_the_source_is_packed_alike() {
        let (depth, columns) = (7, 21);
        let rows: Vec<f32> = (0..depth * columns).map(|i| i as f32 + 1.0).collect();
        let transposed: Vec<f32> = (0..columns)
            .flat_map(|c| (0..depth).map(move |r| (r * columns + c) as f32 + 1.0))
            .collect();
        let spread: Vec<f32> = rows.iter().flat_map(|&x| [x, -1.0]).collect();
        for level in Level::ALL.into_iter().filter(|level| level.is_supported()) {
            let layout = PanelLayout::new(level, depth, columns);
            let packed = |view| {
                let mut packed = vec![f32::NAN; layout.len()];
                layout.pack(view, &mut packed);
                packed
            };
            let first = packed(View::new(&rows, depth, columns));
            assert_eq!(
                first,
                packed(View::new(&transposed, columns, depth).transposed())
            );
            assert_eq!(
                first,
                packed(View::strided(&spread, depth, columns, 2 * columns, 2))
            );
            for index in 0..layout.panels() {
                let panel = layout.panel(index);
                let width = panel.vectors * layout.lanes;
                for row in 0..depth {
                    for column in 0..width {
                        let wanted = if column < panel.columns {
                            rows[row * columns + panel.column + column]
                        } else {
                            0.0
                        };
                        assert_eq!(
                            first[panel.offset + row * width + column],
                            wanted,
                            "{level} ({row}, {column})"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn an_empty_matrix_has_no_panels() {
        let layout = PanelLayout::new(Level::best(), 5, 0);
        assert_eq!((layout.len(), layout.panels()), (0, 0));
        layout.pack(View::new(&[], 5, 0), &mut []);
    }
}
