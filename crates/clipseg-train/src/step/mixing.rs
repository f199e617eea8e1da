//! Visual prompts: mixing the embeddings of pictures into those of phrases.

use crate::error::Result;
use burn::prelude::*;
use clipseg_data::Support;
use rand::{Rng, RngExt};

/// Mixes the embeddings of phrases with those of pictures: `(1 − weight) · text + weight · visual`.
///
/// # Shapes
///
/// - text, visual: `[phrases, projection_dim]`
/// - output: the same
///
/// # Panics
///
/// If the number of weights is not the number of phrases.
pub fn mix_embeddings(text: Tensor<2>, visual: Tensor<2>, shares: &[f32]) -> Tensor<2> {
    let [phrases, _] = text.dims();
    assert_eq!(shares.len(), phrases, "one weight for each phrase");
    let data = TensorData::new(shares.to_vec(), [phrases, 1]);
    let share = Tensor::<2>::from_data(data, &text.device());
    text.clone() + (visual - text) * share
}

/// Mixes visual prompts into the embeddings of the phrases that have one, with a weight that is drawn for
/// each phrase between `least` and `most`. `encode` embeds visual prompts; it is called if there is one.
pub(crate) fn mix_examples(
    text: Tensor<2>,
    supports: &[Option<Support>],
    [least, most]: [f32; 2],
    random: &mut impl Rng,
    encode: impl FnOnce(&[&Support]) -> Result<Tensor<2>>,
) -> Result<Tensor<2>> {
    // The mask of a very small example may have no pixel.
    let shown = |support: &&Support| support.mask.area() > 0;
    let supports: Vec<Option<&Support>> = supports
        .iter()
        .map(|support| support.as_ref().filter(shown))
        .collect();
    let there: Vec<&Support> = supports.iter().flatten().copied().collect();
    if there.is_empty() {
        return Ok(text);
    }
    let visual = encode(&there)?;
    let (mut rows, mut shares) = (Vec::new(), Vec::new());
    let mut next = 0;
    for support in &supports {
        let share = least + (most - least) * random.random::<f32>();
        // Phrases without a visual prompt get the first row with weight 0.
        rows.push(if support.is_some() { next } else { 0 });
        shares.push(if support.is_some() { share } else { 0.0 });
        next += i64::from(support.is_some());
    }
    let device = text.device().without_autodiff();
    let rows = Tensor::<1, Int>::from_data(TensorData::from(rows.as_slice()), &device);
    Ok(mix_embeddings(text, visual.select(0, rows), &shares))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::train_config::TrainConfig;
    use crate::readback::floats;
    use crate::run::setup::Setup;
    use crate::step::randomness::{Draw, of_batch};
    use clipseg_data::{
        PhraseCut, PhraseCutDataset, SampleOptions, ScenesConfig, Split, generate_scenes,
    };
    use std::sync::Arc;

    /// Phrases of generated scenes, with visual prompts where there are any.
    fn embeddings() -> (Setup, Vec<String>, Vec<Option<Support>>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let scenes = folder.path().join("scenes");
        let config = ScenesConfig {
            images: 40,
            size: 32,
            seed: 3,
        };
        generate_scenes(&scenes, &config).unwrap();
        let mut config = TrainConfig::default();
        config.data.folder = Some(scenes.clone());
        config.data.size = Some(32);
        let setup = Setup::new(&config, &Device::flex(), |_| {}).unwrap();
        let options = SampleOptions {
            support: true,
            ..SampleOptions::new(32, 32)
        };
        let data = Arc::new(PhraseCut::open(&scenes).unwrap());
        let dataset = PhraseCutDataset::new(data, Split::Train, options).unwrap();
        let count = dataset.phrases().min(24);
        let batch = dataset.load(&(0..count).collect::<Vec<_>>(), 0).unwrap();
        (setup, batch.phrases, batch.supports, folder)
    }

    fn distance(a: &[f32], b: &[f32]) -> f32 {
        let squares = a.iter().zip(b).map(|(a, b)| (a - b).powi(2));
        squares.sum::<f32>().sqrt()
    }

    #[test]
    fn the_weight_is_that_of_the_picture() {
        let (mut setup, phrases, supports, _folder) = embeddings();
        let shown: Vec<&Support> = supports.iter().flatten().collect();
        assert!(
            shown.len() > 5 && shown.len() < supports.len(),
            "both kinds"
        );
        let text = setup.clip.encode_phrases(&phrases).unwrap();
        let visual = floats(setup.clip.encode_supports(&shown).unwrap()).unwrap();
        let width = text.dims()[1];
        let words = floats(text.clone()).unwrap();
        let mixed = |range, position| {
            let mut random = of_batch(7, position, Draw::VisualShares);
            let encode = |shown: &[&Support]| setup.clip.encode_supports(shown);
            let mixed = mix_examples(text.clone(), &supports, range, &mut random, encode);
            floats(mixed.unwrap()).unwrap()
        };
        let paper = TrainConfig::preset("paper").unwrap().augment.visual;
        assert_eq!(paper, [0.5, 1.0]);
        let (pictures, none) = (mixed([1.0, 1.0], 0), mixed([0.0, 0.0], 0));
        let (half, drawn, again) = (mixed(paper, 0), mixed(paper, 1), mixed(paper, 0));
        assert!(
            half == again && half != drawn,
            "the weights depend on the position in the run"
        );
        let row = |values: &'_ [f32], index: usize| -> Vec<f32> {
            values[index * width..][..width].to_vec()
        };
        let mut example = 0;
        for (index, support) in supports.iter().enumerate() {
            let words = row(&words, index);
            assert_eq!(row(&none, index), words);
            if support.is_none() {
                assert_eq!(row(&half, index), words, "without a visual prompt");
                continue;
            }
            let picture = row(&visual, example);
            example += 1;
            let whole = distance(&words, &picture);
            assert!(whole > 0.1, "the two are not the same");
            assert!(distance(&row(&pictures, index), &picture) < 1e-4 * whole);
            for values in [&half, &drawn] {
                let [to_picture, to_words] =
                    [&picture, &words].map(|end| distance(&row(values, index), end) / whole);
                assert!(to_picture <= 0.5001, "{to_picture} from the picture");
                assert!(
                    (to_picture + to_words - 1.0).abs() < 1e-3,
                    "on the line between"
                );
            }
        }
        let shares: Vec<f32> = (0..supports.len())
            .filter(|&index| supports[index].is_some())
            .map(|index| {
                let words = row(&words, index);
                distance(&row(&half, index), &words) / distance(&row(&pictures, index), &words)
            })
            .collect();
        let spread = |from: f32, to: f32| shares.iter().any(|share| (from..to).contains(share));
        assert!(spread(0.5, 0.75) && spread(0.75, 1.0), "{shares:?}");
    }
}
