//! Hashes that identify checkpoints and pictures by their content.
//!
//! Names are not enough: the checkpoint in a folder can change, and pictures of two data sets can have the
//! same ids.

use crate::error::{Result, TrainError};
use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;
use clipseg_clip::{ClipConfig, ImageProcessor, Precision};
use clipseg_data::SamplePicture;
use serde_json::{Value, json};
use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_seed};

/// The version of the computation: increased when the hidden states of the same weights, settings and
/// pictures change, or the keys of pictures do.
const STATES: u32 = 2;

/// Everything that the hidden states of a picture depend on, except the weights and the picture.
pub(crate) fn states_settings(
    config: &ClipConfig,
    layers: &[usize],
    precision: Precision,
    processor: &ImageProcessor,
    device: &str,
) -> Value {
    json!({
        "code": [env!("CARGO_PKG_VERSION"), STATES.to_string()],
        "device": [device, std::env::consts::ARCH],
        "vision_config": config.vision_config,
        "extract_layers": layers,
        "precision": precision,
        "preprocessing": processor.to_json(),
    })
}

/// A hash of the weights of a module and of a text, as 32 hexadecimal digits.
pub(crate) fn fingerprint<M: Module>(module: &M, also: &str) -> Result<String> {
    struct Weights {
        hash: Xxh3,
        error: Option<String>,
    }
    impl ModuleVisitor for Weights {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            match param.val().try_into_data() {
                Ok(data) => self.hash.update(data.as_bytes()),
                Err(error) => self.error = Some(error.to_string()),
            }
        }
    }
    let mut weights = Weights {
        hash: Xxh3::new(),
        error: None,
    };
    module.visit(&mut weights);
    if let Some(error) = weights.error {
        return Err(TrainError::Device(error));
    }
    weights.hash.update(also.as_bytes());
    Ok(format!("{:032x}", weights.hash.digest128()))
}

/// A hash of a loaded picture.
pub(crate) fn sample_key(picture: &SamplePicture) -> u128 {
    let (width, height) = picture.dimensions();
    // Pictures with the same bytes but different shapes must have different hashes.
    let seed = (u64::from(height) << 32) ^ u64::from(width);
    xxh3_128_with_seed(&picture.level_bytes(), seed)
}

