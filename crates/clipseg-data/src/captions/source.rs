//! Where captioned pictures come from, and in which order.

use super::annotated::Annotated;
use super::batch::CaptionBatch;
use super::held_out::{self, HeldOut, LabelledPictures};
use super::list::{Listed, read_list};
use super::options::CaptionOptions;
use super::sample::{Captioned, draw, join, joined};
use crate::error::{DataError, Result};
use crate::phrasecut::PhraseCut;
use crate::pictures::load_rgb;
use crate::records::{Phrase, Split};
use crate::samples::TEMPLATES;
use crate::scenes::fresh::fresh_scene;
use rand::SeedableRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The name of a plain list of captions in a folder.
pub const CAPTION_LIST: &str = "captions.tsv";

/// Apart from what other parts of the program draw from the same seed.
const SAMPLES: u64 = 0x6361_7074_696f_6e73;
const ORDER: u64 = 0x6f_7264_6572;
/// What is held out of scenes is drawn from another seed than what is learnt from.
const HELD_OUT: u64 = 0x6865_6c64;
/// Of a plain list one picture in so many is held out.
const HELD_OUT_EVERY: usize = 20;
/// Pictures that a vocabulary is learnt from.
const VOCABULARY_PICTURES: u64 = 1_000;
/// Their side, which decides how long drawing them takes.
const VOCABULARY_SIDE: u32 = 48;

/// Captioned pictures without end, in an order that the seed decides.
///
/// Every batch is a function of the options and its position, so that training can go on anywhere.
///
/// ```
/// use clipseg_data::{CaptionOptions, Captions};
///
/// let captions = Captions::scenes(CaptionOptions::new(64))?;
/// let batch = captions.batch(0, 8)?;
/// for sample in &batch.samples {
///     println!("{}: {} pixels", sample.text, sample.picture.len() / 3);
/// }
/// // Texts that are true of another picture of the batch too.
/// assert_eq!(batch.not_negatives().len(), 64);
/// # Ok::<(), clipseg_data::DataError>(())
/// ```
#[derive(Debug)]
pub struct Captions {
    options: CaptionOptions,
    sources: Vec<Source>,
    /// The order of the last pass that was asked for.
    order: Mutex<Option<(u64, Arc<Vec<u32>>)>>,
}

#[derive(Debug)]
enum Source {
    /// Generated as they are asked for, without end.
    Scenes,
    Folder(Folder),
    List {
        training: Vec<Listed>,
        held_out: Vec<Listed>,
    },
}

/// A data set in PhraseCut's layout.
#[derive(Debug)]
struct Folder {
    data: Arc<PhraseCut>,
    training: Pictures,
    held_out: Pictures,
}

/// The pictures of a split, each with the places of its phrases.
#[derive(Debug)]
struct Pictures {
    split: Split,
    phrases: Vec<(u64, Vec<usize>)>,
}

impl Captions {
    /// Generated scenes, fresh ones in every batch. Looks that scenes hold back from training
    /// ([`UnseenPairs`](crate::UnseenPairs)) are in none of them.
    ///
    /// # Errors
    ///
    /// If a number of the options cannot be used.
    pub fn scenes(options: CaptionOptions) -> Result<Self> {
        Self::new(vec![Source::Scenes], options)
    }

    /// The pictures of folders: of each the list [`CAPTION_LIST`] if there is one, else the data set in
    /// PhraseCut's layout. What is learnt from is its split `train`, what is held out its split `val`;
    /// of a list every twentieth picture is held out, and the first if there are fewer.
    ///
    /// # Errors
    ///
    /// If there is no folder, one cannot be read or has no picture to learn from, or a number of the
    /// options cannot be used.
    pub fn open<P: AsRef<Path>>(folders: &[P], options: CaptionOptions) -> Result<Self> {
        if folders.is_empty() {
            return Err(DataError::Input("no folder of captions was given".into()));
        }
        let sources = folders.iter().map(|folder| Source::open(folder.as_ref()));
        Self::new(sources.collect::<Result<_>>()?, options)
    }

