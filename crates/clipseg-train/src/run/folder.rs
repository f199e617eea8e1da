//! The folder of a run, in which only one process trains at a time.

use crate::config::settings::Settings;
use crate::error::{Result, TrainError};
use clipseg_data::files::Staging;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The folder of a run. It is locked until this value is dropped.
///
/// | Name | Content |
/// |---|---|
/// | `config.toml` | the configuration with all fields |
/// | `metrics.jsonl` | a line for each step and each validation |
/// | `checkpoints/last.safetensors` | the state from which the run resumes |
/// | `checkpoints/best.safetensors` | the state with the best validation |
/// | `curves.png` | losses and scores (feature `plots`) |
/// | `examples.png`, `examples/` | masks of some phrases at each validation (feature `plots`) |
/// | `model/` | the best model, which `clipseg segment` reads; of pre-training the last CLIP |
/// | `report.md` | the final table and the configuration |
/// | `.clipseg-run` | a marker that these files belong to a run |
///
/// Other files in the folder are left alone. A folder is refused if something that no run has written has
/// one of these names.
#[derive(Debug)]
pub struct RunFolder {
    root: PathBuf,
    staging: Staging,
    /// Whether the configuration was written when the folder was opened.
    new: bool,
    /// The operating system releases the lock when the process ends for any reason.
    _lock: File,
}

/// Whether a run is new or continues the one in its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// A new run; a folder that holds a run is refused.
    New,
    /// Continues the run in the folder, or starts it if the folder holds none.
    Resume,
}

/// The name of the file that marks the folder of a run, and that is locked.
const MARKER: &str = ".clipseg-run";
/// The beginning of its content, before the unique name of the run.
const MARKER_TEXT: &str = "clipseg training run 1 ";

/// The names of the files and folders that a run writes.
const NAMES: [&str; 8] = [
    "config.toml",
    "metrics.jsonl",
    "checkpoints",
    "curves.png",
    "examples.png",
    "examples",
    "model",
    "report.md",
];

impl RunFolder {
    /// Opens the folder of a run, creates it if it does not exist, and writes the configuration into it.
    ///
    /// [`Start::Resume`] continues the run in the folder if it has this configuration. A folder without
    /// a run is accepted too, because a run that is killed at once leaves none.
    ///
    /// # Errors
    ///
    /// If the folder cannot be created or written, another process trains in it, something that no run has
    /// written has the name of one of its files, or it contains a run that cannot be resumed: one with
    /// another configuration, or any run with [`Start::New`].
    pub fn open<C: Settings>(root: &Path, config: &C, start: Start) -> Result<Self> {
        let folder = Self::open_with(root, config, start, &NAMES)?;
        for path in [folder.checkpoints(), folder.examples()] {
            std::fs::create_dir_all(&path).map_err(TrainError::io("make", &path))?;
            folder.remove_leftovers(&path)?;
        }
        Ok(folder)
    }

    /// Like [`open`](Self::open), for a folder in which files and folders of these names are written.
    pub(crate) fn open_with<C: Settings>(
        root: &Path,
        config: &C,
        start: Start,
        names: &[&'static str],
    ) -> Result<Self> {
        std::fs::create_dir_all(root).map_err(TrainError::io("make", root))?;
        let mut lock = lock(root)?;
        let owner = match owner(&mut lock, root)? {
            Some(owner) => owner,
            None => mark(lock.try_clone(), root, names)?,
        };
        let folder = Self {
            root: root.to_owned(),
            staging: Staging::new(&owner),
            new: !root.join("config.toml").is_file(),
            _lock: lock,
        };
        match Self::config_of::<C>(root)? {
            Some(_) if start == Start::New => {
                let message = "contains a run already; resume it by --resume, or choose another folder \
                               by --out";
                return Err(TrainError::run(root, message));
            }
            Some(saved) => {
                if let Some((field, saved, given)) = saved.first_difference(config) {
                    let mut message = format!(
                        "cannot resume with other settings: field `{field}` is {saved} in the run \
                         and {given} now"
                    );
                    message += &config.way_on(&field, &folder.model());
                    return Err(TrainError::run(&root.join("config.toml"), message));
                }
            }
            None => {
                if let Some(name) = taken(root, names) {
                    let message =
                        format!("contains `{name}` of a run whose `config.toml` is missing");
                    return Err(TrainError::run(root, message));
                }
                let path = root.join("config.toml");
                folder.write(&path, config.to_toml()?.as_bytes())?;
            }
        }
        folder.remove_leftovers(root)?;
        Ok(folder)
    }

    /// Reads the configuration of the run in a folder; `None` if it contains no run.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn config_of<C: Settings>(root: &Path) -> Result<Option<C>> {
        let path = root.join("config.toml");
        path.is_file().then(|| C::from_file(&path)).transpose()
    }

