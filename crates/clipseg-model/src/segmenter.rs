//! A model with its tokenizer and preprocessing, and the encoding of photographs and prompts.

use crate::clipseg::ClipSeg;
use crate::encoded_image::EncodedImage;
use crate::error::{ModelError, Result};
use crate::text_cache::TextCache;
use crate::threshold::{check_threshold, saved_threshold};
use crate::visual_prompt::VisualPrompt;
use burn::prelude::*;
use clipseg_clip::{
    CheckpointFiles, ClipError, ClipTokenizer, ImageProcessor, Precision, refuse_foreign,
};
use clipseg_data::is_cpu;
use image::RgbImage;
use std::path::Path;

/// The files of a saved model. The last one is not written: it is the newer form of the preprocessing,
/// and a foreign one would be read instead of the saved file.
const SAVED: [&str; 7] = [
    "model.safetensors",
    "config.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
    "preprocessor_config.json",
    "processor_config.json",
];
/// Number of channels of a photograph.
const CHANNELS: usize = 3;

/// A CLIPSeg model with its tokenizer and preprocessing. It segments photographs.
///
/// [`encode_image`](Self::encode_image) runs CLIP once for each photograph. After that, each prompt only
/// costs the text encoder and the decoder, and text embeddings are cached.
///
/// # Example
///
/// ```
/// # use clipseg_model::clip::{ClipTokenizer, ImageProcessor};
/// # use clipseg_model::{ClipSeg, ClipSegConfig};
/// use burn::tensor::Device;
/// use clipseg_model::Segmenter;
///
/// let device = Device::flex();
/// # let mut config = ClipSegConfig::small();
/// # config.clip.text_config.hidden_size = 32; // small enough for an example
/// # let model = ClipSeg::init(&config, &device);
/// # let tokenizer = ClipTokenizer::openai(77)?;
/// # let folder = tempfile::tempdir().unwrap();
/// # let folder = folder.path();
/// # Segmenter::new(model, tokenizer, ImageProcessor::clipseg(96)).save_pretrained(folder)?;
/// # let photo = image::RgbImage::new(200, 150);
/// let segmenter = Segmenter::from_pretrained(folder, &device)?;
/// let encoded = segmenter.encode_image(&photo)?;
/// for mask in segmenter.segment(&encoded, &["a cat", "a sofa"])? {
///     println!("{:.0} % of the photograph", 100.0 * mask.coverage(0.5));
/// }
/// # Ok::<(), clipseg_model::ModelError>(())
/// ```
#[derive(Debug)]
pub struct Segmenter {
    model: ClipSeg,
    tokenizer: ClipTokenizer,
    processor: ImageProcessor,
    device: Device,
    texts: TextCache,
    threshold: Option<f32>,
}

impl Segmenter {
    /// Combines a model with its tokenizer and preprocessing. The model must not be on an autodiff
    /// device.
    pub fn new(model: ClipSeg, tokenizer: ClipTokenizer, processor: ImageProcessor) -> Self {
        let device = model.clip().device();
        Self {
            model,
            tokenizer,
            processor,
            device,
            texts: TextCache::default(),
            threshold: None,
        }
    }

    /// Loads a model from a folder: a CLIPSeg checkpoint in Hugging Face's layout, or a folder that
    /// [`save_pretrained`](Self::save_pretrained) wrote. Without a `preprocessor_config.json`, photographs
    /// are resized to 352×352 and normalised as for the published CLIPSeg models, and a `tracing` warning
    /// reports it.
    ///
    /// # Errors
    ///
    /// If a file is missing, cannot be read or does not fit the others, or a weight is NaN or infinite.
    pub fn from_pretrained(files: impl Into<CheckpointFiles>, device: &Device) -> Result<Self> {
        let files = files.into();
        let model = ClipSeg::from_pretrained(&files, device)?;
        refuse_non_finite(&files, &model.non_finite())?;
        let tokenizer = ClipTokenizer::from_folder(&files, &model.config().clip.text_config)?;
        let processor = ImageProcessor::from_folder_or(&files, ImageProcessor::clipseg(352))?;
        Ok(Self {
            threshold: saved_threshold(&files)?,
            ..Self::new(model, tokenizer, processor)
        })
    }

    /// The same segmenter with a threshold that is saved with the model, from 0 to less than 1.
    ///
    /// # Errors
    ///
    /// If the threshold is out of this range.
    pub fn with_threshold(mut self, threshold: f32) -> Result<Self> {
        check_threshold(threshold)?;
        self.threshold = Some(threshold);
        Ok(self)
    }