    fn new(sources: Vec<Source>, options: CaptionOptions) -> Result<Self> {
        options.validate()?;
        Ok(Self {
            options,
            sources,
            order: Mutex::new(None),
        })
    }

    /// How captioned pictures are made.
    pub fn options(&self) -> &CaptionOptions {
        &self.options
    }

    /// Number of pictures in a pass; `None` if they are generated without end.
    pub fn pictures(&self) -> Option<usize> {
        self.sources.iter().map(Source::pictures).sum()
    }

    /// The batch of a position, of so many samples, in parallel.
    ///
    /// # Errors
    ///
    /// If a picture cannot be read, or the batch is not made of whole pictures
    /// ([`CaptionOptions::per_picture`]).
    pub fn batch(&self, position: u64, samples: usize) -> Result<CaptionBatch> {
        let per_picture = self.options.per_picture;
        if samples == 0 || !samples.is_multiple_of(per_picture) {
            return Err(DataError::Input(format!(
                "a batch of {samples} samples, expected a multiple of {per_picture}, the samples of \
                 a picture"
            )));
        }
        let groups = (samples / per_picture) as u64;
        let first = position * groups;
        let drawn: Vec<Vec<Captioned>> = (first..first + groups)
            .into_par_iter()
            .map(|number| self.group(number))
            .collect::<Result<_>>()?;
        Ok(CaptionBatch {
            samples: drawn.into_iter().flatten().collect(),
        })
    }

    /// The pass that a batch of so many samples begins in, counted from 0.
    pub fn epoch(&self, position: u64, samples: usize) -> u64 {
        let groups = (samples / self.options.per_picture.max(1)) as u64;
        self.pictures()
            .map_or(0, |pictures| position * groups / pictures.max(1) as u64)
    }

    /// The samples of one picture; pictures are counted through all passes.
    fn group(&self, number: u64) -> Result<Vec<Captioned>> {
        let mut random = ChaCha8Rng::seed_from_u64(self.options.seed ^ SAMPLES);
        random.set_stream(number);
        let mut place = match self.pictures() {
            None => number,
            Some(pictures) => {
                let pictures = pictures as u64;
                let order = self.order(number / pictures);
                u64::from(order[(number % pictures) as usize])
            }
        };
        for source in &self.sources {
            match source.pictures().map(|pictures| pictures as u64) {
                Some(pictures) if place >= pictures => place -= pictures,
                _ => return source.draw(place, &self.options, &mut random),
            }
        }
        unreachable!("the order of a pass holds the pictures of the sources only")
    }

    fn order(&self, epoch: u64) -> Arc<Vec<u32>> {
        let mut known = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((last, order)) if *last == epoch => order.clone(),
            _ => {
                let mut random = ChaCha8Rng::seed_from_u64(self.options.seed ^ ORDER);
                random.set_stream(epoch);
                let pictures = self.pictures().unwrap_or(0);
                let mut order: Vec<u32> = (0..pictures as u32).collect();
                order.shuffle(&mut random);
                let order = Arc::new(order);
                *known = Some((epoch, order.clone()));
                order
            }
        }
    }

    /// Texts to learn a vocabulary from: the phrases of training pictures, of scenes those of a
    /// thousand, and the sentences that phrases are put into.
    pub fn texts(&self) -> Vec<String> {
        let phrases = self.sources.iter();
        let phrases = phrases.flat_map(|source| source.texts(self.options.seed));
        let sentences = TEMPLATES.iter().filter(|_| self.options.templates > 0.0);
        // Each twice, so that its words are not passed over as rare.
        let sentences = sentences.map(|sentence| sentence.replace("{}", " ").repeat(2));
        phrases.chain(sentences).collect()
    }

    /// Captioned pictures that are not learnt from, at most so many, as they are.
    ///
    /// # Errors
    ///
    /// If a picture cannot be read.
    pub fn held_out(&self, most: usize) -> Result<HeldOut> {
        let found = self.held_out_pictures(most)?;
        let pairs = found.iter().filter_map(|known| match known {
            Known::Annotated(known) => {
                let phrases: Vec<_> = known.phrases.iter().collect();
                let chosen = joined(&phrases, self.options.phrases);
                (!chosen.is_empty()).then(|| (&known.picture, join(&chosen)))
            }
            Known::Listed(picture, text) => Some((picture, text.clone())),
        });
        Ok(HeldOut::new(pairs, self.options.side))
    }

    /// Objects of pictures that are not learnt from, at most so many, with their names and colours.
    /// There are none where objects are not known.
    ///
    /// # Errors
    ///
    /// If a picture cannot be read.
    pub fn labelled(&self, most: usize) -> Result<LabelledPictures> {
        let found = self.held_out_pictures(most)?;
        let known = found.iter().filter_map(|known| match known {
            Known::Annotated(known) => Some(known),
            Known::Listed(..) => None,
        });
        Ok(held_out::labelled(known, most, self.options.side))
    }

    fn held_out_pictures(&self, most: usize) -> Result<Vec<Known>> {
        let share = most.div_ceil(self.sources.len());
        let found: Vec<Vec<Known>> = self
            .sources
            .iter()
            .map(|source| source.held_out(share, &self.options))
            .collect::<Result<_>>()?;
        Ok(found.into_iter().flatten().take(most).collect())
    }
}