    /// Returns the first of `root`, `root-2`, `root-3`, … that contains neither a run nor anything with the
    /// name of one of a run's files.
    pub fn unused(root: &Path) -> PathBuf {
        let numbered = (2..).map(|number| {
            let mut name = root.as_os_str().to_owned();
            name.push(format!("-{number}"));
            PathBuf::from(name)
        });
        std::iter::once(root.to_owned())
            .chain(numbered)
            .find(|path| taken(path, &NAMES).is_none())
            .unwrap_or_else(|| root.to_owned())
    }

    /// The path of the folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Removes what [`open`](Self::open) has created, for a run that could not start. Errors are ignored.
    pub(crate) fn abandon(self) {
        if self.new {
            for name in ["config.toml", MARKER] {
                let _ = std::fs::remove_file(self.root.join(name));
            }
            // This removes empty folders only.
            for folder in [&self.checkpoints(), &self.examples(), &self.root] {
                let _ = std::fs::remove_dir(folder);
            }
        }
    }

    /// How files are written into it.
    pub(crate) fn staging(&self) -> &Staging {
        &self.staging
    }

    /// Writes a file atomically and waits until it is on the disk.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let written = self.staging.write_durably(path, bytes);
        written.map_err(TrainError::io("write", path))
    }

    /// Lets `fill` write files into a temporary folder, and moves them to `folder` when that has
    /// succeeded. Other files in `folder` stay.
    pub(crate) fn write_folder(
        &self,
        folder: &Path,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(TrainError::io("make", folder))?;
        let staged = self.staging.folder(folder);
        let staged = staged.map_err(TrainError::io("write", folder))?;
        fill(staged.path())?;
        let moved = staged.move_files_into(folder);
        moved.map_err(TrainError::io("write", folder))
    }

    pub(crate) fn remove_leftovers(&self, folder: &Path) -> Result<()> {
        let removed = self.staging.remove_leftovers(folder);
        removed.map_err(TrainError::io("remove what was left in", folder))
    }

    fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// The checkpoint from which a run resumes.
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

    /// The picture of losses and scores.
    pub fn curves(&self) -> PathBuf {
        self.root.join("curves.png")
    }

    /// The picture with masks of some phrases at each validation.
    pub fn example_sheet(&self) -> PathBuf {
        self.root.join("examples.png")
    }

    pub(crate) fn examples(&self) -> PathBuf {
        self.root.join("examples")
    }

    /// The folder of the model, which `clipseg segment --model` reads.
    pub fn model(&self) -> PathBuf {
        self.root.join("model")
    }

    /// The report with the final table and the configuration.
    pub fn report(&self) -> PathBuf {
        self.root.join("report.md")
    }
}

/// Opens the marker, creates it if it does not exist, and locks it.
fn lock(root: &Path) -> Result<File> {
    let path = root.join(MARKER);
    if std::fs::symlink_metadata(&path).is_ok_and(|data| !data.is_file()) {
        return Err(not_a_run(root, MARKER));
    }
    let lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(TrainError::io("write", &path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            Err(TrainError::run(root, "another process is training here"))
        }
        Err(TryLockError::Error(error)) => Err(TrainError::io("lock", &path)(error)),
    }
}

/// Reads the name of the run in a marker; `None` if the marker is new.
fn owner(marker: &mut File, root: &Path) -> Result<Option<String>> {
    let mut text = String::new();
    let path = root.join(MARKER);
    marker
        .take(200)
        .read_to_string(&mut text)
        .map_err(TrainError::io("read", &path))?;
    if text.is_empty() {
        return Ok(None);
    }
    let owner = text
        .strip_prefix(MARKER_TEXT)
        .and_then(|rest| rest.strip_suffix('\n'))
        .filter(|owner| owner.len() == 16 && owner.bytes().all(|b| b.is_ascii_hexdigit()));
    match owner {
        Some(owner) => Ok(Some(owner.to_owned())),
        None => Err(not_a_run(root, MARKER)),
    }
}

