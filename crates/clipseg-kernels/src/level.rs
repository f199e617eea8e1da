//! Which instruction set the kernels use.
//!
//! The level is chosen at run time: the best one that the CPU has, unless the caller asks for
//! another. Every public operation of this crate reads [`Level::active`] once on the calling thread
//! and passes it on, so that a forced level also holds on the threads that help.

use std::cell::Cell;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set for which this crate has kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Level {
    /// Plain Rust, four numbers at a time. It runs on every CPU.
    Plain,
    /// AVX2 with fused multiply-add, eight numbers at a time (x86-64 only).
    Avx2,
    /// AVX-512 (F, BW, DQ, VL), sixteen numbers at a time (x86-64 only).
    Avx512,
}

/// The CPU lacks the instruction set that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsupportedLevel(pub Level);

impl fmt::Display for UnsupportedLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "this CPU does not have {}; the best level it has is {}",
            self.0,
            Level::best()
        )
    }
}

impl std::error::Error for UnsupportedLevel {}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        })
    }
}

/// No level is forced.
const UNSET: u8 = u8::MAX;

/// The level forced for the whole process.
static PROCESS: AtomicU8 = AtomicU8::new(UNSET);

thread_local! {
    /// The level forced by [`Level::scope`] on this thread.
    static THREAD: Cell<Option<Level>> = const { Cell::new(None) };
}

/// No level has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownLevel(pub String);

impl fmt::Display for UnknownLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Level::ALL.map(|level| level.to_string()).join(", ");
        write!(f, "unknown level `{}`; expected one of {known}", self.0)
    }
}

impl std::error::Error for UnknownLevel {}

impl FromStr for Level {
    type Err = UnknownLevel;

    /// The level of the given name: `plain`, `avx2` or `avx512`.
    fn from_str(name: &str) -> Result<Self, UnknownLevel> {
        let mut all = Self::ALL.into_iter();
        all.find(|level| level.to_string() == name)
            .ok_or_else(|| UnknownLevel(name.to_owned()))
    }
}

impl Level {
    /// All levels, the lowest first.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Avx2, Self::Avx512];

    /// The best level of this CPU.
    #[must_use]
    pub fn best() -> Self {
        Self::ALL
            .into_iter()
            .rev()
            .find(|level| level.is_supported())
            .unwrap_or(Self::Plain)
    }

    /// Whether this CPU has the level's instructions.
    #[must_use]
    pub fn is_supported(self) -> bool {
        match self {
            Self::Plain => true,
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Self::Avx2 => {
                std::arch::is_x86_feature_detected!("avx2")
                    && std::arch::is_x86_feature_detected!("fma")
            }
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Self::Avx512 => {
                std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512bw")
                    && std::arch::is_x86_feature_detected!("avx512dq")
                    && std::arch::is_x86_feature_detected!("avx512vl")
                    && Self::Avx2.is_supported()
            }
            #[cfg(not(all(target_arch = "x86_64", not(miri))))]
            _ => false,
        }
    }

    /// The level that operations called on this thread use: the one of the innermost
    /// [`Level::scope`], else the one of [`Level::force`], else [`Level::best`].
    #[must_use]
    pub fn active() -> Self {
        if let Some(level) = THREAD.get() {
            return level;
        }
        match PROCESS.load(Ordering::Relaxed) {
            0 => Self::Plain,
            1 => Self::Avx2,
            2 => Self::Avx512,
            _ => Self::best(),
        }
    }

    /// Makes the whole process use `level`, or again the best one for `None`.
    ///
    /// Weights that were packed before keep the level for which they were packed.
    ///
    /// # Errors
    ///
    /// If the CPU does not have the level.
    pub fn force(level: Option<Self>) -> Result<(), UnsupportedLevel> {
        let stored = match level {
            None => UNSET,
            Some(level) => level.supported()? as u8,
        };
        PROCESS.store(stored, Ordering::Relaxed);
        Ok(())
    }

    /// Runs `work` with `level` as this thread's level.
    ///
    /// # Errors
    ///
    /// If the CPU does not have the level; `work` is not run then.
    pub fn scope<R>(level: Self, work: impl FnOnce() -> R) -> Result<R, UnsupportedLevel> {
        /// Restores the level that was active before, also after a panic.
        struct Restore(Option<Level>);
        impl Drop for Restore {
            fn drop(&mut self) {
                THREAD.set(self.0);
            }
        }
        let _restore = Restore(THREAD.replace(Some(level.supported()?)));
        Ok(work())
    }

    /// The level itself if the CPU has it.
    fn supported(self) -> Result<Self, UnsupportedLevel> {
        if self.is_supported() {
            Ok(self)
        } else {
            Err(UnsupportedLevel(self))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_holds_inside_and_ends_with_it() {
        let before = Level::active();
        Level::scope(Level::Plain, || assert_eq!(Level::active(), Level::Plain)).unwrap();
        assert_eq!(Level::active(), before);
    }

    #[test]
    fn a_scope_ends_after_a_panic() {
        let before = Level::active();
        let panicked = std::panic::catch_unwind(|| Level::scope(Level::Plain, || panic!("inside")));
        assert!(panicked.is_err());
        assert_eq!(Level::active(), before);
    }

    #[test]
    fn names_are_read_back_and_others_refused() {
        for level in Level::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        let error = "sse".parse::<Level>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown level `sse`; expected one of plain, avx2, avx512"
        );
    }

    #[test]
    fn the_message_of_a_missing_level_names_it() {
        let message = UnsupportedLevel(Level::Avx512).to_string();
        assert!(
            message.starts_with("this CPU does not have avx512; the best level it has is "),
            "{message}"
        );
    }
}
