//! Batches made in the background.

use super::batch::SampleBatch;
use super::dataset::PhraseCutDataset;
use super::order::BatchOrder;
use crate::error::{DataError, Result};
use rayon::ThreadPoolBuilder;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

/// Batches that are ready before they are asked for.
const AHEAD: usize = 2;

/// Endless batches, pass after pass, made on threads of their own while the last one is used.
///
/// The number of threads does not change them. After an error no more come.
///
/// Memory is bounded, pixels included. Besides the batch that is in use there are at most three: two
/// that wait and one that is being made. Each has its pictures and masks at the samples' size, and its
/// support pictures at their own. A thread that makes samples holds one picture at the size of its file
/// and its masks. What the data set keeps beyond that is bounded by
/// [`cache_bytes`](crate::SampleOptions::cache_bytes).
///
/// ```
/// # use clipseg_data::{PhraseCut, ScenesConfig, generate_scenes};
/// use clipseg_data::{BatchOrder, Grouping, Loader, PhraseCutDataset, SampleOptions, Split};
/// use std::sync::Arc;
/// # let folder = tempfile::tempdir()?;
/// # let scenes = folder.path().join("scenes");
/// # generate_scenes(&scenes, &ScenesConfig { images: 10, size: 64, seed: 7 })?;
/// # let data = Arc::new(PhraseCut::open(&scenes)?);
///
/// let options = SampleOptions { flip: 0.5, seed: 3, ..SampleOptions::new(64, 64) };
/// let dataset = Arc::new(PhraseCutDataset::new(data, Split::Train, options)?);
/// let order = BatchOrder::new(&dataset, 8, Grouping::Picture, 3);
/// for batch in Loader::new(dataset, order, (0, 0), 2)?.take(5) {
///     let batch = batch?;
///     assert!(batch.pictures.len() < batch.phrases.len());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Loader {
    batches: Option<Receiver<Result<SampleBatch>>>,
    thread: Option<JoinHandle<()>>,
}

impl Loader {
    /// Batches from a place on, which is a pass and a batch in it, made on `workers` threads.
    ///
    /// # Errors
    ///
    /// If the data set is empty or threads cannot be started.
    pub fn new(
        dataset: Arc<PhraseCutDataset>,
        order: BatchOrder,
        from: (u64, usize),
        workers: usize,
    ) -> Result<Self> {
        if dataset.phrases() == 0 {
            return Err(DataError::Input("there are no phrases to load".into()));
        }
        let failed = |error: &dyn std::fmt::Display| {
            DataError::Input(format!(
                "{workers} loading threads cannot be started: {error}"
            ))
        };
        let pool = ThreadPoolBuilder::new()
            .num_threads(workers.max(1))
            .build()
            .map_err(|error| failed(&error))?;
        let (sender, batches) = sync_channel(AHEAD);
        let work = move || {
            let (mut epoch, mut first) = from;
            loop {
                for indices in order.epoch(epoch).iter().skip(first) {
                    let batch = pool.install(|| dataset.load(indices, epoch));
                    let last = batch.is_err();
                    // Nobody listens any more, or nothing more can be said.
                    if sender.send(batch).is_err() || last {
                        return;
                    }
                }
                (epoch, first) = (epoch + 1, 0);
            }
        };
        let thread = std::thread::Builder::new()
            .name("clipseg-loader".into())
            .spawn(work)
            .map_err(|error| failed(&error))?;
        Ok(Self {
            batches: Some(batches),
            thread: Some(thread),
        })
    }
}

impl Iterator for Loader {
    type Item = Result<SampleBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batches.as_ref()?.recv().ok()
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // It only fails if loading panicked, which has been reported already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{Grouping, SampleOptions};
    use crate::{PhraseCut, ScenesConfig, Split, generate_scenes};

    #[test]
    fn no_more_than_three_batches_are_made_ahead() {
        let folder = tempfile::tempdir().unwrap();
        let scenes = folder.path().join("scenes");
        let config = ScenesConfig {
            images: 30,
            size: 32,
            seed: 6,
        };
        generate_scenes(&scenes, &config).unwrap();
        let data = Arc::new(PhraseCut::open(&scenes).unwrap());
        let options = SampleOptions::new(32, 32);
        let dataset = Arc::new(PhraseCutDataset::new(data, Split::Train, options).unwrap());
        let order = BatchOrder::new(&dataset, 1, Grouping::Picture, 0);
        let loader = Loader::new(dataset, order, (0, 0), 4).unwrap();
        // Time for far more than that. Without its pictures, no further batch can be made.
        std::thread::sleep(std::time::Duration::from_millis(500));
        std::fs::remove_dir_all(scenes.join("images")).unwrap();
        let made = loader.take_while(Result::is_ok).count();
        assert!((1..=AHEAD + 1).contains(&made), "{made}");
    }
}
