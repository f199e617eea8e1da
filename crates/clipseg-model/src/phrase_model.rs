//! Models that compute logits of phrases in pictures, as evaluation needs them.

use crate::dense::{DenseClip, DenseImage, DenseOptions};
use crate::encoded_image::EncodedImage;
use crate::error::Result;
use crate::read_values::read_values;
use crate::segmenter::Segmenter;
use crate::soft_mask::SoftMask;
use crate::views::Views;
use image::RgbImage;

/// Logits of phrases in one picture.
#[derive(Debug, Clone, PartialEq)]
pub struct PhraseLogits {
    /// For each phrase, row by row.
    pub values: Vec<f32>,
    /// Width and height of the logits of a phrase.
    pub size: [u32; 2],
}

/// A model that computes logits of phrases in pictures: a [`Segmenter`] alone or with [`Views`], or a [`DenseClip`].
pub trait PhraseModel {
    /// A picture, encoded once for all phrases.
    type Encoded;

    /// Encodes a picture.
    ///
    /// # Errors
    ///
    /// If the picture cannot be encoded.
    fn encode(&self, picture: &RgbImage) -> Result<Self::Encoded>;

    /// The logits of phrases. Their size depends on the model and on the picture.
    ///
    /// # Errors
    ///
    /// If there is no phrase, a phrase cannot be tokenized, a logit is NaN or infinite, or the device fails.
    fn phrase_logits(&self, picture: &Self::Encoded, phrases: &[&str]) -> Result<PhraseLogits>;
}

impl PhraseModel for Segmenter {
    type Encoded = EncodedImage;

    fn encode(&self, picture: &RgbImage) -> Result<EncodedImage> {
        self.encode_image(picture)
    }

    /// The decoder's logits at the model's resolution.
    fn phrase_logits(&self, picture: &EncodedImage, phrases: &[&str]) -> Result<PhraseLogits> {
        let logits = self.logits(picture, self.encode_text(phrases)?)?;
        let [_, height, width] = logits.dims();
        Ok(PhraseLogits {
            values: read_values(logits)?,
            size: [width as u32, height as u32],
        })
    }
}

/// A segmenter that looks at pictures by some views.
#[derive(Debug, Clone, Copy)]
pub struct SegmenterWithViews<'a> {
    /// The model.
    pub segmenter: &'a Segmenter,
    /// How it looks at pictures.
    pub views: Views,
}

impl PhraseModel for SegmenterWithViews<'_> {
    type Encoded = EncodedImage;

    fn encode(&self, picture: &RgbImage) -> Result<EncodedImage> {
        self.segmenter.encode_views(picture, &self.views, |_| {})
    }

    /// The decoder's logits of a single view; of several, those of their blended probabilities, at the picture's
    /// size.
    fn phrase_logits(&self, picture: &EncodedImage, phrases: &[&str]) -> Result<PhraseLogits> {
        if picture.views() == 1 {
            return self.segmenter.phrase_logits(picture, phrases);
        }
        let masks = self.segmenter.segment(picture, phrases)?;
        let values = masks.iter().flat_map(SoftMask::probabilities);
        Ok(PhraseLogits {
            values: values.map(|&probability| logit(probability)).collect(),
            size: [picture.width(), picture.height()],
        })
    }
}

/// The logit of a probability, which is limited to ±13.8: 1e-6 from 0 and 1.
fn logit(probability: f32) -> f32 {
    let p = f64::from(probability).clamp(1e-6, 1.0 - 1e-6);
    (p / (1.0 - p)).ln() as f32
}

/// A CLIP without a decoder, with its options.
#[derive(Debug, Clone, Copy)]
pub struct DenseClipWithOptions<'a> {
    /// The model.
    pub model: &'a DenseClip,
    /// Its options. The background must not be empty, because each phrase is scored against the background alone.
    pub options: &'a DenseOptions,
}

impl PhraseModel for DenseClipWithOptions<'_> {
    type Encoded = DenseImage;

    fn encode(&self, picture: &RgbImage) -> Result<DenseImage> {
        self.model.encode_image(picture, self.options)
    }

    fn phrase_logits(&self, picture: &DenseImage, phrases: &[&str]) -> Result<PhraseLogits> {
        Ok(PhraseLogits {
            values: self
                .model
                .logits_against_background(picture, phrases, self.options)?,
            size: picture.resized_size(),
        })
    }
}
