//! Options for how a model looks at photographs: the method, the input size, tiles and the mirror image.

use crate::loading::{load, load_dense, vision_config};
use crate::output::tell;
use clipseg::clip::Precision;
use clipseg::model::{
    DenseClass, DenseClip, DenseOptions, ModelError, Prompt, SegmentOptions, Segmenter, SoftMask,
    ViewPlan, Views, names_a_side, read_sentences,
};
use image::RgbImage;
use serde_json::{Value, json};
use std::error::Error;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "How to look")]
pub(crate) struct Look {
    /// Method: `clipseg` is CLIP with a trained decoder, `dense` is a CLIP without any (NACLIP), which needs at
    /// least two prompts, or one and --background.
    #[arg(long, value_enum, value_name = "NAME", default_value = "clipseg")]
    method: Method,
    /// Size of what the model sees in pixels, a multiple of the patch size. With `clipseg`, photographs are resized
    /// to N×N. With `dense`, N is the shorter side, over which windows slide.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    size: Option<u32>,
    /// Keep the aspect ratio instead of resizing to a square; the number of pixels stays about the same.
    #[arg(long)]
    keep_aspect: bool,
    /// Also segment N overlapping tiles along the longer side, and along the shorter side in proportion, and blend
    /// them with the entire photograph: for small objects in large photographs.
    #[arg(long, value_name = "N", value_parser = tiles)]
    tiles: Option<u32>,
    /// Average each mask with that of the mirror image, in which `left` and `right` are exchanged in prompts.
    #[arg(long)]
    flip: bool,
    /// Side of the sliding windows of `dense` in pixels. Default: the size that CLIP was trained on.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    window: Option<u32>,
    /// For `dense`: name of what belongs to no prompt, such as sky; repeatable.
    #[arg(long = "background", value_name = "TEXT")]
    backgrounds: Vec<String>,
    /// File of sentences with {} in place of the prompt, one per line, whose embeddings are averaged.
    /// docs/sentences.txt has the 80 of CLIP's authors.
    #[arg(long, value_name = "FILE")]
    template_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Method {
    #[value(name = "clipseg")]
    ClipSeg,
    Dense,
}

fn tiles(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(value @ 2..=32) => Ok(value),
        _ => Err("expected an integer from 2 to 32; 1 has no effect".into()),
    }
}

/// A loaded model and how it looks at photographs.
#[derive(Debug)]
pub(crate) enum Model {
    /// CLIP with a decoder.
    ClipSeg {
        segmenter: Box<Segmenter>,
        views: Views,
    },
    /// CLIP without a decoder.
    Dense {
        model: Box<DenseClip>,
        options: DenseOptions,
    },
}

impl Look {
    /// Refuses options without effect, before anything is loaded.
    pub(crate) fn check(&self) -> Result<(), Box<dyn Error>> {
        let (given, why): (&[(bool, &str)], &str) = match self.method {
            Method::ClipSeg => (
                &[
                    (self.window.is_some(), "--window"),
                    (!self.backgrounds.is_empty(), "--background"),
                ],
                "only --method dense uses it",
            ),
            Method::Dense => (
                &[
                    (self.keep_aspect, "--keep-aspect"),
                    (self.tiles.is_some(), "--tiles"),
                    (self.flip, "--flip"),
                ],
                "--method dense slides windows over the photograph; see --size and --window",
            ),
        };
        if let Some((_, flag)) = given.iter().find(|(given, _)| *given) {
            return Err(format!("{flag} has no effect: {why}").into());
        }
        Ok(())
    }

