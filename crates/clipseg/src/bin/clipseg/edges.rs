//! Options of `clipseg segment` for the edges of masks: refinement, changes of shape, cut-outs.

use clipseg::data::Mask;
use clipseg::model::{ModelError, Refinement, SoftMask};
use image::{GrayImage, RgbImage, RgbaImage};

/// Masks are refined as probabilities. Then the threshold applies, and the other options change the shape in the
/// order of the fields.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Edges of the masks")]
pub(crate) struct Edges {
    /// Move the edges of the masks to the edges of the photograph: `guided` is the guided filter,
    /// `pamr` is pixel-adaptive mask refinement, which takes longer.
    #[arg(long, value_enum, value_name = "METHOD")]
    refine: Option<Method>,
    /// Fill the holes of each mask.
    #[arg(long)]
    fill_holes: bool,
    /// Remove connected parts of fewer than N pixels from each mask; pixels are connected to eight neighbours.
    #[arg(long, value_name = "N", value_parser = area)]
    min_area: Option<usize>,
    /// Grow each mask by a distance in pixels.
    #[arg(long, value_name = "PX", value_parser = distance, allow_negative_numbers = true)]
    grow: Option<f32>,
    /// Shrink each mask by a distance in pixels, after --grow: both together close gaps.
    #[arg(long, value_name = "PX", value_parser = distance, allow_negative_numbers = true)]
    shrink: Option<f32>,
    /// Soften the edge of each mask over a width in pixels: the mask has grey values there.
    #[arg(long, value_name = "PX", value_parser = feather, allow_negative_numbers = true)]
    feather: Option<f32>,
    /// Also write a cut-out for each prompt: the photograph with the mask as opacity (RGBA). The opacity is the
    /// probability, or, with an option of this list other than --refine, the mask itself. Pixels on the edge and
    /// outside get the colour of the nearest pixel further inside, so no colour of the background is left.
    #[arg(long)]
    pub(crate) cutout: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Method {
    Pamr,
    Guided,
}

fn distance(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value >= 1.0 && value.is_finite() => Ok(value),
        _ => Err("expected a number of at least 1; a smaller one has no effect".into()),
    }
}

fn feather(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value > 1.0 && value.is_finite() => Ok(value),
        _ => Err("expected a number above 1; 1 or less has no effect".into()),
    }
}

fn area(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(value) if value >= 2 => Ok(value),
        _ => Err("expected an integer of at least 2; a smaller one has no effect".into()),
    }
}

impl Edges {
    /// Refines a mask, if requested.
    pub(crate) fn refine(&self, soft: SoftMask, photo: &RgbImage) -> Result<SoftMask, ModelError> {
        let refinement = match self.refine {
            None => return Ok(soft),
            Some(Method::Pamr) => Refinement::pamr(),
            Some(Method::Guided) => Refinement::guided(soft.width(), soft.height()),
        };
        soft.refine(photo, refinement)
    }

    /// Changes the shape of a mask as requested.
    pub(crate) fn reshape(&self, mut mask: Mask) -> Result<Mask, ModelError> {
        if self.fill_holes {
            mask = mask.fill_holes()?;
        }
        if let Some(area) = self.min_area {
            mask = mask.without_small_components(area)?;
        }
        if let Some(distance) = self.grow {
            mask = mask.grow(distance)?;
        }
        if let Some(distance) = self.shrink {
            mask = mask.shrink(distance)?;
        }
        Ok(mask)
    }

    /// The picture of a mask: black and white, or with grey values along its edge.
    pub(crate) fn picture(&self, mask: &Mask) -> Result<GrayImage, ModelError> {
        match self.feather {
            None => Ok(mask.to_gray_image()),
            Some(width) => Ok(SoftMask::feathered(mask, width)?.to_gray_image()),
        }
    }

    /// The cut-out of a mask with these probabilities and this shape.
    pub(crate) fn cut_out(
        &self,
        photo: &RgbImage,
        soft: &SoftMask,
        mask: &Mask,
    ) -> Result<RgbaImage, ModelError> {
        let is_reshaped = self.fill_holes
            || self.min_area.is_some()
            || self.grow.is_some()
            || self.shrink.is_some();
        if is_reshaped || self.feather.is_some() {
            SoftMask::feathered(mask, self.feather.unwrap_or(0.0))?.cut_out_clean(photo, mask)
        } else {
            soft.cut_out_clean(photo, mask)
        }
    }
}
