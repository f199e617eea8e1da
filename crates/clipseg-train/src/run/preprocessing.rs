//! The preprocessing of a training run.

use crate::config::train_config::{DataConfig, TrainConfig};
use crate::error::{Result, TrainError};
use clipseg_clip::{ImageProcessor, TargetSize};

/// Side of the input pictures of the published models.
pub(crate) const PUBLISHED_SIDE: u32 = 352;

/// The preprocessing of a new decoder: that of the published CLIPSeg.
pub(crate) fn published(config: &TrainConfig, side: u32) -> ImageProcessor {
    let preprocessing = config.data.preprocessing.unwrap_or_default();
    ImageProcessor::clipseg(side).with_preprocessing(preprocessing)
}

/// The side of the square to which a preprocessing resizes pictures without cropping them; `None` if it
/// does something else.
pub(crate) fn squashed_side(processor: &ImageProcessor) -> Option<u32> {
    match (processor.crop, processor.size) {
        (None, Some(TargetSize::Exact { height, width })) if height == width => Some(height),
        _ => None,
    }
}

/// The preprocessing of a checkpoint whose decoder is fine-tuned, and the side of its pictures.
///
/// Training samples are resized to a square with bilinear interpolation. `note` is called for each part of
/// the checkpoint's preprocessing that cannot be kept, or that `data.size` or `data.preprocessing`
/// replaces.
pub(crate) fn squashing(
    own: ImageProcessor,
    data: &DataConfig,
    note: &mut impl FnMut(&str),
) -> Result<(ImageProcessor, u32)> {
    let square = match own.crop {
        Some([height, width]) => (height == width).then_some(height),
        None => squashed_side(&own),
    };
    let (own_size, asked) = (own.size, data.size);
    let Some(side) = asked.or(square) else {
        let message = "missing, expected a number, because the checkpoint's preprocessing does not \
                       give a square";
        return Err(TrainError::field("data.size", message));
    };
    let preprocessing = data.preprocessing.unwrap_or(own.preprocessing);
    if preprocessing != own.preprocessing {
        note(&format!(
            "pictures are resized by `{}`, as in `data.preprocessing`, not by `{}` as in the checkpoint's \
             preprocessing",
            preprocessing.name(),
            own.preprocessing.name()
        ));
    }
    let mut squashed = ImageProcessor::clipseg(side).with_preprocessing(preprocessing);
    squashed.rescale_factor = own.rescale_factor;
    (squashed.mean, squashed.std) = (own.mean, own.std);
    if let (Some(asked), Some(own)) = (asked, square)
        && asked != own
    {
        note(&format!(
            "pictures have a side of {asked} pixels, as in `data.size`, not of {own} as in the \
             checkpoint's preprocessing"
        ));
    }
    let mut same_but_size = own;
    (same_but_size.size, same_but_size.preprocessing) = (squashed.size, preprocessing);
    let is_exact = matches!(own_size, Some(TargetSize::Exact { .. }));
    if same_but_size != squashed || !is_exact {
        note(
            "pictures are resized to a square with bilinear interpolation, not resized and cropped as in \
             the checkpoint's preprocessing; the model is saved with the preprocessing that it was \
             trained with",
        );
    }
    Ok((squashed, side))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipseg_data::Preprocessing;

    #[test]
    fn the_preprocessing_of_a_checkpoint_is_kept_where_samples_allow_it() {
        let squash = |own: ImageProcessor, size| {
            let data = DataConfig {
                size,
                ..DataConfig::default()
            };
            let mut notes = Vec::new();
            let found = squashing(own, &data, &mut |line: &str| notes.push(line.to_owned()));
            (found.map_err(|error| error.to_string()), notes)
        };
        let mut half = ImageProcessor::clipseg(96);
        (half.mean, half.std) = ([0.5; 3], [0.5; 3]);
        assert_eq!(squash(half.clone(), None), (Ok((half.clone(), 96)), vec![]));
        assert_eq!(squash(half.clone(), Some(96)).1, Vec::<String>::new());

        let (found, notes) = squash(half.clone(), Some(64));
        let (found, side) = found.unwrap();
        assert_eq!((found.mean, found.std, side), (half.mean, half.std, 64));
        assert_eq!(found.size, ImageProcessor::clipseg(64).size);
        assert!(
            notes.len() == 1 && notes[0].contains("64") && notes[0].contains("96"),
            "{notes:?}"
        );

        // CLIP's preprocessing: the centre of a picture whose shorter side is resized.
        let (found, notes) = squash(ImageProcessor::clip(224), None);
        let (found, side) = found.unwrap();
        assert_eq!((found.mean, side), (ImageProcessor::clip(224).mean, 224));
        assert_eq!(
            (found.crop, found.filter),
            (None, ImageProcessor::clipseg(1).filter)
        );
        assert!(
            notes.len() == 1 && notes[0].contains("resized to a square"),
            "{notes:?}"
        );

        // CLIPSeg's resizing is kept too, unless another is configured.
        let exact = half.clone().with_preprocessing(Preprocessing::ClipSeg);
        let (found, notes) = squash(exact.clone(), None);
        assert_eq!((found, notes), (Ok((exact.clone(), 96)), vec![]));
        let data = DataConfig {
            preprocessing: Some(Preprocessing::HuggingFace),
            ..DataConfig::default()
        };
        let mut notes = Vec::new();
        let found = squashing(exact, &data, &mut |line: &str| notes.push(line.to_owned()));
        assert_eq!(found.unwrap(), (half.clone(), 96));
        assert!(
            notes.len() == 1 && notes[0].contains("`data.preprocessing`"),
            "{notes:?}"
        );

        half.size = Some(TargetSize::Exact {
            height: 96,
            width: 64,
        });
        let (found, _) = squash(half.clone(), None);
        assert!(found.unwrap_err().contains("field `data.size`: missing"));
        assert_eq!(squash(half, Some(32)).0.unwrap().1, 32);
    }
}
