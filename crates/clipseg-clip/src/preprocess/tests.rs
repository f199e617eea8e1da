//! Tests of the preprocessing and its files.

use super::*;
use serde_json::{Value, json};
use std::path::Path;

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
fn saved_preprocessing_is_read_back_unchanged() {
    let paper = ImageProcessor::clipseg(352).with_preprocessing(Preprocessing::ClipSeg);
    for processor in [
        ImageProcessor::clip(224),
        ImageProcessor::clipseg(352),
        paper,
    ] {
        assert_eq!(read(processor.to_json()).unwrap(), processor);
    }
}

#[test]
fn the_resizing_of_clipsegs_original_code_aligns_corners_and_does_not_round() {
    let picture = RgbImage::from_raw(3, 1, vec![0, 10, 255, 100, 10, 0, 51, 10, 255]).unwrap();
    let mut processor = ImageProcessor::clipseg(1).with_preprocessing(Preprocessing::ClipSeg);
    processor.size = Some(TargetSize::Exact {
        height: 2,
        width: 5,
    });
    (processor.mean, processor.std) = ([0.2, 0.0, 0.0], [0.5, 1.0, 1.0]);
    // torch.nn.functional.interpolate(…, (2, 5), mode="bilinear", align_corners=True) takes
    // every second sample halfway between two pixels.
    let found = processor
        .pixel_values(std::slice::from_ref(&picture), &Device::flex())
        .unwrap();
    assert_eq!(found.dims(), [1, 3, 2, 5]);
    let red = [0.0, 50.0, 100.0, 75.5, 51.0].map(|level| (level / 255.0 - 0.2) / 0.5);
    let green = [10.0 / 255.0; 5];
    let blue = [1.0, 0.5, 0.0, 0.5, 1.0];
    let expected = [red, red, green, green, blue, blue].concat();
    let found: Vec<f32> = found.into_data().try_to_vec().unwrap();
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (f64::from(*found) - expected).abs() < 1e-6,
            "{found} {expected}"
        );
    }
    let other = processor
        .clone()
        .with_preprocessing(Preprocessing::HuggingFace);
    let rounded = other
        .pixel_values(std::slice::from_ref(&picture), &Device::flex())
        .unwrap();
    let rounded: Vec<f32> = rounded.into_data().try_to_vec().unwrap();
    assert_ne!(rounded, found);
    processor.size = Some(TargetSize::ShortestEdge(5));
    let error = processor
        .pixel_values(&[picture], &Device::flex())
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`clipseg` requires an exact size")
    );
}

#[test]
fn the_kind_of_resizing_is_saved_and_settings_without_effect_are_refused() {
    let paper = ImageProcessor::clipseg(352).with_preprocessing(Preprocessing::ClipSeg);
    let mut json = paper.to_json();
    json["crop_size"] = json!(300);
    assert_eq!(read(json.clone()).unwrap(), paper);
    assert_eq!(json["clipseg_preprocessing"], "clipseg");
    assert_eq!(json["image_processor_type"], "ViTImageProcessor");
    let usual = ImageProcessor::clipseg(352).to_json();
    assert!(usual.get("clipseg_preprocessing").is_none());
    let message = |key: &str, value: Value| {
        let mut json = json.clone();
        json[key] = value;
        read(json).unwrap_err().to_string()
    };
    for (key, value) in [
        ("resample", json!(3)),
        ("size", json!({"shortest_edge": 352})),
        ("do_center_crop", json!(true)),
        ("do_resize", json!(false)),
    ] {
        let error = message(key, value);
        assert!(
            error.contains("field `clipseg_preprocessing`"),
            "{key}: {error}"
        );
    }
    let error = message("clipseg_preprocessing", json!("paper"));
    assert!(error.contains("field `clipseg_preprocessing`"), "{error}");
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
fn a_picture_whose_resized_form_is_too_large_is_refused() {
    let oblong = RgbImage::new(40_000, 2);
    let error = ImageProcessor::clip(224)
        .resize(&oblong)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "a picture of 40000x2 would be resized to 4480000x224, which is too large"
    );
    assert!(ImageProcessor::clipseg(352).resize(&oblong).is_ok());
}

#[test]
fn a_crop_larger_than_the_picture_has_a_black_border() {
    let white = RgbImage::from_pixel(3, 3, image::Rgb([255; 3]));
    let crop = center_crop(&white, 6, 2);
    let rows: Vec<u8> = crop.rows().map(|mut row| row.next().unwrap()[0]).collect();
    assert_eq!(rows, [0, 0, 255, 255, 255, 0]);
}
