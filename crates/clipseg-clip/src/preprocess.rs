//! From a photograph to `pixel_values`, as `preprocessor_config.json` describes it.
//!
//! Follows `ViTImageProcessor` and `CLIPImageProcessor` of transformers 4.57 and their older
//! `…FeatureExtractor` forms. Resizing is Pillow's and comes from `clipseg-data`.

use crate::config::{parse_field, read_json};
use crate::error::{ClipError, Result};
use crate::files::write_text;
use burn::prelude::*;
use clipseg_data::{Filter, resize_rgb};
use image::RgbImage;
use serde_json::{Map, Value, json};
use std::path::Path;

/// How large a picture becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetSize {
    /// Squashed to exactly this size.
    Exact {
        /// Rows.
        height: u32,
        /// Columns.
        width: u32,
    },
    /// Its shorter side becomes this long, its shape is kept.
    ShortestEdge(u32),
}

/// Prepares pictures for a checkpoint.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ImageProcessor {
    /// How large a picture becomes; `None` keeps its size.
    pub size: Option<TargetSize>,
    /// How pixels are interpolated.
    pub filter: Filter,
    /// Rows and columns cut from the middle; what the picture lacks is black.
    pub crop: Option<[u32; 2]>,
    /// Factor on the 8-bit values; 1/255 as a rule, 1 if they are not rescaled.
    pub rescale_factor: f64,
    /// Subtracted from each channel after rescaling.
    pub mean: [f32; 3],
    /// What each channel is divided by after that.
    pub std: [f32; 3],
}

