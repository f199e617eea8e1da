//! Prompts, and options for how the model uses them.

use crate::error::{ModelError, Result};
use crate::visual_prompt::VisualPrompt;

/// What to segment.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// A text, such as `a cat`.
    Text(String),
    /// A picture of an example.
    Visual(VisualPrompt),
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Prompt {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<VisualPrompt> for Prompt {
    fn from(prompt: VisualPrompt) -> Self {
        Self::Visual(prompt)
    }
}

/// Options of [`Segmenter::segment_with`](crate::Segmenter::segment_with). By default there are no
/// templates and no negative prompts.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct SegmentOptions {
    /// Prompt templates with `{}` in place of the text, such as [`TEMPLATES`](crate::TEMPLATES). The
    /// embeddings of all templates are averaged, so the decoder runs once for each prompt. Visual
    /// prompts do not use templates.
    pub templates: Vec<String>,
    /// Prompts for what does not belong to the mask. Each pixel's probability is multiplied by one minus
    /// the maximum probability of the negative prompts.
    pub negative_prompts: Vec<Prompt>,
}

impl SegmentOptions {
    /// Sets the prompt templates, each with `{}` in place of the text.
    #[must_use]
    pub fn with_templates<S: Into<String>>(
        mut self,
        templates: impl IntoIterator<Item = S>,
    ) -> Self {
        self.templates = templates.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the negative prompts.
    #[must_use]
    pub fn with_negative_prompts<P: Into<Prompt>>(
        mut self,
        prompts: impl IntoIterator<Item = P>,
    ) -> Self {
        self.negative_prompts = prompts.into_iter().map(Into::into).collect();
        self
    }

    /// Checks that every template contains `{}` and that no negative prompt is empty.
    ///
    /// # Errors
    ///
    /// For the first invalid template or negative prompt.
    pub fn validate(&self) -> Result<()> {
        check_templates(&self.templates)?;
        let is_empty =
            |prompt: &Prompt| matches!(prompt, Prompt::Text(text) if text.trim().is_empty());
        if let Some(index) = self.negative_prompts.iter().position(is_empty) {
            let number = index + 1;
            return Err(ModelError::Input(format!(
                "negative prompt {number} is empty"
            )));
        }
        Ok(())
    }

    /// The texts that CLIP encodes for a prompt: one for each template, or the prompt itself without
    /// templates.
    pub fn sentences(&self, prompt: &str) -> Vec<String> {
        sentences(&self.templates, prompt)
    }
}

/// Checks that every template contains `{}`.
pub(crate) fn check_templates(templates: &[String]) -> Result<()> {
    match templates.iter().find(|text| !text.contains("{}")) {
        None => Ok(()),
        Some(template) => Err(ModelError::Input(format!(
            "the template `{template}` has no `{{}}` for the prompt"
        ))),
    }
}

/// A sentence for each template, or the text itself without templates.
pub(crate) fn sentences(templates: &[String], text: &str) -> Vec<String> {
    if templates.is_empty() {
        return vec![text.to_owned()];
    }
    let templates = templates.iter();
    templates
        .map(|template| template.replace("{}", text))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_options_are_errors() {
        let message = |options: SegmentOptions| options.validate().unwrap_err().to_string();
        let templates = SegmentOptions::default().with_templates(["a {}", "no place"]);
        assert_eq!(
            message(templates),
            "the template `no place` has no `{}` for the prompt"
        );
        let negatives = SegmentOptions::default().with_negative_prompts(["a dog", " \t"]);
        assert_eq!(message(negatives), "negative prompt 2 is empty");
    }
}