/// Writes the marker of a new run, unless something has the name of one of the run's files.
fn mark(marker: std::io::Result<File>, root: &Path, names: &[&'static str]) -> Result<String> {
    let path = root.join(MARKER);
    if let Some(name) = taken(root, names) {
        // The marker is still empty.
        std::fs::remove_file(&path).map_err(TrainError::io("remove", &path))?;
        return Err(not_a_run(root, name));
    }
    let fail = |error| TrainError::io("write", &path)(error);
    let mut marker = marker.map_err(fail)?;
    let owner = format!("{:016x}", rand::random::<u64>());
    marker.seek(SeekFrom::Start(0)).map_err(fail)?;
    marker
        .write_all(format!("{MARKER_TEXT}{owner}\n").as_bytes())
        .and_then(|()| marker.sync_all())
        .map_err(fail)?;
    Ok(owner)
}

/// The first name of a run's files that exists in a folder.
fn taken(root: &Path, names: &[&'static str]) -> Option<&'static str> {
    let there = |name: &&str| std::fs::symlink_metadata(root.join(name)).is_ok();
    names.iter().copied().find(there)
}

fn not_a_run(root: &Path, name: &str) -> TrainError {
    let message = format!(
        "contains `{name}`, which no run has written and which a run would overwrite; choose another \
         folder by --out"
    );
    TrainError::run(root, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::train_config::TrainConfig;

    fn open(root: &Path, config: &TrainConfig, start: Start) -> Result<RunFolder, String> {
        RunFolder::open(root, config, start).map_err(|error| error.to_string())
    }

    #[test]
    fn a_run_is_not_overwritten_and_resumes_with_its_settings_only() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("new/run");
        let config = TrainConfig::default();
        let open_at = |root: &Path, config: &TrainConfig| open(root, config, Start::New).unwrap();
        let open = |config: &TrainConfig, start| open(&root, config, start);
        let first = open(&config, Start::Resume).unwrap();
        let locked = open(&config, Start::Resume).unwrap_err();
        assert!(locked.ends_with("another process is training here"));
        let half = tempfile::Builder::new()
            .prefix(&format!("{}x", first.staging().prefix()))
            .tempfile_in(root.join("checkpoints"))
            .unwrap();
        let (_, half) = half.keep().unwrap();
        drop(first);
        assert!(
            open(&config, Start::New)
                .unwrap_err()
                .contains("contains a run already")
        );
        assert_eq!(RunFolder::unused(&root), folder.path().join("new/run-2"));
        let own = root.join("checkpoints/.writing-abc");
        std::fs::write(&own, "half").unwrap();
        open(&config, Start::Resume).unwrap();
        assert!(!half.exists() && own.exists());
        let other = config
            .clone()
            .with_overrides(&["schedule.batch_size=7"])
            .unwrap();
        let message = open(&other, Start::Resume).unwrap_err();
        assert!(
            message.ends_with("field `schedule.batch_size` is 16 in the run and 7 now"),
            "{message}"
        );
        let other = open_at(&folder.path().join("failed"), &config);
        other.abandon();
        assert!(!folder.path().join("failed").exists());
        RunFolder::open(&root, &config, Start::Resume)
            .unwrap()
            .abandon();
        assert!(
            root.join("config.toml").exists(),
            "that of a run that had begun stays"
        );
        let longer = config.with_overrides(&["schedule.steps=600"]).unwrap();
        let message = open(&longer, Start::Resume).unwrap_err();
        let way = format!(
            "`--clip {} --set decoder.pretrained=true` with another --out",
            root.join("model").display()
        );
        assert!(message.ends_with(&way), "{message}");
    }

    #[test]
    fn a_folder_with_something_else_is_only_added_to_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let config = TrainConfig::default();
        let entries = |root: &Path| std::fs::read_dir(root).unwrap().count();
        for name in NAMES {
            for is_folder in [false, true] {
                let root = folder.path().join(format!("{name}-{is_folder}"));
                let foreign = root.join(name);
                let file = if is_folder {
                    foreign.join("mine")
                } else {
                    foreign
                };
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(&file, "mine").unwrap();
                for start in [Start::New, Start::Resume] {
                    let message = open(&root, &config, start).unwrap_err();
                    assert!(message.contains(&format!("contains `{name}`")), "{message}");
                }
                assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
                assert_eq!(entries(&root), 1);
                assert_ne!(RunFolder::unused(&root), root);
            }
        }
        let root = folder.path().join("notes");
        std::fs::create_dir_all(root.join(".writing-folder")).unwrap();
        for name in ["notes.txt", ".lock", ".writing-abc123", ".writing-folder/a"] {
            std::fs::write(root.join(name), "mine").unwrap();
        }
        open(&root, &config, Start::New).unwrap();
        open(&root, &config, Start::Resume).unwrap();
        for name in ["notes.txt", ".lock", ".writing-abc123", ".writing-folder/a"] {
            assert_eq!(std::fs::read_to_string(root.join(name)).unwrap(), "mine");
        }

        let root = folder.path().join("marked");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join(MARKER), "something else\n").unwrap();
        let message = open(&root, &config, Start::Resume).unwrap_err();
        assert!(message.contains("contains `.clipseg-run`"), "{message}");
        // A run without its configuration is not treated as a new one.
        let root = folder.path().join("bare");
        open(&root, &config, Start::New).unwrap();
        std::fs::remove_file(root.join("config.toml")).unwrap();
        for start in [Start::New, Start::Resume] {
            let message = open(&root, &config, start).unwrap_err();
            assert!(
                message.ends_with("of a run whose `config.toml` is missing"),
                "{message}"
            );
        }
        let root = folder.path().join("marked");
        // A process that was killed before it could write the marker.
        std::fs::write(root.join(MARKER), "").unwrap();
        open(&root, &config, Start::New).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_created_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "in the way").unwrap();
        let error = RunFolder::open(&file.join("run"), &TrainConfig::default(), Start::New);
        let message = error.unwrap_err().to_string();
        assert!(message.starts_with("cannot make "), "{message}");
    }
}
