//! The training batches of a run, loaded ahead.

use crate::error::{Result, TrainError};
use clipseg_data::{BatchOrder, Loader, PhraseCutDataset, SampleBatch};
use std::sync::Arc;

/// Largest number of threads that load samples during a training step.
const WORKERS: usize = 4;

/// The batches of a run from any position on, with their epochs.
#[derive(Debug)]
pub(crate) struct Feed {
    loader: Loader,
    order: BatchOrder,
    epoch: u64,
    /// Remaining batches of the epoch.
    left: usize,
}

impl Feed {
    /// Starts at the batch `position` of the run, counted from 0.
    pub(crate) fn new(
        dataset: &Arc<PhraseCutDataset>,
        order: &BatchOrder,
        position: usize,
    ) -> Result<Self> {
        let position = order
            .locate(position as u64)
            .ok_or(TrainError::Empty("training"))?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = WORKERS.min(cores);
        Ok(Self {
            loader: Loader::new(dataset.clone(), order.clone(), position, workers)?,
            epoch: position.epoch,
            left: order.epoch(position.epoch).len() - position.batch,
            order: order.clone(),
        })
    }

    /// Returns the next batch and its epoch.
    pub(crate) fn next(&mut self) -> Result<(u64, SampleBatch)> {
        if self.left == 0 {
            self.epoch += 1;
            self.left = self.order.epoch(self.epoch).len();
        }
        // The loader ends only after an error, and then the run ends too.
        let batch = self.loader.next().ok_or(TrainError::Empty("training"))??;
        self.left -= 1;
        Ok((self.epoch, batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipseg_data::{Grouping, PhraseCut, SampleOptions, ScenesConfig, Split, generate_scenes};

    #[test]
    fn it_starts_anywhere_and_counts_epochs() {
        let folder = tempfile::tempdir().unwrap();
        let scenes = folder.path().join("scenes");
        let config = ScenesConfig {
            images: 10,
            size: 32,
            seed: 5,
        };
        generate_scenes(&scenes, &config).unwrap();
        let data = Arc::new(PhraseCut::open(&scenes).unwrap());
        let options = SampleOptions {
            flip: 0.5,
            ..SampleOptions::new(32, 32)
        };
        let dataset = Arc::new(PhraseCutDataset::new(data, Split::Train, options).unwrap());
        let order = BatchOrder::new(&dataset, 7, Grouping::Picture, 2);
        let mut from_start = Feed::new(&dataset, &order, 0).unwrap();
        let first = order.epoch(0).len();
        for position in 0..2 * first + 1 {
            let (epoch, batch) = from_start.next().unwrap();
            assert_eq!(
                epoch,
                u64::from(position >= first) + u64::from(position >= first + order.epoch(1).len())
            );
            let (again, same) = Feed::new(&dataset, &order, position)
                .unwrap()
                .next()
                .unwrap();
            assert_eq!((again, same.task_ids), (epoch, batch.task_ids));
            assert_eq!(same.views, batch.views);
        }
    }
}
