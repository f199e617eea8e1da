//! The deliberate changes of a study: controls, and the defects of an earlier set-up.

use crate::frozen::decoder_input::DecoderInput;
use clipseg_data::{ImageRecord, Phrase, PhraseCut, Polygons, Split};
use serde::{Deserialize, Serialize};

/// One deliberate change of a run. Its cost is the difference to the run without it.
///
/// The last four are defects of a course notebook, whose two findings (that BCE is the wrong loss, and that a
/// convolutional decoder is limited by CLIP's features) rest on them. Each is switched on alone, in training only
/// unless it changes the input of the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Alteration {
    /// Control: the frozen CLIP has random weights, drawn with the seed of the run.
    RandomClip,
    /// Control: the text embedding is zero, so that the decoder segments without a prompt.
    NoText,
    /// Control: CLIP's hidden states are zero, so that a convolutional decoder sees the pixels only. It is applied to
    /// the decoders with `picture_branch = true`.
    NoFeatures,
    /// Defect: only the polygons of the first instance of a phrase are drawn in the training masks.
    FirstInstance,
    /// Defect: the polygons of the training masks keep the scale of the original picture, although the picture is
    /// resized to the model's input size. What lies outside the input size is cut off.
    OriginalScale,
    /// Defect: the decoder gets the token ids of the phrase and their attention mask as numbers instead of the text
    /// embedding: the ids in the first half of the vector, the attention mask in the second, the rest zero.
    TokenIds,
    /// Defect: the training loss is computed from the sigmoid of the logits as if these were the logits.
    SigmoidTwice,
}

impl Alteration {
    /// All of them, in the order of their runs.
    pub const ALL: [Self; 7] = [
        Self::RandomClip,
        Self::NoText,
        Self::NoFeatures,
        Self::FirstInstance,
        Self::OriginalScale,
        Self::TokenIds,
        Self::SigmoidTwice,
    ];

    /// The name in files and in the names of runs.
    pub fn name(self) -> &'static str {
        match self {
            Self::RandomClip => "random_clip",
            Self::NoText => "no_text",
            Self::NoFeatures => "no_features",
            Self::FirstInstance => "first_instance",
            Self::OriginalScale => "original_scale",
            Self::TokenIds => "token_ids",
            Self::SigmoidTwice => "sigmoid_twice",
        }
    }

    /// A description for the report.
    pub fn describe(self) -> &'static str {
        match self {
            Self::RandomClip => "control: the frozen CLIP has random weights",
            Self::NoText => "control: the text embedding is zero",
            Self::NoFeatures => {
                "control: CLIP's hidden states are zero, the decoder sees pixels only"
            }
            Self::FirstInstance => "defect: training masks contain the first instance only",
            Self::OriginalScale => "defect: polygons of training masks keep the original scale",
            Self::TokenIds => "defect: token ids and attention mask instead of the text embedding",
            Self::SigmoidTwice => "defect: the training loss takes the sigmoid twice",
        }
    }

    /// What the decoder gets instead of CLIP's output.
    pub(crate) fn input(self) -> DecoderInput {
        match self {
            Self::NoText => DecoderInput::NoText,
            Self::NoFeatures => DecoderInput::NoFeatures,
            Self::TokenIds => DecoderInput::TokenIds,
            Self::RandomClip | Self::FirstInstance | Self::OriginalScale | Self::SigmoidTwice => {
                DecoderInput::Clip
            }
        }
    }

    /// Whether the polygons of the training masks change.
    pub(crate) fn changes_polygons(self) -> bool {
        matches!(self, Self::FirstInstance | Self::OriginalScale)
    }

    /// The data set with the changed polygons of the training split, for samples of `side` pixels, and the number of
    /// phrases whose polygons changed.
    pub(crate) fn change_polygons(
        self,
        data: &PhraseCut,
        split: Split,
        side: u32,
    ) -> (PhraseCut, usize) {
        let mut changed = 0;
        let altered = data.clone().with_polygons(split, |phrase, image| {
            let polygons = match self {
                Self::FirstInstance => first_instance(phrase),
                Self::OriginalScale => unscaled(phrase, image, side),
                _ => phrase.polygons.clone(),
            };
            changed += usize::from(polygons != phrase.polygons);
            polygons
        });
        (altered, changed)
    }
}

