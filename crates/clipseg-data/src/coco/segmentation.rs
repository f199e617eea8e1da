//! The mask of a COCO annotation: run lengths or polygons.

use super::polygon;
use super::rle::CocoRle;
use crate::error::{DataError, Result};
use crate::mask::Mask;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// The field `segmentation` of a COCO annotation.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum CocoSegmentation {
    /// Run lengths.
    Rle(CocoRle),
    /// Polygons, each a list of x and y in turn. The mask is their union.
    ///
    /// Coordinates are in pixels, and integers are the corners of pixels: the first pixel is from 0 to 1.
    Polygons(Vec<Vec<f64>>),
}

impl From<CocoRle> for CocoSegmentation {
    fn from(rle: CocoRle) -> Self {
        Self::Rle(rle)
    }
}

impl CocoSegmentation {
    /// The polygons of a mask, one for each connected part, by [`Mask::to_outlines`].
    pub fn polygons(mask: &Mask) -> Self {
        Self::from_outlines(&mask.to_outlines())
    }

    /// Converts outlines in the form of [`Mask::to_outlines`].
    pub fn from_outlines(outlines: &[Vec<[u32; 2]>]) -> Self {
        let flat = |outline: &Vec<[u32; 2]>| outline.iter().flatten().map(|&v| v.into()).collect();
        Self::Polygons(outlines.iter().map(flat).collect())
    }

    /// Returns the mask of a picture of `width` × `height` pixels. COCO's tools decode the same pixels.
    ///
    /// # Errors
    ///
    /// If the run lengths have another size than the picture, or a polygon has fewer than three points, a point
    /// without y, or a coordinate that is NaN, infinite or above 10⁸.
    pub fn to_mask(&self, width: u32, height: u32) -> Result<Mask> {
        match self {
            Self::Rle(rle) if (rle.width(), rle.height()) == (width, height) => Ok(rle.to_mask()),
            Self::Rle(rle) => Err(DataError::Input(format!(
                "the run lengths are those of a mask of {}x{}, expected {width}x{height}",
                rle.width(),
                rle.height()
            ))),
            Self::Polygons(polygons) => {
                let mut mask = Mask::new(width, height);
                for (index, polygon) in polygons.iter().enumerate() {
                    polygon::fill(&mut mask, polygon).map_err(|message| {
                        DataError::Input(format!("polygon {index}: {message}"))
                    })?;
                }
                Ok(mask)
            }
        }
    }
}

impl<'de> Deserialize<'de> for CocoSegmentation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either)
    }
}

/// Decides by the first character, so that messages name the fault within and not just the two alternatives.
struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = CocoSegmentation;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("polygons as lists of numbers, or an object with `size` and `counts`")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(CocoSegmentation::Polygons)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
        CocoRle::deserialize(MapAccessDeserializer::new(object)).map(CocoSegmentation::Rle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_from_json() {
        let read = |text: &str| serde_json::from_str::<CocoSegmentation>(text);
        let polygons = read("[[0, 0, 2, 0, 2, 1, 0, 1]]").unwrap();
        let rle = read(r#"{"size": [2, 3], "counts": "0122"}"#).unwrap();
        let list = read(r#"{"size": [2, 3], "counts": [0, 1, 1, 1, 3]}"#).unwrap();
        let expected = Mask::from_vec(3, 2, vec![1, 1, 0, 0, 0, 0]);
        assert_eq!(polygons.to_mask(3, 2).unwrap(), expected);
        assert_eq!(list.to_mask(3, 2).unwrap(), expected);
        assert_eq!(
            rle,
            CocoSegmentation::Rle(CocoRle::new(3, 2, vec![0, 1, 2, 3]).unwrap())
        );
        for (text, expected) in [
            (
                "7",
                "expected polygons as lists of numbers, or an object with",
            ),
            (r#"[["x"]]"#, "expected f64"),
            (r#"{"size": [2, 3]}"#, "missing field `counts`"),
            (
                r#"{"size": [2, 3], "counts": [1, 2]}"#,
                "run lengths of 3 pixels",
            ),
            (r#"{"size": [2, 3], "counts": "é"}"#, "character"),
        ] {
            let message = read(text).unwrap_err().to_string();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn sizes_and_polygons_are_checked() {
        let rle = CocoSegmentation::Rle(Mask::new(3, 2).to_rle());
        assert_eq!(
            rle.to_mask(2, 3).unwrap_err().to_string(),
            "the run lengths are those of a mask of 3x2, expected 2x3"
        );
        for (polygon, expected) in [
            (vec![0.0, 0.0, 1.0, 1.0], "polygon 1: 4 numbers"),
            (vec![0.0; 7], "polygon 1: 7 numbers"),
            (
                vec![0.0, 0.0, 1.0, 1.0, f64::NAN, 2.0],
                "polygon 1: the coordinate NaN",
            ),
            (
                vec![0.0, 0.0, 1.0, 1.0, 2.0, -1e9],
                "polygon 1: the coordinate -1000000000",
            ),
        ] {
            let fine = vec![0.0, 0.0, 1.0, 0.0, 1.0, 1.0];
            let error = CocoSegmentation::Polygons(vec![fine, polygon]).to_mask(4, 4);
            let message = error.unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
    }
}
