//! Drawing captioned samples from an annotated picture.

use super::annotated::{Annotated, Said};
use super::colour_words::contains_colour;
use super::options::CaptionOptions;
use super::region::{CaptionedRegion, draw_regions};
use super::things::Thing;
use super::window::{around, union, within};
use crate::mask::BoundingBox;
use crate::resize::{Filter, resize_rgb};
use crate::samples::TEMPLATES;
use crate::samples::colours::change_colours;
use crate::samples::words::swap_sides;
use image::{RgbImage, imageops};
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, RngExt};

/// Maximum number of words in a joined caption, so that it fits text encoders with few positions.
const MOST_WORDS: usize = 24;

/// A picture with a caption.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Captioned {
    /// The picture, a square.
    pub picture: RgbImage,
    /// The caption.
    pub text: String,
    /// Regions of the picture with texts about the objects in them. Only entire pictures have regions; see
    /// [`CaptionOptions::regions`].
    pub regions: Vec<CaptionedRegion>,
    /// The things that the text describes; empty if they are unknown.
    pub(crate) said: Vec<Thing>,
    /// The things that the picture is known to show.
    pub(crate) shown: Vec<Thing>,
}

impl Captioned {
    /// A text without annotations.
    pub(crate) fn listed(
        picture: &RgbImage,
        text: &str,
        options: &CaptionOptions,
        random: &mut impl Rng,
    ) -> Self {
        let (width, height) = picture.dimensions();
        let window = within(None, [width, height], options.crop, random);
        Self {
            said: Vec::new(),
            shown: Vec::new(),
            ..finish(
                picture,
                window,
                text.to_owned(),
                Vec::new(),
                options,
                random,
            )
        }
    }
}

/// Draws several samples of one picture: crops around distinct objects, as far as there are enough, and
/// entire pictures with randomly chosen phrases.
pub(crate) fn draw(
    known: &Annotated,
    options: &CaptionOptions,
    random: &mut impl Rng,
) -> Vec<Captioned> {
    let mut objects: Vec<usize> = (0..known.objects.len()).collect();
    objects.shuffle(random);
    let mut objects = objects.into_iter();
    let samples = (0..options.per_picture).map(|_| {
        let alone = happens(options.crops, random) || known.phrases.is_empty();
        match alone.then(|| objects.next()).flatten() {
            Some(object) => of_object(known, object, options, random),
            None => of_whole(known, options, random),
        }
    });
    samples.collect()
}

fn of_object(
    known: &Annotated,
    object: usize,
    options: &CaptionOptions,
    random: &mut impl Rng,
) -> Captioned {
    let object = &known.objects[object];
    let (width, height) = known.picture.dimensions();
    let bounds = object.bounds.choose(random).copied();
    let window = bounds.map_or(whole(&known.picture), |bounds| {
        around(bounds, [width, height], random)
    });
    let (text, said) = match object.captions.choose(random) {
        Some((text, thing)) => (text.clone(), vec![thing.clone()]),
        None => (String::new(), Vec::new()),
    };
    let text = in_sentence(text, options, random);
    Captioned {
        said,
        shown: known.things_in(window),
        ..finish(&known.picture, window, text, Vec::new(), options, random)
    }
}

fn of_whole(known: &Annotated, options: &CaptionOptions, random: &mut impl Rng) -> Captioned {
    let most = random.random_range(1..=options.phrases);
    let mut order: Vec<&Said> = known.phrases.iter().collect();
    order.shuffle(random);
    let chosen = joined(&order, most);
    let text = match chosen.as_slice() {
        [only] => in_sentence(only.text.clone(), options, random),
        several => join(several),
    };
    let (width, height) = known.picture.dimensions();
    let kept = union(chosen.iter().filter_map(|said| said.bounds));
    let window = within(kept, [width, height], options.crop, random);
    let regions = regions_in(known, window, options, random);
    Captioned {
        said: chosen
            .iter()
            .flat_map(|said| said.things.iter().cloned())
            .collect(),
        shown: known.things(),
        ..finish(&known.picture, window, text, regions, options, random)
    }
}

