//! Loading the model of a run with its tokenizer and preprocessing.

use crate::config::clip_name::RANDOM;
use crate::config::decoder_choice::{ConvSize, DecoderChoice, DecoderKind, PretrainedChoice};
use crate::config::train_config::TrainConfig;
use crate::error::{Result, TrainError};
use crate::run::preprocessing::{PUBLISHED_SIDE, published, squashed_side, squashing};
use burn::module::Module;
use burn::prelude::*;
use clipseg_clip::{
    CheckpointFiles, Clip, ClipConfig, ClipTokenizer, ImageProcessor, PretrainedClip, load_clip,
};
use clipseg_model::{
    ClipSeg, ClipSegConfig, ConvDecoderConfig, Decoder, DecoderConfig, DeconvBaselineConfig,
    SCENES, TransformerDecoderConfig, resolve,
};

/// Intermediate size of the MLPs of a decoder on a small CLIP.
const SMALL_INNER: usize = 256;
/// A CLIP is small if its vision tower is narrower than this. Published ones have a width of 768 or more.
const SMALL_WIDTH: usize = 256;

/// A CLIP with everything that is needed to put a new decoder on it.
pub(crate) struct Base {
    pub(crate) clip: Clip,
    pub(crate) config: ClipConfig,
    pub(crate) tokenizer: ClipTokenizer,
    pub(crate) processor: ImageProcessor,
    /// Side of the model's input pictures in pixels.
    pub(crate) side: u32,
    /// The layers and the intermediate size of a decoder whose settings do not name them.
    layers: Vec<usize>,
    inner: usize,
}

impl Base {
    /// Loads the CLIP of a checkpoint, or initialises a small one with random weights. `note` is called with a line
    /// for each choice that was made for the user.
    pub(crate) fn new(
        config: &TrainConfig,
        device: &Device,
        note: &mut impl FnMut(&str),
    ) -> Result<Self> {
        match named(config, note)? {
            Some(files) => Self::of_checkpoint(config, &files, device, note),
            None => Self::random(config, device),
        }
    }

    /// A small CLIP with random weights.
    fn random(config: &TrainConfig, device: &Device) -> Result<Self> {
        let small = ClipSegConfig::small();
        check_refined(config, &small.clip)?;
        let side = small.clip.vision_config.image_size as u32;
        let side = config.data.size.unwrap_or(side);
        let positions = small.clip.text_config.max_position_embeddings;
        Ok(Self {
            clip: Clip::init(&small.clip, device),
            tokenizer: ClipTokenizer::openai(positions)?,
            processor: published(config, side),
            side,
            layers: small.decoder.extract_layers().to_vec(),
            inner: SMALL_INNER,
            config: small.clip,
        })
    }

    fn of_checkpoint(
        config: &TrainConfig,
        files: &CheckpointFiles,
        device: &Device,
        note: &mut impl FnMut(&str),
    ) -> Result<Self> {
        let PretrainedClip {
            config: clip_config,
            clip,
        } = load_clip(files, device)?;
        let inner = if clip_config.vision_config.hidden_size < SMALL_WIDTH {
            SMALL_INNER
        } else {
            TransformerDecoderConfig::default().decoder_intermediate_size
        };
        let own = ImageProcessor::from_folder(files)?;
        let own_side = own.as_ref().and_then(squashed_side);
        let side = config.data.size.or(own_side).unwrap_or(PUBLISHED_SIDE);
        let processor = published(config, side);
        if let Some(own) = own
            && (own.mean, own.std) != (processor.mean, processor.std)
        {
            note(&format!(
                "pictures are normalised as for the published CLIPSeg, with mean {:?} and standard \
                 deviation {:?}, not with {:?} and {:?} as in the checkpoint's preprocessing",
                processor.mean, processor.std, own.mean, own.std
            ));
        }
        Ok(Self {
            tokenizer: ClipTokenizer::from_folder(files, &clip_config.text_config)?,
            layers: published_layers(&clip_config).to_vec(),
            config: clip_config,
            clip,
            processor,
            side,
            inner,
        })
    }

