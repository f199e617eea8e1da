//! An allocator for programs that compute with large tensors.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicBool, Ordering};

use libmimalloc_sys::{mi_option_set, mi_option_t};
use mimalloc::MiMalloc;

/// `mi_option_purge_delay` of `mimalloc.h`, which the bindings leave out.
const PURGE_DELAY: mi_option_t = 15;

/// Never.
///
/// By default mimalloc returns freed memory to the kernel after 10 ms, and glibc returns large blocks at
/// once. A step of training frees and allocates the same blocks, and would fault in all their pages again.
const NEVER: std::ffi::c_long = -1;

/// mimalloc, set to keep freed memory for the next allocations until the process ends.
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: clipseg_kernels::Allocator = clipseg_kernels::Allocator;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Allocator;

impl Allocator {
    /// Sets mimalloc up before its first allocation.
    fn ready(self) -> MiMalloc {
        static READY: AtomicBool = AtomicBool::new(false);
        if !READY.load(Ordering::Relaxed) {
            READY.store(true, Ordering::Relaxed);
            // SAFETY: an option may be set at any time, and allocates nothing.
            unsafe { mi_option_set(PURGE_DELAY, NEVER) };
        }
        MiMalloc
    }
}

// SAFETY: every call is one of mimalloc's, under the same contract.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract.
        unsafe { self.ready().alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract.
        unsafe { self.ready().alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract, and the block is mimalloc's.
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the contract, and the block is mimalloc's.
        unsafe { MiMalloc.realloc(pointer, layout, size) }
    }
}
