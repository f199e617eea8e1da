//! The threshold that is saved with a model.
//!
//! It is a field of `config.json`, next to those of Hugging Face's layout; transformers ignores it.

use crate::error::{ModelError, Result};
use clipseg_clip::{CheckpointFiles, parse_field};
use serde_json::{Map, Value, json};

/// The field of `config.json`.
const FIELD: &str = "mask_threshold";

/// The threshold in `config.json`, if there is one.
pub(crate) fn saved_threshold(files: &CheckpointFiles) -> Result<Option<f32>> {
    let config = files.read_json("config.json")?;
    let empty = Map::new();
    let fields = config.as_object().unwrap_or(&empty);
    let path = files.path().join("config.json");
    let threshold: Option<f32> = parse_field(fields, FIELD, &path)?;
    if let Some(threshold) = threshold {
        check_threshold(threshold).map_err(|error| {
            let path = path.display();
            ModelError::Input(format!("{path}: field `{FIELD}`: {error}"))
        })?;
    }
    Ok(threshold)
}

/// Adds a threshold to the content of `config.json`.
pub(crate) fn add_threshold(config: &mut Value, threshold: Option<f32>) {
    if let Some(threshold) = threshold {
        // By its shortest decimal form: 0.42 and not 0.41999998688697815.
        let shortest = threshold.to_string().parse::<f64>();
        config[FIELD] = json!(shortest.unwrap_or(threshold.into()));
    }
}

/// Checks that a threshold is from 0 to less than 1, because no probability is above 1.
pub(crate) fn check_threshold(threshold: f32) -> Result<()> {
    if (0.0..1.0).contains(&threshold) {
        return Ok(());
    }
    Err(ModelError::Input(format!(
        "the threshold {threshold}, expected 0 to less than 1"
    )))
}

#[cfg(test)]
mod tests {
    use crate::clipseg::ClipSeg;
    use crate::config::ClipSegConfig;
    use crate::export::ExportOptions;
    use crate::segmenter::Segmenter;
    use burn::tensor::Device;
    use clipseg_clip::{ClipTokenizer, ImageProcessor};

    fn segmenter() -> Segmenter {
        let mut config = ClipSegConfig::small();
        config.clip.text_config.hidden_size = 32;
        let model = ClipSeg::init(&config, &Device::flex());
        let tokenizer = ClipTokenizer::openai(77).unwrap();
        Segmenter::new(model, tokenizer, ImageProcessor::clipseg(96))
    }

    #[test]
    fn a_threshold_is_saved_exported_and_read_again() {
        let parent = tempfile::tempdir().unwrap();
        let [saved, exported, again] =
            ["saved", "exported", "again"].map(|name| parent.path().join(name));
        let load = |folder: &std::path::PathBuf| {
            Segmenter::from_pretrained(folder, &Device::flex()).unwrap()
        };

        segmenter().save_pretrained(&saved).unwrap();
        assert_eq!(load(&saved).threshold(), None);
        let chosen = segmenter().with_threshold(0.42).unwrap();
        chosen.save_pretrained(&saved).unwrap();
        let loaded = load(&saved);
        assert_eq!(loaded.threshold(), Some(0.42));
        let config = std::fs::read_to_string(saved.join("config.json")).unwrap();
        assert!(config.contains("\"mask_threshold\": 0.42,"), "{config}");

        loaded.export(&exported, &ExportOptions::default()).unwrap();
        assert_eq!(load(&exported).threshold(), Some(0.42));
        let card = std::fs::read_to_string(exported.join("README.md")).unwrap();
        assert!(card.contains("logits.sigmoid() > 0.42"), "{card}");
        load(&exported).save_pretrained(&again).unwrap();
        assert_eq!(load(&again).threshold(), Some(0.42));
        // Without a threshold, an earlier one is not kept.
        segmenter().save_pretrained(&saved).unwrap();
        assert_eq!(load(&saved).threshold(), None);
    }

    #[test]
    fn invalid_thresholds_are_refused() {
        for bad in [-0.1, 1.0, f32::NAN, f32::INFINITY] {
            let message = segmenter().with_threshold(bad).unwrap_err().to_string();
            assert_eq!(
                message,
                format!("the threshold {bad}, expected 0 to less than 1")
            );
        }
        let folder = tempfile::tempdir().unwrap();
        segmenter()
            .with_threshold(0.5)
            .unwrap()
            .save_pretrained(folder.path())
            .unwrap();
        let path = folder.path().join("config.json");
        let config = std::fs::read_to_string(&path).unwrap();
        for (value, expected) in [("1.5", "the threshold 1.5"), ("\"high\"", "")] {
            let changed = config.replace(
                "\"mask_threshold\": 0.5",
                &format!("\"mask_threshold\": {value}"),
            );
            std::fs::write(&path, changed).unwrap();
            let error = Segmenter::from_pretrained(folder.path(), &Device::flex());
            let message = error.unwrap_err().to_string();
            assert!(
                message.contains("config.json: field `mask_threshold`: ")
                    && message.contains(expected),
                "{message}"
            );
        }
    }
}
