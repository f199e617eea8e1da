//! The errors of this crate.

use std::path::{Path, PathBuf};

/// Why a CLIP cannot be configured, loaded, saved or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClipError {
    /// A file or folder cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The failed operation: `read`, `write`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A folder has none of several files, one of which is required.
    #[error("{} contains none of {}", folder.display(), expected.join(", "))]
    NoFile {
        /// The folder that was searched.
        folder: PathBuf,
        /// The names of the files, one of which is required.
        expected: Vec<String>,
    },
    /// The content of a file does not have the expected format.
    #[error("{}: {message}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        message: String,
    },
    /// A field of a configuration is missing, or its value is not supported.
    #[error("{}: field `{field}`: {message}", path.display())]
    Config {
        /// The file; for a configuration in memory, the name that the caller gave.
        path: PathBuf,
        /// The field; dots separate the levels.
        field: String,
        /// What was found and what was expected.
        message: String,
    },
    /// The tensors of a checkpoint do not fit the model.
    #[error("{}: {problems}", path.display())]
    Weights {
        /// The file or folder.
        path: PathBuf,
        /// Every tensor that does not fit.
        problems: WeightProblems,
    },
    /// Saving would overwrite a file that this program did not write.
    #[error(
        "{} already exists and was not written by clipseg; choose another folder, or remove the file",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// An argument has a value that is not supported.
    #[error("{0}")]
    Input(String),
    /// The vision tower cannot compute in bf16 in this build, on this device or on this CPU. It can in
    /// single precision.
    #[error("the vision tower cannot compute in bf16: {0}")]
    Bf16(String),
    /// No checkpoint could be found or downloaded under the given name.
    #[error("checkpoint `{id}`: {message}")]
    Hub {
        /// The folder or the id on the hub, as given.
        id: String,
        /// What failed, and what to do instead.
        message: String,
    },
    /// An error of `clipseg-data`, such as a picture that cannot be read.
    #[error(transparent)]
    Data(#[from] clipseg_data::DataError),
}

/// The tensors of a checkpoint that are missing, unexpected or of another shape than the model's.
///
/// The lists are complete. The message shows the length of each list and its first six names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WeightProblems {
    /// Tensors that the model has and the checkpoint lacks.
    pub missing: Vec<String>,
    /// Tensors that the checkpoint has and the model lacks.
    pub unexpected: Vec<String>,
    /// Tensors with another shape or data type than the model's, each with the found and the expected one.
    pub mismatched: Vec<String>,
}

impl WeightProblems {
    /// Whether every tensor fits.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.mismatched.is_empty()
    }
}

impl std::fmt::Display for WeightProblems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lists = [
            ("missing", &self.missing),
            ("unexpected", &self.unexpected),
            ("of another shape or data type", &self.mismatched),
        ];
        write!(f, "the tensors do not fit the model")?;
        for (what, names) in lists.into_iter().filter(|(_, names)| !names.is_empty()) {
            write!(f, "; {} {what}: {}", names.len(), shorten(names))?;
        }
        Ok(())
    }
}

/// The first six names of a list, and the number of the others.
pub(crate) fn shorten(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

impl ClipError {
    /// Converts an error of the operating system; for `map_err`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// A checkpoint that cannot be found or downloaded.
    pub(crate) fn hub(id: &str, message: impl Into<String>) -> Self {
        Self::Hub {
            id: id.to_owned(),
            message: message.into(),
        }
    }

    /// A file whose content does not have the expected format.
    pub fn format(path: &Path, message: impl ToString) -> Self {
        Self::Format {
            path: path.to_owned(),
            message: message.to_string(),
        }
    }
}

/// The result of a function of this crate.
pub type Result<T, E = ClipError> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_shortened() {
        let names = |count: usize| (0..count).map(|i| format!("n{i}")).collect::<Vec<_>>();
        assert_eq!(shorten(&names(0)), "");
        assert_eq!(shorten(&names(6)), "n0, n1, n2, n3, n4, n5");
        let problems = WeightProblems {
            missing: names(200),
            unexpected: names(7),
            mismatched: Vec::new(),
        };
        assert_eq!(
            problems.to_string(),
            "the tensors do not fit the model; 200 missing: n0, n1, n2, n3, n4, n5 and 194 more; \
             7 unexpected: n0, n1, n2, n3, n4, n5 and 1 more"
        );
    }
}
