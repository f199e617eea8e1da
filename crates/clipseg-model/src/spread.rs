//! From one row for each picture to one row for each prompt.
//!
//! What does not depend on the prompt is computed once for each picture and spread afterwards.

use burn::prelude::*;

/// How rows of pictures become rows of prompts.
#[expect(clippy::large_enum_variant, reason = "lives for one pass of a decoder")]
pub(crate) enum Spread {
    /// One prompt for each picture.
    Same,
    /// One picture, so many prompts.
    One(usize),
    /// The picture of each prompt.
    By(Tensor<1, Int>),
}

impl Spread {
    /// One prompt for each picture, or any number if there is one picture.
    ///
    /// # Panics
    ///
    /// If there are neither as many nor one.
    pub(crate) fn evenly(pictures: usize, prompts: usize) -> Self {
        if pictures == prompts {
            return Self::Same;
        }
        assert_eq!(
            pictures, 1,
            "{prompts} prompts for {pictures} pictures: say whose they are"
        );
        Self::One(prompts)
    }

    /// `picture_of[i]` is the picture of prompt `i`.
    pub(crate) fn grouped(pictures: usize, picture_of: &[usize], device: &Device) -> Self {
        if picture_of.iter().copied().eq(0..pictures) {
            return Self::Same;
        }
        let indices: Vec<i64> = picture_of.iter().map(|&picture| picture as i64).collect();
        Self::By(Tensor::from_data(
            TensorData::new(indices, [picture_of.len()]),
            &device.clone().without_autodiff(),
        ))
    }

    /// # Shapes
    ///
    /// - x: `[pictures, ..]`
    /// - output: `[prompts, ..]`
    pub(crate) fn apply<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Same => x,
            Self::One(prompts) => {
                let mut shape = x.dims();
                shape[0] = *prompts;
                x.expand(shape)
            }
            Self::By(pictures) => x.select(0, pictures.clone()),
        }
    }
}