    /// The configuration of a model of this CLIP and the configured decoder.
    ///
    /// # Errors
    ///
    /// If the decoder does not fit this CLIP.
    pub(crate) fn model_config(&self, config: &TrainConfig) -> Result<ClipSegConfig> {
        check_refined(config, &self.config)?;
        let decoder = decoder_config(config, &self.layers, self.inner)?;
        Ok(ClipSegConfig::new(self.config.clone(), decoder)?)
    }
}

/// The files of the checkpoint that a configuration names; `None` for the small CLIP with random weights.
fn named(config: &TrainConfig, note: &mut impl FnMut(&str)) -> Result<Option<CheckpointFiles>> {
    match config.clip.checkpoint.as_deref() {
        Some(RANDOM) => note(&format!(
            "using a small CLIP with random weights (seed {})",
            config.seed
        )),
        None => note(&format!(
            "no CLIP given: using a small one with random weights (seed {}); `clip.checkpoint` \
             `{SCENES}` names a trained one",
            config.seed
        )),
        Some(checkpoint) => return Ok(Some(resolve(checkpoint)?)),
    }
    Ok(None)
}

/// A model with its tokenizer and preprocessing.
pub(crate) struct Parts {
    pub(crate) clip: Clip,
    pub(crate) decoder: Decoder,
    pub(crate) config: ClipSegConfig,
    pub(crate) tokenizer: ClipTokenizer,
    pub(crate) processor: ImageProcessor,
    /// Side of the model's input pictures in pixels.
    pub(crate) side: u32,
}

impl Parts {
    /// Loads the model or initialises it with random weights. `note` is called with a line for each choice
    /// that was made for the user.
    pub(crate) fn new(
        config: &TrainConfig,
        device: &Device,
        note: &mut impl FnMut(&str),
    ) -> Result<Self> {
        let base = match (named(config, note)?, &config.decoder) {
            (Some(files), DecoderChoice::Pretrained(choice)) => {
                return Self::fine_tuned(config, choice, &files, device, note);
            }
            (Some(files), _) => Base::of_checkpoint(config, &files, device, note)?,
            (None, _) => Base::random(config, device)?,
        };
        let config = base.model_config(config)?;
        let (clip, decoder) = ClipSeg::with_clip(&config, base.clip, device).into_parts();
        Ok(Self {
            clip,
            decoder,
            config,
            tokenizer: base.tokenizer,
            processor: base.processor,
            side: base.side,
        })
    }

    /// The decoder of a checkpoint, with the checkpoint's preprocessing.
    fn fine_tuned(
        config: &TrainConfig,
        choice: &PretrainedChoice,
        files: &CheckpointFiles,
        device: &Device,
        note: &mut impl FnMut(&str),
    ) -> Result<Self> {
        let model = ClipSeg::from_pretrained(files, device)?;
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
        let own = ImageProcessor::from_folder_or(files, ImageProcessor::clipseg(PUBLISHED_SIDE))?;
        let (processor, side) = squashing(own, &config.data, note)?;
        Ok(Self {
            tokenizer: ClipTokenizer::from_folder(files, &model_config.clip.text_config)?,
            config: model_config,
            clip,
            decoder,
            processor,
            side,
        })
    }
}

/// The checkpoint's decoder with the configured dropout.
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

/// The published layers of a tower of twelve layers, or those at the same fractions of another depth.
fn published_layers(clip: &ClipConfig) -> [usize; 3] {
    let depth = clip.vision_config.num_hidden_layers;
    [depth / 4, depth / 2, depth * 3 / 4]
}

/// The refined head upsamples each patch to 16 × 16 pixels, whatever the patch size is.
fn check_refined(config: &TrainConfig, clip: &ClipConfig) -> Result<()> {
    let patch = clip.vision_config.patch_size;
    match &config.decoder {
        DecoderChoice::Transformer(choice) if choice.refined && patch != 16 => {
            let message = format!("true, which needs a patch size of 16 pixels, not {patch}");
            Err(TrainError::field("decoder.refined", message))
        }
        _ => Ok(()),
    }
}

/// The configuration of a new decoder, with defaults for the settings that are not given.
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
