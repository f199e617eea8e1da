//! The files of an exported model, in a folder that appears when it is complete.

use super::{ExportOptions, Exported};
use crate::error::{ModelError, Result};
use clipseg_clip::{ClipError, ClipTokenizer, ImageProcessor, mark_as_own};
use clipseg_data::Preprocessing;
use clipseg_data::files::{self, NewFolder};
use serde_json::{Value, json};
use std::path::Path;

/// Everything of a model but its weights.
pub(super) struct NewModel<'a> {
    pub(super) config: Value,
    pub(super) tokenizer: &'a ClipTokenizer,
    pub(super) processor: &'a ImageProcessor,
    pub(super) card: String,
    /// Number of weights.
    pub(super) parameters: usize,
}

impl NewModel<'_> {
    /// Writes the folder. `save_weights` writes the weights to a path and returns how many are rounded to zero.
    pub(super) fn write(
        mut self,
        folder: &Path,
        options: &ExportOptions,
        save_weights: impl FnOnce(&Path) -> Result<usize>,
    ) -> Result<Exported> {
        if let Some(license) = &options.license {
            check_license(license)?;
        }
        if folder.symlink_metadata().is_ok() {
            let message = "it already exists; choose a new folder";
            return Err(ClipError::format(folder, message).into());
        }
        let io = |action| move |error| ClipError::io(action, folder)(error);
        let parent = folder.parent().filter(|parent| *parent != Path::new(""));
        std::fs::create_dir_all(parent.unwrap_or(Path::new("."))).map_err(io("make"))?;
        let aside = NewFolder::create(folder).map_err(io("make"))?;
        let inside = aside.path();

        self.config["torch_dtype"] = json!("float32");
        mark_as_own(&mut self.config);
        // Written first, because it marks the folder as written by this program.
        let write = |name: &str, text: &str| {
            files::write(&inside.join(name), text.as_bytes())
                .map_err(ClipError::io("write", &folder.join(name)))
        };
        write("config.json", &format!("{:#}\n", self.config))?;
        let to_zero = save_weights(&inside.join("model.safetensors"))?;
        self.tokenizer.save(inside)?;
        self.tokenizer.save_vocabulary(inside)?;
        self.processor.save(inside)?;
        write("README.md", &self.card)?;
        let bytes = size(inside).map_err(io("read"))?;
        aside.finish().map_err(io("write"))?;
        Ok(Exported {
            bytes,
            notes: self.notes(options, to_zero),
        })
    }

    fn notes(&self, options: &ExportOptions, to_zero: usize) -> Vec<String> {
        let mut notes = Vec::new();
        if self.processor.preprocessing != Preprocessing::HuggingFace {
            notes.push(format!(
                "transformers ignores the preprocessing `{}` and resizes pictures with antialiasing",
                self.processor.preprocessing.name()
            ));
        }
        if to_zero > 0 {
            notes.push(format!(
                "{to_zero} of {} weights are rounded to zero in {}",
                self.parameters, options.precision
            ));
        }
        if options.license.is_none() {
            notes.push("README.md names no licence".into());
        }
        notes
    }
}

/// Refuses a licence that is not an identifier, because it is written into YAML.
fn check_license(license: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '+');
    if license.is_empty() || !license.chars().all(fits) {
        return Err(ModelError::Input(format!(
            "the licence `{license}` is not an identifier such as `mit` or `apache-2.0`"
        )));
    }
    Ok(())
}

/// The size of the files in a folder in bytes.
fn size(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !is_hidden {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}
