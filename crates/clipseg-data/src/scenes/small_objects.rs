//! Scenes in memory whose objects are small for the picture, to measure what models find in large photographs.

use super::painting::paint;
use super::phrases::describe;
use super::placing::{Looks, place};
use crate::error::{DataError, Result};
use crate::records::Phrase;
use image::RgbImage;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// A generated picture and phrases, each of which describes exactly the objects in its mask.
#[derive(Debug, Clone)]
pub struct LargeScene {
    /// The picture.
    pub picture: RgbImage,
    /// The phrases; [`Phrase::mask`] draws their masks.
    pub phrases: Vec<Phrase>,
}

/// Generates the scene with an index, which has `side` × `side` pixels. Objects have the sizes that they have in scenes
/// of `unit` × `unit` pixels ([`generate_scenes`](crate::generate_scenes)): the widest ones are about half as wide as
/// `unit`. A scene depends on all four numbers.
///
/// # Errors
///
/// If `side` is not 32 to 4,096 pixels, or `unit` not 32 to `side`.
///
/// # Example
///
/// ```
/// let scene = clipseg_data::scene_of_small_objects(7, 0, 512, 128)?;
/// let mask = scene.phrases[0].mask(512, 512);
/// println!("{}: {} pixels", scene.phrases[0].phrase, mask.area());
/// # Ok::<(), clipseg_data::DataError>(())
/// ```
pub fn scene_of_small_objects(seed: u64, index: u64, side: u32, unit: u32) -> Result<LargeScene> {
    if !(32..=4_096).contains(&side) || !(32..=side).contains(&unit) {
        return Err(DataError::Input(format!(
            "a scene of {side} pixels with objects as in {unit} pixels, expected 32 to 4096 pixels, and 32 to the \
             side for the objects"
        )));
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(index);
    let scene = place(&mut random, side, unit, Looks::WithUnseen);
    let phrases = describe(&mut random, &scene, index + 1);
    let picture = paint(&mut random, &scene);
    Ok(LargeScene { picture, phrases })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_smaller_by_the_ratio_of_the_sides() {
        let area = |unit: u32| {
            let scenes = (0..12).map(|index| scene_of_small_objects(5, index, 256, unit).unwrap());
            let areas = scenes.flat_map(|scene| {
                assert_eq!(scene.picture.dimensions(), (256, 256));
                assert!(!scene.phrases.is_empty());
                let single = scene
                    .phrases
                    .into_iter()
                    .filter(|phrase| phrase.ann_ids.len() == 1);
                single
                    .map(|phrase| phrase.mask(256, 256).area())
                    .collect::<Vec<_>>()
            });
            let areas: Vec<usize> = areas.collect();
            areas.iter().sum::<usize>() as f64 / areas.len() as f64
        };
        let ratio = area(256) / area(64);
        assert!((9.0..25.0).contains(&ratio), "{ratio}, expected about 16");
    }

    #[test]
    fn a_scene_depends_on_seed_and_index_and_sizes_are_checked() {
        let scene = |seed, index| scene_of_small_objects(seed, index, 64, 32).unwrap().picture;
        assert_eq!(scene(1, 2), scene(1, 2));
        assert_ne!(scene(1, 2), scene(2, 2));
        assert_ne!(scene(1, 2), scene(1, 3));
        for (side, unit) in [(31, 31), (64, 65), (64, 31), (5_000, 64)] {
            assert!(
                scene_of_small_objects(1, 0, side, unit).is_err(),
                "{side} {unit}"
            );
        }
    }
}
