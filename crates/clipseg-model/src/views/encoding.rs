//! Encodes the views of a photograph.

use super::blending::Weights;
use super::plan::Area;
use super::view::EncodedView;
use super::{ViewPlan, Views};
use crate::encoded_image::EncodedImage;
use crate::error::Result;
use crate::segmenter::Segmenter;
use clipseg_clip::TargetSize;
use image::RgbImage;
use image::imageops::{crop_imm, flip_horizontal};

impl Segmenter {
    /// Preprocesses and encodes the views of a photograph, in batches, once for all prompts. `on_batch` is called with
    /// the number of views that were encoded, after each batch.
    ///
    /// [`segment`](Self::segment) and the other methods that compute masks blend the masks of all views.
    ///
    /// # Errors
    ///
    /// As [`plan_views`](Self::plan_views) and [`encode_image`](Self::encode_image).
    pub fn encode_views(
        &self,
        picture: &RgbImage,
        views: &Views,
        mut on_batch: impl FnMut(usize),
    ) -> Result<EncodedImage> {
        let plan = self.plan_views([picture.width(), picture.height()], views)?;
        let mirrored = plan.flip.then(|| flip_horizontal(picture));
        let mut encoded = Vec::with_capacity(plan.count());
        let pictures = std::iter::once((picture, false));
        for (picture, mirrored) in pictures.chain(mirrored.iter().map(|picture| (picture, true))) {
            let mut areas = plan.weighted_areas();
            let tiles = areas.split_off(1);
            for (group, input) in [areas, tiles].into_iter().zip(plan.inputs) {
                self.encode_group(&plan, picture, group, input, mirrored, |views| {
                    on_batch(views.len());
                    encoded.extend(views);
                })?;
            }
        }
        Ok(EncodedImage::of_views(
            encoded,
            [picture.width(), picture.height()],
        ))
    }

    /// Encodes views of one input size, batch by batch.
    fn encode_group(
        &self,
        plan: &ViewPlan,
        picture: &RgbImage,
        group: Vec<(Area, Weights)>,
        input: Option<[u32; 2]>,
        mirrored: bool,
        mut on_batch: impl FnMut(Vec<EncodedView>),
    ) -> Result<()> {
        let mut processor = self.processor().clone();
        if let Some([width, height]) = input {
            processor.size = Some(TargetSize::Exact { height, width });
            processor.crop = None;
        }
        for batch in group.chunks(plan.batch) {
            let crops: Vec<RgbImage> = batch
                .iter()
                .map(|(area, _)| {
                    // The area lies mirrored in the mirror image.
                    let left = if mirrored {
                        picture.width() - area.left - area.width
                    } else {
                        area.left
                    };
                    crop_imm(picture, left, area.top, area.width, area.height).to_image()
                })
                .collect();
            let pixels = self.pixel_values(&crops, &processor)?;
            let features = self.model().encode_image(pixels)?;
            let views = batch.iter().enumerate();
            on_batch(
                views
                    .map(|(index, (area, weights))| EncodedView {
                        features: features.picture(index),
                        area: *area,
                        weights: weights.clone(),
                        mirrored,
                    })
                    .collect(),
            );
        }
        Ok(())
    }
}