    /// The threshold that is saved with the model: probabilities above it count as inside. Training chooses it on the
    /// validation split. The published models have none.
    pub fn threshold(&self) -> Option<f32> {
        self.threshold
    }

    /// The same segmenter with the linear layers and the attention of the vision encoder in a precision:
    /// `F32` as after loading, or `Bf16`, see
    /// [`Clip::with_bf16_vision`](clipseg_clip::Clip::with_bf16_vision). Saved weights stay the same.
    ///
    /// # Errors
    ///
    /// For `F16`, and where bf16 is not supported.
    pub fn with_vision_precision(mut self, precision: Precision) -> Result<Self> {
        self.model = self.model.with_vision_precision(precision)?;
        Ok(self)
    }

    /// Writes the configuration, the weights, the tokenizer and the preprocessing into a folder.
    /// [`from_pretrained`](Self::from_pretrained) reads it. transformers reads it too if the decoder is
    /// the transformer decoder.
    ///
    /// Files of a model that was saved to the folder before are replaced. Files of other programs are
    /// not.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written, or one of the files exists and was written by another program.
    pub fn save_pretrained(&self, folder: &Path) -> Result<()> {
        refuse_foreign(folder, &SAVED)?;
        self.model.save_with_threshold(folder, self.threshold)?;
        self.tokenizer.save(folder)?;
        self.processor.save(folder)?;
        Ok(())
    }

    /// The model.
    pub fn model(&self) -> &ClipSeg {
        &self.model
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &ClipTokenizer {
        &self.tokenizer
    }

    /// The preprocessing.
    pub fn processor(&self) -> &ImageProcessor {
        &self.processor
    }

    /// Preprocesses a photograph and runs the vision encoder, once for all prompts.
    ///
    /// # Errors
    ///
    /// If the photograph is empty, or the preprocessed size is not a multiple of the patch size.
    pub fn encode_image(&self, picture: &RgbImage) -> Result<EncodedImage> {
        let pixels = self.pixel_values(std::slice::from_ref(picture), &self.processor)?;
        let features = self.model.encode_image(pixels)?;
        let size = [picture.width(), picture.height()];
        Ok(EncodedImage::of_whole(features, size))
    }

    /// Preprocesses several photographs, which can differ in size, and runs the vision encoder.
    ///
    /// On a GPU, all photographs go through the encoder in one pass. On the CPU they go one by one, which is not
    /// slower, takes less memory, and gives the bits of [`encode_image`](Self::encode_image).
    ///
    /// # Errors
    ///
    /// As [`encode_image`](Self::encode_image). No photograph gives an empty result.
    pub fn encode_images(&self, pictures: &[RgbImage]) -> Result<Vec<EncodedImage>> {
        if is_cpu(&self.device) {
            let encoded = pictures.iter().map(|picture| self.encode_image(picture));
            return encoded.collect();
        }
        self.encode_in_one_pass(pictures)
    }

    /// Runs the vision encoder once for all photographs of one preprocessed size.
    fn encode_in_one_pass(&self, pictures: &[RgbImage]) -> Result<Vec<EncodedImage>> {
        let pixels = pictures
            .iter()
            .map(|picture| self.pixel_values(std::slice::from_ref(picture), &self.processor));
        let pixels: Vec<Tensor<4>> = pixels.collect::<Result<_>>()?;
        let sizes: Vec<[usize; 4]> = pixels.iter().map(Tensor::dims).collect();
        let mut encoded: Vec<Option<EncodedImage>> = vec![None; pictures.len()];
        for (first, size) in sizes.iter().enumerate() {
            if sizes[..first].contains(size) {
                continue;
            }
            let alike: Vec<usize> = (first..sizes.len())
                .filter(|&index| sizes[index] == *size)
                .collect();
            let batch = alike.iter().map(|&index| pixels[index].clone()).collect();
            let features = self.model.encode_image(Tensor::cat(batch, 0))?;
            for (row, &index) in alike.iter().enumerate() {
                let size = [pictures[index].width(), pictures[index].height()];
                encoded[index] = Some(EncodedImage::of_whole(features.picture(row), size));
            }
        }
        Ok(encoded.into_iter().flatten().collect())
    }

    /// The embeddings of text prompts, `[prompts, projection_dim]`. Embeddings are cached, so each text
    /// is encoded once.
    ///
    /// # Errors
    ///
    /// If there is no prompt, or a prompt cannot be tokenized.
    pub fn encode_text<S: AsRef<str>>(&self, prompts: &[S]) -> Result<Tensor<2>> {
        if prompts.is_empty() {
            return Err(ModelError::Input(
                "no prompt was given, expected at least one".into(),
            ));
        }
        self.texts.get(prompts, |batch| {
            let tokens = self.tokenizer.batch(batch, &self.device)?;
            Ok(self.model.clip().text_embedding(&tokens)?)
        })
    }

    /// The embedding of a visual prompt, `[1, projection_dim]`.
    ///
    /// # Errors
    ///
    /// If the picture is empty, or its preprocessed size is not a multiple of the patch size.
    pub fn encode_visual(&self, prompt: &VisualPrompt) -> Result<Tensor<2>> {
        let pixels = self.pixel_values(&[prompt.prepare()], &self.processor)?;
        Ok(self.model.clip().image_embedding(pixels)?)
    }

    /// The preprocessed pictures, `[pictures, 3, height, width]`; both sides are multiples of the patch size.
    pub(crate) fn pixel_values(
        &self,
        pictures: &[RgbImage],
        processor: &ImageProcessor,
    ) -> Result<Tensor<4>> {
        let channels = self.model.config().clip.vision_config.num_channels;
        if channels != CHANNELS {
            return Err(ModelError::Input(format!(
                "the model expects pictures with {channels} channels, but this one has {CHANNELS}"
            )));
        }
        let pixels = processor.pixel_values(pictures, &self.device)?;
        let [_, _, height, width] = pixels.dims();
        let patch = self.model.clip().vision_model().patch_size();
        if !height.is_multiple_of(patch) || !width.is_multiple_of(patch) {
            return Err(ModelError::Input(format!(
                "the preprocessing resizes pictures to {width}x{height}, expected multiples of the patch \
                 size {patch}"
            )));
        }
        Ok(pixels)
    }
}

/// Refuses a checkpoint in which the tensors of these names have NaN or infinite values.
pub(crate) fn refuse_non_finite(files: &CheckpointFiles, names: &[String]) -> Result<()> {
    let message = match names {
        [] => return Ok(()),
        [name] => format!("the tensor `{name}` has NaN or infinite values"),
        [first, ..] => {
            let count = names.len();
            format!("{count} tensors have NaN or infinite values, such as `{first}`")
        }
    };
    Err(ClipError::format(files.path(), message).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ClipSegConfig;
    use burn::tensor::Tolerance;
    use clipseg_clip::TargetSize;

    fn photo(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([(x * 9) as u8, (y * 7) as u8, (x * y) as u8])
        })
    }

