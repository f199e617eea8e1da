//! The model of a run and what is around it, as a configuration names them.

use crate::config::decoder_choice::{ConvSize, DecoderChoice, DecoderKind, PretrainedChoice};
use crate::config::train_config::{DataConfig, TrainConfig};
use crate::error::{Result, TrainError};
use burn::module::Module;
use burn::prelude::*;
use clipseg_clip::{
    Clip, ClipConfig, ClipTokenizer, ImageProcessor, PretrainedClip, TargetSize, load_clip, resolve,
};
use clipseg_model::{
    ClipSeg, ClipSegConfig, ConvDecoderConfig, Decoder, DecoderConfig, DeconvBaselineConfig,
    TransformerDecoderConfig,
};
use std::path::Path;

/// Side of the pictures that the published models see.
const PUBLISHED_SIDE: u32 = 352;

/// Inner width of the MLPs of a decoder on the small random CLIP.
const SMALL_INNER: usize = 256;

/// The model and what is around it.
pub(crate) struct Parts {
    pub(crate) clip: Clip,
    pub(crate) decoder: Decoder,
    pub(crate) config: ClipSegConfig,
    pub(crate) tokenizer: ClipTokenizer,
    pub(crate) processor: ImageProcessor,
    /// Side of the pictures that the model sees.
    pub(crate) side: u32,
}

impl Parts {
    /// Loads or draws them; `note` is told what was chosen for the user.
    pub(crate) fn new(
        config: &TrainConfig,
        device: &Device,
        note: &mut impl FnMut(&str),
    ) -> Result<Self> {
        let Some(checkpoint) = &config.clip.checkpoint else {
            note(&format!(
                "no CLIP given: a small one with random weights (seed {})",
                config.seed
            ));
            return Self::random(config, device);
        };
        let folder = resolve(checkpoint)?;
        match &config.decoder {
            DecoderChoice::Pretrained(choice) => {
                Self::fine_tuned(config, choice, &folder, device, note)
            }
            _ => Self::on_checkpoint(config, &folder, device, note),
        }
    }

    /// A random decoder on a small random CLIP.
    fn random(config: &TrainConfig, device: &Device) -> Result<Self> {
        let small = ClipSegConfig::small();
        check_refined(config, &small.clip)?;
        let decoder = decoder_config(config, small.decoder.extract_layers(), SMALL_INNER)?;
        let model_config = ClipSegConfig::new(small.clip, decoder)?;
        let side = model_config.clip.vision_config.image_size as u32;
        let positions = model_config.clip.text_config.max_position_embeddings;
        let clip = Clip::init(&model_config.clip, device);
        let side = config.data.size.unwrap_or(side);
        let (clip, decoder) = ClipSeg::with_clip(&model_config, clip, device).into_parts();
        Ok(Self {
            clip,
            decoder,
            config: model_config,
            tokenizer: ClipTokenizer::openai(positions)?,
            processor: published(config, side),
            side,
        })
    }

    /// A random decoder on the CLIP of a checkpoint.
    fn on_checkpoint(
        config: &TrainConfig,
        folder: &Path,
        device: &Device,
        note: &mut impl FnMut(&str),
    ) -> Result<Self> {
        let PretrainedClip {
            config: clip_config,
            clip,
        } = load_clip(folder, device)?;
        check_refined(config, &clip_config)?;
        let inner = TransformerDecoderConfig::default().decoder_intermediate_size;
        let decoder = decoder_config(config, &published_layers(&clip_config), inner)?;
        let model_config = ClipSegConfig::new(clip_config, decoder)?;
        let (clip, decoder) = ClipSeg::with_clip(&model_config, clip, device).into_parts();
        let side = config.data.size.unwrap_or(PUBLISHED_SIDE);
        let processor = published(config, side);
        if let Some(own) = ImageProcessor::from_folder(folder)?
            && (own.mean, own.std) != (processor.mean, processor.std)
        {
            note(&format!(
                "a new decoder sees pictures as CLIPSeg is published, with mean {:?} and deviation \
                 {:?}, not with the {:?} and {:?} of the checkpoint's preprocessing",
                processor.mean, processor.std, own.mean, own.std
            ));
        }
        Self::around(clip, decoder, model_config, folder, processor, side)
    }

