//! Writes a model into a new folder that other programs can use without this one.
//!
//! The folder has the layout of Hugging Face's hub, with everything that transformers reads for a
//! `CLIPSegForImageSegmentation` and a `CLIPSegProcessor`.

mod card;
mod clip;
mod folder;

pub(crate) use clip::export_clip;
use folder::NewModel;

use crate::config::DecoderConfig;
use crate::error::Result;
use crate::segmenter::Segmenter;
use crate::threshold::add_threshold;
use burn::module::Module;
use clipseg_clip::Precision;
use std::path::Path;

/// How [`Segmenter::export`] writes a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportOptions {
    /// The data type of the weights. Default: half precision.
    pub precision: Precision,
    /// The licence of the weights, which the model card names, as an identifier of the Hugging Face hub such
    /// as `mit`. Default: none.
    pub license: Option<String>,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self {
            precision: Precision::F16,
            license: None,
        }
    }
}

/// The result of [`Segmenter::export`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// The size of all files in bytes.
    pub bytes: u64,
    /// What the folder does not say or hold, one sentence each, such as settings that transformers ignores
    /// and weights that are rounded to zero.
    pub notes: Vec<String>,
}

impl Segmenter {
    /// Writes the model into a new folder in Hugging Face's layout: CLIP and the decoder in one
    /// `model.safetensors`, their configuration, the tokenizer, the preprocessing and a model card.
    ///
    /// [`from_pretrained`](Self::from_pretrained) reads the folder, and so does transformers if the decoder
    /// is the transformer decoder. The configuration asks transformers to compute in single precision,
    /// whatever the precision of the file is. The folder appears when it is complete.
    ///
    /// # Errors
    ///
    /// If the folder exists or cannot be written, a weight would become infinite in the precision, or the
    /// licence is not an identifier.
    ///
    /// # Example
    ///
    /// ```
    /// # use clipseg_model::clip::{ClipTokenizer, ImageProcessor};
    /// # use clipseg_model::{ClipSeg, ClipSegConfig};
    /// use burn::tensor::Device;
    /// use clipseg_model::{ExportOptions, Segmenter};
    ///
    /// # let device = Device::flex();
    /// # let mut config = ClipSegConfig::small();
    /// # config.clip.text_config.hidden_size = 32; // small enough for an example
    /// # let model = ClipSeg::init(&config, &device);
    /// # let segmenter = Segmenter::new(model, ClipTokenizer::openai(77)?, ImageProcessor::clipseg(96));
    /// # let parent = tempfile::tempdir().unwrap();
    /// # let folder = parent.path().join("exported");
    /// let options = ExportOptions { license: Some("mit".into()), ..ExportOptions::default() };
    /// let exported = segmenter.export(&folder, &options)?;
    /// println!("{} bytes", exported.bytes);
    /// Segmenter::from_pretrained(&folder, &device)?;
    /// # Ok::<(), clipseg_model::ModelError>(())
    /// ```
    pub fn export(&self, folder: &Path, options: &ExportOptions) -> Result<Exported> {
        let mut config = self.model().config().to_json();
        add_threshold(&mut config, self.threshold());
        let new = NewModel {
            config,
            tokenizer: self.tokenizer(),
            processor: self.processor(),
            card: card::text(self, folder, options),
            parameters: self.model().num_params(),
        };
        let mut exported = new.write(folder, options, |path| {
            self.model().save_weights(path, options.precision)
        })?;
        let mut notes = self.export_notes();
        notes.append(&mut exported.notes);
        exported.notes = notes;
        Ok(exported)
    }

