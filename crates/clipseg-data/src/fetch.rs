//! Pictures downloaded from the addresses that the picture list records.
//!
//! The list of pictures is all that has to be there. What lies in `images` already and is whole is
//! kept, so a download that was ended goes on where it was. A picture is some 100 kB: it is held in
//! memory until all of it has come and decodes, then written aside and renamed; one that breaks off
//! is begun again.

use crate::check::examine_picture;
use crate::error::{DataError, Result};
use crate::phrasecut::image_path;
use crate::problems::{Problem, ProblemKind};
use crate::records::ImageRecord;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

#[cfg(test)]
mod tests;
mod transfer;

use transfer::{Fault, Pace, Transfer};

/// After so many pictures in a row that did not come although they may be there, no more are asked
/// for: the network is down, or the server does not want to be asked.
const MOST_IN_VAIN: usize = 20;

/// Downloads pictures into the `images` of a folder in the layout of `VGPhraseCut_v0`.
///
/// ```no_run
/// use clipseg_data::{Fetcher, Split, list_pictures};
///
/// let root = "VGPhraseCut_v0".as_ref();
/// let mut pictures = list_pictures(root)?;
/// pictures.retain(|picture| picture.split == Split::Val);
/// let report = Fetcher::new(root).fetch(&pictures, &|_| ())?;
/// println!("{} downloaded, {} failed", report.downloaded, report.failed.len());
/// # Ok::<(), clipseg_data::DataError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Fetcher {
    root: PathBuf,
    connections: usize,
    retries: u32,
    pause: Duration,
    longest_wait: Duration,
}

/// How far a [`Fetcher`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FetchProgress {
    /// Pictures that are there, came or failed.
    pub done: usize,
    /// All pictures that were asked for.
    pub all: usize,
    /// Bytes that came.
    pub bytes: usize,
}

/// A picture that did not come.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedPicture {
    /// The picture.
    pub image_id: u64,
    /// Where it should have come from.
    pub url: String,
    /// Why it did not.
    pub reason: String,
}

/// What a [`Fetcher`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FetchReport {
    /// Pictures that were there and whole.
    pub kept: usize,
    /// Pictures that came.
    pub downloaded: usize,
    /// Bytes that came.
    pub bytes: usize,
    /// Pictures that did not come, in the order in which they were asked for.
    pub failed: Vec<FailedPicture>,
    /// Pictures that were not asked for any more because too much had failed.
    pub untried: usize,
    /// Pictures that came or were there, but are of another size than the recorded one.
    pub other_size: Vec<Problem>,
}

/// What became of one picture.
enum Outcome {
    Kept(Option<Problem>),
    Downloaded(usize, Option<Problem>),
    Failed(String),
}

impl Fetcher {
    /// Into this folder, over 4 connections, with 4 retries.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            connections: 4,
            retries: 4,
            pause: Duration::from_secs(1),
            longest_wait: Duration::from_secs(120),
        }
    }

    /// How many pictures come at once; at least 1, and 4 unless set. Servers that are asked for more
    /// tend to refuse.
    #[must_use]
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// How often a picture is tried again when its transfer fails in a way that may pass; 4 unless
    /// set.
    #[must_use]
    pub fn with_retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// The pause before the first retry, 1 s unless set. It doubles with each further one. A server
    /// that says how long to wait (`Retry-After`) is obeyed instead, by all connections.
    #[must_use]
    pub fn with_pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// The longest that a server can make this wait, 2 minutes unless set. One that asks for more is
    /// not asked again.
    #[must_use]
    pub fn with_longest_wait(mut self, wait: Duration) -> Self {
        self.longest_wait = wait;
        self
    }

    /// Downloads the pictures that are not there whole.
    ///
    /// `progress` is called after each picture. A picture that does not come is part of the report; a
    /// file that is there is replaced only by one that decodes.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub fn fetch(
        &self,
        pictures: &[ImageRecord],
        progress: &(dyn Fn(FetchProgress) + Sync),
    ) -> Result<FetchReport> {
        let folder = self.root.join("images");
        std::fs::create_dir_all(&folder).map_err(DataError::io("make", &folder))?;
        let pace = Pace::default();
        let transfer = Transfer::new(self.retries, self.pause, self.longest_wait, &pace);
        let work = Work {
            root: &self.root,
            pictures,
            transfer: &transfer,
            next: AtomicUsize::new(0),
            in_vain: AtomicUsize::new(0),
            done: Mutex::default(),
            progress,
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.connections.min(pictures.len()))
                .map(|_| scope.spawn(|| work.run()))
                .collect();
            threads
                .into_iter()
                .try_for_each(|thread| match thread.join() {
                    Ok(result) => result,
                    Err(panic) => std::panic::resume_unwind(panic),
                })
        })?;
        Ok(work.report())
    }
}

