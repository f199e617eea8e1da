//! Pictures downloaded from the addresses that the picture list records.
//!
//! The list of pictures is all that has to be there. What lies in `images` already and is whole is
//! kept, so a download that was ended goes on where it was. A picture is some 100 kB: it is held in
//! memory until all of it has come and decodes, then written aside and renamed; one that breaks off
//! is begun again. A JPEG is whole when all its coded blocks are there, with or without an end marker.

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
    /// Why no more were asked for: 20 pictures in a row did not come, the server asked for too long a
    /// wait, or the folder could not be written. `None` if all were.
    pub stopped: Option<String>,
    /// Pictures that were not asked for any more.
    pub untried: usize,
    /// Where files were moved to that lay in a picture's place and were none.
    pub set_aside: Vec<PathBuf>,
    /// Pictures that came or were there, but are of another size than the recorded one.
    pub other_size: Vec<Problem>,
}

/// What became of one picture.
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
    /// `progress` is called after each picture. A picture that does not come is part of the report.
    ///
    /// After 20 pictures in a row that did not come, for whatever reason, no more are asked for, and
    /// the report says so; the last 5 of them are asked for from the end of the list, in case only its
    /// beginning is not to be had. The same goes for a server that asks for too long a wait, and for a
    /// folder that cannot be written. Nothing lifts such a stop before the next call.
    ///
    /// Nothing that is there is lost. A file in a picture's place that is cut off is replaced by the
    /// picture that begins with the same bytes; one that is something else is moved aside, to
    /// `7.jpg.broken`, once the picture has come. What cannot be read, such as a folder, stays, and its
    /// picture fails.
    ///
    /// # Errors
    ///
    /// If the folder `images` cannot be made.
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

/// What the connections share.
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

    /// What becomes of a picture; `None` if it was not asked for because of a stop.
    fn picture(&self, image: &ImageRecord) -> Option<Outcome> {
        let path = image_path(self.root, image.image_id);
        let broken = match place::look(&path, image) {
            Ok(There::Whole(problem)) => return Some(Outcome::Kept(problem)),
            Ok(There::Nothing) => None,
            Ok(There::Broken(bytes)) => Some(bytes),
            Err(error) => {
                let reason = format!("something else is in its place: {error}");
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
                    Fault::NotAsked(_) => {}
                    Fault::Final(_) | Fault::Passing { .. } => self.queue.did_not_come(&reason),
                    Fault::TooLongAWait(_) => self.queue.stop(reason.clone()),
                }
                return Some(Outcome::Failed(reason));
            }
        };
        self.queue.came();
        Some(match place::put(&path, &bytes, broken.as_deref()) {
            Ok(set_aside) => Outcome::Downloaded {
                bytes: bytes.len(),
                problem,
                set_aside,
            },
            // The list names a picture twice, or another program brought it.
            Err(_) if matches!(place::look(&path, image), Ok(There::Whole(_))) => {
                Outcome::Kept(problem)
            }
            Err(error) => {
                // A full disk is full for the other connections, too.
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