/// A picture that is not learnt from.
enum Known {
    Annotated(Annotated),
    Listed(image::RgbImage, String),
}

impl Source {
    fn open(folder: &Path) -> Result<Self> {
        let list = folder.join(CAPTION_LIST);
        if list.is_file() {
            let (mut training, mut held_out) = (Vec::new(), Vec::new());
            let listed = read_list(&list)?;
            if listed.len() < 2 {
                return Err(DataError::Input(format!(
                    "{}: one picture, expected at least two: one to learn from and one to hold out",
                    list.display()
                )));
            }
            for (index, one) in listed.into_iter().enumerate() {
                let kept = index.is_multiple_of(HELD_OUT_EVERY);
                if kept { &mut held_out } else { &mut training }.push(one);
            }
            return Ok(Self::List { training, held_out });
        }
        let data = Arc::new(PhraseCut::open_splits(folder, &[Split::Train, Split::Val])?);
        let training = Pictures::of(&data, Split::Train);
        if training.phrases.is_empty() {
            return Err(DataError::Input(format!(
                "{}: the split `train` has no phrase to learn from",
                folder.display()
            )));
        }
        Ok(Self::Folder(Folder {
            held_out: Pictures::of(&data, Split::Val),
            training,
            data,
        }))
    }

    fn pictures(&self) -> Option<usize> {
        match self {
            Self::Scenes => None,
            Self::Folder(folder) => Some(folder.training.phrases.len()),
            Self::List { training, .. } => Some(training.len()),
        }
    }

    fn draw(
        &self,
        place: u64,
        options: &CaptionOptions,
        random: &mut ChaCha8Rng,
    ) -> Result<Vec<Captioned>> {
        match self {
            Self::Scenes => {
                let scene = fresh_scene(options.seed, place, options.side, false);
                Ok(draw(&Annotated::of_scene(scene), options, random))
            }
            Self::Folder(folder) => {
                let known = folder.read(&folder.training, place as usize)?;
                Ok(draw(&known, options, random))
            }
            Self::List { training, .. } => {
                let listed = &training[place as usize];
                let picture = load_rgb(&listed.path)?;
                let samples = (0..options.per_picture).map(|_| {
                    let text = listed.texts.choose(random).map_or("", String::as_str);
                    Captioned::listed(&picture, text, options, random)
                });
                Ok(samples.collect())
            }
        }
    }

