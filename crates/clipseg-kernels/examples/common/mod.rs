//! Clocks and numbers that the examples share.

#![allow(dead_code, reason = "no example uses all of them")]

use std::time::Instant;

/// The CPU time that all threads of this program have used, in milliseconds.
///
/// Unlike the time of day it does not grow while another program has the CPU.
pub(crate) fn cpu_ms() -> f64 {
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut [i64; 2]) -> i32;
    }
    const CLOCK_PROCESS_CPUTIME_ID: i32 = 2;
    let mut time = [0_i64; 2];
    // SAFETY: on 64-bit Linux, `timespec` is two 64-bit integers, which `time` has room for.
    let status = unsafe { clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(status, 0, "clock_gettime failed");
    time[0] as f64 * 1e3 + time[1] as f64 * 1e-6
}

/// Least and median time of each piece of work in milliseconds, the pieces run in turn.
pub(crate) fn interleaved(repeats: usize, work: &mut [&mut dyn FnMut()]) -> Vec<(f64, f64)> {
    let on_cpu = rayon::current_num_threads() == 1;
    let mut times = vec![Vec::new(); work.len()];
    for round in 0..=repeats {
        for (work, times) in work.iter_mut().zip(&mut times) {
            let (start, cpu) = (Instant::now(), cpu_ms());
            work();
            let elapsed = if on_cpu {
                cpu_ms() - cpu
            } else {
                start.elapsed().as_secs_f64() * 1e3
            };
            if round > 0 {
                times.push(elapsed);
            }
        }
    }
    times
        .into_iter()
        .map(|mut times| {
            times.sort_by(f64::total_cmp);
            (times[0], times[times.len() / 2])
        })
        .collect()
}

/// Repeatable numbers between -0.5 and 0.5.
pub(crate) fn numbers(count: usize) -> Vec<f32> {
    let mut state = 1_u32;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        })
        .collect()
}