    /// What transformers does not read.
    fn export_notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        match &self.model().config().decoder {
            DecoderConfig::Transformer(decoder) if decoder.dropout > 0.0 => notes.push(format!(
                "transformers ignores the decoder's dropout of {}, which only training uses",
                decoder.dropout
            )),
            DecoderConfig::Transformer(_) => {}
            _ => notes.push("transformers has no such decoder, so only clipseg can load it".into()),
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clipseg::ClipSeg;
    use crate::config::{ClipSegConfig, ConvDecoderConfig, TransformerDecoderConfig};
    use burn::module::{ModuleMapper, Param};
    use burn::prelude::*;
    use clipseg_clip::{ClipTokenizer, ImageProcessor};
    use image::RgbImage;
    use std::collections::BTreeSet;

    fn tiny(decoder: impl Into<DecoderConfig>) -> ClipSegConfig {
        let mut config = ClipSegConfig {
            decoder: decoder.into(),
            ..ClipSegConfig::small()
        };
        config.clip.text_config.hidden_size = 16;
        config.clip.text_config.vocab_size = 600;
        config.clip.text_config.max_position_embeddings = 8;
        config.clip.vision_config.hidden_size = 32;
        config.clip.vision_config.image_size = 32;
        config
    }

    fn transformer() -> TransformerDecoderConfig {
        TransformerDecoderConfig {
            reduce_dim: 16,
            extract_layers: vec![0, 1, 3],
            decoder_intermediate_size: 32,
            ..TransformerDecoderConfig::default()
        }
    }

    fn segmenter(mut config: ClipSegConfig) -> Segmenter {
        let texts = ["a red star", "a red car", "a blue star", "a blue tree"];
        let tokenizer = ClipTokenizer::train(&texts, 600, 8).unwrap();
        config.clip.text_config.vocab_size = tokenizer.vocab_size();
        config.clip.text_config.eos_token_id = i64::from(tokenizer.end_id().unwrap());
        let device = Device::flex();
        device.seed(3);
        let model = ClipSeg::init(&config, &device);
        Segmenter::new(model, tokenizer, ImageProcessor::clipseg(32))
    }

    /// Changes every parameter.
    struct Each(fn(Vec<f32>) -> Vec<f32>);

    impl ModuleMapper for Each {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, tensor, _) = param.consume();
            let (device, data) = (tensor.device(), tensor.into_data());
            let shape = data.shape().clone();
            let values = self.0(data.try_into_vec().unwrap());
            let tensor = Tensor::from_data(TensorData::new(values, shape), &device);
            Param::initialized(id, tensor)
        }
    }

    fn changed(segmenter: &Segmenter, change: fn(Vec<f32>) -> Vec<f32>) -> Segmenter {
        let model = segmenter.model().clone().map(&mut Each(change));
        Segmenter::new(
            model,
            segmenter.tokenizer().clone(),
            segmenter.processor().clone(),
        )
    }

    fn logits(segmenter: &Segmenter) -> Vec<f32> {
        let photo = RgbImage::from_fn(32, 32, |x, y| image::Rgb([8 * x as u8, 8 * y as u8, 99]));
        let encoded = segmenter.encode_image(&photo).unwrap();
        let prompts = segmenter.encode_text(&["a red star", "a tree"]).unwrap();
        let logits = segmenter.logits(&encoded, prompts).unwrap();
        logits.into_data().try_into_vec().unwrap()
    }

    #[test]
    fn the_exported_model_is_the_rounded_model() {
        let parent = tempfile::tempdir().unwrap();
        let segmenter = segmenter(tiny(transformer()));
        for (precision, round) in [
            (
                Precision::F32,
                (|values| values) as fn(Vec<f32>) -> Vec<f32>,
            ),
            (Precision::F16, |values| {
                values
                    .into_iter()
                    .map(|v| Precision::F16.round(v))
                    .collect()
            }),
            (Precision::Bf16, |values| {
                values
                    .into_iter()
                    .map(|v| Precision::Bf16.round(v))
                    .collect()
            }),
        ] {
            let folder = parent.path().join(precision.name());
            let options = ExportOptions {
                precision,
                license: Some("mit".into()),
            };
            let exported = segmenter.export(&folder, &options).unwrap();
            assert_eq!(exported.notes, Vec::<String>::new());
            let loaded = Segmenter::from_pretrained(&folder, &Device::flex()).unwrap();
            assert_eq!(logits(&loaded), logits(&changed(&segmenter, round)));
            assert_eq!(loaded.processor(), segmenter.processor());
            let names: BTreeSet<String> = std::fs::read_dir(&folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            let expected = [
                "README.md",
                "config.json",
                "merges.txt",
                "model.safetensors",
                "preprocessor_config.json",
                "special_tokens_map.json",
                "tokenizer.json",
                "tokenizer_config.json",
                "vocab.json",
            ];
            assert_eq!(names, expected.map(str::to_owned).into());
            let sizes = expected.map(|name| folder.join(name).metadata().unwrap().len());
            assert_eq!(exported.bytes, sizes.iter().sum::<u64>());
        }
        let size = |name: &str| {
            let file = parent.path().join(name).join("model.safetensors");
            file.metadata().unwrap().len()
        };
        assert!(size("f16") < size("f32") * 6 / 10);
        let other = logits(&segmenter);
        let f16 = Segmenter::from_pretrained(&parent.path().join("f16"), &Device::flex());
        assert_ne!(
            logits(&f16.unwrap()),
            other,
            "half precision changes the logits"
        );
    }

    #[test]
    fn a_vocabulary_in_two_files_is_the_same_tokenizer() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("model");
        let segmenter = segmenter(tiny(transformer()));
        segmenter
            .export(&folder, &ExportOptions::default())
            .unwrap();
        std::fs::remove_file(folder.join("tokenizer.json")).unwrap();
        let config = &segmenter.model().config().clip.text_config;
        let read = ClipTokenizer::from_folder(&folder, config).unwrap();
        for text in ["a red star", "A blue  tree, isn't it?", "12 ☂"] {
            assert_eq!(
                read.encode(text).unwrap(),
                segmenter.tokenizer().encode(text).unwrap()
            );
        }
    }

    #[test]
    fn weights_that_half_precision_cannot_hold_are_named() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("model");
        let mut config = tiny(transformer());
        config.clip.logit_scale_init_value = 70_000.0;
        let large = segmenter(config);
        let error = large.export(&folder, &ExportOptions::default());
        let message = error.unwrap_err().to_string();
        assert!(
            message.contains(
                "weights of these tensors are infinite in f16: `clip.logit_scale` with 70000;"
            ),
            "{message}"
        );
        let left = std::fs::read_dir(parent.path()).unwrap().count();
        assert_eq!(left, 0, "no folder and no part of one is left");
        let options = ExportOptions {
            precision: Precision::Bf16,
            ..ExportOptions::default()
        };
        large.export(&folder, &options).unwrap();
    }

    #[test]
    fn what_is_lost_is_noted() {
        let parent = tempfile::tempdir().unwrap();
        let notes = |name: &str, segmenter: &Segmenter| {
            let exported = segmenter.export(&parent.path().join(name), &ExportOptions::default());
            exported.unwrap().notes.join("\n")
        };
        let tiny_weights = changed(&segmenter(tiny(transformer())), |mut values| {
            values[0] = 1e-9;
            values
        });
        let count = notes("zero", &tiny_weights);
        assert!(
            count.contains("weights are rounded to zero in f16"),
            "{count}"
        );
        assert!(count.ends_with("README.md names no licence"), "{count}");
        let dropping = TransformerDecoderConfig {
            dropout: 0.1,
            ..transformer()
        };
        let found = notes("dropout", &segmenter(tiny(dropping)));
        assert!(
            found.contains("ignores the decoder's dropout of 0.1"),
            "{found}"
        );
        let conv = ConvDecoderConfig {
            extract_layers: vec![0, 1, 3],
            ..ConvDecoderConfig::tiny()
        };
        let found = notes("conv", &segmenter(tiny(conv)));
        assert!(
            found.contains("transformers has no such decoder"),
            "{found}"
        );
    }

    #[test]
    fn existing_folders_and_odd_licences_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        let segmenter = segmenter(tiny(transformer()));
        let options = ExportOptions::default();
        let message = segmenter.export(parent.path(), &options).unwrap_err();
        assert!(
            message
                .to_string()
                .ends_with("already exists; choose a new folder")
        );
        for license in ["", "my own", "mit\nx: y"] {
            let options = ExportOptions {
                license: Some(license.into()),
                ..ExportOptions::default()
            };
            let error = segmenter.export(&parent.path().join("new"), &options);
            let message = error.unwrap_err().to_string();
            assert!(message.contains("is not an identifier"), "{message}");
        }
        assert!(!parent.path().join("new").exists());
    }

    #[test]
    fn the_card_names_sizes_and_the_licence() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("stars");
        let options = ExportOptions {
            license: Some("mit".into()),
            ..ExportOptions::default()
        };
        segmenter(tiny(transformer()))
            .export(&folder, &options)
            .unwrap();
        let card = std::fs::read_to_string(folder.join("README.md")).unwrap();
        assert!(card.starts_with("---\nlicense: mit\n"), "{card}");
        for part in ["# stars", "32x32", "transformer", "f16", "--model stars"] {
            assert!(card.contains(part), "{part}: {card}");
        }
    }
}
