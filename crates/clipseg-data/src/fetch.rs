//! Downloading the pictures of a data set from the URLs in its picture list.
//!
//! Only the picture list must exist. Existing complete files in `images` are kept, so that an
//! interrupted download can be resumed. Each picture (about 100 kB) is downloaded into memory, decoded
//! as a check, written to a temporary file and renamed. An interrupted transfer is restarted from the
//! beginning. A JPEG is complete if it contains all coded blocks, with or without an end marker.

use crate::error::{DataError, Result};
use crate::phrasecut::image_path;
use crate::problems::Problem;
use crate::records::ImageRecord;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

mod place;
mod queue;
#[cfg(test)]
mod tests;
mod transfer;

use place::There;
use queue::Queue;
use transfer::{Fault, Transfer};

/// Downloads pictures into the subfolder `images` of a data set in the layout of `VGPhraseCut_v0`.
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

/// Progress of a [`Fetcher`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FetchProgress {
    /// Number of pictures that were kept, downloaded or failed so far.
    pub done: usize,
    /// Total number of pictures.
    pub all: usize,
    /// Number of bytes downloaded.
    pub bytes: usize,
}

/// A picture that could not be downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedPicture {
    /// `image_id` of the picture.
    pub image_id: u64,
    /// URL of the picture.
    pub url: String,
    /// Reason of the failure.
    pub reason: String,
}

/// Result of a download.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FetchReport {
    /// Number of existing complete pictures, which were kept.
    pub kept: usize,
    /// Number of pictures downloaded.
    pub downloaded: usize,
    /// Number of bytes downloaded.
    pub bytes: usize,
    /// Pictures that could not be downloaded, in the order of the given list.
    pub failed: Vec<FailedPicture>,
    /// Why the download was stopped early: 20 pictures in a row failed, the server requested too long a
    /// wait, or the folder could not be written. `None` if all pictures were tried.
    pub stopped: Option<String>,
    /// Number of pictures that were not tried because the download was stopped.
    pub untried: usize,
    /// New paths of files that had the name of a picture but were not that picture. They were moved aside.
    pub set_aside: Vec<PathBuf>,
    /// Kept or downloaded pictures whose size differs from the recorded size.
    pub other_size: Vec<Problem>,
}

/// Result for one picture.
enum Outcome {
    Kept(Option<Problem>),
    Downloaded {
        bytes: usize,
        problem: Option<Problem>,
        set_aside: Option<PathBuf>,
    },
    Failed(String),
}

impl Fetcher {
    /// Creates a fetcher for a data set's folder, with 4 connections and 4 retries.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            connections: 4,
            retries: 4,
            pause: Duration::from_secs(1),
            longest_wait: Duration::from_secs(120),
        }
    }

    /// Sets the number of parallel connections, at least 1. Default: 4. Servers tend to refuse more.
    #[must_use]
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// Sets how often a picture is retried after a temporary failure. Default: 4.
    #[must_use]
    pub fn with_retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Sets the pause before the first retry. It doubles with each further retry. Default: 1 s. If the
    /// server sends `Retry-After`, all connections wait that long instead.
    #[must_use]
    pub fn with_pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Sets the longest `Retry-After` that is accepted. A longer one stops the download. Default:
    /// 2 minutes.
    #[must_use]
    pub fn with_longest_wait(mut self, wait: Duration) -> Self {
        self.longest_wait = wait;
        self
    }

    /// Downloads the pictures that do not exist yet or are incomplete.
    ///
    /// `progress` is called after each picture. Failed pictures are listed in the report.
    ///
    /// The download stops after 20 failures in a row, for whatever reasons. The last 5 of the 20 are taken
    /// from the end of the list, in case only its beginning is unavailable. The download also stops if the
    /// server requests too long a wait or the folder cannot be written. The report gives the reason of a
    /// stop, which lasts until the next call.
    ///
    /// No existing data is lost. A truncated file is replaced if the downloaded picture begins with the same
    /// bytes. Any other file with the name of a picture is moved aside, for example to `7.jpg.broken`, once
    /// the picture is downloaded. Something that cannot be read, such as a folder, is left as it is, and
    /// its picture fails.
    ///
    /// # Errors
    ///
    /// If the folder `images` cannot be created.
    pub fn fetch(
        &self,
        pictures: &[ImageRecord],
        progress: &(dyn Fn(FetchProgress) + Sync),
    ) -> Result<FetchReport> {
        let folder = self.root.join("images");
        std::fs::create_dir_all(&folder).map_err(DataError::io("make", &folder))?;
        let queue = Queue::new(pictures.len());
        let transfer = Transfer::new(self.retries, self.pause, self.longest_wait, &queue);
        let work = Work {
            root: &self.root,
            pictures,
            transfer: &transfer,
            queue: &queue,
            done: Mutex::default(),
            progress,
        };
        std::thread::scope(|scope| {
            for _ in 0..self.connections.min(pictures.len()) {
                scope.spawn(|| work.run());
            }
        });
        Ok(work.report())
    }
}