fn regions_in(
    known: &Annotated,
    window: BoundingBox,
    options: &CaptionOptions,
    random: &mut impl Rng,
) -> Vec<CaptionedRegion> {
    // Without regions no random number is drawn, so that the samples stay the same.
    if options.regions == 0 {
        return Vec::new();
    }
    let mut regions = draw_regions(known, window, options.regions, random);
    for region in &mut regions {
        region.text = in_sentence(std::mem::take(&mut region.text), options, random);
    }
    regions
}

/// Chooses phrases for a caption: as many as fit, and at least one.
pub(crate) fn joined<'a>(phrases: &[&'a Said], most: usize) -> Vec<&'a Said> {
    let mut words = 0;
    let fits = |said: &&&Said| {
        let first = words == 0;
        words += said.text.split_whitespace().count();
        first || words <= MOST_WORDS
    };
    phrases
        .iter()
        .take_while(fits)
        .take(most)
        .copied()
        .collect()
}

pub(crate) fn join(phrases: &[&Said]) -> String {
    let texts: Vec<&str> = phrases.iter().map(|said| said.text.as_str()).collect();
    texts.join(", ")
}

fn in_sentence(text: String, options: &CaptionOptions, random: &mut impl Rng) -> String {
    if happens(options.templates, random) {
        let template = TEMPLATES.choose(random).copied().unwrap_or("{}");
        template.replace("{}", &text)
    } else {
        text
    }
}

/// Returns `true` with probability `share`. It always draws a number, so that the numbers drawn after it do
/// not depend on the share.
fn happens(share: f32, random: &mut impl Rng) -> bool {
    random.random::<f32>() < share
}

pub(crate) fn whole(picture: &RgbImage) -> BoundingBox {
    let (width, height) = picture.dimensions();
    BoundingBox {
        x: 0,
        y: 0,
        width,
        height,
    }
}

/// Crops a picture and resizes the crop to the size of samples.
pub(crate) fn cut(picture: &RgbImage, window: BoundingBox, side: u32) -> RgbImage {
    let BoundingBox {
        x,
        y,
        width,
        height,
    } = window;
    if (x, y, width, height) == (0, 0, picture.width(), picture.height()) {
        return resize_rgb(picture, side, side, Filter::Bilinear);
    }
    let part = imageops::crop_imm(picture, x, y, width, height).to_image();
    resize_rgb(&part, side, side, Filter::Bilinear)
}

/// Crops the picture, and flips it and changes its colours by the options.
fn finish(
    picture: &RgbImage,
    window: BoundingBox,
    mut text: String,
    mut regions: Vec<CaptionedRegion>,
    options: &CaptionOptions,
    random: &mut impl Rng,
) -> Captioned {
    let mut seen = cut(picture, window, options.side);
    if happens(options.flip, random) {
        imageops::flip_horizontal_in_place(&mut seen);
        text = swap_sides(&text).into_owned();
        regions.iter_mut().for_each(CaptionedRegion::flip);
    }
    let reach = options.colour_jitter;
    let factors = std::array::from_fn(|_| random.random_range(1.0 - reach..=1.0 + reach));
    let coloured =
        contains_colour(&text) || regions.iter().any(|region| contains_colour(&region.text));
    if reach > 0.0 && !coloured {
        change_colours(&mut seen, factors);
    }
    Captioned {
        picture: seen,
        text,
        regions,
        said: Vec::new(),
        shown: Vec::new(),
    }
}