    /// The first option that was given; `None` if all have their defaults.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let options = [
            (self.method != Method::ClipSeg, "--method"),
            (self.size.is_some(), "--size"),
            (self.keep_aspect, "--keep-aspect"),
            (self.tiles.is_some(), "--tiles"),
            (self.flip, "--flip"),
            (self.window.is_some(), "--window"),
            (!self.backgrounds.is_empty(), "--background"),
            (self.template_file.is_some(), "--template-file"),
        ];
        let mut options = options.into_iter();
        options.find_map(|(given, flag)| given.then_some(flag))
    }

    /// Whether the method has no decoder.
    pub(crate) fn is_dense(&self) -> bool {
        self.method == Method::Dense
    }

    /// Whether --template-file was given.
    pub(crate) fn has_template_file(&self) -> bool {
        self.template_file.is_some()
    }

    /// The names of the background.
    pub(crate) fn backgrounds(&self) -> &[String] {
        &self.backgrounds
    }

    /// The sentences of --template-file; none without it.
    pub(crate) fn templates(&self) -> Result<Vec<String>, Box<dyn Error>> {
        let file = self.template_file.as_deref();
        let sentences = file.map(read_sentences).transpose();
        Ok(sentences
            .map_err(|error| format!("--template-file: {error}"))?
            .unwrap_or_default())
    }

    /// What was given, for a report.
    pub(crate) fn json(&self) -> Value {
        json!({
            "method": if self.is_dense() { "dense" } else { "clipseg" },
            "size": self.size,
            "keep_aspect": self.keep_aspect,
            "tiles": self.tiles,
            "flip": self.flip,
            "window": self.window,
            "background": self.backgrounds,
            "template_file": self.template_file,
        })
    }

    /// Checks the prompts for the method, and reports those whose sides the mirror image exchanges.
    pub(crate) fn check_prompts(
        &self,
        prompts: &[Prompt],
        options: &SegmentOptions,
    ) -> Result<(), Box<dyn Error>> {
        if self.is_dense() {
            if prompts
                .iter()
                .any(|prompt| matches!(prompt, Prompt::Visual(_)))
            {
                let message =
                    "--visual-prompt is not possible with --method dense, which takes texts only";
                return Err(message.into());
            }
            if !options.negative_prompts.is_empty() {
                let message = "--negative has no effect: with --method dense, what is not meant is a --background";
                return Err(message.into());
            }
            let dense = self.dense_options(&options.templates);
            dense.validate()?;
            dense.check_classes(&classes(prompts)?)?;
        }
        if self.flip {
            let texts = prompts.iter().chain(&options.negative_prompts);
            let sided: Vec<&str> = texts
                .filter_map(|prompt| match prompt {
                    Prompt::Text(text) if names_a_side(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect();
            if !sided.is_empty() {
                tell(format_args!(
                    "--flip: in the mirror image, `left` and `right` are exchanged in: {}",
                    sided.join("; ")
                ));
            }
        }
        Ok(())
    }

    fn dense_options(&self, templates: &[String]) -> DenseOptions {
        let mut options = DenseOptions::default()
            .with_templates(templates)
            .with_background(&self.backgrounds);
        options.size = self.size;
        options.window = self.window;
        options
    }

    /// Loads a checkpoint by the method. `templates` are all sentences; only `dense` keeps them.
    pub(crate) fn load(
        &self,
        name: &str,
        device: &str,
        precision: Precision,
        templates: &[String],
    ) -> Result<Model, Box<dyn Error>> {
        if let Some(size) = self.size {
            let patch = vision_config(name)?.patch_size;
            if !(size as usize).is_multiple_of(patch) {
                let message =
                    format!("--size {size}: expected a multiple of the model's patch size {patch}");
                return Err(message.into());
            }
        }
        if self.is_dense() {
            let options = self.dense_options(templates);
            let checked = options.check_sizes(&vision_config(name)?);
            checked.map_err(|error| {
                let message = error.to_string().replace("`size`", "--size");
                message.replace("`window`", "--window")
            })?;
            let model = Box::new(load_dense(name, device, precision)?);
            return Ok(Model::Dense { model, options });
        }
        let mut views = Views::default()
            .with_keep_aspect(self.keep_aspect)
            .with_tiles(self.tiles.unwrap_or(1))
            .with_flip(self.flip);
        views.size = self.size;
        Ok(Model::ClipSeg {
            segmenter: Box::new(load(name, device, precision)?),
            views,
        })
    }
}

/// The classes of text prompts; `|` separates the names of a class.
fn classes(prompts: &[Prompt]) -> Result<Vec<DenseClass>, ModelError> {
    let texts = prompts.iter().filter_map(|prompt| match prompt {
        Prompt::Text(text) => Some(text),
        Prompt::Visual(_) => None,
    });
    texts.map(|text| text.parse()).collect()
}

impl Model {
    /// The threshold that is saved with the model.
    pub(crate) fn threshold(&self) -> Option<f32> {
        match self {
            Self::ClipSeg { segmenter, .. } => segmenter.threshold(),
            // It was chosen for the decoder, which this method does not use.
            Self::Dense { .. } => None,
        }
    }

    /// Reports how many views of the photographs are encoded and how much memory that takes, unless the entire
    /// photograph is the only view. Returns the largest number of views. Photographs that cannot be opened are
    /// reported later.
    pub(crate) fn announce<'a>(&self, photos: impl Iterator<Item = &'a Path>) -> usize {
        let Self::ClipSeg { segmenter, views } = self else {
            return 1;
        };
        if *views == Views::default() {
            return 1;
        }
        // Opening a named pipe would block.
        let sizes = photos
            .filter(|path| path.is_file())
            .filter_map(|path| image::image_dimensions(path).ok());
        let plans =
            sizes.filter_map(|(width, height)| segmenter.plan_views([width, height], views).ok());
        let Some(largest) = plans.max_by_key(ViewPlan::bytes) else {
            return 1;
        };
        tell(format_args!("each photograph is seen in up to {largest}"));
        largest.count()
    }

    /// Passes the index and the mask of each prompt to `each`. `on_views` is called with the number of views that
    /// were encoded and of all views, after each batch.
    pub(crate) fn for_each_mask<E: From<ModelError>>(
        &self,
        picture: &RgbImage,
        prompts: &[Prompt],
        options: &SegmentOptions,
        mut on_views: impl FnMut(usize, usize),
        each: impl FnMut(usize, SoftMask) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::ClipSeg { segmenter, views } => {
                let size = [picture.width(), picture.height()];
                let all = segmenter.plan_views(size, views)?.count();
                let mut done = 0;
                let encoded = segmenter.encode_views(picture, views, |count| {
                    done += count;
                    on_views(done, all);
                })?;
                segmenter.for_each_mask(&encoded, prompts, options, each)
            }
            Self::Dense { model, options } => {
                let encoded = model.encode_image(picture, options)?;
                model.for_each_mask(&encoded, &classes(prompts)?, options, each)
            }
        }
    }
}
