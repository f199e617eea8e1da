//! Batches of captioned pictures, prepared in the background.

use super::fixed_tokenizer::{FixedTokenizer, TokenTable};
use super::trainer::CaptionTensors;
use crate::error::{Result, TrainError};
use burn::prelude::*;
use clipseg_clip::{ImageProcessor, Regions};
use clipseg_data::{CaptionBatch, Captions, DataError, PackedPictures};
use rayon::ThreadPoolBuilder;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

/// Number of batches that are prepared ahead.
const AHEAD: usize = 3;

/// A batch in main memory, prepared for the device.
#[derive(Debug)]
pub(crate) struct PreparedBatch {
    pictures: PackedPictures,
    regions: Option<Regions>,
    pub(crate) texts: TokenTable,
    not_negatives: Vec<bool>,
}

impl PreparedBatch {
    fn new(batch: &CaptionBatch, tokenizer: &FixedTokenizer, grid: [usize; 2]) -> Result<Self> {
        let texts = batch.texts();
        let pictures = batch.samples.len();
        let (width, height) = batch
            .samples
            .first()
            .map_or((0, 0), |one| one.picture.dimensions());
        let shape = [pictures, 3, height as usize, width as usize];
        let regions = (texts.len() > pictures).then(|| Regions::new(&batch.boxes(), grid));
        Ok(Self {
            pictures: PackedPictures::new(&batch.pixels(), shape),
            regions: regions.transpose()?,
            texts: tokenizer.encode(&texts)?,
            not_negatives: batch.not_negatives(),
        })
    }

    pub(crate) fn into_tensors(
        self,
        processor: &ImageProcessor,
        device: &Device,
    ) -> CaptionTensors {
        let size = self.texts.rows;
        let mask = TensorData::new(self.not_negatives, [size, size]);
        CaptionTensors {
            pixel_values: processor.normalise(self.pictures.into_pixels(device)),
            regions: self.regions,
            texts: self.texts.into_texts(device),
            not_negatives: Some(Tensor::from_data(mask, device)),
        }
    }
}

/// The batches of a run from any position on.
#[derive(Debug)]
pub(crate) struct CaptionFeed {
    batches: Option<Receiver<Result<PreparedBatch>>>,
    thread: Option<JoinHandle<()>>,
}

impl CaptionFeed {
    /// Prepares batches of `samples` samples on all cores, a few ahead, from the batch `first` on. `grid`
    /// has the rows and columns of a picture's patches.
    pub(crate) fn new(
        captions: Arc<Captions>,
        tokenizer: FixedTokenizer,
        samples: usize,
        grid: [usize; 2],
        first: usize,
    ) -> Result<Self> {
        let failed = |error: &dyn std::fmt::Display| {
            DataError::Input(format!("loading threads cannot be started: {error}"))
        };
        let pool = ThreadPoolBuilder::new()
            .build()
            .map_err(|error| failed(&error))?;
        let (sender, batches) = sync_channel(AHEAD);
        let work = move || {
            for position in first.. {
                let batch = pool.install(|| {
                    let batch = captions.batch(position as u64, samples)?;
                    PreparedBatch::new(&batch, &tokenizer, grid)
                });
                let last = batch.is_err();
                // The receiver was dropped, or the error was its last message.
                if sender.send(batch).is_err() || last {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("clipseg-captions".into())
            .spawn(work)
            .map_err(|error| failed(&error))?;
        Ok(Self {
            batches: Some(batches),
            thread: Some(thread),
        })
    }

    /// Returns the next batch.
    pub(crate) fn next(&mut self) -> Result<PreparedBatch> {
        let batch = self.batches.as_ref().map(Receiver::recv);
        // The thread ends only after an error, and then the run ends too.
        match batch {
            Some(Ok(batch)) => batch,
            _ => Err(TrainError::Empty("training")),
        }
    }
}

impl Drop for CaptionFeed {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // This fails only if loading panicked, which has been printed already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipseg_clip::ClipTokenizer;
    use clipseg_data::CaptionOptions;

    #[test]
    fn it_starts_anywhere() {
        let mut options = CaptionOptions::new(32);
        options.regions = 3;
        let captions = Arc::new(Captions::scenes(options).unwrap());
        let tokenizer = ClipTokenizer::openai(77).unwrap();
        let fixed = FixedTokenizer::new(&tokenizer, 32).unwrap();
        let from =
            |first| CaptionFeed::new(captions.clone(), fixed.clone(), 8, [4, 4], first).unwrap();
        let mut start = from(0);
        for position in 0..3 {
            let (one, other) = (start.next().unwrap(), from(position).next().unwrap());
            assert_eq!(one.texts, other.texts);
            assert_eq!(one.pictures, other.pictures);
            assert_eq!(one.regions, other.regions);
            let regions = one.regions.as_ref().map_or(0, Regions::len);
            assert!(regions > 0 && one.texts.rows == 8 + regions);
            assert_eq!(one.not_negatives, other.not_negatives);
        }
    }
}