/// Creates a sample whose only annotation is its text.
#[cfg(test)]
pub(crate) fn tests_sample(picture: RgbImage, text: &str) -> Captioned {
    Captioned {
        picture,
        text: text.to_owned(),
        regions: Vec::new(),
        said: Vec::new(),
        shown: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenes::fresh::{Looks, fresh_scene};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn samples(options: &CaptionOptions) -> Vec<Captioned> {
        let draw_from = |index| {
            let known = Annotated::of_scene(fresh_scene(5, index, 64, Looks::Seen));
            draw(&known, options, &mut ChaCha8Rng::seed_from_u64(index))
        };
        (0..60).flat_map(draw_from).collect()
    }

    #[test]
    fn shares_determine_the_kinds_of_samples() {
        let count = |crops, phrases| {
            let options = CaptionOptions {
                crops,
                phrases,
                templates: 0.0,
                ..CaptionOptions::new(32)
            };
            let samples = samples(&options);
            assert_eq!(samples.len(), 240);
            samples
                .iter()
                .filter(|sample| sample.text.contains(','))
                .count()
        };
        assert!(count(0.0, 4) > 120, "whole pictures, several phrases");
        assert_eq!(count(0.0, 1), 0);
        assert!(count(1.0, 4) < 40, "only where objects run out");
    }

    #[test]
    fn sides_are_swapped_in_flipped_pictures() {
        let of = |flip| CaptionOptions {
            flip,
            crops: 0.0,
            crop: 1.0,
            templates: 0.0,
            colour_jitter: 0.0,
            ..CaptionOptions::new(32)
        };
        let (straight, turned) = (samples(&of(0.0)), samples(&of(1.0)));
        let mut swapped = 0;
        for (a, b) in straight.iter().zip(&turned) {
            assert_eq!(b.text, swap_sides(&a.text));
            swapped += usize::from(a.text != b.text);
            assert_eq!(b.picture, imageops::flip_horizontal(&a.picture));
        }
        assert!(swapped > 20, "{swapped}");
    }

    #[test]
    fn colours_change_only_without_a_colour_in_the_caption() {
        let of = |colour_jitter| CaptionOptions {
            colour_jitter,
            flip: 0.0,
            ..CaptionOptions::new(32)
        };
        let (plain, changed) = (samples(&of(0.0)), samples(&of(0.5)));
        let mut counts = [0, 0];
        for (a, b) in plain.iter().zip(&changed) {
            assert_eq!(a.text, b.text);
            let coloured = contains_colour(&a.text);
            if coloured {
                assert_eq!(a.picture, b.picture, "{}", a.text);
            } else {
                assert_ne!(a.picture, b.picture, "{}", a.text);
            }
            counts[usize::from(coloured)] += 1;
        }
        assert!(counts.iter().all(|&count| count > 30), "{counts:?}");
    }

    #[test]
    fn only_entire_pictures_have_regions() {
        let of = |regions, flip| CaptionOptions {
            regions,
            flip,
            crops: 0.5,
            colour_jitter: 0.5,
            ..CaptionOptions::new(32)
        };
        let (straight, turned) = (samples(&of(3, 0.0)), samples(&of(3, 1.0)));
        let without = samples(&of(0, 0.0));
        assert_eq!(straight.len(), without.len());
        let (mut coloured, mut counts) = (0, [0; 4]);
        for (a, b) in straight.iter().zip(&turned) {
            assert_eq!(a.regions.len(), b.regions.len());
            if a.text.contains(',') {
                assert!(!a.regions.is_empty(), "an entire picture: {}", a.text);
            }
            counts[a.regions.len()] += 1;
            for (straight, turned) in a.regions.iter().zip(&b.regions) {
                let [left, top, right, bottom] = straight.bounds;
                assert_eq!(turned.bounds, [1.0 - right, top, 1.0 - left, bottom]);
                assert_eq!(turned.text, swap_sides(&straight.text));
            }
            let texts = a.regions.iter().map(|region| &region.text);
            if texts.clone().any(|text| contains_colour(text)) {
                coloured += usize::from(!contains_colour(&a.text));
                assert_eq!(b.picture, imageops::flip_horizontal(&a.picture));
            }
        }
        // Half of the samples are crops without regions. Few scenes have only one object.
        assert!(counts[0] > 90 && counts[3] > 90, "{counts:?}");
        assert!(
            coloured > 10,
            "{coloured} pictures keep their colours because of a region"
        );
    }

    #[test]
    fn captions_are_short_and_contain_at_least_one_phrase() {
        let said = |words: usize| Said {
            text: vec!["word"; words].join(" "),
            things: Vec::new(),
            bounds: None,
        };
        let phrases = [said(10), said(10), said(10)];
        let all: Vec<&Said> = phrases.iter().collect();
        assert_eq!(joined(&all, 4).len(), 2);
        assert_eq!(joined(&all, 1).len(), 1);
        assert_eq!(joined(&[&said(40)], 4).len(), 1);
    }
}