    /// The decoder of a checkpoint, with the preprocessing that it was trained with.
    fn fine_tuned(
        config: &TrainConfig,
        choice: &PretrainedChoice,
        folder: &Path,
        device: &Device,
        note: &mut impl FnMut(&str),
    ) -> Result<Self> {
        let model = ClipSeg::from_pretrained(folder, device)?;
        let model_config = model.config().clone();
        let found = kind_of(&model_config.decoder);
        if let (Some(wanted), Some(found)) = (choice.kind, found)
            && wanted != found
        {
            let message = format!(
                "`{}`, but the checkpoint's decoder is `{}`",
                wanted.name(),
                found.name()
            );
            return Err(TrainError::field("decoder.kind", message));
        }
        let (clip, decoder) = model.into_parts();
        let (decoder, model_config) = with_dropout(choice, decoder, model_config, device)?;
        let own = ImageProcessor::from_folder_or(folder, ImageProcessor::clipseg(PUBLISHED_SIDE))?;
        let (processor, side) = squashing(own, &config.data, note)?;
        Self::around(clip, decoder, model_config, folder, processor, side)
    }

    fn around(
        clip: Clip,
        decoder: Decoder,
        config: ClipSegConfig,
        folder: &Path,
        processor: ImageProcessor,
        side: u32,
    ) -> Result<Self> {
        let tokenizer = ClipTokenizer::from_folder(folder, &config.clip.text_config)?;
        Ok(Self {
            clip,
            decoder,
            config,
            tokenizer,
            processor,
            side,
        })
    }
}

/// The preprocessing of a new decoder.
fn published(config: &TrainConfig, side: u32) -> ImageProcessor {
    let preprocessing = config.data.preprocessing.unwrap_or_default();
    ImageProcessor::clipseg(side).with_preprocessing(preprocessing)
}

/// A checkpoint's preprocessing as samples are made, which is squashed to a square, bilinear; what of it
/// cannot be kept, or gives way to `data.size` and `data.preprocessing`, is said.
fn squashing(
    own: ImageProcessor,
    data: &DataConfig,
    note: &mut impl FnMut(&str),
) -> Result<(ImageProcessor, u32)> {
    let square = match (own.crop, own.size) {
        (Some([height, width]), _) => (height == width).then_some(height),
        (None, Some(TargetSize::Exact { height, width })) => (height == width).then_some(height),
        _ => None,
    };
    let (own_size, asked) = (own.size, data.size);
    let Some(side) = asked.or(square) else {
        let message = "missing, expected a number, because the checkpoint's preprocessing gives no \
                       square";
        return Err(TrainError::field("data.size", message));
    };
    let preprocessing = data.preprocessing.unwrap_or(own.preprocessing);
    if preprocessing != own.preprocessing {
        note(&format!(
            "pictures are squashed by the way `{}`, as `data.preprocessing` says, not by `{}` as in the \
             checkpoint's preprocessing",
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
            "pictures of {asked} pixels a side, as `data.size` says, not of {own} as in the checkpoint's \
             preprocessing"
        ));
    }
    let mut same_but_size = own;
    (same_but_size.size, same_but_size.preprocessing) = (squashed.size, preprocessing);
    let is_exact = matches!(own_size, Some(TargetSize::Exact { .. }));
    if same_but_size != squashed || !is_exact {
        note(
            "pictures are squashed to a square, bilinear, and not resized and cut as in the \
             checkpoint's preprocessing; the model is saved with the preprocessing that it was trained \
             with",
        );
    }
    Ok((squashed, side))
}

