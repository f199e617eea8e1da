//! The records in the files of `VGPhraseCut_v0` (Wu et al. 2020, arXiv:2008.01187).

use crate::error::DataError;
use crate::mask::Mask;
use crate::raster::RasterRule;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// A split of the data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Training split.
    Train,
    /// Validation split.
    Val,
    /// Test split.
    Test,
    /// A hundred pictures for visual inspection; not part of `val`.
    Miniv,
    /// The phrases of `val` followed by those of `miniv`, as in the official tools. It is not stored in
    /// files.
    ValMiniv,
}

impl Split {
    /// The splits that are stored in files.
    pub const ALL: [Self; 4] = [Self::Train, Self::Val, Self::Test, Self::Miniv];

    /// Name of the split, as in file names: `train`, `val`, `test`, `miniv` or `val_miniv`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
            Self::Miniv => "miniv",
            Self::ValMiniv => "val_miniv",
        }
    }

    /// The stored splits that this split consists of, in the order of their phrases.
    pub fn parts(self) -> &'static [Self] {
        match self {
            Self::Train => &[Self::Train],
            Self::Val => &[Self::Val],
            Self::Test => &[Self::Test],
            Self::Miniv => &[Self::Miniv],
            Self::ValMiniv => &[Self::Val, Self::Miniv],
        }
    }
}

impl std::str::FromStr for Split {
    type Err = DataError;

    /// Parses a [`name`](Self::name).
    ///
    /// # Errors
    ///
    /// [`DataError::Input`], which lists the valid names.
    fn from_str(name: &str) -> Result<Self, DataError> {
        let all = [Self::ALL.as_slice(), &[Self::ValMiniv]].concat();
        let known = all.iter().find(|split| split.name() == name);
        known.copied().ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|split| split.name()).collect();
            DataError::Input(format!(
                "unknown split `{name}`, expected one of {}",
                names.join(", ")
            ))
        })
    }
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The record of a picture in the picture list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Id of the picture, and stem of its file name.
    pub image_id: u64,
    /// Id of the same picture in COCO, if it is known.
    #[serde(default)]
    pub coco_id: Option<u64>,
    /// Id of the same picture on Flickr, if it is known.
    #[serde(default)]
    pub flickr_id: Option<u64>,
    /// Recorded width in pixels, which polygons refer to. The width of the file may differ.
    pub width: u32,
    /// Recorded height in pixels.
    pub height: u32,
    /// URL of the picture.
    #[serde(default)]
    pub url: String,
    /// Split of all its phrases; never [`ValMiniv`](Split::ValMiniv).
    #[serde(deserialize_with = "of_a_file")]
    pub split: Split,
}

fn of_a_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Split, D::Error> {
    let split = Split::deserialize(deserializer)?;
    if split.parts() == [split] {
        return Ok(split);
    }
    let names = Split::ALL.map(Split::name).join(", ");
    Err(D::Error::custom(format!(
        "`{split}` combines two splits, expected one of {names}"
    )))
}

/// The structure of a phrase.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhraseStructure {
    /// Name of the object, such as `plant`.
    pub name: String,
    /// Attributes, such as `green` and `small`.
    #[serde(default, deserialize_with = "compact")]
    pub attributes: Vec<String>,
    /// Ids of the relations in the scene graph.
    #[serde(default, deserialize_with = "compact")]
    pub relation_ids: Vec<u64>,
    /// Predicate and object of each relation, such as `on` and `table`.
    #[serde(default, deserialize_with = "compact")]
    pub relation_descriptions: Vec<(String, String)>,
    /// `name`, `attribute`, `relation` or `verbose`.
    #[serde(default, rename = "type")]
    pub kind: String,
}

/// A phrase and the polygons of its ground truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phrase {
    /// Id of the phrase, made of the picture and the annotations: `<image_id>__<ann_id>_<ann_id>…`.
    pub task_id: String,
    /// Id of the picture.
    pub image_id: u64,
    /// Ids of the annotated objects, one for each instance.
    #[serde(default, deserialize_with = "compact")]
    pub ann_ids: Vec<u64>,
    /// Bounding box `[x, y, width, height]` of each instance.
    #[serde(default, deserialize_with = "compact")]
    pub instance_boxes: Vec<[f32; 4]>,
    /// Polygons of each instance.
    #[serde(default, rename = "Polygons")]
    pub polygons: Polygons,
    /// Text of the phrase.
    pub phrase: String,
    /// Structure of the phrase.
    #[serde(default)]
    pub phrase_structure: PhraseStructure,
}

/// Reads a list and releases its spare capacity, which would add 100 MB for 300,000 phrases.
fn compact<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let mut list = Vec::deserialize(deserializer)?;
    list.shrink_to_fit();
    Ok(list)
}

