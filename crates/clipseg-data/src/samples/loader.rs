//! Loading batches in the background.

use super::batch::SampleBatch;
use super::dataset::PhraseCutDataset;
use super::order::{BatchOrder, BatchPosition};
use crate::error::{DataError, Result};
use rayon::ThreadPoolBuilder;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

/// Number of batches in the queue. One more is being loaded or waits for a free slot.
const AHEAD: usize = 2;

/// An endless iterator over the batches of all epochs, which background threads load in advance.
///
/// The batches do not depend on the number of threads. The iterator ends after an error.
///
/// Memory is bounded, including pixels. Besides the batch in use there are at most three: two in the
/// queue and one that is being loaded. Pictures and masks have the size of samples, support pictures their
/// own size. Each thread also holds one picture at the size of its file, with its masks. The cache of the
/// data set is bounded by [`cache_bytes`](crate::SampleOptions::cache_bytes). Burn's own loader queues up
/// to a hundred batches.
///
/// ```
/// # use clipseg_data::{PhraseCut, ScenesConfig, generate_scenes};
/// use clipseg_data::{
///     BatchOrder, BatchPosition, Grouping, Loader, PhraseCutDataset, SampleOptions, Split,
/// };
/// use std::sync::Arc;
/// # let folder = tempfile::tempdir()?;
/// # let scenes = folder.path().join("scenes");
/// # generate_scenes(&scenes, &ScenesConfig { images: 10, size: 64, seed: 7 })?;
/// # let data = Arc::new(PhraseCut::open(&scenes)?);
///
/// let options = SampleOptions { flip: 0.5, seed: 3, ..SampleOptions::new(64, 64) };
/// let dataset = Arc::new(PhraseCutDataset::new(data, Split::Train, options)?);
/// let order = BatchOrder::new(&dataset, 8, Grouping::Picture, 3);
/// for batch in Loader::new(dataset, order, BatchPosition::default(), 2)?.take(5) {
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
    /// Starts loading at a position, on `workers` threads (at least 1).
    ///
    /// # Errors
    ///
    /// If the data set is empty or threads cannot be started.
    pub fn new(
        dataset: Arc<PhraseCutDataset>,
        order: BatchOrder,
        from: BatchPosition,
        workers: usize,
    ) -> Result<Self> {
        if dataset.phrases() == 0 {
            return Err(DataError::Input("there are no phrases to load".into()));
        }
        let load = move |indices: &[usize], epoch| dataset.load(indices, epoch);
        Self::start(order, from, workers, load)
    }

    fn start(
        order: BatchOrder,
        from: BatchPosition,
        workers: usize,
        load: impl Fn(&[usize], u64) -> Result<SampleBatch> + Send + Sync + 'static,
    ) -> Result<Self> {
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
            let BatchPosition {
                mut epoch,
                batch: mut first,
            } = from;
            loop {
                for indices in order.epoch(epoch).iter().skip(first) {
                    let batch = pool.install(|| load(indices, epoch));
                    let last = batch.is_err();
                    // The loader was dropped, or this was an error.
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
            // It fails only if loading panicked, which has already been reported.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::Grouping;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    #[test]
    fn the_number_of_batches_loaded_in_advance_is_bounded() {
        let made = Arc::new(AtomicUsize::new(0));
        let count = made.clone();
        let load = move |_: &[usize], _| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(SampleBatch::default())
        };
        let order = BatchOrder::of_pictures(&[1, 2, 3], 1, Grouping::Phrase, 0);
        let mut loader = Loader::start(order, BatchPosition::default(), 2, load).unwrap();
        for taken in 0..4 {
            let most = taken + AHEAD + 1;
            let begin = Instant::now();
            while made.load(Ordering::SeqCst) < most && begin.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(5));
            }
            // Time for batches beyond the limit to be loaded.
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(made.load(Ordering::SeqCst), most);
            loader.next().unwrap().unwrap();
        }
    }
}
