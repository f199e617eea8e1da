//! Batches made in the background.

use super::batch::SampleBatch;
use super::dataset::PhraseCutDataset;
use super::order::BatchOrder;
use crate::error::{DataError, Result};
use rayon::ThreadPoolBuilder;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

/// Batches that wait to be asked for. One more is made, or waits for its place among them.
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
/// Burn's own loader queues up to a hundred batches.
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
        let load = move |indices: &[usize], epoch| dataset.load(indices, epoch);
        Self::start(order, from, workers, load)
    }

    fn start(
        order: BatchOrder,
        from: (u64, usize),
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
            let (mut epoch, mut first) = from;
            loop {
                for indices in order.epoch(epoch).iter().skip(first) {
                    let batch = pool.install(|| load(indices, epoch));
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
    use crate::samples::Grouping;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    #[test]
    fn no_more_batches_are_made_than_are_said() {
        let made = Arc::new(AtomicUsize::new(0));
        let count = made.clone();
        let load = move |_: &[usize], _| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(SampleBatch::default())
        };
        let order = BatchOrder::of_pictures(&[1, 2, 3], 1, Grouping::Phrase, 0);
        let mut loader = Loader::start(order, (0, 0), 2, load).unwrap();
        for taken in 0..4 {
            let most = taken + AHEAD + 1;
            let begin = Instant::now();
            while made.load(Ordering::SeqCst) < most && begin.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(5));
            }
            // Whatever is made beyond the bound has time to show.
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(made.load(Ordering::SeqCst), most);
            loader.next().unwrap().unwrap();
        }
    }
}
