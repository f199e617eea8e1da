//! A view of a photograph after the vision encoder.

use super::blending::Weights;
use super::plan::Area;
use crate::features::ImageFeatures;

/// The features of a view, and where its mask belongs.
#[derive(Debug, Clone)]
pub(crate) struct EncodedView {
    pub(crate) features: ImageFeatures,
    pub(crate) area: Area,
    pub(crate) weights: Weights,
    /// Whether the area was mirrored.
    pub(crate) mirrored: bool,
}
