//! Reads and writes the preprocessing as `preprocessor_config.json`, and reads `processor_config.json` of
//! transformers 5.

use super::{ImageProcessor, TargetSize};
use crate::checkpoint_files::CheckpointFiles;
use crate::error::{ClipError, Result};
use crate::files::{refuse_foreign, write_text};
use crate::json_fields::parse_field;
use clipseg_data::{Filter, Preprocessing};
use serde_json::{Map, Value, json};
use std::path::Path;

/// The file that [`ImageProcessor::save`] writes.
const SAVED: &str = "preprocessor_config.json";
/// The file in which transformers 5 saves all preprocessing of a model.
pub(crate) const COMBINED: &str = "processor_config.json";

/// The field for the kind of resizing. Transformers ignores it.
const PREPROCESSING: &str = "clipseg_preprocessing";

impl ImageProcessor {
    /// Reads the preprocessing of a folder; `None` if the folder has none.
    ///
    /// It is the field `image_processor` of `processor_config.json`, which transformers 5 writes, or else
    /// the file `preprocessor_config.json`.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or a field is not supported; the message names both.
    pub fn from_folder(files: impl Into<CheckpointFiles>) -> Result<Option<Self>> {
        let files = files.into();
        // The newer file takes precedence, as in transformers 5.
        if files.has(COMBINED)
            && let Some(part) = files.read_json(COMBINED)?.get("image_processor")
            && !part.is_null()
        {
            return Self::from_json(part, &files.location(COMBINED)).map(Some);
        }
        if !files.has(SAVED) {
            return Ok(None);
        }
        Self::from_json(&files.read_json(SAVED)?, &files.location(SAVED)).map(Some)
    }

    /// Reads the preprocessing of a folder like [`from_folder`](Self::from_folder), or returns
    /// `default` with a warning of `tracing` that names the folder, the missing files and the default.
    ///
    /// # Errors
    ///
    /// As [`from_folder`](Self::from_folder).
    pub fn from_folder_or(files: impl Into<CheckpointFiles>, default: Self) -> Result<Self> {
        let files = files.into();
        if let Some(own) = Self::from_folder(&files)? {
            return Ok(own);
        }
        tracing::warn!(
            "{} has neither {SAVED} nor an `image_processor` in {COMBINED}; pictures are preprocessed \
             by default: {}, mean {:?}, std {:?}",
            files.path().display(),
            default.geometry(),
            default.mean,
            default.std
        );
        Ok(default)
    }

    /// The size of the output in words.
    fn geometry(&self) -> String {
        let size = match self.size {
            Some(TargetSize::Exact { height, width }) => format!("resized to {width}x{height}"),
            Some(TargetSize::ShortestEdge(edge)) => format!("shorter side resized to {edge}"),
            None => "not resized".to_owned(),
        };
        match self.crop {
            Some([height, width]) => format!("{size}, centre cropped to {width}x{height}"),
            None => size,
        }
    }

    /// Reads the parsed content of `preprocessor_config.json`; `path` is used in messages.
    ///
    /// # Errors
    ///
    /// If a field has a value that is not supported.
    pub fn from_json(json: &Value, path: &Path) -> Result<Self> {
        let fields = json
            .as_object()
            .ok_or_else(|| ClipError::format(path, "expected a JSON object"))?;
        let fail = |field: &str, message: String| ClipError::Config {
            path: path.to_owned(),
            field: field.to_owned(),
            message,
        };
        let text = |key: &str| fields.get(key).and_then(Value::as_str);
        // Old exports have `feature_extractor_type`, newer ones `image_processor_type`.
        let kind = text("image_processor_type")
            .or_else(|| text("feature_extractor_type"))
            .unwrap_or("ViTImageProcessor");
        let base = kind
            .trim_end_matches("Fast")
            .trim_end_matches("ImageProcessor")
            .trim_end_matches("FeatureExtractor");
        let mut processor = match base {
            "CLIP" => Self::clip(224),
            "ViT" => Self {
                mean: [0.5; 3],
                std: [0.5; 3],
                ..Self::clipseg(224)
            },
            _ => {
                return Err(fail(
                    "image_processor_type",
                    format!(
                        "`{kind}` is not supported; expected the image processor of CLIP or ViT"
                    ),
                ));
            }
        };
        let flag = |key: &str, default: bool| {
            parse_field::<bool>(fields, key, path).map(|value| value.unwrap_or(default))
        };

        if !flag("do_resize", true)? {
            processor.size = None;
        } else if let Some(size) = fields.get("size").filter(|size| !size.is_null()) {
            processor.size = Some(parse_size(size, base == "CLIP").map_err(|m| fail("size", m))?);
        }
        if !flag("do_center_crop", processor.crop.is_some())? {
            processor.crop = None;
        } else if let Some(crop) = fields.get("crop_size").filter(|crop| !crop.is_null()) {
            match parse_size(crop, false).map_err(|m| fail("crop_size", m))? {
                TargetSize::Exact { height, width } => processor.crop = Some([height, width]),
                TargetSize::ShortestEdge(_) => {
                    return Err(fail(
                        "crop_size",
                        "expected a number, or height and width".into(),
                    ));
                }
            }
        }
        if let Some(resample) = parse_field::<u64>(fields, "resample", path)? {
            processor.filter = match resample {
                0 => Filter::Nearest,
                1 => Filter::Lanczos,
                2 => Filter::Bilinear,
                3 => Filter::Bicubic,
                other => {
                    return Err(fail(
                        "resample",
                        format!("{other} is not supported; expected 0, 1, 2 or 3"),
                    ));
                }
            };
        }
        if !flag("do_rescale", true)? {
            processor.rescale_factor = 1.0;
        } else if let Some(factor) = parse_field::<f64>(fields, "rescale_factor", path)? {
            if !((factor as f32) > 0.0 && (factor as f32).is_finite()) {
                let message = format!("{factor}, expected a number above 0");
                return Err(fail("rescale_factor", message));
            }
            processor.rescale_factor = factor;
        }
        if flag("do_normalize", true)? {
            for (key, target) in [
                ("image_mean", &mut processor.mean),
                ("image_std", &mut processor.std),
            ] {
                if let Some(values) = parse_field::<[f32; 3]>(fields, key, path)? {
                    *target = values;
                }
            }
            if !processor.mean.iter().all(|mean| mean.is_finite()) {
                return Err(fail("image_mean", "expected three numbers".into()));
            }
            // Dividing by a subnormal number could overflow.
            if !processor
                .std
                .iter()
                .all(|std| std.is_finite() && *std >= f32::MIN_POSITIVE)
            {
                return Err(fail("image_std", "expected three numbers above 0".into()));
            }
        } else {
            (processor.mean, processor.std) = ([0.0; 3], [1.0; 3]);
        }
        if let Some(preprocessing) = parse_field::<Preprocessing>(fields, PREPROCESSING, path)? {
            processor.preprocessing = preprocessing;
            processor
                .original_size()
                .map_err(|error| fail(PREPROCESSING, error.to_string()))?;
        }
        Ok(processor)
    }

