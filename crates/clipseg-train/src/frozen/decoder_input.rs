//! Replacing a part of CLIP's output before the decoder gets it, for the controls of a study.

use crate::error::{Result, TrainError};
use crate::step::input::StepInput;
use burn::prelude::*;
use clipseg_clip::ClipTokenizer;

/// What the decoder gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum DecoderInput {
    /// CLIP's hidden states and text embeddings.
    #[default]
    Clip,
    /// A zero vector instead of the text embedding.
    NoText,
    /// Zeros instead of CLIP's hidden states.
    NoFeatures,
    /// Token ids and attention mask as numbers instead of the text embedding.
    TokenIds,
}

impl DecoderInput {
    /// Replaces the part of the input that this changes. `phrases` are the texts of the prompts.
    ///
    /// # Errors
    ///
    /// If token ids are needed and a phrase cannot be tokenized or has more tokens than fit.
    pub(crate) fn apply(
        self,
        mut input: StepInput,
        phrases: &[String],
        tokenizer: &ClipTokenizer,
    ) -> Result<StepInput> {
        match self {
            Self::Clip => {}
            Self::NoText => {
                input.conditional_embedding = input.conditional_embedding.zeros_like();
            }
            Self::NoFeatures => {
                for hidden in &mut input.features.hidden_states {
                    *hidden = hidden.zeros_like();
                }
            }
            Self::TokenIds => {
                let [_, width] = input.conditional_embedding.dims();
                let device = input.conditional_embedding.device();
                let mut values = Vec::with_capacity(phrases.len() * width);
                for phrase in phrases {
                    values.extend(token_row(&tokenizer.encode(phrase)?, width)?);
                }
                let data = TensorData::new(values, [phrases.len(), width]);
                input.conditional_embedding = Tensor::from_data(data, &device);
            }
        }
        Ok(input)
    }
}

/// Token ids in the first half of a vector, their attention mask in the second, zeros elsewhere.
fn token_row(ids: &[u32], width: usize) -> Result<Vec<f32>> {
    let half = width / 2;
    if ids.len() > half {
        let message = format!(
            "`token_ids`: a phrase has {} tokens, but half of the embedding has only {half} numbers",
            ids.len()
        );
        return Err(TrainError::field("alterations.kinds", message));
    }
    let mut row = vec![0.0; width];
    for (index, &id) in ids.iter().enumerate() {
        row[index] = id as f32;
        row[half + index] = 1.0;
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipseg_model::ImageFeatures;

    fn input() -> StepInput {
        let device = Device::flex();
        StepInput {
            features: ImageFeatures {
                hidden_states: vec![Tensor::ones([1, 5, 4], &device); 2],
                grid: [2, 2],
                pixel_values: Some(Tensor::ones([1, 3, 4, 4], &device)),
            },
            conditional_embedding: Tensor::ones([2, 20], &device),
            picture_of: vec![0, 0],
            masks: Tensor::ones([2, 4, 4], &device),
        }
    }

    fn sum<const D: usize>(tensor: &Tensor<D>) -> f32 {
        tensor.clone().sum().into_scalar()
    }

    #[test]
    fn each_change_replaces_its_part_only() {
        let tokenizer = ClipTokenizer::openai(77).unwrap();
        let phrases = ["a cat".to_owned(), "dog".to_owned()];
        let sums = |change: DecoderInput| {
            let input = change.apply(input(), &phrases, &tokenizer).unwrap();
            let pixels = input.features.pixel_values.clone().unwrap();
            let hidden: f32 = input.features.hidden_states.iter().map(sum).sum();
            (
                hidden,
                sum(&input.conditional_embedding),
                sum(&pixels),
                sum(&input.masks),
            )
        };
        assert_eq!(sums(DecoderInput::Clip), (40.0, 40.0, 48.0, 32.0));
        assert_eq!(sums(DecoderInput::NoText), (40.0, 0.0, 48.0, 32.0));
        assert_eq!(sums(DecoderInput::NoFeatures), (0.0, 40.0, 48.0, 32.0));
        let (hidden, text, ..) = sums(DecoderInput::TokenIds);
        assert!(hidden == 40.0 && text > 4.0 * 49_406.0, "{text}");
    }

    #[test]
    fn token_ids_are_numbers_with_their_attention_mask() {
        assert_eq!(
            token_row(&[49_406, 320, 49_407], 8).unwrap(),
            [49_406.0, 320.0, 49_407.0, 0.0, 1.0, 1.0, 1.0, 0.0]
        );
        let message = token_row(&[1, 2, 3], 4).unwrap_err().to_string();
        assert!(message.contains("a phrase has 3 tokens"), "{message}");
    }
}
