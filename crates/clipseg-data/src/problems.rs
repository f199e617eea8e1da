//! Problems of single pictures and phrases in a data set whose files are readable.

use crate::limits::is_too_large;
use crate::records::{ImageRecord, Phrase, Split};
use std::fmt;

/// A kind of [`Problem`].
///
/// A phrase is *unusable* if its picture is not available, if it should have a ground truth and has none,
/// or if its `task_id` is already taken. Other problems are reported only, and the phrase is used as the
/// official tools use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ProblemKind {
    /// The picture of a phrase is not in the picture list, so its size is unknown. Unusable.
    UnknownPicture,
    /// A picture is listed with zero pixels or with more than can be decoded. Unusable.
    ImpossibleSize,
    /// A picture is listed more than once. The first record is used.
    RepeatedPicture,
    /// A phrase has the same `task_id` as an earlier phrase of its split. Unusable, because predictions are
    /// identified by `task_id`; the earlier phrase is usable.
    RepeatedTask,
    /// A phrase and its picture are listed in different splits.
    OtherSplit,
    /// A polygon has fewer than two points. It is not drawn.
    ShortPolygon,
    /// A polygon lies completely outside its picture. It covers no pixel.
    OutsidePolygon,
    /// A polygon has a coordinate beyond the range of 32-bit floats. Its mask is meaningless.
    InfinitePolygon,
    /// A phrase with ground truth has only polygons of the three kinds above, or none. Unusable.
    NoPolygon,
    /// The file of a picture does not exist. Unusable.
    MissingPicture,
    /// The file of a picture cannot be read or decoded. Unusable.
    UnreadablePicture,
    /// The file of a picture is truncated. Unusable.
    CutOffPicture,
    /// The size of a picture differs from the recorded size, which its polygons refer to. Masks are drawn
    /// at the recorded size and resized with the picture. The published data has
    /// [17 such pictures](crate::OTHER_SIZE_PICTURES).
    OtherSize,
}

impl ProblemKind {
    /// All kinds.
    pub const ALL: [Self; 13] = [
        Self::UnknownPicture,
        Self::ImpossibleSize,
        Self::RepeatedPicture,
        Self::RepeatedTask,
        Self::OtherSplit,
        Self::ShortPolygon,
        Self::OutsidePolygon,
        Self::InfinitePolygon,
        Self::NoPolygon,
        Self::MissingPicture,
        Self::UnreadablePicture,
        Self::CutOffPicture,
        Self::OtherSize,
    ];

    /// Short description, such as `unknown picture`.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownPicture => "unknown picture",
            Self::ImpossibleSize => "impossible size",
            Self::RepeatedPicture => "repeated picture",
            Self::RepeatedTask => "repeated task id",
            Self::OtherSplit => "picture of another split",
            Self::ShortPolygon => "polygon of less than two points",
            Self::OutsidePolygon => "polygon outside the picture",
            Self::InfinitePolygon => "polygon with an infinite coordinate",
            Self::NoPolygon => "no polygon",
            Self::MissingPicture => "missing picture",
            Self::UnreadablePicture => "unreadable picture",
            Self::CutOffPicture => "truncated picture",
            Self::OtherSize => "picture of another size",
        }
    }

    /// Whether this problem makes the phrase, or all phrases of the picture, unusable.
    pub fn makes_unusable(self) -> bool {
        match self {
            Self::UnknownPicture
            | Self::ImpossibleSize
            | Self::RepeatedTask
            | Self::NoPolygon
            | Self::MissingPicture
            | Self::UnreadablePicture
            | Self::CutOffPicture => true,
            Self::RepeatedPicture
            | Self::OtherSplit
            | Self::ShortPolygon
            | Self::OutsidePolygon
            | Self::InfinitePolygon
            | Self::OtherSize => false,
        }
    }
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A problem of one picture or one phrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Kind of the problem.
    pub kind: ProblemKind,
    /// Split of the phrase, or of the picture if the problem concerns the picture.
    pub split: Split,
    /// `image_id` of the picture.
    pub image_id: u64,
    /// `task_id` of the phrase; `None` if the problem concerns the picture.
    pub task_id: Option<String>,
    /// What was found and what was expected.
    pub detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.task_id {
            Some(task_id) => write!(f, "phrase `{task_id}`: {}", self.detail),
            None => write!(f, "picture {}: {}", self.image_id, self.detail),
        }
    }
}

impl Problem {
    pub(crate) fn of_picture(kind: ProblemKind, image: &ImageRecord, detail: String) -> Self {
        Self {
            kind,
            split: image.split,
            image_id: image.image_id,
            task_id: None,
            detail,
        }
    }

    pub(crate) fn of_phrase(
        kind: ProblemKind,
        split: Split,
        phrase: &Phrase,
        detail: String,
    ) -> Self {
        Self {
            kind,
            split,
            image_id: phrase.image_id,
            task_id: Some(phrase.task_id.clone()),
            detail,
        }
    }
}

/// Returns the problems of a phrase that show in its record and in that of its picture.
pub(crate) fn examine_phrase(
    phrase: &Phrase,
    split: Split,
    image: Option<&ImageRecord>,
    has_truth: bool,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut report = |kind, detail| {
        problems.push(Problem::of_phrase(kind, split, phrase, detail));
    };
    let Some(image) = image else {
        let detail = format!("picture {} is not in the picture list", phrase.image_id);
        report(ProblemKind::UnknownPicture, detail);
        return problems;
    };
    let (width, height) = (image.width, image.height);
    if width == 0 || height == 0 || is_too_large(width, height) {
        let detail = format!("its picture is recorded as {width}x{height}, an impossible size");
        report(ProblemKind::ImpossibleSize, detail);
    }
    if image.split != split {
        let detail = format!("its picture is listed in the split `{}`", image.split);
        report(ProblemKind::OtherSplit, detail);
    }
    let mut drawn = 0;
    for (index, polygon) in phrase.polygons.iter().enumerate() {
        let number = index + 1;
        if polygon.len() < 2 {
            let points = polygon.len();
            let detail = format!("polygon {number} has {points} of the required 2 points");
            report(ProblemKind::ShortPolygon, detail);
        } else if polygon.iter().flatten().any(|value| !value.is_finite()) {
            let detail = format!("polygon {number} has a coordinate beyond {:e}", f32::MAX);
            report(ProblemKind::InfinitePolygon, detail);
        } else if is_outside(polygon, width, height) {
            let detail = format!("polygon {number} lies outside its picture of {width}x{height}");
            report(ProblemKind::OutsidePolygon, detail);
        } else {
            drawn += 1;
        }
    }
    if has_truth && drawn == 0 {
        let detail = format!(
            "none of {} polygons can be drawn",
            phrase.polygons.iter().count()
        );
        report(ProblemKind::NoPolygon, detail);
    }
    problems
}

/// Whether the bounding box of a polygon, truncated to whole pixels, lies outside the picture.
fn is_outside(polygon: &[[f32; 2]], width: u32, height: u32) -> bool {
    [width, height].into_iter().enumerate().any(|(axis, size)| {
        let along = || polygon.iter().map(|point| point[axis].trunc());
        along().all(|value| value < 0.0) || along().all(|value| value >= size as f32)
    })
}
