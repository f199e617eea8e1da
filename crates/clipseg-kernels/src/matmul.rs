//! Matrix products with a packed right-hand side.

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

/// The product of `a` and `b` on all threads. `finish` is called once for each part of the result
/// when that part is complete, with the part's first row, its first column and the part.
pub(crate) fn multiply_parallel(
    a: View<'_>,
    b: Packed<'_>,
    c: ViewMut<'_>,
    store: Store,
    finish: impl Fn(usize, usize, ViewMut<'_>) + Send + Sync,
) {
    check(a, b, c);
    assert_eq!(
        a.columns, b.layout.depth,
        "columns of the left-hand side against rows of the right-hand side"
    );
    assert_eq!(
        c.columns, b.layout.columns,
        "columns of the product against those of the right-hand side"
    );
    let panels = b.layout.panels();
    let operations = 2 * a.rows * b.layout.depth * b.layout.columns;
    if b.layout.len() <= SMALL_RIGHT {
        let blocks = row_blocks(a.rows, ROWS, 1);
        for_each_task(blocks, operations, |task| {
            for index in 0..panels {
                // SAFETY: each task has its own block of rows, whose parts are written one after
                // another.
                unsafe {
                    multiply_panel(
                        a,
                        b,
                        c,
                        block(a.rows, blocks, task),
                        b.layout.panel(index),
                        store,
                        &finish,
                    )
                };
            }
        });
        return;
    }
    let blocks = row_blocks(a.rows, ROWS, panels);
    for_each_task(panels * blocks, operations, |task| {
        let (first, rows) = block(a.rows, blocks, task % blocks);
        // SAFETY: each task has its own panel or block of rows, so that no two parts overlap.
        unsafe {
            multiply_panel(
                a,
                b,
                c,
                (first, rows),
                b.layout.panel(task / blocks),
                store,
                &finish,
            )
        };
    });
}

/// The product of `a` and the upper left part of `b` on this thread.
///
/// Of `b`, as many rows are used as `a` has columns, and as many columns as `c` has.
pub(crate) fn multiply(a: View<'_>, b: Packed<'_>, c: ViewMut<'_>, store: Store) {
    check(a, b, c);
    for index in 0..b.layout.panels() {
        let panel = b.layout.panel(index);
        if panel.column >= c.columns {
            break;
        }
        let columns = panel.columns.min(c.columns - panel.column);
        // SAFETY: the parts of `c` are written one after another.
        unsafe {
            multiply_panel(
                a,
                b,
                c,
                (0, a.rows),
                Panel { columns, ..panel },
                store,
                &|_, _, _| {},
            )
        };
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
    assert_eq!(
        a.columns, b.rows,
        "columns of the left-hand side against rows of the right-hand side"
    );
    assert_eq!(
        (c.rows, c.columns),
        (a.rows, b.columns),
        "shape of the product"
    );
    // There are panels enough for all threads: each packs one and uses it while it is in the cache.
    for_each_task(panels, 2 * a.rows * b.rows * b.columns, |index| {
        let panel = layout.panel(index);
        with_scratch(b.rows * panel.vectors * layout.lanes(), |packed| {
            layout.pack_panel(b, panel, packed);
            let (right, panel) = (
                Packed {
                    layout,
                    data: packed,
                },
                Panel { offset: 0, ..panel },
            );
            // SAFETY: each task has its own panel, and the shapes were compared.
            unsafe { multiply_panel(a, right, c, (0, a.rows), panel, store, &finish) };
        });
    });
}

fn check(a: View<'_>, b: Packed<'_>, c: ViewMut<'_>) {
    assert!(
        a.columns <= b.layout.depth,
        "{} columns times {} rows",
        a.columns,
        b.layout.depth
    );
    assert!(
        c.columns <= b.layout.columns,
        "{} columns of a product with {}",
        c.columns,
        b.layout.columns
    );
    assert_eq!(
        c.rows, a.rows,
        "rows of the product against those of the left-hand side"
    );
    assert_eq!(
        b.data.len(),
        b.layout.len(),
        "length of the packed right-hand side"
    );
}

/// Rows of `a` times one panel.
///
/// # Safety
///
/// Nothing else may use the same part of `c` meanwhile. The shapes must have been checked.
unsafe fn multiply_panel(
    a: View<'_>,
    b: Packed<'_>,
    c: ViewMut<'_>,
    (first, rows): (usize, usize),
    panel: Panel,
    store: Store,
    finish: &impl Fn(usize, usize, ViewMut<'_>),
) {
    let depth = a.columns;
    let lanes = b.layout.lanes();
    let width = panel.vectors * lanes;
    let steps = depth.div_ceil(DEPTH).max(1);
    for step in 0..steps {
        let (start, depth) = block(depth, steps, step);
        let left = a.columns_from(start, depth);
        let right = &b.data[panel.offset..][start * width..(start + depth) * width];
        for row in (first..first + rows).step_by(ROWS) {
            let count = ROWS.min(first + rows - row);
            // SAFETY: the caller vouches that nothing else uses these rows and columns.
            let part = unsafe { c.part(row, count, panel.column, panel.columns) };
            let left = left.rows_from(row, count);
            let product = PanelProduct {
                a: left.as_ptr(),
                a_row: left.row_stride,
                a_column: left.column_stride,
                rows: count,
                depth,
                b: right.as_ptr(),
                b_row: width,
                vectors: panel.columns.div_ceil(lanes),
                c: part.as_mut_ptr(),
                c_row: part.row_stride,
                columns: panel.columns,
                accumulate: step > 0 || store == Store::Add,
            };
            // SAFETY: the views were checked against their slices when they were made, and their
            // parts against them; `c` is borrowed exclusively, so that it overlaps neither side;
            // the panel was cut for this level.
            unsafe { product.run_at(b.layout.level) };
            if step + 1 == steps {
                finish(row, panel.column, part);
            }
        }
    }
}
