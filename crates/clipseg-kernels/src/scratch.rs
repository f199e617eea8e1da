//! Memory for intermediate results, kept by each thread, so that nothing is allocated in the steady
//! state.

use std::cell::RefCell;

/// One cache line, which is also one AVX-512 vector.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

thread_local! {
    /// Buffers of this thread that are not in use.
    static FREE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Buffers that a thread keeps. Work on a thread uses few at a time.
const KEPT: usize = 16;

/// Runs `work` with `len` numbers of scratch memory, which start at a cache line and have any
/// values.
///
/// Calls may be nested; each gets a buffer of its own.
pub(crate) fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    let lines = len.div_ceil(16);
    // The smallest buffer that is long enough, else the longest one, which is made longer.
    let mut buffer = FREE.with_borrow_mut(|free| {
        let fits = (0..free.len())
            .filter(|&i| free[i].len() >= lines)
            .min_by_key(|&i| free[i].len());
        let chosen = fits.or_else(|| (0..free.len()).max_by_key(|&i| free[i].len()));
        chosen.map(|i| free.swap_remove(i)).unwrap_or_default()
    });
    if buffer.len() < lines {
        buffer.resize(lines, Line([0.0; 16]));
    }
    // SAFETY: a `Line` is 16 numbers without padding, and the buffer has at least `lines` of them.
    let numbers = unsafe { std::slice::from_raw_parts_mut(buffer.as_mut_ptr().cast::<f32>(), len) };
    let result = work(numbers);
    FREE.with_borrow_mut(|free| {
        if free.len() < KEPT {
            free.push(buffer);
        }
    });
    result
}

/// Frees the scratch memory that this thread keeps.
///
/// The threads of a pool keep theirs: `rayon::broadcast(|_| clipseg_kernels::free_scratch())` frees
/// it too.
pub fn free_scratch() {
    FREE.with_borrow_mut(Vec::clear);
}

/// A buffer that starts at a cache line, filled once and kept.
#[derive(Clone)]
pub(crate) struct Aligned {
    lines: Vec<Line>,
    len: usize,
}

impl Aligned {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        Self {
            lines: vec![Line([0.0; 16]); len.div_ceil(16)],
            len,
        }
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        // SAFETY: a `Line` is 16 numbers without padding, and there are at least `len` numbers.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast::<f32>(), self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: as in `as_slice`; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast::<f32>(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_buffers_are_distinct_aligned_and_used_again() {
        let first = with_scratch(100, |a| {
            a.fill(1.0);
            with_scratch(30, |b| {
                b.fill(2.0);
                assert_eq!(b.as_ptr().addr() % 64, 0);
            });
            assert!(a.iter().all(|&x| x == 1.0));
            a.as_ptr().addr()
        });
        assert_eq!(
            with_scratch(90, |a| a.as_ptr().addr()),
            first,
            "the larger buffer fits and is used again"
        );
        assert_eq!(with_scratch(0, |a| a.len()), 0);
        free_scratch();
        FREE.with_borrow(|free| assert!(free.is_empty()));
    }
}
