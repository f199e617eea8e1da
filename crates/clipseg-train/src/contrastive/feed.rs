//! Batches of captions, made and tokenized in the background, and put onto the device.

use super::trainer::CaptionTensors;
use crate::error::{Result, TrainError};
use burn::prelude::*;
use clipseg_clip::{ClipTokenizer, ImageProcessor, TextBatch};
use clipseg_data::{CaptionBatch, Captions, DataError};
use image::RgbImage;
use rayon::ThreadPoolBuilder;
use rayon::prelude::*;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

/// Batches that are ready before they are asked for.
const AHEAD: usize = 3;

/// Bytes of pictures, four in a word, because not every device has tensors of bytes.
#[derive(Debug, Clone)]
pub(crate) struct PackedPictures {
    words: Vec<i32>,
    /// Pictures, channels, height, width.
    shape: [usize; 4],
}

impl PackedPictures {
    /// From the bytes of each channel after the other.
    fn new(bytes: &[u8], shape: [usize; 4]) -> Self {
        let (whole, rest) = bytes.as_chunks::<4>();
        let mut words: Vec<i32> = whole.iter().map(|word| i32::from_le_bytes(*word)).collect();
        if !rest.is_empty() {
            let mut last = [0; 4];
            last[..rest.len()].copy_from_slice(rest);
            words.push(i32::from_le_bytes(last));
        }
        Self { words, shape }
    }

    /// Pictures of one size.
    pub(crate) fn of(pictures: &[RgbImage]) -> Self {
        let (width, height) = pictures.first().map_or((0, 0), RgbImage::dimensions);
        let shape = [pictures.len(), 3, height as usize, width as usize];
        let mut bytes = Vec::with_capacity(shape.iter().product());
        for picture in pictures {
            for channel in 0..3 {
                bytes.extend(picture.as_raw().iter().skip(channel).step_by(3));
            }
        }
        Self::new(&bytes, shape)
    }

    /// `[pictures, channels, height, width]`, from 0 to 1, unpacked on the device.
    pub(crate) fn into_pixels(self, device: &Device) -> Tensor<4> {
        let count = self.words.len();
        let values: usize = self.shape.iter().product();
        let words = TensorData::new(self.words, [count]);
        let words = Tensor::<1, Int>::from_data(words, device);
        let byte = |place: i64| {
            let moved = words.clone().bitwise_right_shift_scalar(8 * place);
            moved.bitwise_and_scalar(255i64)
        };
        let bytes: Tensor<2, Int> = Tensor::stack(vec![byte(0), byte(1), byte(2), byte(3)], 1);
        let bytes = bytes.reshape([4 * count]);
        let bytes = if values < 4 * count {
            bytes.slice(s![0..values])
        } else {
            bytes
        };
        bytes.float().div_scalar(255.0).reshape(self.shape)
    }
}

/// Tokens of texts, all of one length.
#[derive(Debug, Clone)]
pub(crate) struct TokenTable {
    ids: Vec<i64>,
    rows: usize,
    tokens: usize,
    /// Texts that were cut.
    pub(crate) cut: usize,
}

impl TokenTable {
    /// `[rows, tokens]`; what fills a row up stands behind its end, where no token before it looks.
    pub(crate) fn into_texts(self, device: &Device) -> TextBatch {
        let ids = TensorData::new(self.ids, [self.rows, self.tokens]);
        TextBatch {
            input_ids: Tensor::from_data(ids, device),
            attention_mask: None,
        }
    }
}

/// Turns texts into tokens, rows of one length.
#[derive(Debug, Clone)]
pub(crate) struct FixedTokenizer {
    /// Cuts one token later than the tower, to tell what is cut.
    inner: ClipTokenizer,
    tokens: usize,
    end: i64,
    pad: i64,
}

impl FixedTokenizer {
    /// For a tower of so many positions.
    pub(crate) fn new(tokenizer: &ClipTokenizer, tokens: usize) -> Result<Self> {
        Ok(Self {
            inner: tokenizer.clone().with_max_tokens(tokens + 1)?,
            tokens,
            end: tokenizer.end_id().map_or(0, i64::from),
            pad: i64::from(tokenizer.pad_id()),
        })
    }

    pub(crate) fn encode<S: AsRef<str> + Sync>(&self, texts: &[S]) -> Result<TokenTable> {
        let rows: Vec<(Vec<i64>, bool)> = texts
            .par_iter()
            .map(|text| {
                let ids = self.inner.encode(text.as_ref())?;
                let cut = ids.len() > self.tokens;
                let mut row: Vec<i64> = ids.into_iter().map(i64::from).collect();
                row.resize(self.tokens, self.pad);
                if cut && let Some(last) = row.last_mut() {
                    *last = self.end;
                }
                Ok((row, cut))
            })
            .collect::<Result<_>>()?;
        Ok(TokenTable {
            cut: rows.iter().filter(|(_, cut)| *cut).count(),
            rows: rows.len(),
            tokens: self.tokens,
            ids: rows.into_iter().flat_map(|(row, _)| row).collect(),
        })
    }
}