impl std::fmt::Display for Alteration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// The polygons of the first instance.
fn first_instance(phrase: &Phrase) -> Polygons {
    let instances = phrase.polygons.by_instance().take(1);
    scaled(instances, [1.0, 1.0])
}

/// Polygons whose mask at the recorded size, resized to `side`, has the original coordinates on a canvas of `side`.
fn unscaled(phrase: &Phrase, image: &ImageRecord, side: u32) -> Polygons {
    let factors =
        [image.width, image.height].map(|length| f64::from(length) / f64::from(side.max(1)));
    scaled(phrase.polygons.by_instance(), factors)
}

fn scaled<'a>(
    instances: impl Iterator<Item = Vec<&'a [[f32; 2]]>>,
    [horizontal, vertical]: [f64; 2],
) -> Polygons {
    instances
        .map(move |polygons| {
            let points = move |polygon: &'a [[f32; 2]]| {
                polygon
                    .iter()
                    .map(move |&[x, y]| [f64::from(x) * horizontal, f64::from(y) * vertical])
            };
            polygons.into_iter().map(points)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipseg_data::{RasterRule, ScenesConfig, generate_scenes};

    #[test]
    fn names_are_those_of_files() {
        for alteration in Alteration::ALL {
            let json = serde_json::to_string(&alteration).unwrap();
            assert_eq!(json, format!("\"{}\"", alteration.name()));
            assert_eq!(
                serde_json::from_str::<Alteration>(&json).unwrap(),
                alteration
            );
        }
    }

    fn two_squares() -> Phrase {
        let square = |x: f32| serde_json::json!([[[x, 0], [x + 9.0, 0], [x + 9.0, 9], [x, 9]]]);
        serde_json::from_value(serde_json::json!({
            "task_id": "1__2", "image_id": 1, "phrase": "squares",
            "Polygons": [square(0.0), square(20.0)],
        }))
        .unwrap()
    }

    #[test]
    fn the_first_instance_is_one_of_two() {
        let phrase = two_squares();
        assert_eq!(phrase.mask(40, 20).area(), 200);
        let first = first_instance(&phrase);
        let mask = RasterRule::default().mask(first.iter(), 40, 20);
        assert_eq!((mask.area(), first.instances()), (100, 1));
    }

    #[test]
    fn polygons_in_the_original_scale_are_too_large_for_the_input() {
        let phrase = two_squares();
        let image: ImageRecord = serde_json::from_value(serde_json::json!({
            "image_id": 1, "width": 40, "height": 20, "split": "train",
        }))
        .unwrap();
        // The picture of 40 x 20 pixels is resized to 20 x 20. The first square should then have a width of 5.
        let unscaled = unscaled(&phrase, &image, 20);
        let rule = RasterRule::default();
        let mask = rule.mask(unscaled.iter(), 40, 20).resize(20, 20);
        let right = rule.mask(phrase.polygons.iter(), 40, 20).resize(20, 20);
        assert_eq!(right.area(), 100);
        // Its left square keeps its width of ten pixels, and the right one begins outside.
        assert!(mask.contains(8, 5) && !mask.contains(11, 5) && !mask.contains(19, 5));
        assert!(right.contains(4, 5) && !right.contains(6, 5) && right.contains(12, 5));
    }

    #[test]
    fn only_the_training_split_changes() {
        let folder = tempfile::tempdir().unwrap();
        let scenes = folder.path().join("scenes");
        let config = ScenesConfig {
            images: 40,
            size: 48,
            seed: 2,
        };
        generate_scenes(&scenes, &config).unwrap();
        let data = PhraseCut::open(&scenes).unwrap();
        let (altered, changed) = Alteration::OriginalScale.change_polygons(&data, Split::Train, 32);
        assert_eq!(changed, data.phrases(Split::Train).len());
        for split in [Split::Val, Split::Test] {
            assert_eq!(altered.phrases(split), data.phrases(split));
        }
        let (_, changed) = Alteration::OriginalScale.change_polygons(&data, Split::Train, 48);
        assert_eq!(changed, 0, "the pictures have the input size already");
        let (_, changed) = Alteration::FirstInstance.change_polygons(&data, Split::Train, 48);
        let several = data.phrases(Split::Train).iter();
        let several = several.filter(|phrase| phrase.polygons.instances() > 1);
        assert_eq!(changed, several.count());
    }
}
