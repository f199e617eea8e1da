//! Valid and invalid configurations.

use super::*;
use serde_json::json;

fn read(value: Value) -> Result<ClipConfig> {
    ClipConfig::from_json(&value, Path::new("config.json"))
}

#[test]
fn missing_fields_take_the_reference_defaults() {
    let config = read(json!({"model_type": "clip", "text_config": {}, "vision_config": {}}));
    assert_eq!(config.unwrap(), ClipConfig::vit_b_32());
}

#[test]
fn towers_of_old_exports_are_read_from_dicts() {
    let config = read(json!({
        "text_config": null,
        "text_config_dict": {"hidden_size": 64, "num_attention_heads": 4},
        "vision_config": {"patch_size": 32},
        "vision_config_dict": {"patch_size": 16},
    }))
    .unwrap();
    assert_eq!(config.text_config.hidden_size, 64);
    assert_eq!(config.vision_config.patch_size, 16);
}

#[test]
fn bad_fields_are_named() {
    let message = |value| read(value).unwrap_err().to_string();
    assert_eq!(
        message(json!({"text_config": {}})),
        "config.json: field `vision_config`: missing, expected an object"
    );
    assert!(
        message(json!({"model_type": "bert"})).contains("field `model_type`: `bert` is another")
    );
    let act = message(json!({"text_config": {"hidden_act": "swish"}, "vision_config": {}}));
    assert!(
        act.contains("field `text_config.hidden_act`: unknown variant `swish`"),
        "{act}"
    );
    let kind = message(json!({"text_config": {}, "vision_config": {"hidden_size": "big"}}));
    assert!(
        kind.contains("field `vision_config.hidden_size`: invalid type"),
        "{kind}"
    );
    let heads = message(json!({"text_config": {"num_attention_heads": 7}, "vision_config": {}}));
    assert!(
        heads.contains("7 heads do not divide the width 512"),
        "{heads}"
    );
    let zero = message(json!({"text_config": {}, "vision_config": {"patch_size": 0}}));
    assert!(
        zero.contains("field `vision_config.patch_size`: 0, expected 1 to 8192"),
        "{zero}"
    );
}

/// Copies of a configuration with one value changed, and the name of the changed field.
fn changes(json: &Value) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for (key, value) in json.as_object().expect("an object") {
        if value.is_object() {
            for (inner, changed) in changes(value) {
                let mut whole = json.clone();
                whole[key] = changed;
                all.push((format!("{key}.{inner}"), whole));
            }
            continue;
        }
        let others = match value {
            Value::String(_) => vec![json!("relu"), json!("swish"), json!(1), json!("")],
            _ => vec![
                json!(0),
                json!(1),
                json!(2),
                json!(7),
                json!(-1),
                json!(1.5),
                json!(1e300),
                json!(u64::MAX),
                json!(usize::MAX / 2),
                json!(i64::MAX),
                json!(1u64 << 40),
                json!("12"),
                json!(true),
                json!([3, 4]),
                json!({}),
            ],
        };
        for other in others {
            let mut whole = json.clone();
            whole[key] = other;
            all.push((key.clone(), whole));
        }
    }
    all
}

#[test]
fn every_accepted_value_of_every_field_gives_a_model() {
    let json = serde_json::to_value(ClipConfig::small()).unwrap();
    let all = changes(&json);
    assert!(all.len() > 300, "{}", all.len());
    for (field, changed) in all {
        match read(changed.clone()) {
            // Parameters are lazy, so only shapes are created.
            Ok(config) => {
                drop(crate::Clip::unfilled(
                    &config,
                    &burn::prelude::Device::flex(),
                ));
                assert!(config.validate(Path::new("config.json")).is_ok());
            }
            Err(error) => {
                let message = error.to_string();
                let tower = field.split('.').next().unwrap_or_default();
                assert!(
                    message.starts_with("config.json: field `") && message.contains(tower),
                    "{field}: {message}"
                );
            }
        }
    }
}

#[test]
fn every_field_of_the_vision_tower_is_serialised() {
    let base = VisionConfig::default();
    let other = VisionConfig {
        hidden_size: 1,
        intermediate_size: 2,
        num_hidden_layers: 3,
        num_attention_heads: 4,
        num_channels: 5,
        image_size: 6,
        patch_size: 7,
        hidden_act: Activation::Gelu,
        layer_norm_eps: 1e-6,
    };
    let [base, other] = [base, other].map(|config| serde_json::to_value(config).unwrap());
    let (base, other) = (base.as_object().unwrap(), other.as_object().unwrap());
    assert_eq!(base.len(), 9);
    assert!(base.iter().all(|(field, value)| &other[field] != value));
}