impl Phrase {
    /// Returns the union of the polygons of all instances, by the evaluator's rule.
    pub fn mask(&self, width: u32, height: u32) -> Mask {
        RasterRule::Pillow.mask(self.polygons.iter(), width, height)
    }
}

/// Polygons grouped by instance, in one buffer.
///
/// Coordinates are stored in single precision, rounded toward zero: the evaluator truncates them to whole
/// pixels, so a coordinate just below an integer must not be rounded up to it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Polygons {
    points: Vec<[f32; 2]>,
    polygon_ends: Vec<u32>,
    instance_ends: Vec<u32>,
}

impl Polygons {
    /// Number of instances.
    pub fn instances(&self) -> usize {
        self.instance_ends.len()
    }

    /// The polygons of all instances.
    pub fn iter(&self) -> impl Iterator<Item = &[[f32; 2]]> {
        (0..self.polygon_ends.len()).map(|index| {
            let start = index
                .checked_sub(1)
                .map_or(0, |before| self.polygon_ends[before]);
            &self.points[start as usize..self.polygon_ends[index] as usize]
        })
    }

    /// The polygons of each instance.
    pub fn by_instance(&self) -> impl Iterator<Item = Vec<&[[f32; 2]]>> {
        let mut polygons = self.iter();
        let mut taken = 0;
        self.instance_ends.iter().map(move |&end| {
            let count = (end - taken) as usize;
            taken = end;
            polygons.by_ref().take(count).collect()
        })
    }

    fn push_point(&mut self, point: [f64; 2]) {
        self.points.push(point.map(toward_zero));
    }

    fn end_polygon(&mut self) {
        self.polygon_ends.push(self.points.len() as u32);
    }

    fn end_instance(&mut self) {
        self.instance_ends.push(self.polygon_ends.len() as u32);
    }

    /// Releases spare capacity, which can be half of a buffer and adds up over 300,000 phrases.
    fn shrink(&mut self) {
        self.points.shrink_to_fit();
        self.polygon_ends.shrink_to_fit();
        self.instance_ends.shrink_to_fit();
    }
}

impl<P: IntoIterator<Item = [f64; 2]>, I: IntoIterator<Item = P>> FromIterator<I> for Polygons {
    /// Collects instances, each an iterator of polygons, each an iterator of points.
    fn from_iter<T: IntoIterator<Item = I>>(instances: T) -> Self {
        let mut all = Self::default();
        for instance in instances {
            for polygon in instance {
                for point in polygon {
                    all.push_point(point);
                }
                all.end_polygon();
            }
            all.end_instance();
        }
        all.shrink();
        all
    }
}

fn toward_zero(value: f64) -> f32 {
    let rounded = value as f32;
    if f64::from(rounded).abs() > value.abs() && rounded.is_finite() {
        f32::from_bits(rounded.to_bits() - 1)
    } else {
        rounded
    }
}

impl Serialize for Polygons {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.by_instance())
    }
}

impl<'de> Deserialize<'de> for Polygons {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut all = Self::default();
        Level::Instances(&mut all).deserialize(deserializer)?;
        all.shrink();
        Ok(all)
    }
}

/// A level of the nested lists. Points are written directly into the buffer.
enum Level<'a> {
    Instances(&'a mut Polygons),
    Instance(&'a mut Polygons),
    Polygon(&'a mut Polygons),
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Instances(_) => "a list of instances",
            Self::Instance(_) => "an instance, which is a list of polygons",
            Self::Polygon(_) => "a polygon, which is a list of [x, y]",
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut inner: A) -> Result<(), A::Error> {
        match self {
            Self::Instances(all) => {
                while let Some(()) = inner.next_element_seed(Level::Instance(all))? {
                    all.end_instance();
                }
            }
            Self::Instance(all) => {
                while let Some(()) = inner.next_element_seed(Level::Polygon(all))? {
                    all.end_polygon();
                }
            }
            Self::Polygon(all) => {
                while let Some(point) = inner.next_element()? {
                    all.push_point(point);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_rounded_toward_zero() {
        for value in [
            46.999_999_999,
            -46.999_999_999,
            0.1,
            1e30,
            1e300,
            -1e300,
            0.0,
            5.0,
        ] {
            let single = toward_zero(value);
            assert!(
                f64::from(single).abs() <= value.abs() || single.is_infinite(),
                "{value}"
            );
            // The pixel that the fill truncates it to.
            assert_eq!(single as i32, value as i32, "{value}");
        }
    }

    #[test]
    fn polygons_are_written_to_json_and_read_back() {
        let json = "[[[[1.5,2.0],[3.0,4.0]],[[5.0,6.0]]],[],[[]]]";
        let polygons: Polygons = serde_json::from_str(json).unwrap();
        assert_eq!((polygons.instances(), polygons.iter().count()), (3, 3));
        assert_eq!(serde_json::to_string(&polygons).unwrap(), json);
    }
}