/// What the connections share.
struct Work<'a> {
    root: &'a Path,
    pictures: &'a [ImageRecord],
    transfer: &'a Transfer<'a>,
    next: AtomicUsize,
    in_vain: AtomicUsize,
    done: Mutex<Done>,
    progress: &'a (dyn Fn(FetchProgress) + Sync),
}

#[derive(Default)]
struct Done {
    bytes: usize,
    outcomes: Vec<(usize, Outcome)>,
}

impl Work<'_> {
    fn run(&self) -> Result<()> {
        while self.in_vain.load(Ordering::Relaxed) < MOST_IN_VAIN {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(image) = self.pictures.get(index) else {
                break;
            };
            let outcome = self.picture(image).inspect_err(|_| {
                // A full disk is full for the other connections, too.
                self.in_vain.store(MOST_IN_VAIN, Ordering::Relaxed);
            })?;
            let progress = {
                let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
                if let Outcome::Downloaded(bytes, _) = outcome {
                    done.bytes += bytes;
                }
                done.outcomes.push((index, outcome));
                FetchProgress {
                    done: done.outcomes.len(),
                    all: self.pictures.len(),
                    bytes: done.bytes,
                }
            };
            (self.progress)(progress);
        }
        Ok(())
    }

    fn picture(&self, image: &ImageRecord) -> Result<Outcome> {
        let path = image_path(self.root, image.image_id);
        if let Ok(bytes) = std::fs::read(&path)
            && let Ok(problem) = judge(&bytes, &path, image)
        {
            return Ok(Outcome::Kept(problem));
        }
        let mut problem = None;
        let judged = |bytes: &[u8]| {
            problem = judge(bytes, &path, image)?;
            Ok(())
        };
        match self.transfer.get(&image.url, judged) {
            Ok(bytes) => {
                self.in_vain.store(0, Ordering::Relaxed);
                write_whole(&path, &bytes)?;
                Ok(Outcome::Downloaded(bytes.len(), problem))
            }
            Err(fault) => {
                match &fault {
                    // The server answers; it is the picture that is not to be had.
                    Fault::Final(_) => self.in_vain.store(0, Ordering::Relaxed),
                    Fault::Passing { .. } => {
                        self.in_vain.fetch_add(1, Ordering::Relaxed);
                    }
                    Fault::TooLongAWait(_) => {
                        self.in_vain.store(MOST_IN_VAIN, Ordering::Relaxed);
                    }
                }
                Ok(Outcome::Failed(fault.to_string()))
            }
        }
    }

    fn report(self) -> FetchReport {
        let done = self
            .done
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let mut outcomes = done.outcomes;
        outcomes.sort_unstable_by_key(|(index, _)| *index);
        let mut report = FetchReport {
            bytes: done.bytes,
            untried: self.pictures.len() - outcomes.len(),
            ..FetchReport::default()
        };
        for (index, outcome) in outcomes {
            match outcome {
                Outcome::Kept(problem) => {
                    report.kept += 1;
                    report.other_size.extend(problem);
                }
                Outcome::Downloaded(_, problem) => {
                    report.downloaded += 1;
                    report.other_size.extend(problem);
                }
                Outcome::Failed(reason) => report.failed.push(FailedPicture {
                    image_id: self.pictures[index].image_id,
                    url: self.pictures[index].url.clone(),
                    reason,
                }),
            }
        }
        report
    }
}

/// Whether the bytes are the picture, and what may be noted all the same.
fn judge(bytes: &[u8], path: &Path, image: &ImageRecord) -> Result<Option<Problem>, String> {
    match examine_picture(bytes, path, image) {
        Some(problem) if problem.kind != ProblemKind::OtherSize => Err(problem.detail),
        problem => Ok(problem),
    }
}

/// Writes a file beside its place and moves it there.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = || DataError::io("write", path);
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut aside = tempfile::Builder::new()
        .prefix(".writing-")
        .tempfile_in(folder)
        .map_err(failed())?;
    aside.write_all(bytes).map_err(failed())?;
    // Temporary files are readable by their owner only, unlike what a program normally writes.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let everybody = std::fs::Permissions::from_mode(0o644);
        aside
            .as_file()
            .set_permissions(everybody)
            .map_err(failed())?;
    }
    aside.persist(path).map_err(|error| failed()(error.error))?;
    Ok(())
}
