//! What can be wrong with the pictures and phrases of a data set that reads well as a whole.

use crate::limits::is_too_large;
use crate::records::{ImageRecord, Phrase, Split};
use std::fmt;

/// A kind of [`Problem`].
///
/// A phrase is *unusable* without a picture, without a truth where there should be one, or where its
/// `task_id` is taken. Anything else is reported and used as the official tools use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ProblemKind {
    /// A phrase names a picture that the list does not have. Unusable: its size is not known.
    UnknownPicture,
    /// A picture is listed with a size of no pixels, or of more than can be decoded. Unusable.
    ImpossibleSize,
    /// A picture is listed again. The first record counts.
    RepeatedPicture,
    /// A phrase has the `task_id` of an earlier one of its split, under which there can be only one
    /// answer. Unusable; the earlier one is not.
    RepeatedTask,
    /// A phrase is in one split and its picture in another.
    OtherSplit,
    /// A polygon of less than two points, which is not drawn.
    ShortPolygon,
    /// A polygon of which nothing lies in the picture. It is drawn and leaves no trace.
    OutsidePolygon,
    /// A polygon with a coordinate that is larger than any 32-bit float. What is drawn means little.
    InfinitePolygon,
    /// A phrase with a truth and no polygon but such as these three. Unusable.
    NoPolygon,
    /// The file of a picture is not there. Unusable.
    MissingPicture,
    /// The file of a picture cannot be read or decoded. Unusable.
    UnreadablePicture,
    /// The file of a picture ends before the picture does. Unusable.
    CutOffPicture,
    /// A picture has another size than the recorded one, which its polygons refer to. Masks are drawn
    /// at the recorded size and resized with the picture. So it is with
    /// [17 pictures](crate::OTHER_SIZE_PICTURES) of the published data.
    OtherSize,
}

impl ProblemKind {
    /// All of them.
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

    /// In a few words: `unknown picture`.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownPicture => "unknown picture",
            Self::ImpossibleSize => "impossible size",
            Self::RepeatedPicture => "repeated picture",
            Self::RepeatedTask => "repeated task id",
            Self::OtherSplit => "picture of another split",
            Self::ShortPolygon => "polygon of less than two points",
            Self::OutsidePolygon => "polygon outside the picture",
            Self::InfinitePolygon => "polygon without end",
            Self::NoPolygon => "no polygon",
            Self::MissingPicture => "missing picture",
            Self::UnreadablePicture => "unreadable picture",
            Self::CutOffPicture => "cut off picture",
            Self::OtherSize => "picture of another size",
        }
    }

    /// Whether a phrase with this problem, or each phrase of such a picture, is of no use.
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

/// Something wrong with one picture or one phrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What kind of thing.
    pub kind: ProblemKind,
    /// The split of the phrase, or else of the picture.
    pub split: Split,
    /// The picture.
    pub image_id: u64,
    /// The phrase, if it is not the picture that is wrong.
    pub task_id: Option<String>,
    /// What was found, and what was expected.
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

/// What a phrase's own record and that of its picture tell.
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
        let detail = format!("its picture is recorded as {width}x{height}, which no picture is");
        report(ProblemKind::ImpossibleSize, detail);
    }
    if image.split != split {
        let detail = format!("its picture is listed for {}", image.split);
        report(ProblemKind::OtherSplit, detail);
    }
    let mut drawn = 0;
    for (index, polygon) in phrase.polygons.iter().enumerate() {
        let number = index + 1;
        if polygon.len() < 2 {
            let points = polygon.len();
            let detail = format!("polygon {number} has {points} of at least 2 points");
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

/// Whether the box around a polygon, in whole pixels as it is drawn, misses the picture.
fn is_outside(polygon: &[[f32; 2]], width: u32, height: u32) -> bool {
    [width, height].into_iter().enumerate().any(|(axis, size)| {
        let along = || polygon.iter().map(|point| point[axis].trunc());
        along().all(|value| value < 0.0) || along().all(|value| value >= size as f32)
    })
}
