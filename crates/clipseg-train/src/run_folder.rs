//! The folder of a run, and that only one process trains in it.

use crate::error::{Result, TrainError};
use crate::files::{remove_leftovers, write_durably};
use crate::settings::Settings;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

/// The folder of a run, locked while this lives.
///
/// | Name | Content |
/// |---|---|
/// | `config.toml` | the configuration, every field written out |
/// | `metrics.jsonl` | a line for each step and each validation |
/// | `checkpoints/last.safetensors`, `checkpoints/best.safetensors` | what going on needs |
/// | `curves.png` | losses and scores |
/// | `examples.png`, `examples/` | masks of some phrases at each validation |
/// | `model/` | the best decoder in the layout that `clipseg segment` reads |
/// | `report.md` | the final table and the settings |
#[derive(Debug)]
pub struct RunFolder {
    root: PathBuf,
    /// Unlocked by the system when the process ends, however it ends.
    _lock: File,
}

impl RunFolder {
    /// Opens the folder of a run, makes it if there is none, and writes the configuration into it.
    ///
    /// With `resume` a run that is there goes on, if it has this configuration; a folder without a
    /// run is taken too, because a run that is killed at once leaves none.
    ///
    /// # Errors
    ///
    /// If the folder cannot be made or written, another process trains in it, or it holds a run
    /// already: one with another configuration, or any without `resume`.
    pub fn open<C: Settings>(root: &Path, config: &C, resume: bool) -> Result<Self> {
        std::fs::create_dir_all(root).map_err(TrainError::io("make", root))?;
        let lock_path = root.join(".lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(TrainError::io("write", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(TrainError::run(root, "another process is training here"));
            }
            Err(TryLockError::Error(error)) => {
                return Err(TrainError::io("lock", &lock_path)(error));
            }
        }
        let folder = Self {
            root: root.to_owned(),
            _lock: lock,
        };
        match Self::config_of::<C>(root)? {
            Some(_) if !resume => {
                let message = "holds a run already; go on with it by --resume, or choose another \
                               folder by --out";
                return Err(TrainError::run(root, message));
            }
            Some(saved) => {
                if let Some((field, saved, given)) = saved.first_difference(config) {
                    let message = format!(
                        "cannot go on with other settings: field `{field}` is {saved} in the run \
                         and {given} now"
                    );
                    return Err(TrainError::run(&root.join("config.toml"), message));
                }
            }
            None => {}
        }
        for path in [folder.checkpoints(), folder.examples()] {
            std::fs::create_dir_all(&path).map_err(TrainError::io("make", &path))?;
            remove_leftovers(&path)?;
        }
        for path in [root.to_owned(), folder.model()] {
            if path.is_dir() {
                remove_leftovers(&path)?;
            }
        }
        let path = root.join("config.toml");
        if !path.is_file() {
            write_durably(&path, config.to_toml()?.as_bytes())?;
        }
        Ok(folder)
    }

    /// The configuration of the run in a folder, if there is one.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn config_of<C: Settings>(root: &Path) -> Result<Option<C>> {
        let path = root.join("config.toml");
        path.is_file().then(|| C::from_file(&path)).transpose()
    }

    /// The first of `root`, `root-2`, `root-3`, … that holds no run.
    pub fn unused(root: &Path) -> PathBuf {
        let numbered = (2..).map(|number| {
            let mut name = root.as_os_str().to_owned();
            name.push(format!("-{number}"));
            PathBuf::from(name)
        });
        std::iter::once(root.to_owned())
            .chain(numbered)
            .find(|path| !path.join("config.toml").exists())
            .unwrap_or_else(|| root.to_owned())
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// The checkpoint that a run goes on from.
    pub fn last_checkpoint(&self) -> PathBuf {
        self.checkpoints().join("last.safetensors")
    }

    /// The checkpoint with the best validation.
    pub fn best_checkpoint(&self) -> PathBuf {
        self.checkpoints().join("best.safetensors")
    }

    /// The metrics file, which [`read_metrics`](crate::read_metrics) reads.
    pub fn metrics(&self) -> PathBuf {
        self.root.join("metrics.jsonl")
    }

    /// Losses and scores as a picture.
    pub fn curves(&self) -> PathBuf {
        self.root.join("curves.png")
    }

    /// Masks of some phrases at each validation, in one picture.
    pub fn example_sheet(&self) -> PathBuf {
        self.root.join("examples.png")
    }

    pub(crate) fn examples(&self) -> PathBuf {
        self.root.join("examples")
    }

    /// The model, in the layout that `clipseg segment --model` reads.
    pub fn model(&self) -> PathBuf {
        self.root.join("model")
    }

    /// The final table and the settings.
    pub fn report(&self) -> PathBuf {
        self.root.join("report.md")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TrainConfig;

    #[test]
    fn a_run_is_not_overwritten_and_goes_on_with_its_settings_only() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("new/run");
        let config = TrainConfig::default();
        let open = |config: &TrainConfig, resume| {
            RunFolder::open(&root, config, resume).map_err(|error| error.to_string())
        };
        let first = open(&config, true).unwrap();
        let locked = open(&config, true).unwrap_err();
        assert!(locked.ends_with("another process is training here"));
        drop(first);
        assert!(
            open(&config, false)
                .unwrap_err()
                .contains("holds a run already")
        );
        assert_eq!(RunFolder::unused(&root), folder.path().join("new/run-2"));
        std::fs::write(root.join("checkpoints/.writing-abc"), "half").unwrap();
        open(&config, true).unwrap();
        assert!(!root.join("checkpoints/.writing-abc").exists());
        let other = config.with_overrides(&["schedule.batch_size=7"]).unwrap();
        let message = open(&other, true).unwrap_err();
        assert!(
            message.ends_with("field `schedule.batch_size` is 16 in the run and 7 now"),
            "{message}"
        );
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "in the way").unwrap();
        let error = RunFolder::open(&file.join("run"), &TrainConfig::default(), false);
        let message = error.unwrap_err().to_string();
        assert!(message.starts_with("cannot make "), "{message}");
    }
}