    fn texts(&self, seed: u64) -> Vec<String> {
        match self {
            Self::Scenes => (0..VOCABULARY_PICTURES)
                .into_par_iter()
                .flat_map_iter(|index| {
                    let scene = fresh_scene(seed, index, VOCABULARY_SIDE, false);
                    scene.phrases.into_iter().map(|phrase| phrase.phrase)
                })
                .collect(),
            Self::Folder(folder) => {
                let phrases = folder.data.phrases(Split::Train).iter();
                phrases.map(|phrase| phrase.phrase.clone()).collect()
            }
            Self::List { training, .. } => {
                let texts = training.iter().flat_map(|listed| &listed.texts);
                texts.cloned().collect()
            }
        }
    }

    fn held_out(&self, most: usize, options: &CaptionOptions) -> Result<Vec<Known>> {
        match self {
            Self::Scenes => Ok((0..most as u64)
                .into_par_iter()
                .map(|index| fresh_scene(options.seed ^ HELD_OUT, index, options.side, false))
                .map(|scene| Known::Annotated(Annotated::of_scene(scene)))
                .collect()),
            Self::Folder(folder) => spread(folder.held_out.phrases.len(), most)
                .into_par_iter()
                .map(|place| Ok(Known::Annotated(folder.read(&folder.held_out, place)?)))
                .collect(),
            Self::List { held_out, .. } => spread(held_out.len(), most)
                .into_par_iter()
                .map(|place| {
                    let listed = &held_out[place];
                    let text = listed.texts.first().cloned().unwrap_or_default();
                    Ok(Known::Listed(load_rgb(&listed.path)?, text))
                })
                .collect(),
        }
    }
}

impl Folder {
    fn read(&self, pictures: &Pictures, place: usize) -> Result<Annotated> {
        let (image_id, places) = &pictures.phrases[place];
        let phrases = self.data.phrases(pictures.split);
        let phrases: Vec<&Phrase> = places.iter().map(|&place| &phrases[place]).collect();
        let picture = load_rgb(&self.data.image_path(*image_id))?;
        let recorded = self.data.image(*image_id);
        let recorded =
            recorded.map_or(picture.dimensions(), |record| (record.width, record.height));
        Ok(Annotated::of_phrases(picture, &phrases, recorded))
    }
}

impl Pictures {
    fn of(data: &PhraseCut, split: Split) -> Self {
        let mut places = BTreeMap::<u64, Vec<usize>>::new();
        for (place, phrase) in data.phrases(split).iter().enumerate() {
            if !phrase.phrase.trim().is_empty() {
                places.entry(phrase.image_id).or_default().push(place);
            }
        }
        Self {
            split,
            phrases: places.into_iter().collect(),
        }
    }
}