const IMAGENET: [[f32; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];
#[expect(clippy::excessive_precision, reason = "the published digits")]
const OPENAI: [[f32; 3]; 2] = [
    [0.48145466, 0.4578275, 0.40821073],
    [0.26862954, 0.26130258, 0.27577711],
];
/// The widest result of a resize; guards against a picture of 1×40,000 with its short side at 224.
const MOST_PIXELS: u64 = 1 << 26;

impl ImageProcessor {
    /// As CLIPSeg is published: squashed to a square, bilinear, ImageNet's mean and deviation.
    pub fn clipseg(side: u32) -> Self {
        let [mean, std] = IMAGENET;
        Self {
            size: Some(TargetSize::Exact {
                height: side,
                width: side,
            }),
            filter: Filter::Bilinear,
            crop: None,
            rescale_factor: 1.0 / 255.0,
            mean,
            std,
        }
    }

    /// As CLIP is published: shorter side resized, bicubic, middle cut out, CLIP's own mean and
    /// deviation.
    pub fn clip(side: u32) -> Self {
        let [mean, std] = OPENAI;
        Self {
            size: Some(TargetSize::ShortestEdge(side)),
            filter: Filter::Bicubic,
            crop: Some([side, side]),
            rescale_factor: 1.0 / 255.0,
            mean,
            std,
        }
    }

    /// Reads `preprocessor_config.json` of a folder; `None` if the folder has none.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or a field is not supported; the message names both.
    pub fn from_folder(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join("preprocessor_config.json");
        if !path.is_file() {
            return Ok(None);
        }
        Self::from_json(&read_json(&path)?, &path).map(Some)
    }

    /// Reads the parsed `preprocessor_config.json`; `path` is for messages.
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
        // `CLIPSegProcessor` of old exports names the feature extractor, newer ones the processor.
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
                    format!("`{kind}` is not supported; expected the processor of CLIP or ViT"),
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
        } else if let Some(factor) = parse_field(fields, "rescale_factor", path)? {
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
            if processor
                .std
                .iter()
                .any(|&std| std <= 0.0 || !std.is_finite())
            {
                return Err(fail("image_std", "expected three numbers above 0".into()));
            }
        } else {
            (processor.mean, processor.std) = ([0.0; 3], [1.0; 3]);
        }
        Ok(processor)
    }

    /// Writes `preprocessor_config.json` into a folder.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let path = folder.join("preprocessor_config.json");
        write_text(&path, &format!("{:#}\n", self.to_json()))
    }

    /// The form that transformers reads back as `ViTImageProcessor` or `CLIPImageProcessor`.
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
        set("do_rescale", json!(true));
        set("rescale_factor", json!(self.rescale_factor));
        set("do_normalize", json!(true));
        set("image_mean", json!(self.mean));
        set("image_std", json!(self.std));
        Value::Object(fields)
    }

    /// Resizes and crops, and leaves the values alone.
    ///
    /// # Errors
    ///
    /// If the picture is empty or so oblong that resizing it would take more than 64 megapixels.
    pub fn resize(&self, picture: &RgbImage) -> Result<RgbImage> {
        let (width, height) = picture.dimensions();
        if width == 0 || height == 0 {
            return Err(ClipError::Input(format!(
                "a picture of {width}x{height} has no pixels"
            )));
        }
        let resized = match self.size {
            None => None,
            Some(size) => {
                let [height, width] = match size {
                    TargetSize::Exact { height, width } => [height, width].map(u64::from),
                    TargetSize::ShortestEdge(edge) => {
                        let long = |side: u32, short: u32| {
                            u64::from(edge) * u64::from(side) / u64::from(short)
                        };
                        if width <= height {
                            [long(height, width), edge.into()]
                        } else {
                            [edge.into(), long(width, height)]
                        }
                    }
                };
                if height * width > MOST_PIXELS {
                    return Err(ClipError::Input(format!(
                        "a picture of {}x{} would become one of {width}x{height}, which is too large",
                        picture.width(),
                        picture.height()
                    )));
                }
                Some(resize_rgb(
                    picture,
                    width as u32,
                    height as u32,
                    self.filter,
                ))
            }
        };
        let resized = resized.as_ref().unwrap_or(picture);
        Ok(match self.crop {
            None => resized.clone(),
            Some([height, width]) => center_crop(resized, height, width),
        })
    }

    /// Resizes, crops, rescales and normalises pictures that all end up with the same size.
    ///
    /// # Shapes
    ///
    /// - output: `[pictures, 3, height, width]`
    ///
    /// # Errors
    ///
    /// If there is no picture, one cannot be resized, or the results differ in size.
    pub fn pixel_values(&self, pictures: &[RgbImage], device: &Device) -> Result<Tensor<4>> {
        let resized: Vec<RgbImage> = pictures
            .iter()
            .map(|picture| self.resize(picture))
            .collect::<Result<_>>()?;
        let Some((width, height)) = resized.first().map(RgbImage::dimensions) else {
            return Err(ClipError::Input(
                "no picture was given, expected at least one".into(),
            ));
        };
        if let Some(other) = resized
            .iter()
            .find(|picture| picture.dimensions() != (width, height))
        {
            return Err(ClipError::Input(format!(
                "pictures of one batch differ in size: {width}x{height} and {}x{}",
                other.width(),
                other.height()
            )));
        }
        let plane = (width * height) as usize;
        let mut values = vec![0f32; resized.len() * 3 * plane];
        for (picture, planes) in resized.iter().zip(values.chunks_exact_mut(3 * plane)) {
            for (channel, plane) in planes.chunks_exact_mut(plane).enumerate() {
                let table = self.table(channel);
                let source = picture.as_raw().iter().skip(channel).step_by(3);
                for (value, &byte) in plane.iter_mut().zip(source) {
                    *value = table[byte as usize];
                }
            }
        }
        let shape = [resized.len(), 3, height as usize, width as usize];
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }

    /// Normalises pictures whose values run from 0 to 1.
    ///
    /// # Shapes
    ///
    /// - pixels: `[batch, 3, height, width]`
    /// - output: the same
    pub fn normalise(&self, pixels: Tensor<4>) -> Tensor<4> {
        let device = pixels.device();
        let channel = |values: [f32; 3]| {
            Tensor::<4>::from_data(TensorData::new(values.to_vec(), [1, 3, 1, 1]), &device)
        };
        let scale = 255.0 * self.rescale_factor;
        (pixels.mul_scalar(scale) - channel(self.mean)) / channel(self.std)
    }

    /// The normalised value of each byte, in double precision as the reference rescales.
    fn table(&self, channel: usize) -> [f32; 256] {
        std::array::from_fn(|byte| {
            let rescaled = (byte as f64 * self.rescale_factor) as f32;
            (rescaled - self.mean[channel]) / self.std[channel]
        })
    }
}

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