/// The state shared by all connections.
struct Work<'a> {
    root: &'a Path,
    pictures: &'a [ImageRecord],
    transfer: &'a Transfer<'a>,
    queue: &'a Queue,
    done: Mutex<Done>,
    progress: &'a (dyn Fn(FetchProgress) + Sync),
}

#[derive(Default)]
struct Done {
    bytes: usize,
    outcomes: Vec<(usize, Outcome)>,
}

impl Work<'_> {
    fn run(&self) {
        while let Some(index) = self.queue.next() {
            let Some(outcome) = self.picture(&self.pictures[index]) else {
                break;
            };
            let progress = {
                let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
                if let Outcome::Downloaded { bytes, .. } = outcome {
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
    }

    /// Keeps or downloads one picture; `None` if the download was stopped before the request.
    fn picture(&self, image: &ImageRecord) -> Option<Outcome> {
        let path = image_path(self.root, image.image_id);
        let broken = match place::look(&path, image) {
            Ok(There::Complete(problem)) => return Some(Outcome::Kept(problem)),
            Ok(There::Nothing) => None,
            Ok(There::Broken(bytes)) => Some(bytes),
            Err(error) => {
                let reason = format!("the file with its name cannot be read: {error}");
                return Some(Outcome::Failed(reason));
            }
        };
        let mut problem = None;
        let judged = |bytes: &[u8]| {
            problem = place::judge(bytes, &path, image)?;
            Ok(())
        };
        let bytes = match self.transfer.get(&image.url, judged) {
            Ok(bytes) => bytes,
            Err(fault) => {
                let reason = fault.to_string();
                match fault {
                    Fault::Stopped => return None,
                    Fault::NoRequest(_) => {}
                    Fault::Final(_) | Fault::Temporary { .. } => self.queue.failed(&reason),
                    Fault::WaitTooLong(_) => self.queue.stop(reason.clone()),
                }
                return Some(Outcome::Failed(reason));
            }
        };
        self.queue.succeeded();
        Some(match place::put(&path, &bytes, broken.as_deref()) {
            Ok(set_aside) => Outcome::Downloaded {
                bytes: bytes.len(),
                problem,
                set_aside,
            },
            // The list has the picture twice, or another program has written it.
            Err(_) if matches!(place::look(&path, image), Ok(There::Complete(_))) => {
                Outcome::Kept(problem)
            }
            Err(error) => {
                // A full disk affects all connections.
                self.queue.stop(error.to_string());
                Outcome::Failed(error.to_string())
            }
        })
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
            stopped: self.queue.reason(),
            ..FetchReport::default()
        };
        for (index, outcome) in outcomes {
            match outcome {
                Outcome::Kept(problem) => {
                    report.kept += 1;
                    report.other_size.extend(problem);
                }
                Outcome::Downloaded {
                    problem, set_aside, ..
                } => {
                    report.downloaded += 1;
                    report.other_size.extend(problem);
                    report.set_aside.extend(set_aside);
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
