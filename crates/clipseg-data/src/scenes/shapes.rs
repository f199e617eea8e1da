//! The shapes of objects: ten plain shapes and twelve that are composed of parts.

use std::f32::consts::PI;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Circle,
    Square,
    Triangle,
    Star,
    Diamond,
    Cross,
    Ring,
    Arrow,
    Heart,
    Moon,
    House,
    Tree,
    Car,
    Face,
    Flower,
    Fish,
    Boat,
    Mushroom,
    Umbrella,
    Rocket,
    Table,
    Cup,
}

impl Shape {
    pub(crate) const ALL: [Self; 22] = [
        Self::Circle,
        Self::Square,
        Self::Triangle,
        Self::Star,
        Self::Diamond,
        Self::Cross,
        Self::Ring,
        Self::Arrow,
        Self::Heart,
        Self::Moon,
        Self::House,
        Self::Tree,
        Self::Car,
        Self::Face,
        Self::Flower,
        Self::Fish,
        Self::Boat,
        Self::Mushroom,
        Self::Umbrella,
        Self::Rocket,
        Self::Table,
        Self::Cup,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Circle => "circle",
            Self::Square => "square",
            Self::Triangle => "triangle",
            Self::Star => "star",
            Self::Diamond => "diamond",
            Self::Cross => "cross",
            Self::Ring => "ring",
            Self::Arrow => "arrow",
            Self::Heart => "heart",
            Self::Moon => "moon",
            Self::House => "house",
            Self::Tree => "tree",
            Self::Car => "car",
            Self::Face => "face",
            Self::Flower => "flower",
            Self::Fish => "fish",
            Self::Boat => "boat",
            Self::Mushroom => "mushroom",
            Self::Umbrella => "umbrella",
            Self::Rocket => "rocket",
            Self::Table => "table",
            Self::Cup => "cup",
        }
    }

    /// Scale factor of the drawing's coordinates, so that it fits a circle of radius 1.
    pub(crate) fn fit(self) -> f32 {
        match self {
            Self::Square => 0.9,
            Self::Triangle => 0.79,
            Self::Heart | Self::House => 0.92,
            Self::Car => 0.96,
            Self::Fish => 0.94,
            Self::Rocket => 0.89,
            Self::Table => 0.91,
            _ => 1.0,
        }
    }

    /// Centre of the area in which a smaller object counts as inside this one; `None` for shapes without such
    /// an area.
    pub(crate) fn room(self) -> Option<[f32; 2]> {
        let middle = match self {
            Self::Circle | Self::Square | Self::Diamond | Self::Ring => [0.0, 0.0],
            Self::Triangle => [0.0, 0.1],
            Self::Heart => [0.0, -0.12],
            _ => return None,
        };
        Some(middle.map(|value| self.fit() * value))
    }

    /// Vertical position of the flat top on which an object can be placed; `None` if there is none.
    pub(crate) fn top(self) -> Option<f32> {
        (self == Self::Table).then_some(-0.5 * self.fit())
    }

    /// Maximum rotation in radians at which the shape is still recognized by its name.
    pub(crate) fn turn(self) -> f32 {
        match self {
            Self::Arrow | Self::Circle | Self::Ring => PI,
            Self::Star | Self::Triangle | Self::Heart | Self::Moon | Self::Flower => 0.3,
            Self::Square | Self::Diamond | Self::Cross | Self::Rocket | Self::Fish => 0.2,
            Self::Table => 0.0,
            _ => 0.1,
        }
    }
}