/// At most so many numbers below `count`, evenly spread.
fn spread(count: usize, most: usize) -> Vec<usize> {
    let wanted = count.min(most);
    (0..wanted).map(|index| index * count / wanted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenes::{ScenesConfig, generate_scenes};
    use std::collections::BTreeSet;

    fn options() -> CaptionOptions {
        CaptionOptions {
            per_picture: 2,
            seed: 9,
            ..CaptionOptions::new(32)
        }
    }

    fn texts(batch: &CaptionBatch) -> Vec<&str> {
        batch.samples.iter().map(|one| one.text.as_str()).collect()
    }

    #[test]
    fn a_batch_follows_from_its_position() {
        let captions = Captions::scenes(options()).unwrap();
        let again = Captions::scenes(options()).unwrap();
        let later = again.batch(3, 8).unwrap();
        let first = captions.batch(0, 8).unwrap();
        assert_ne!(texts(&first), texts(&later));
        let same = captions.batch(3, 8).unwrap();
        assert_eq!(texts(&same), texts(&later));
        assert_eq!(same.pixels(), later.pixels());
        assert_eq!((captions.pictures(), captions.epoch(100, 8)), (None, 0));
        let other = CaptionOptions {
            seed: 10,
            ..options()
        };
        let other = Captions::scenes(other).unwrap();
        assert_ne!(texts(&other.batch(3, 8).unwrap()), texts(&later));
        let message = captions.batch(0, 7).unwrap_err().to_string();
        assert!(
            message.contains("7 samples, expected a multiple of 2"),
            "{message}"
        );
    }

    #[test]
    fn a_pass_over_folders_shows_every_picture() {
        let folder = tempfile::tempdir().unwrap();
        let scenes = folder.path().join("scenes");
        let config = ScenesConfig {
            images: 20,
            size: 48,
            seed: 5,
        };
        generate_scenes(&scenes, &config).unwrap();
        let listed = folder.path().join("listed");
        std::fs::create_dir(&listed).unwrap();
        let mut list = String::new();
        for index in 0..6u8 {
            let picture = image::RgbImage::from_pixel(20, 10, image::Rgb([40 * index; 3]));
            picture.save(listed.join(format!("{index}.png"))).unwrap();
            list += &format!("{index}.png\tgrey number {index}\n");
        }
        std::fs::write(listed.join(CAPTION_LIST), list).unwrap();

        let captions = Captions::open(&[&scenes, &listed], options()).unwrap();
        // 16 of the scenes and five of the list; its first picture is held out.
        let pictures = captions.pictures().unwrap();
        assert_eq!(pictures, 21);
        let pass = |epoch: u64| -> Vec<String> {
            let positions = epoch * 21..(epoch + 1) * 21;
            let of = |position| captions.batch(position, 2).unwrap();
            let batches = positions.map(of);
            batches
                .flat_map(|batch| batch.samples.into_iter().map(|sample| sample.text))
                .collect()
        };
        let (first, second) = (pass(0), pass(1));
        let greys = |texts: &[String]| -> BTreeSet<String> {
            let greys = texts.iter().filter(|text| text.starts_with("grey number"));
            greys.cloned().collect()
        };
        assert_eq!(greys(&first).len(), 5);
        assert_eq!(greys(&second).len(), 5);
        assert_ne!(first, second);
        assert_eq!([captions.epoch(20, 2), captions.epoch(21, 2)], [0, 1]);

        let held_out = captions.held_out(100).unwrap();
        assert!(held_out.texts.contains(&"grey number 0".to_owned()));
        assert_eq!(
            held_out.texts.len(),
            3,
            "two of the split `val` and one of the list"
        );
        let labelled = captions.labelled(100).unwrap();
        assert_eq!(labelled.names.len(), labelled.pictures.len());
        assert!(
            labelled
                .names
                .iter()
                .all(|&name| name < labelled.name_classes.len())
        );
        assert!(captions.texts().iter().any(|text| text == "grey number 3"));
        assert!(captions.texts().iter().all(|text| text != "grey number 0"));
    }

    #[test]
    fn folders_without_captions_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let message = Captions::open(&[folder.path()], options()).unwrap_err();
        assert!(
            message.to_string().contains("is not a data set"),
            "{message}"
        );
        let none: [&Path; 0] = [];
        assert!(Captions::open(&none, options()).is_err());
        let picture = image::RgbImage::new(4, 4);
        picture.save(folder.path().join("a.png")).unwrap();
        std::fs::write(folder.path().join(CAPTION_LIST), "a.png\tx").unwrap();
        let message = Captions::open(&[folder.path()], options()).unwrap_err();
        assert!(
            message.to_string().contains("captions.tsv: one picture"),
            "{message}"
        );
    }

    #[test]
    fn scenes_that_are_held_out_are_others() {
        let captions = Captions::scenes(options()).unwrap();
        let held_out = captions.held_out(30).unwrap();
        assert_eq!((held_out.texts.len(), held_out.pictures.len()), (30, 30));
        let distinct: BTreeSet<&String> = held_out.texts.iter().collect();
        assert!(distinct.len() > 25);
        let first = fresh_scene(9, 0, 32, false).picture;
        assert!(held_out.pictures.iter().all(|picture| *picture != first));
        let labelled = captions.labelled(200).unwrap();
        let (names, colours) = (&labelled.name_classes, &labelled.colour_classes);
        assert!(labelled.pictures.len() > 180, "{}", labelled.pictures.len());
        assert!((18..=22).contains(&names.len()) && colours.len() == 10);
    }
}