/// A batch in main memory, ready for the device.
#[derive(Debug)]
pub(crate) struct PreparedBatch {
    pictures: PackedPictures,
    pub(crate) texts: TokenTable,
    not_negatives: Vec<bool>,
}

impl PreparedBatch {
    fn new(batch: &CaptionBatch, tokenizer: &FixedTokenizer) -> Result<Self> {
        let texts: Vec<&str> = batch.samples.iter().map(|one| one.text.as_str()).collect();
        let (width, height) = batch
            .samples
            .first()
            .map_or((0, 0), |one| one.picture.dimensions());
        let shape = [texts.len(), 3, height as usize, width as usize];
        Ok(Self {
            pictures: PackedPictures::new(&batch.pixels(), shape),
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
            texts: self.texts.into_texts(device),
            not_negatives: Some(Tensor::from_data(mask, device)),
        }
    }
}

/// Batches from a position of a run on.
#[derive(Debug)]
pub(crate) struct CaptionFeed {
    batches: Option<Receiver<Result<PreparedBatch>>>,
    thread: Option<JoinHandle<()>>,
}

impl CaptionFeed {
    /// Makes batches of so many samples on all cores, a few ahead.
    pub(crate) fn new(
        captions: Arc<Captions>,
        tokenizer: FixedTokenizer,
        samples: usize,
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
                    PreparedBatch::new(&batch, &tokenizer)
                });
                let last = batch.is_err();
                // Nobody listens any more, or nothing more can be said.
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

    /// The next batch.
    pub(crate) fn next(&mut self) -> Result<PreparedBatch> {
        let batch = self.batches.as_ref().map(Receiver::recv);
        // It ends after an error only, and after an error nobody asks again.
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
            // It only fails if loading panicked, which has been reported already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipseg_data::CaptionOptions;

    #[test]
    fn pixels_are_what_they_were() {
        for side in [3, 4] {
            let picture = |add: u8| {
                RgbImage::from_fn(side, side, |x, y| {
                    image::Rgb([(x * 80) as u8, (y * 60) as u8, 255 - add])
                })
            };
            let pictures = [picture(0), picture(200)];
            let pixels = PackedPictures::of(&pictures).into_pixels(&Device::flex());
            assert_eq!(pixels.dims(), [2, 3, side as usize, side as usize]);
            let values: Vec<f32> = pixels.into_data().try_to_vec().unwrap();
            let mut values = values.into_iter();
            for picture in &pictures {
                for channel in 0..3 {
                    for pixel in picture.pixels() {
                        let found = values.next().unwrap() * 255.0;
                        assert!((found - f32::from(pixel.0[channel])).abs() < 1e-4);
                    }
                }
            }
        }
    }

    #[test]
    fn rows_have_one_length_and_what_is_cut_is_counted() {
        let tokenizer = ClipTokenizer::openai(77).unwrap();
        let fixed = FixedTokenizer::new(&tokenizer, 6).unwrap();
        let texts = ["a cat", "a cat on a", "a cat on a mat"];
        let table = fixed.encode(&texts).unwrap();
        assert_eq!((table.ids.len(), table.cut), (18, 1));
        let short = ClipTokenizer::openai(6).unwrap();
        for (row, text) in table.ids.chunks(6).zip(texts) {
            let mut expected: Vec<i64> = short
                .encode(text)
                .unwrap()
                .iter()
                .map(|&id| i64::from(id))
                .collect();
            expected.resize(6, 49_407);
            assert_eq!(row, expected, "{text}");
        }
    }

    #[test]
    fn it_goes_on_anywhere() {
        let options = CaptionOptions::new(32);
        let captions = Arc::new(Captions::scenes(options).unwrap());
        let tokenizer = ClipTokenizer::openai(77).unwrap();
        let fixed = FixedTokenizer::new(&tokenizer, 32).unwrap();
        let from = |first| CaptionFeed::new(captions.clone(), fixed.clone(), 8, first).unwrap();
        let mut start = from(0);
        for position in 0..3 {
            let (one, other) = (start.next().unwrap(), from(position).next().unwrap());
            assert_eq!(one.texts.ids, other.texts.ids);
            assert_eq!(one.pictures.words, other.pictures.words);
            assert_eq!(one.not_negatives, other.not_negatives);
        }
    }
}