/// A hash of each picture of a batch `[pictures, channels, height, width]` on a device, read back from there.
pub(crate) fn tensor_keys(pixels: &Tensor<4>) -> Result<Vec<u128>> {
    let [pictures, channels, height, width] = pixels.dims();
    let data = pixels.clone().try_into_data().map_err(TrainError::device)?;
    let bytes = data.as_bytes();
    let size = (bytes.len() / pictures.max(1)).max(1);
    // Pictures with the same bytes but different shapes must have different hashes.
    let seed = ((channels as u64) << 40) ^ ((height as u64) << 20) ^ width as u64;
    Ok(bytes
        .chunks_exact(size)
        .map(|picture| xxh3_128_with_seed(picture, seed))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{Linear, LinearConfig};
    use image::RgbImage;

    #[test]
    fn the_fingerprint_depends_on_weights_and_settings() {
        let device = Device::flex();
        device.seed(1);
        let first = LinearConfig::new(2, 2).init(&device);
        let second = LinearConfig::new(2, 2).init(&device);
        let name = |module: &Linear, also: &str| fingerprint(module, also).unwrap();
        assert_eq!(name(&first, "x"), name(&first.clone(), "x"));
        assert_ne!(name(&first, "x"), name(&second, "x"));
        assert_ne!(name(&first, "x"), name(&first, "y"));
    }

    #[test]
    fn the_key_of_a_loaded_picture_depends_on_levels_shape_and_type() {
        let rounded =
            |value| SamplePicture::Rounded(RgbImage::from_pixel(4, 2, image::Rgb([value; 3])));
        assert_eq!(sample_key(&rounded(1)), sample_key(&rounded(1)));
        assert_ne!(sample_key(&rounded(1)), sample_key(&rounded(2)));
        let turned = SamplePicture::Rounded(RgbImage::from_pixel(2, 4, image::Rgb([1; 3])));
        assert_ne!(sample_key(&rounded(1)), sample_key(&turned));
        let exact = image::Rgb32FImage::from_pixel(4, 2, image::Rgb([1.0; 3]));
        assert_ne!(
            sample_key(&rounded(1)),
            sample_key(&SamplePicture::Exact(exact))
        );
    }

    #[test]
    fn different_pictures_have_different_keys() {
        let device = Device::flex();
        let pixels = Tensor::<1, Int>::arange(0..24, &device).float();
        let keys = tensor_keys(&pixels.clone().reshape([2, 3, 2, 2])).unwrap();
        assert_ne!(keys[0], keys[1]);
        let twice = Tensor::cat(vec![pixels.clone(), pixels], 0).reshape([2, 3, 2, 4]);
        let same = tensor_keys(&twice).unwrap();
        assert_eq!(same[0], same[1]);
        let other_shape = tensor_keys(&twice.reshape([2, 3, 4, 2])).unwrap();
        assert_ne!(same[0], other_shape[0]);
    }
}

#[cfg(test)]
mod settings_tests {
    use super::*;
    use clipseg_model::{ClipSegConfig, TransformerDecoderConfig};

    fn settings(config: &ClipSegConfig) -> Value {
        let processor = ImageProcessor::clipseg(64);
        let layers = config.decoder.extract_layers();
        states_settings(
            &config.clip,
            layers,
            Precision::F32,
            &processor,
            "Device<Flex>",
        )
    }

    #[test]
    fn every_field_of_the_vision_tower_is_in_the_key() {
        let config = ClipSegConfig::rd64();
        let plain = settings(&config);
        let Value::Object(fields) = json!(config.clip.vision_config) else {
            panic!("a struct becomes an object");
        };
        for (name, value) in &fields {
            let changed = match value {
                Value::String(_) => json!("gelu"),
                Value::Number(number) if number.is_u64() => json!(number.as_u64().unwrap() + 1),
                other => json!(other.as_f64().unwrap() / 10.0),
            };
            let mut changed_fields = fields.clone();
            changed_fields.insert(name.clone(), changed);
            let mut changed = config.clone();
            changed.clip.vision_config =
                serde_json::from_value(Value::Object(changed_fields)).unwrap();
            assert_ne!(changed.clip, config.clip, "{name}");
            assert_ne!(settings(&changed), plain, "{name}");
        }
    }

    #[test]
    fn everything_else_that_states_depend_on_is_in_the_key() {
        let config = ClipSegConfig::rd64();
        let processor = ImageProcessor::clipseg(64);
        let key = |precision, processor: &ImageProcessor, device| {
            let layers = config.decoder.extract_layers();
            states_settings(&config.clip, layers, precision, processor, device).to_string()
        };
        let plain = key(Precision::F32, &processor, "Device<Flex>");
        assert_eq!(plain, key(Precision::F32, &processor, "Device<Flex>"));
        assert_ne!(plain, key(Precision::F16, &processor, "Device<Flex>"));
        assert_ne!(plain, key(Precision::Bf16, &processor, "Device<Flex>"));
        assert_ne!(plain, key(Precision::F32, &processor, "Device<Cuda(0)>"));
        for change in [
            |p: &mut ImageProcessor| p.mean[2] = 0.5,
            |p: &mut ImageProcessor| p.std[0] = 0.5,
            |p: &mut ImageProcessor| p.rescale_factor = 1.0,
            |p: &mut ImageProcessor| p.crop = Some([64, 64]),
        ] {
            let mut changed = processor.clone();
            change(&mut changed);
            assert_ne!(plain, key(Precision::F32, &changed, "Device<Flex>"));
        }
        let layers = TransformerDecoderConfig {
            extract_layers: vec![3, 7, 9],
            ..TransformerDecoderConfig::default()
        };
        let other = ClipSegConfig::new(config.clip.clone(), layers).unwrap();
        assert_ne!(settings(&other), settings(&config));
        assert!(plain.contains(env!("CARGO_PKG_VERSION")));
    }
}
