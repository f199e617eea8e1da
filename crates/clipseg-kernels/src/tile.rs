//! The innermost loop of every matrix product: some rows of the left-hand side times one panel of
//! the right-hand side.

use crate::level::Level;
use crate::simd::{Kernel, Simd, dispatch};
use crate::unrolled::unrolled;

/// Numbers in the largest tile.
const LARGEST_TILE: usize = 6 * 4 * 16;

/// Rows of the left-hand side times one panel: `c = a · b`, or `c += a · b`.
#[derive(Clone, Copy)]
pub(crate) struct PanelProduct {
    /// Element (0, 0) of the left-hand side, and the distances between rows and between columns.
    pub(crate) a: *const f32,
    pub(crate) a_row: usize,
    pub(crate) a_column: usize,
    /// Rows of the left-hand side.
    pub(crate) rows: usize,
    /// Columns of the left-hand side, which are rows of the panel.
    pub(crate) depth: usize,
    /// First row of the panel, the distance between its rows, its vectors in a row.
    pub(crate) b: *const f32,
    pub(crate) b_row: usize,
    pub(crate) vectors: usize,
    /// Element (0, 0) of the result, the distance between rows, and its columns.
    pub(crate) c: *mut f32,
    pub(crate) c_row: usize,
    pub(crate) columns: usize,
    /// Whether the product is added to what `c` holds.
    pub(crate) accumulate: bool,
}

impl PanelProduct {
    /// Runs the product with the instructions of `level`.
    ///
    /// # Safety
    ///
    /// All elements that the fields describe must be valid for reading, those of `c` for writing;
    /// `c` must not overlap `a` or `b`, and nothing else may use it meanwhile; `vectors` must be
    /// from 1 to the level's `PANEL_VECTORS`, and `columns` more than `vectors - 1` and at most
    /// `vectors` times its `LANES`.
    #[inline]
    pub(crate) unsafe fn run_at(self, level: Level) {
        dispatch(level, Promised(self));
    }

    /// Runs the product with the vectors of one level.
    ///
    /// # Safety
    ///
    /// The conditions of [`PanelProduct::run_at`].
    #[inline(always)]
    unsafe fn run<S: Simd>(self, simd: S) {
        // The sums, one row of the panel and one number of the left-hand side fit into the
        // registers: 32 of AVX-512, 16 of the other levels.
        // SAFETY: the conditions are those of the caller.
        unsafe {
            match (S::LANES, self.vectors) {
                (16, 4) => self.rows::<S, 6, 4>(simd),
                (16, 3) => self.rows::<S, 8, 3>(simd),
                (16, 2) => self.rows::<S, 12, 2>(simd),
                (16, _) => self.rows::<S, 12, 1>(simd),
                (_, 2) => self.rows::<S, 6, 2>(simd),
                _ => self.rows::<S, 8, 1>(simd),
            }
        }
    }

    /// All rows, `ROWS` at a time; what is left in steps of 8, 4, 2 and 1 rows.
    #[inline(always)]
    unsafe fn rows<S: Simd, const ROWS: usize, const VECTORS: usize>(self, simd: S) {
        let mut row = 0;
        // SAFETY: the conditions are those of `run`; each tile is given rows that exist.
        unsafe {
            while row + ROWS <= self.rows {
                self.tile::<S, ROWS, VECTORS>(simd, row);
                row += ROWS;
            }
            if ROWS > 8 && row + 8 <= self.rows {
                self.tile::<S, 8, VECTORS>(simd, row);
                row += 8;
            }
            if ROWS > 4 && row + 4 <= self.rows {
                self.tile::<S, 4, VECTORS>(simd, row);
                row += 4;
            }
            if row + 2 <= self.rows {
                self.tile::<S, 2, VECTORS>(simd, row);
                row += 2;
            }
            if row < self.rows {
                self.tile::<S, 1, VECTORS>(simd, row);
            }
        }
    }

    /// The rows from `first` on, `ROWS` of them.
    #[inline(always)]
    unsafe fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(self, simd: S, first: usize) {
        // SAFETY: the rows and columns that are read and written exist: a condition of `run`.
        unsafe {
            let c = self.c.add(first * self.c_row);
            if self.columns == VECTORS * S::LANES {
                self.sums::<S, ROWS, VECTORS>(simd, first, c, self.c_row);
                return;
            }
            // The last vector of a row is not complete: the sums take the way over a buffer that
            // has room for it.
            let mut buffer = [0.0_f32; LARGEST_TILE];
            let width = VECTORS * S::LANES;
            if self.accumulate {
                for row in 0..ROWS {
                    let from = c.add(row * self.c_row);
                    from.copy_to_nonoverlapping(buffer.as_mut_ptr().add(row * width), self.columns);
                }
            }
            self.sums::<S, ROWS, VECTORS>(simd, first, buffer.as_mut_ptr(), width);
            for row in 0..ROWS {
                let to = c.add(row * self.c_row);
                to.copy_from_nonoverlapping(buffer.as_ptr().add(row * width), self.columns);
            }
        }
    }

    /// The sums of `ROWS` rows from `first` on, written to `c`, which has room for whole vectors.
    #[inline(always)]
    unsafe fn sums<S: Simd, const ROWS: usize, const VECTORS: usize>(
        self,
        simd: S,
        first: usize,
        c: *mut f32,
        c_row: usize,
    ) {
        let mut sums = [[simd.splat(0.0); VECTORS]; ROWS];
        // SAFETY: the rows and columns that are read exist, and `c` has room: conditions of `run`
        // and of `tile`.
        unsafe {
            if self.accumulate {
                unrolled!(ROWS, row => unrolled!(VECTORS, vector => {
                    sums[row][vector] = simd.load(c.add(row * c_row + vector * S::LANES));
                }));
            }
            let mut a = self.a.add(first * self.a_row);
            let mut b = self.b;
            for _ in 0..self.depth {
                let mut right = [simd.splat(0.0); VECTORS];
                unrolled!(VECTORS, vector => { right[vector] = simd.load(b.add(vector * S::LANES)); });
                unrolled!(ROWS, row => {
                    let left = simd.splat(*a.add(row * self.a_row));
                    unrolled!(VECTORS, vector => {
                        sums[row][vector] = simd.mul_add(left, right[vector], sums[row][vector]);
                    });
                });
                a = a.wrapping_add(self.a_column);
                b = b.wrapping_add(self.b_row);
            }
            unrolled!(ROWS, row => unrolled!(VECTORS, vector => {
                simd.store(c.add(row * c_row + vector * S::LANES), sums[row][vector]);
            }));
        }
    }
}

/// What [`dispatch`] runs.
struct Promised(PanelProduct);

impl Kernel for Promised {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // SAFETY: the caller of `PanelProduct::run_at` promised the conditions.
        unsafe { self.0.run(simd) }
    }
}