    #[test]
    fn several_photographs_are_encoded_as_each_alone() {
        let device = Device::flex();
        device.seed(1);
        let model = ClipSeg::init(&ClipSegConfig::small(), &device);
        let mut processor = ImageProcessor::clipseg(64);
        // Keeps the aspect ratio, so that there are two preprocessed sizes.
        processor.size = Some(TargetSize::ShortestEdge(32));
        let tokenizer = ClipTokenizer::openai(77).unwrap();
        let segmenter = Segmenter::new(model, tokenizer, processor);
        let photos = [photo(64, 32), photo(40, 40), photo(128, 64), photo(80, 80)];
        let batched = segmenter.encode_in_one_pass(&photos).unwrap();
        let public = segmenter.encode_images(&photos).unwrap();
        assert_eq!(batched.len(), 4);
        for ((photo, batched), public) in photos.iter().zip(&batched).zip(&public) {
            let alone = segmenter.encode_image(photo).unwrap();
            let size = (photo.width(), photo.height());
            for found in [batched, public] {
                assert_eq!((found.width(), found.height()), size);
                let [found, alone] = [found, &alone].map(|image| image.whole().unwrap());
                assert_eq!(found.grid, alone.grid);
                let layers = found.hidden_states.iter();
                for (found, alone) in layers.zip(&alone.hidden_states) {
                    let (found, alone) = (found.to_data(), alone.to_data());
                    found.assert_approx_eq::<f32>(&alone, Tolerance::absolute(1e-5));
                }
            }
        }
        assert!(segmenter.encode_images(&[]).unwrap().is_empty());
        let empty = segmenter.encode_in_one_pass(&[photo(8, 8), RgbImage::new(0, 0)]);
        assert!(empty.unwrap_err().to_string().contains("no pixels"));
    }
}