/// The checkpoint's decoder with the dropout that was asked for.
fn with_dropout(
    choice: &PretrainedChoice,
    decoder: Decoder,
    mut config: ClipSegConfig,
    device: &Device,
) -> Result<(Decoder, ClipSegConfig)> {
    let Some(dropout) = choice.dropout else {
        return Ok((decoder, config));
    };
    let DecoderConfig::Transformer(own) = &mut config.decoder else {
        let message = "has no effect on the checkpoint's decoder, which drops nothing";
        return Err(TrainError::field("decoder.dropout", message));
    };
    own.dropout = dropout;
    let dropping = Decoder::init(&config.decoder, &config.clip, device);
    let dropping = dropping
        .try_load_record(decoder.into_record())
        .map_err(|error| TrainError::field("decoder.dropout", error))?;
    Ok((dropping, config))
}

fn kind_of(decoder: &DecoderConfig) -> Option<DecoderKind> {
    match decoder {
        DecoderConfig::Transformer(_) => Some(DecoderKind::Transformer),
        DecoderConfig::Conv(_) => Some(DecoderKind::Conv),
        DecoderConfig::Deconv(_) => Some(DecoderKind::Deconv),
        _ => None,
    }
}

/// The published layers of a tower of twelve, and their like in others.
fn published_layers(clip: &ClipConfig) -> [usize; 3] {
    let depth = clip.vision_config.num_hidden_layers;
    [depth / 4, depth / 2, depth * 3 / 4]
}

/// The three-step head makes 16 × 16 pixels of a patch, whatever its size.
fn check_refined(config: &TrainConfig, clip: &ClipConfig) -> Result<()> {
    let patch = clip.vision_config.patch_size;
    match &config.decoder {
        DecoderChoice::Transformer(choice) if choice.refined && patch != 16 => {
            let message = format!("true, which needs patches of 16 pixels, these have {patch}");
            Err(TrainError::field("decoder.refined", message))
        }
        _ => Ok(()),
    }
}

/// The random decoder that was asked for, with what was left open.
fn decoder_config(config: &TrainConfig, layers: &[usize], inner: usize) -> Result<DecoderConfig> {
    let layers = |own: &Option<Vec<usize>>| own.clone().unwrap_or_else(|| layers.to_vec());
    Ok(match &config.decoder {
        DecoderChoice::Transformer(choice) => TransformerDecoderConfig {
            reduce_dim: choice.reduce_dim,
            extract_layers: layers(&choice.extract_layers),
            decoder_intermediate_size: choice.intermediate_size.unwrap_or(inner),
            use_complex_transposed_convolution: choice.refined,
            dropout: choice.dropout,
            ..TransformerDecoderConfig::default()
        }
        .into(),
        DecoderChoice::Conv(choice) => ConvDecoderConfig {
            extract_layers: layers(&choice.extract_layers),
            upsampling: choice.upsampling,
            picture_branch: choice.picture_branch,
            ..match choice.size {
                ConvSize::Tiny => ConvDecoderConfig::tiny(),
                ConvSize::Base => ConvDecoderConfig::base(),
                ConvSize::Large => ConvDecoderConfig::large(),
            }
        }
        .into(),
        DecoderChoice::Deconv(choice) => DeconvBaselineConfig {
            reduce_dim: choice.reduce_dim,
            extract_layer: layers(&choice.extract_layers)
                .last()
                .copied()
                .unwrap_or_default(),
            ..DeconvBaselineConfig::default()
        }
        .into(),
        DecoderChoice::Pretrained(_) => {
            let message = "true, but `clip.checkpoint` names no checkpoint";
            return Err(TrainError::field("decoder.pretrained", message));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipseg_data::Preprocessing;

    #[test]
    fn the_preprocessing_of_a_checkpoint_is_kept_as_far_as_it_goes() {
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

        // CLIP's own: the middle of a picture whose shorter side is resized.
        let (found, notes) = squash(ImageProcessor::clip(224), None);
        let (found, side) = found.unwrap();
        assert_eq!((found.mean, side), (ImageProcessor::clip(224).mean, 224));
        assert_eq!(
            (found.crop, found.filter),
            (None, ImageProcessor::clipseg(1).filter)
        );
        assert!(
            notes.len() == 1 && notes[0].contains("squashed"),
            "{notes:?}"
        );

        // CLIPSeg's own way of squashing stays too, unless another is asked for.
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
