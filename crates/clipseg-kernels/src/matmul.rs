//! Matrix products on panels of the right-hand side.

use crate::level::Level;
use crate::panels::{Panel, PanelLayout};
use crate::scratch::with_scratch;
use crate::threads::{block, for_each_task, row_blocks};
use crate::tile::PanelProduct;
use crate::view::{View, ViewMut};

/// Rows of the right-hand side that are multiplied before the next ones: a panel of them fits the
/// second-level cache.
const DEPTH: usize = 768;

/// Rows of the result that are finished together, while they are in the first-level cache. A
/// multiple of every tile.
const ROWS: usize = 24;

/// Numbers of a right-hand side that stays in the second-level cache. With such a one, the rows are
/// cut into blocks and each block is multiplied by all panels, so that the result is written in the
/// order of its memory.
const SMALL_RIGHT: usize = 1 << 17;

/// Rows of the right-hand side that [`multiply_deep`] takes at a time: they and the columns of the
/// left-hand side fit the second-level cache.
const DEEP_STEP: usize = 192;

/// Rows of the result for which [`multiply_deep`] packs the right-hand side again.
const DEEP_ROWS: usize = 128;

/// Rows of the left-hand side for which packing the right-hand side costs more than it saves.
const FEW_ROWS: usize = 12;

/// A packed right-hand side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packed<'a> {
    pub(crate) layout: PanelLayout,
    pub(crate) data: &'a [f32],
}

/// Whether a product replaces what the result holds or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// `c = a · b`
    Replace,
    /// `c += a · b`
    Add,
}

impl<'a> Packed<'a> {
    /// The rows of one panel, padding included.
    fn panel(&self, panel: Panel) -> View<'a> {
        let width = panel.vectors * self.layout.lanes();
        let depth = self.layout.depth;
        View::new(
            &self.data[panel.offset..panel.offset + depth * width],
            depth,
            width,
        )
    }
}

