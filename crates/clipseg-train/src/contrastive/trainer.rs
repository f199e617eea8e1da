//! The gradients and the optimizer of contrastive training.

use super::loss::contrastive_loss;
use crate::config::adamw_options::AdamWOptions;
use crate::error::Result;
use crate::run::checkpoint::{Records, Resumable};
use crate::step::gradients;
use crate::step::optimizer::adamw;
use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use clipseg_clip::{Clip, Regions, TextBatch};
use std::ops::Range;

/// The largest value of the learned factor on cosine similarities, as in CLIP.
const LARGEST_SCALE: f64 = 100.0;

/// A batch of pictures, and perhaps regions of them, with their texts. All tensors are on the plain device.
#[derive(Debug, Clone)]
pub struct CaptionTensors {
    /// `[pictures, channels, height, width]`, normalised.
    pub pixel_values: Tensor<4>,
    /// The regions of the pictures that have texts.
    pub regions: Option<Regions>,
    /// The text of each picture, then the text of each region.
    pub texts: TextBatch,
    /// `[texts, texts]`, pictures and regions by texts: true for the text of another picture or region that
    /// also describes this one, so that the pair is not a negative.
    pub not_negatives: Option<Tensor<2, Bool>>,
}

/// A CLIP on the autodiff device with its optimizer.
pub struct ClipTrainer {
    clip: Clip,
    optimizer: ModuleOptimizer,
}

impl std::fmt::Debug for ClipTrainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClipTrainer").finish_non_exhaustive()
    }
}

impl ClipTrainer {
    /// Prepares both towers, the projections and the temperature for training.
    pub fn new(clip: Clip, optimizer: &AdamWOptions) -> Self {
        Self {
            clip: clip.train(),
            optimizer: adamw(optimizer, None),
        }
    }

    /// Computes the loss of a batch, `[1]`, and its gradients. Pictures and regions are contrasted in one
    /// loss.
    ///
    /// # Panics
    ///
    /// As [`Clip::text_embedding_unchecked`]; token ids of the CLIP's own tokenizer are always valid.
    ///
    /// # Errors
    ///
    /// If the pictures do not consist of complete patches, or the regions are not theirs.
    pub fn gradients(&self, input: &CaptionTensors) -> Result<(Tensor<1>, GradientsParams)> {
        let [pictures, ..] = input.pixel_values.dims();
        let embeddings = input.pictures(0..pictures).embed(&self.clip)?;
        let loss = contrastive_loss(
            Tensor::cat(embeddings, 0),
            self.clip.text_embedding_unchecked(&input.texts),
            self.clip.logit_scale(),
            input.not_negatives.clone(),
        );
        let gradients = GradientsParams::from_grads(loss.backward(), &self.clip);
        Ok((loss.without_autodiff(), gradients))
    }

