//! Colours, textures and sizes of objects.

use std::ops::Range;

/// An RGB colour with channels from 0 to 255.
pub(crate) type Tone = [f32; 3];

/// A named colour and its tones.
#[derive(Debug, PartialEq)]
pub(crate) struct Colour {
    pub(crate) name: &'static str,
    pub(crate) body: Tone,
    /// Tone of parts such as a roof or a sail, which still have this colour.
    pub(crate) accent: Tone,
    /// Tone of stripes and dots.
    pub(crate) marking: Tone,
    /// Tone of eyes and doors.
    pub(crate) detail: Tone,
}

const DARK: Tone = [36.0, 32.0, 36.0];
const PALE: Tone = [226.0, 226.0, 222.0];

const fn colour(
    name: &'static str,
    body: Tone,
    accent: Tone,
    marking: Tone,
    detail: Tone,
) -> Colour {
    Colour {
        name,
        body,
        accent,
        marking,
        detail,
    }
}

/// Grey is left out, because white looks grey in poor light.
pub(crate) static COLOURS: [Colour; 10] = [
    colour(
        "red",
        [206.0, 34.0, 38.0],
        [148.0, 20.0, 26.0],
        [250.0, 190.0, 186.0],
        DARK,
    ),
    colour(
        "orange",
        [242.0, 128.0, 20.0],
        [190.0, 92.0, 8.0],
        [255.0, 226.0, 184.0],
        DARK,
    ),
    colour(
        "yellow",
        [246.0, 216.0, 44.0],
        [206.0, 170.0, 16.0],
        [150.0, 116.0, 6.0],
        DARK,
    ),
    colour(
        "green",
        [44.0, 152.0, 60.0],
        [24.0, 104.0, 40.0],
        [186.0, 236.0, 180.0],
        DARK,
    ),
    colour(
        "blue",
        [36.0, 82.0, 208.0],
        [20.0, 50.0, 150.0],
        [176.0, 206.0, 255.0],
        PALE,
    ),
    colour(
        "purple",
        [124.0, 44.0, 168.0],
        [84.0, 24.0, 120.0],
        [222.0, 180.0, 244.0],
        PALE,
    ),
    colour(
        "pink",
        [250.0, 146.0, 186.0],
        [216.0, 96.0, 142.0],
        [180.0, 52.0, 106.0],
        DARK,
    ),
    colour(
        "brown",
        [118.0, 70.0, 36.0],
        [78.0, 44.0, 20.0],
        [214.0, 176.0, 134.0],
        PALE,
    ),
    colour(
        "white",
        [246.0, 246.0, 244.0],
        [204.0, 206.0, 210.0],
        [112.0, 114.0, 120.0],
        DARK,
    ),
    colour(
        "black",
        [26.0, 26.0, 30.0],
        [58.0, 58.0, 64.0],
        [186.0, 186.0, 190.0],
        PALE,
    ),
];

/// Texture of the body of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Texture {
    Plain,
    Striped,
    Dotted,
}

impl Texture {
    pub(crate) const ALL: [Self; 3] = [Self::Plain, Self::Striped, Self::Dotted];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Striped => "striped",
            Self::Dotted => "dotted",
        }
    }
}

/// Size of an object in the picture, including hidden parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    Small,
    Medium,
    Large,
}

impl Size {
    pub(crate) const ALL: [Self; 3] = [Self::Small, Self::Medium, Self::Large];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
        }
    }

    /// Radius of the circle that a drawing fits before it is stretched by up to 7 %, as a fraction of the
    /// picture's side. The ranges have gaps between them, so that the sizes can be distinguished.
    pub(crate) fn radius(self) -> Range<f32> {
        match self {
            Self::Small => 0.078..0.096,
            Self::Medium => 0.13..0.165,
            Self::Large => 0.22..0.28,
        }
    }
}
