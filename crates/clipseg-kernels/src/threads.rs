//! How work is spread over the threads of rayon's pool.

use rayon::prelude::*;

/// Floating-point operations below which a second thread does not pay. Miri is to see threads in small
/// tests, too.
const SMALL_WORK: usize = if cfg!(miri) { 1 << 8 } else { 1 << 20 };

/// Calls `task` with each index below `tasks`: on all threads if `operations`, the sum over all
/// tasks, is large.
pub(crate) fn for_each_task(tasks: usize, operations: usize, task: impl Fn(usize) + Send + Sync) {
    if tasks <= 1 || operations < SMALL_WORK || rayon::current_num_threads() == 1 {
        (0..tasks).for_each(task);
    } else {
        (0..tasks).into_par_iter().with_max_len(1).for_each(task);
    }
}

/// Into how many blocks `rows` are cut, so that with `others` independent tasks for each block all
/// threads stay busy.
///
/// A block has at least `least` rows.
pub(crate) fn row_blocks(rows: usize, least: usize, others: usize) -> usize {
    /// Tasks for each thread: more of them even out threads that are slowed down by other programs.
    const TASKS_PER_THREAD: usize = 8;
    let wanted = (TASKS_PER_THREAD * rayon::current_num_threads()).div_ceil(others.max(1));
    wanted.min(rows / least.max(1)).max(1)
}

/// The rows of block `index` of `blocks` equal ones: the first, and their number.
pub(crate) fn block(rows: usize, blocks: usize, index: usize) -> (usize, usize) {
    let first = rows * index / blocks;
    (first, rows * (index + 1) / blocks - first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_all_rows_once() {
        for rows in [0, 1, 7, 485] {
            for blocks in 1..=9 {
                let mut next = 0;
                for index in 0..blocks {
                    let (first, count) = block(rows, blocks, index);
                    assert_eq!(first, next);
                    next += count;
                }
                assert_eq!(next, rows);
            }
        }
    }

    #[test]
    fn blocks_have_the_least_rows() {
        assert_eq!(row_blocks(485, 48, 1000), 1);
        assert_eq!(row_blocks(0, 48, 1), 1);
        for rows in [1, 47, 48, 485, 10_000] {
            let blocks = row_blocks(rows, 48, 1);
            assert!(blocks == 1 || rows / blocks >= 48);
        }
    }

    #[test]
    fn every_task_runs_once() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        for operations in [0, usize::MAX] {
            let counts: Vec<AtomicUsize> = (0..100).map(|_| AtomicUsize::new(0)).collect();
            for_each_task(100, operations, |i| {
                counts[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(
                counts
                    .iter()
                    .all(|count| count.load(Ordering::Relaxed) == 1)
            );
        }
    }
}
