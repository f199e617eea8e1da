//! What can go wrong between a checkpoint on disk and its tensors.

use std::path::{Path, PathBuf};

/// Why a CLIP could not be configured, loaded, saved or fed.
///
/// Variants follow whose fault it is: the file system ([`Io`](Self::Io)), a file's content
/// ([`Format`](Self::Format), [`Config`](Self::Config), [`Weights`](Self::Weights)), the caller
/// ([`Input`](Self::Input), [`Foreign`](Self::Foreign)), or the network ([`Hub`](Self::Hub)).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClipError {
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: `read`, `write`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system answered.
        source: std::io::Error,
    },
    /// None of the files that would do is there.
    #[error("{} holds none of {}", folder.display(), expected.join(", "))]
    NoFile {
        /// The folder that was searched.
        folder: PathBuf,
        /// The names any one of which would have done.
        expected: Vec<String>,
    },
    /// A file is not of the format that its name promises.
    #[error("{}: {message}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        message: String,
    },
    /// A field of a configuration is missing or has a value that is not supported.
    #[error("{}: field `{field}`: {message}", path.display())]
    Config {
        /// The file, or `config` for a configuration made in memory.
        path: PathBuf,
        /// The field, with dots between the levels.
        field: String,
        /// What was found and what was expected.
        message: String,
    },
    /// Tensors of a checkpoint do not fit the model.
    #[error("{}: {problems}", path.display())]
    Weights {
        /// The file or folder.
        path: PathBuf,
        /// Every tensor that does not fit.
        problems: WeightProblems,
    },
    /// A file that another program wrote is where one should be written.
    #[error(
        "{} is there already and was not written by clipseg; choose another folder, or remove it",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// An argument has a value that the model cannot take.
    #[error("{0}")]
    Input(String),
    /// A checkpoint is not to be had by the name it was asked for.
    #[error("checkpoint `{id}`: {message}")]
    Hub {
        /// The folder or the hub's id, as given.
        id: String,
        /// What was looked for, what was answered, and what to do instead.
        message: String,
    },
    /// A picture could not be read.
    #[error(transparent)]
    Data(#[from] clipseg_data::DataError),
}

/// Every tensor that is missing, unexpected or misshapen in a checkpoint.
///
/// The lists are whole; the message shows the first few of each and their number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WeightProblems {
    /// Tensors that the model has and the checkpoint lacks.
    pub missing: Vec<String>,
    /// Tensors that the checkpoint has and the model lacks.
    pub unexpected: Vec<String>,
    /// Tensors whose shape or kind differs, with what was found and expected.
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
            ("of another shape or kind", &self.mismatched),
        ];
        write!(f, "the tensors do not fit the model")?;
        for (what, names) in lists.into_iter().filter(|(_, names)| !names.is_empty()) {
            write!(f, "; {} {what}: {}", names.len(), shorten(names))?;
        }
        Ok(())
    }
}

/// The first few of a list of names, and how many more there are.
pub(crate) fn shorten(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

impl ClipError {
    /// For `map_err` on an operation on `path`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// A checkpoint that could not be had.
    pub(crate) fn hub(id: &str, message: impl Into<String>) -> Self {
        Self::Hub {
            id: id.to_owned(),
            message: message.into(),
        }
    }

    /// A file whose content is not what it should be.
    pub fn format(path: &Path, message: impl ToString) -> Self {
        Self::Format {
            path: path.to_owned(),
            message: message.to_string(),
        }
    }
}

/// The result of this crate's functions.
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
