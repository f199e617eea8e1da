//! Photographs after the vision encoder.

use crate::error::{ModelError, Result};
use crate::features::ImageFeatures;
use crate::views::EncodedView;

/// A photograph encoded by CLIP's vision encoder, by [`Segmenter::encode_image`](crate::Segmenter::encode_image) or
/// [`Segmenter::encode_views`](crate::Segmenter::encode_views).
#[derive(Debug, Clone)]
pub struct EncodedImage {
    pub(crate) encoded: Encoded,
    width: u32,
    height: u32,
}

#[derive(Debug, Clone)]
pub(crate) enum Encoded {
    /// The entire photograph alone.
    Whole(Box<ImageFeatures>),
    /// Several views, whose weights sum to 1 at each pixel.
    Views(Vec<EncodedView>),
}

impl EncodedImage {
    /// The features of an entire photograph of `[width, height]` pixels.
    pub(crate) fn of_whole(features: ImageFeatures, [width, height]: [u32; 2]) -> Self {
        Self {
            encoded: Encoded::Whole(Box::new(features)),
            width,
            height,
        }
    }

    /// The views of a photograph of `[width, height]` pixels. A single view is the entire photograph.
    pub(crate) fn of_views(mut views: Vec<EncodedView>, [width, height]: [u32; 2]) -> Self {
        let encoded = match views.pop() {
            Some(view) if views.is_empty() => Encoded::Whole(Box::new(view.features)),
            last => {
                views.extend(last);
                Encoded::Views(views)
            }
        };
        Self {
            encoded,
            width,
            height,
        }
    }

    /// Width of the photograph in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height of the photograph in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Number of encoded views: 1 for the entire photograph.
    pub fn views(&self) -> usize {
        match &self.encoded {
            Encoded::Whole(_) => 1,
            Encoded::Views(views) => views.len(),
        }
    }

    /// The features of the entire photograph.
    ///
    /// # Errors
    ///
    /// If there are several views.
    pub(crate) fn whole(&self) -> Result<&ImageFeatures> {
        match &self.encoded {
            Encoded::Whole(features) => Ok(features),
            Encoded::Views(views) => Err(ModelError::Input(format!(
                "the image was encoded by {} views, expected the entire photograph alone",
                views.len()
            ))),
        }
    }

    /// Whether the mirror image is one of the views.
    pub(crate) fn is_mirrored(&self) -> bool {
        match &self.encoded {
            Encoded::Whole(_) => false,
            Encoded::Views(views) => views.iter().any(|view| view.mirrored),
        }
    }
}
