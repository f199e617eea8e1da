//! The peak memory of this process.

/// Begins to measure anew, where the operating system can (Linux). Elsewhere, and if it refuses, the peak is that
/// since the start of the process.
pub(crate) fn reset_peak_memory() {
    #[cfg(target_os = "linux")]
    {
        // `5` resets the peak resident set size (man 5 proc, /proc/pid/clear_refs).
        let _ = std::fs::write("/proc/self/clear_refs", "5");
    }
}

/// The largest resident set size of this process in bytes since the last reset; `None` where it is not known.
pub(crate) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    parse(&status)
}

fn parse(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_from_its_line() {
        let status = "VmPeak:\t  999 kB\nVmHWM:\t   2048 kB\nVmRSS:\t  100 kB\n";
        assert_eq!(parse(status), Some(2 << 20));
        assert_eq!(parse("VmRSS:\t  100 kB\n"), None);
        assert_eq!(parse("VmHWM: many\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn memory_in_use_is_part_of_the_peak() {
        reset_peak_memory();
        let block = vec![1u8; 64 << 20];
        let peak = peak_memory().unwrap();
        assert!(peak >= block.len() as u64, "{peak}");
    }
}