/// `center_crop` of transformers: the odd row or column stays at the end, what is missing is black.
fn center_crop(picture: &RgbImage, height: u32, width: u32) -> RgbImage {
    let offset = |have: u32, want: u32| {
        if have >= want {
            i64::from((have - want) / 2)
        } else {
            -i64::from((want - have).div_ceil(2))
        }
    };
    let (top, left) = (
        offset(picture.height(), height),
        offset(picture.width(), width),
    );
    RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = (i64::from(x) + left, i64::from(y) + top);
        match (u32::try_from(x), u32::try_from(y)) {
            (Ok(x), Ok(y)) if x < picture.width() && y < picture.height() => {
                *picture.get_pixel(x, y)
            }
            _ => image::Rgb([0, 0, 0]),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Value) -> Result<ImageProcessor> {
        ImageProcessor::from_json(&value, Path::new("preprocessor_config.json"))
    }

    #[test]
    fn every_form_of_size_is_read() {
        let vit = |size: Value| {
            read(json!({"feature_extractor_type": "ViTFeatureExtractor", "size": size})).unwrap()
        };
        let square = Some(TargetSize::Exact {
            height: 352,
            width: 352,
        });
        assert_eq!(vit(json!(352)).size, square);
        assert_eq!(vit(json!({"height": 352, "width": 352})).size, square);
        let clip = read(json!({
            "feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224
        }));
        assert_eq!(clip.unwrap(), ImageProcessor::clip(224));
        let clip = read(json!({
            "image_processor_type": "CLIPImageProcessor",
            "size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}
        }));
        assert_eq!(clip.unwrap(), ImageProcessor::clip(336));
    }

    #[test]
    fn writing_and_reading_is_the_identity() {
        for processor in [ImageProcessor::clip(224), ImageProcessor::clipseg(352)] {
            assert_eq!(read(processor.to_json()).unwrap(), processor);
        }
    }

    #[test]
    fn bad_fields_are_named() {
        let message = |value| read(value).unwrap_err().to_string();
        assert!(message(json!({"resample": 5})).contains("field `resample`: 5 is not supported"));
        assert!(message(json!({"size": {"longest_edge": 9}})).contains("field `size`"));
        assert!(message(json!({"size": 0})).contains("0 is not a number from 1"));
        assert!(message(json!({"image_std": [1, 0, 1]})).contains("field `image_std`"));
        assert!(message(json!({"image_mean": "x"})).contains("field `image_mean`"));
        assert!(message(json!({"image_processor_type": "DeiTImageProcessor"})).contains("DeiT"));
    }

    #[test]
    fn an_oblong_picture_is_refused_and_not_blown_up() {
        let oblong = RgbImage::new(40_000, 2);
        let error = ImageProcessor::clip(224)
            .resize(&oblong)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "a picture of 40000x2 would become one of 4480000x224, which is too large"
        );
        assert!(ImageProcessor::clipseg(352).resize(&oblong).is_ok());
    }

    #[test]
    fn a_crop_larger_than_the_picture_is_black_around_it() {
        let white = RgbImage::from_pixel(3, 3, image::Rgb([255; 3]));
        let crop = center_crop(&white, 6, 2);
        let rows: Vec<u8> = crop.rows().map(|mut row| row.next().unwrap()[0]).collect();
        assert_eq!(rows, [0, 0, 255, 255, 255, 0]);
    }
}