/// The product of `a` and `b` on all threads. `finish` is called once for each part of the result
/// when that part is complete, with the part's first row, its first column and the part.
pub(crate) fn multiply_parallel(
    a: View<'_>,
    b: Packed<'_>,
    c: ViewMut<'_>,
    store: Store,
    finish: impl Fn(usize, usize, ViewMut<'_>) + Send + Sync,
) {
    check(a, (b.layout.depth, b.layout.columns), c);
    let panels = b.layout.panels();
    let operations = 2 * a.rows * a.columns * c.columns;
    let part = |panel: Panel, (first, rows): (usize, usize)| {
        let left = a.rows_from(first, rows);
        // SAFETY: each task has its own panel or its own rows, and takes one part after another.
        unsafe {
            let part = c.part(first, rows, panel.column, panel.columns);
            multiply_panel(b.layout, left, b.panel(panel), part, store, |row, part| {
                finish(first + row, panel.column, part);
            });
        }
    };
    if b.data.len() <= SMALL_RIGHT {
        let blocks = row_blocks(a.rows, ROWS, 1);
        for_each_task(blocks, operations, |index| {
            for panel in 0..panels {
                part(b.layout.panel(panel), block(a.rows, blocks, index));
            }
        });
    } else {
        let blocks = row_blocks(a.rows, ROWS, panels);
        for_each_task(panels * blocks, operations, |task| {
            part(
                b.layout.panel(task / blocks),
                block(a.rows, blocks, task % blocks),
            );
        });
    }
}

/// The product of `a` and the upper left part of `b` on this thread.
///
/// Of `b`, as many rows are used as `a` has columns, and as many columns as `c` has.
pub(crate) fn multiply(a: View<'_>, b: Packed<'_>, c: ViewMut<'_>, store: Store) {
    assert!(
        a.columns <= b.layout.depth,
        "{} columns times {} rows",
        a.columns,
        b.layout.depth
    );
    assert!(
        c.columns <= b.layout.columns,
        "{} of {} columns",
        c.columns,
        b.layout.columns
    );
    check(a, (a.columns, c.columns), c);
    for index in 0..b.layout.panels() {
        let panel = b.layout.panel(index);
        if panel.column >= c.columns {
            break;
        }
        let columns = panel.columns.min(c.columns - panel.column);
        let right = b.panel(panel).rows_from(0, a.columns);
        // SAFETY: the parts of `c` are written one after another.
        unsafe {
            let part = c.part(0, a.rows, panel.column, columns);
            multiply_panel(b.layout, a, right, part, store, |_, _| {});
        }
    }
}

/// The product of `a` and `b` on all threads; `b` is packed in scratch memory on the way.
///
/// `finish` is that of [`multiply_parallel`].
pub(crate) fn multiply_unpacked(
    level: Level,
    a: View<'_>,
    b: View<'_>,
    c: ViewMut<'_>,
    store: Store,
    finish: impl Fn(usize, usize, ViewMut<'_>) + Send + Sync,
) {
    check(a, (b.rows, b.columns), c);
    let layout = PanelLayout::new(level, b.rows, b.columns);
    let panels = layout.panels();
    if panels < 4 * rayon::current_num_threads() || layout.len() <= SMALL_RIGHT {
        with_scratch(layout.len(), |packed| {
            layout.pack(b, packed);
            multiply_parallel(
                a,
                Packed {
                    layout,
                    data: packed,
                },
                c,
                store,
                finish,
            );
        });
        return;
    }
    // There are panels enough for all threads: each packs one and uses it while it is in the cache.
    for_each_task(panels, 2 * a.rows * a.columns * c.columns, |index| {
        let panel = layout.panel(index);
        let width = panel.vectors * layout.lanes();
        let product = |right: View<'_>| {
            // SAFETY: each task has its own panel.
            unsafe {
                let part = c.part(0, a.rows, panel.column, panel.columns);
                multiply_panel(layout, a, right, part, store, |row, part| {
                    finish(row, panel.column, part);
                });
            }
        };
        if a.rows <= FEW_ROWS && b.column_stride == 1 && panel.columns == width {
            product(b.columns_from(panel.column, width));
        } else {
            with_scratch(b.rows * width, |packed| {
                layout.pack_panel(b, panel, packed);
                product(View::new(packed, b.rows, width));
            });
        }
    });
}

/// The product of `a` and `b` on all threads, for matrices whose common side is much longer than the
/// sides of the result, as in the gradient of a weight.
///
/// Takes a few columns of `a` and rows of `b` at a time, so that both are read from memory only once.
pub(crate) fn multiply_deep(level: Level, a: View<'_>, b: View<'_>, c: ViewMut<'_>) {
    check(a, (b.rows, b.columns), c);
    let steps = b.rows.div_ceil(DEEP_STEP).max(1);
    for step in 0..steps {
        let (start, depth) = block(b.rows, steps, step);
        let (left, right) = (a.columns_from(start, depth), b.rows_from(start, depth));
        let store = if step == 0 {
            Store::Replace
        } else {
            Store::Add
        };
        let layout = PanelLayout::new(level, depth, b.columns);
        let blocks = row_blocks(a.rows, DEEP_ROWS, layout.panels());
        let operations = 2 * a.rows * depth * c.columns;
        for_each_task(layout.panels() * blocks, operations, |task| {
            let panel = layout.panel(task / blocks);
            let (first, rows) = block(a.rows, blocks, task % blocks);
            let width = panel.vectors * layout.lanes();
            with_scratch(depth * width, |packed| {
                layout.pack_panel(right, panel, packed);
                // SAFETY: each task has its own part.
                unsafe {
                    let part = c.part(first, rows, panel.column, panel.columns);
                    let left = left.rows_from(first, rows);
                    let packed = View::new(packed, depth, width);
                    multiply_panel(layout, left, packed, part, store, |_, _| {});
                }
            });
        });
    }
}

/// Panics unless `a` times a matrix of `(depth, columns)` has the shape of `c`.
fn check(a: View<'_>, (depth, columns): (usize, usize), c: ViewMut<'_>) {
    assert_eq!(
        a.columns, depth,
        "columns of the left-hand side against rows of the right-hand side"
    );
    assert_eq!(
        (c.rows, c.columns),
        (a.rows, columns),
        "shape of the product"
    );
}

/// The product of `a` and one panel, `right`, whose columns are those of `c` and padding.
///
/// `finish` is called with the first row and the part for each part of `c` that is complete.
///
/// # Safety
///
/// Nothing else may use `c` meanwhile.
unsafe fn multiply_panel(
    layout: PanelLayout,
    a: View<'_>,
    right: View<'_>,
    c: ViewMut<'_>,
    store: Store,
    finish: impl Fn(usize, ViewMut<'_>),
) {
    assert_eq!(right.rows, a.columns, "rows of the panel");
    assert_eq!(
        right.column_stride, 1,
        "the columns of a panel follow each other"
    );
    let vectors = c.columns.div_ceil(layout.lanes());
    assert!(
        vectors * layout.lanes() <= right.columns,
        "columns of the panel"
    );
    let steps = a.columns.div_ceil(DEPTH).max(1);
    for step in 0..steps {
        let (start, depth) = block(a.columns, steps, step);
        let left = a.columns_from(start, depth);
        let right = right.rows_from(start, depth);
        for row in (0..a.rows).step_by(ROWS) {
            let count = ROWS.min(a.rows - row);
            // SAFETY: the caller vouches that nothing else uses `c`.
            let part = unsafe { c.part(row, count, 0, c.columns) };
            let left = left.rows_from(row, count);
            let product = PanelProduct {
                a: left.as_ptr(),
                a_row: left.row_stride,
                a_column: left.column_stride,
                rows: count,
                depth,
                b: right.as_ptr(),
                b_row: right.row_stride,
                vectors,
                c: part.as_mut_ptr(),
                c_row: part.row_stride,
                columns: c.columns,
                accumulate: step > 0 || store == Store::Add,
            };
            // SAFETY: the views were checked against their slices when they were made, and their
            // parts against them; `c` is borrowed exclusively, so that it overlaps neither side;
            // the panel was cut for this level and has whole vectors.
            unsafe { product.run_at(layout.level) };
            if step + 1 == steps {
                finish(row, part);
            }
        }
    }
}