    /// Computes the same loss and gradients with the activations of only `piece` pictures, with their
    /// regions, and of as large a share of the texts in memory at a time, at the cost of a second forward
    /// pass (`GradCache`, Gao et al. 2021, arXiv:2101.06983). Everything is embedded without activations,
    /// the loss of the entire batch gives the gradients of the embeddings, and each piece is embedded again
    /// to backpropagate them.
    ///
    /// # Panics
    ///
    /// If `piece` is zero.
    ///
    /// # Errors
    ///
    /// As [`gradients`](Self::gradients).
    pub fn gradients_in_pieces(
        &self,
        input: &CaptionTensors,
        piece: usize,
    ) -> Result<(Tensor<1>, GradientsParams)> {
        let [batch, ..] = input.pixel_values.dims();
        if batch <= piece {
            return self.gradients(input);
        }
        let pictures: Vec<PicturePiece> = ranges(batch, piece)
            .map(|range| input.pictures(range))
            .collect();
        let [count, _] = input.texts.input_ids.dims();
        // No more pieces of texts than of pictures.
        let share = (count * piece).div_ceil(batch);
        let plain = self.clip.valid();
        let (mut images, mut regions, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        for piece in &pictures {
            let mut embeddings = piece.clone().embed(&plain)?.into_iter();
            images.extend(embeddings.next());
            regions.extend(embeddings);
        }
        for range in ranges(count, share) {
            texts.push(plain.text_embedding_unchecked(&input.texts(range)));
        }
        images.extend(regions);
        let leaf = |parts: Vec<Tensor<2>>| Tensor::cat(parts, 0).autodiff().require_grad();
        let (images, texts) = (leaf(images), leaf(texts));
        let loss = contrastive_loss(
            images.clone(),
            texts.clone(),
            self.clip.logit_scale(),
            input.not_negatives.clone(),
        );
        let mut tape = loss.backward();
        let mut accumulator = GradientsAccumulator::new();
        if let (Some(to_images), Some(to_texts)) =
            (images.grad_remove(&mut tape), texts.grad_remove(&mut tape))
        {
            let part = |gradient: &Tensor<2>, rows: Range<usize>| {
                gradient.clone().slice(s![rows, ..]).autodiff()
            };
            let mut text_ranges = ranges(count, share);
            let mut next_region = batch;
            for (piece, rows) in pictures.into_iter().zip(ranges(batch, piece)) {
                let regions =
                    next_region..next_region + piece.regions.as_ref().map_or(0, Regions::len);
                next_region = regions.end;
                let embeddings = piece.embed(&self.clip)?.into_iter().zip([rows, regions]);
                let image =
                    embeddings.map(|(embedding, rows)| (embedding * part(&to_images, rows)).sum());
                let text = text_ranges.next().map(|range| {
                    let embedding = self
                        .clip
                        .text_embedding_unchecked(&input.texts(range.clone()));
                    (embedding * part(&to_texts, range)).sum()
                });
                let Some(sum) = image.chain(text).reduce(|a, b| a + b) else {
                    continue;
                };
                let gradients = GradientsParams::from_grads(sum.backward(), &self.clip);
                accumulator.accumulate(&self.clip, gradients);
            }
        }
        // The remaining gradients of the loss are those of the temperature.
        let rest = GradientsParams::from_grads(tape, &self.clip);
        accumulator.accumulate(&self.clip, rest);
        Ok((loss.without_autodiff(), accumulator.grads()))
    }

    /// Scales the gradients down to a norm over all weights, if theirs is larger, as PyTorch's
    /// `clip_grad_norm_`. The norm before is `[1]`.
    pub fn clip_gradients(
        &self,
        gradients: GradientsParams,
        longest: f64,
    ) -> (GradientsParams, Option<Tensor<1>>) {
        gradients::clipped(&self.clip, gradients, longest)
    }

    /// Does a step of the optimizer and limits the factor on cosine similarities to 100.
    pub fn apply(&mut self, gradients: GradientsParams, learning_rate: f64) {
        let clip = self
            .optimizer
            .step(learning_rate, self.clip.clone(), gradients);
        self.clip = clip.with_logit_scale_at_most(LARGEST_SCALE.ln());
    }

    /// The logarithm of the factor on cosine similarities, `[1]` on the plain device.
    pub(crate) fn logit_scale(&self) -> Tensor<1> {
        self.clip.logit_scale().without_autodiff()
    }

    /// The current CLIP, on the plain device.
    pub fn clip(&self) -> Clip {
        self.clip.valid()
    }
}

/// Pictures with their regions.
#[derive(Debug, Clone)]
struct PicturePiece {
    pixel_values: Tensor<4>,
    regions: Option<Regions>,
}

impl PicturePiece {
    /// Embeds the pictures, and then the regions if there are any.
    fn embed(self, clip: &Clip) -> Result<Vec<Tensor<2>>> {
        Ok(match self.regions {
            Some(regions) => {
                let (pictures, regions) = clip.region_embedding(self.pixel_values, &regions)?;
                vec![pictures, regions]
            }
            None => vec![clip.image_embedding(self.pixel_values)?],
        })
    }
}

impl CaptionTensors {
    fn pictures(&self, range: Range<usize>) -> PicturePiece {
        let regions = self.regions.as_ref();
        let regions = regions.map(|regions| regions.of_pictures(range.clone()));
        PicturePiece {
            pixel_values: self.pixel_values.clone().slice(s![range, .., .., ..]),
            regions: regions.filter(|regions| !regions.is_empty()),
        }
    }

    fn texts(&self, range: Range<usize>) -> TextBatch {
        let rows = |ids: &Tensor<2, Int>| ids.clone().slice(s![range.clone(), ..]);
        TextBatch {
            input_ids: rows(&self.texts.input_ids),
            attention_mask: self.texts.attention_mask.as_ref().map(rows),
        }
    }
}

/// Ranges of at most `length` numbers that together are 0 to `count`.
fn ranges(count: usize, length: usize) -> impl Iterator<Item = Range<usize>> {
    let starts = (0..count).step_by(length);
    starts.map(move |start| start..(start + length).min(count))
}

impl Resumable for ClipTrainer {
    fn non_finite(&self) -> Vec<String> {
        clipseg_clip::non_finite(&self.clip())
    }

    fn to_records(&self) -> Result<Records> {
        let records = Records::default().with_module("clip", &self.clip)?;
        records.with_optimizer(&self.optimizer)
    }

    fn load(&mut self, mut records: Records) -> Result<(), String> {
        let clip = records.module("clip", &self.clip)?;
        let optimizer = records.optimizer(&self.optimizer)?;
        records.finish()?;
        (self.clip, self.optimizer) = (clip, optimizer);
        Ok(())
    }
}
