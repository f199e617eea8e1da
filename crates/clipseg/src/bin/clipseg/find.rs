//! The options of `clipseg segment` for what to find: phrases and pictures, and what is made of them.

use crate::formats::{Formats, combination_slug};
use crate::look::Look;
use crate::photos::slug;
use clipseg::data::{load_mask, load_rgb};
use clipseg::model::{Prompt, SegmentOptions, VisualPrompt};
use std::collections::HashSet;
use std::error::Error;
use std::path::PathBuf;

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "What to find")]
pub(crate) struct Find {
    /// Phrase to segment by; repeatable.
    #[arg(long = "prompt", value_name = "TEXT")]
    pub(crate) prompts: Vec<String>,
    /// Picture of an object to segment by (visual prompt); repeatable.
    #[arg(long = "visual-prompt", value_name = "PICTURE")]
    pub(crate) visual_prompts: Vec<PathBuf>,
    /// Mask of the object in a visual prompt, such as white on black: pixels above half of the mask's
    /// largest value belong to it. One for each visual prompt, in the same order.
    #[arg(long = "visual-mask", value_name = "PICTURE")]
    pub(crate) visual_masks: Vec<PathBuf>,
    /// Phrase whose regions are removed from every mask; repeatable.
    #[arg(long = "negative", value_name = "TEXT")]
    negatives: Vec<String>,
    /// Sentence with {} in place of the prompt; embeddings are averaged over several; repeatable.
    #[arg(long = "template", value_name = "SENTENCE")]
    templates: Vec<String>,
}

/// The prompts and combinations, and their names.
pub(crate) struct Request {
    pub(crate) prompts: Vec<Prompt>,
    /// In files and tables: the prompts and then the combinations.
    pub(crate) names: Vec<String>,
    /// For each name, the part of the result file names that identifies it.
    pub(crate) slugs: Vec<String>,
    pub(crate) options: SegmentOptions,
}

impl Find {
    /// Reads and checks the prompts, for a way to look and for combinations.
    pub(crate) fn request(
        &self,
        look: &Look,
        formats: &Formats,
    ) -> Result<Request, Box<dyn Error>> {
        let (pictures, masks) = (&self.visual_prompts, &self.visual_masks);
        if self.prompts.is_empty() && pictures.is_empty() {
            return Err("no prompt: pass --prompt \"a cat\" or --visual-prompt cat.jpg".into());
        }
        if let Some(index) = self.prompts.iter().position(|p| p.trim().is_empty()) {
            return Err(format!("prompt {} is empty", index + 1).into());
        }
        if !masks.is_empty() && masks.len() != pictures.len() {
            let (masks, pictures) = (masks.len(), pictures.len());
            let message = format!(
                "{masks} --visual-mask for {pictures} --visual-prompt, expected one for each or none"
            );
            return Err(message.into());
        }
        look.check()?;
        let mut templates = self.templates.clone();
        templates.extend(look.templates()?);
        let options = SegmentOptions::default()
            .with_templates(templates)
            .with_negative_prompts(self.negatives.iter().cloned());
        options.validate()?;
        self.check_repeated()?;
        formats.check(self.prompts.len() + pictures.len())?;
        let has_words = !self.prompts.is_empty() || !self.negatives.is_empty();
        if !has_words && !options.templates.is_empty() {
            let flag = match self.templates.is_empty() {
                true => "--template-file",
                false => "--template",
            };
            return Err(format!("{flag} has no effect without --prompt or --negative").into());
        }
        let mut prompts: Vec<Prompt> = self.prompts.iter().cloned().map(Prompt::from).collect();
        let mut names = self.prompts.clone();
        for (index, path) in pictures.iter().enumerate() {
            let picture = load_rgb(path)?;
            let prompt = match masks.get(index) {
                None => VisualPrompt::new(picture),
                Some(mask) => VisualPrompt::with_mask(picture, load_mask(mask)?)
                    .map_err(|error| format!("{}: {error}", mask.display()))?,
            };
            prompts.push(prompt.into());
            let stem = path.file_stem().unwrap_or(path.as_os_str());
            names.push(format!("like {}", stem.to_string_lossy()));
        }
        look.check_prompts(&prompts, &options)?;
        // The number distinguishes prompts whose slugs are equal or empty.
        let slugs = names.iter().zip(1..).map(|(name, number)| {
            let slug = format!("{number}-{}", slug(name));
            slug.trim_end_matches('-').to_owned()
        });
        let mut slugs: Vec<String> = slugs.collect();
        for (expression, number) in formats.combinations.iter().zip(1..) {
            names.push(expression.to_string());
            slugs.push(combination_slug(number, expression));
        }
        Ok(Request {
            slugs,
            prompts,
            names,
            options,
        })
    }

    /// Refuses repeated phrases, and phrases that are both a prompt and a negative prompt.
    fn check_repeated(&self) -> Result<(), Box<dyn Error>> {
        // The tokenizer ignores case and the number of spaces.
        let read = |text: &String| {
            let words: Vec<&str> = text.split_whitespace().collect();
            words.join(" ").to_lowercase()
        };
        for (flag, texts) in [
            ("--prompt", &self.prompts),
            ("--negative", &self.negatives),
            ("--template", &self.templates),
        ] {
            let mut seen = HashSet::new();
            if let Some(text) = texts.iter().find(|text| !seen.insert(read(text))) {
                return Err(format!("{flag} `{text}` is given twice").into());
            }
        }
        let prompts: HashSet<String> = self.prompts.iter().map(read).collect();
        let mut negatives = self.negatives.iter();
        if let Some(text) = negatives.find(|text| prompts.contains(&read(text))) {
            let message =
                format!("--negative `{text}` is also a --prompt: its mask would always be empty");
            return Err(message.into());
        }
        Ok(())
    }
}