    /// Writes `preprocessor_config.json` into a folder.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written, or contains preprocessing that this program did not write; see
    /// [`refuse_foreign`].
    pub fn save(&self, folder: &Path) -> Result<()> {
        // The second file is not written, but it would take precedence over the first.
        refuse_foreign(folder, &[SAVED, COMBINED])?;
        write_text(&folder.join(SAVED), &format!("{:#}\n", self.to_json()))
    }

    /// The content of `preprocessor_config.json`, which transformers reads as `ViTImageProcessor` or
    /// `CLIPImageProcessor`.
    pub fn to_json(&self) -> Value {
        let kind = if self.crop.is_some() {
            "CLIPImageProcessor"
        } else {
            "ViTImageProcessor"
        };
        let mut fields = Map::new();
        let mut set = |key: &str, value: Value| fields.insert(key.to_owned(), value);
        set("image_processor_type", json!(kind));
        set("do_resize", json!(self.size.is_some()));
        match self.size {
            Some(TargetSize::Exact { height, width }) => {
                set("size", json!({"height": height, "width": width}));
            }
            Some(TargetSize::ShortestEdge(edge)) => {
                set("size", json!({"shortest_edge": edge}));
            }
            None => {}
        }
        if let Some([height, width]) = self.crop {
            set("do_center_crop", json!(true));
            set("crop_size", json!({"height": height, "width": width}));
        }
        let resample = match self.filter {
            Filter::Nearest => 0,
            Filter::Lanczos => 1,
            Filter::Bicubic => 3,
            _ => 2,
        };
        set("resample", json!(resample));
        if self.preprocessing != Preprocessing::HuggingFace {
            set(PREPROCESSING, json!(self.preprocessing.name()));
        }
        set("do_rescale", json!(true));
        set("rescale_factor", json!(self.rescale_factor));
        set("do_normalize", json!(true));
        set("image_mean", json!(self.mean));
        set("image_std", json!(self.std));
        Value::Object(fields)
    }
}

/// Reads a size in any form that transformers has written: a number, a list or an object.
fn parse_size(value: &Value, number_is_edge: bool) -> Result<TargetSize, String> {
    let positive = |value: &Value| {
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        number
            .filter(|number| (1..=16_384).contains(number))
            .ok_or_else(|| format!("{value} is not a number from 1 to 16384"))
    };
    match value {
        Value::Object(fields) => {
            if let Some(edge) = fields.get("shortest_edge").filter(|edge| !edge.is_null()) {
                return positive(edge).map(TargetSize::ShortestEdge);
            }
            match (fields.get("height"), fields.get("width")) {
                (Some(height), Some(width)) => Ok(TargetSize::Exact {
                    height: positive(height)?,
                    width: positive(width)?,
                }),
                _ => Err(format!(
                    "{value} has neither `shortest_edge` nor `height` and `width`"
                )),
            }
        }
        Value::Array(sides) if sides.len() == 2 => Ok(TargetSize::Exact {
            height: positive(&sides[0])?,
            width: positive(&sides[1])?,
        }),
        number => {
            let side = positive(number)?;
            Ok(if number_is_edge {
                TargetSize::ShortestEdge(side)
            } else {
                TargetSize::Exact {
                    height: side,
                    width: side,
                }
            })
        }
    }
}
