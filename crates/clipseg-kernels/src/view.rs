//! Matrices as parts of slices: where they start, their shape and their strides.
//!
//! A view is checked once when it is made, so that the kernels can use its pointer without checking
//! each index.

use std::marker::PhantomData;

/// A matrix to read: element (row, column) is at `row * row_stride + column * column_stride`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    start: *const f32,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
    lifetime: PhantomData<&'a [f32]>,
}

// SAFETY: a view is a shared borrow of numbers, which may be read from several threads.
unsafe impl Send for View<'_> {}
// SAFETY: as above.
unsafe impl Sync for View<'_> {}

/// The index behind the last element of a matrix, 0 if it has none.
fn end(rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> usize {
    if rows == 0 || columns == 0 {
        0
    } else {
        (rows - 1) * row_stride + (columns - 1) * column_stride + 1
    }
}

impl<'a> View<'a> {
    /// The matrix in `data` with the given strides.
    pub(crate) fn strided(
        data: &'a [f32],
        rows: usize,
        columns: usize,
        row_stride: usize,
        column_stride: usize,
    ) -> Self {
        let wanted = end(rows, columns, row_stride, column_stride);
        assert!(
            data.len() >= wanted,
            "a matrix of {rows} x {columns} needs {wanted} numbers, found {}",
            data.len()
        );
        Self {
            start: data.as_ptr(),
            rows,
            columns,
            row_stride,
            column_stride,
            lifetime: PhantomData,
        }
    }

    /// The matrix whose rows follow each other in `data`.
    pub(crate) fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns, 1)
    }

    /// The same numbers with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// The rows from `first` on, `count` of them.
    pub(crate) fn rows_from(self, first: usize, count: usize) -> Self {
        assert!(
            first + count <= self.rows,
            "rows {first} to {} of {}",
            first + count,
            self.rows
        );
        // The pointer of an empty view may lie outside the slice, but it is never read.
        Self {
            start: self.start.wrapping_add(first * self.row_stride),
            rows: count,
            ..self
        }
    }

    /// The columns from `first` on, `count` of them.
    pub(crate) fn columns_from(self, first: usize, count: usize) -> Self {
        self.transposed().rows_from(first, count).transposed()
    }

    /// Where element (0, 0) is.
    pub(crate) fn as_ptr(self) -> *const f32 {
        self.start
    }

    /// One row; its elements must follow each other.
    pub(crate) fn row(self, row: usize) -> &'a [f32] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        assert!(
            self.column_stride == 1 || self.columns <= 1,
            "the elements of a row do not follow each other"
        );
        // SAFETY: the view was checked when it was made, and the columns of a row follow each
        // other.
        unsafe { std::slice::from_raw_parts(self.start.add(row * self.row_stride), self.columns) }
    }

    /// One element.
    pub(crate) fn at(self, row: usize, column: usize) -> f32 {
        assert!(
            row < self.rows && column < self.columns,
            "({row}, {column}) of {} x {}",
            self.rows,
            self.columns
        );
        // SAFETY: the view was checked when it was made.
        unsafe {
            *self
                .start
                .add(row * self.row_stride + column * self.column_stride)
        }
    }
}

/// A matrix to write whose columns follow each other.
///
/// Parts of it may be written from several threads: whoever splits it sees to it that the parts do
/// not overlap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ViewMut<'a> {
    start: *mut f32,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) row_stride: usize,
    lifetime: PhantomData<&'a mut [f32]>,
}

// SAFETY: the view is an exclusive borrow; that its parts do not overlap is a condition of
// `ViewMut::part`.
unsafe impl Send for ViewMut<'_> {}
// SAFETY: as above.
unsafe impl Sync for ViewMut<'_> {}

impl<'a> ViewMut<'a> {
    /// The matrix in `data` whose rows start `row_stride` numbers after each other.
    pub(crate) fn strided(
        data: &'a mut [f32],
        rows: usize,
        columns: usize,
        row_stride: usize,
    ) -> Self {
        let wanted = end(rows, columns, row_stride, 1);
        assert!(
            data.len() >= wanted,
            "a matrix of {rows} x {columns} needs {wanted} numbers, found {}",
            data.len()
        );
        assert!(
            rows <= 1 || columns <= row_stride,
            "rows of {columns} numbers overlap at a stride of {row_stride}"
        );
        Self {
            start: data.as_mut_ptr(),
            rows,
            columns,
            row_stride,
            lifetime: PhantomData,
        }
    }

    /// The matrix whose rows follow each other in `data`.
    pub(crate) fn new(data: &'a mut [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// The part with `rows` rows from `row` on and `columns` columns from `column` on.
    ///
    /// # Safety
    ///
    /// Parts that are used at the same time must not overlap.
    pub(crate) unsafe fn part(
        self,
        row: usize,
        rows: usize,
        column: usize,
        columns: usize,
    ) -> Self {
        assert!(
            row + rows <= self.rows && column + columns <= self.columns,
            "rows {row} to {}, columns {column} to {} of {} x {}",
            row + rows,
            column + columns,
            self.rows,
            self.columns
        );
        Self {
            start: self.start.wrapping_add(row * self.row_stride + column),
            rows,
            columns,
            ..self
        }
    }

    /// Where element (0, 0) is.
    pub(crate) fn as_mut_ptr(self) -> *mut f32 {
        self.start
    }

    /// One row.
    ///
    /// # Safety
    ///
    /// No other slice of the same row may be in use.
    pub(crate) unsafe fn row(self, row: usize) -> &'a mut [f32] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        // SAFETY: the view was checked when it was made; the caller vouches that nothing else uses
        // the row.
        unsafe {
            std::slice::from_raw_parts_mut(self.start.add(row * self.row_stride), self.columns)
        }
    }
}
