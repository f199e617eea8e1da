//! Expansion of a batch of pictures to a batch of prompts.
//!
//! Everything that does not depend on the prompt is computed once for each picture, and its rows are
//! repeated for the picture's prompts afterwards.

use burn::prelude::*;

/// How the rows of the pictures are repeated to give one row for each prompt.
#[allow(
    clippy::large_enum_variant,
    reason = "exists only during one forward pass; how large a tensor is depends on the backends"
)]
pub(crate) enum Expansion {
    /// Each picture has exactly one prompt, in the same order.
    OneToOne,
    /// There is one picture with this number of prompts.
    Broadcast(usize),
    /// The index of each prompt's picture.
    Index(Tensor<1, Int>),
}

impl Expansion {
    /// One prompt for each picture, or any number of prompts for one picture.
    ///
    /// # Panics
    ///
    /// If there are several pictures and another number of prompts.
    pub(crate) fn even(pictures: usize, prompts: usize) -> Self {
        if pictures == prompts {
            return Self::OneToOne;
        }
        assert_eq!(
            pictures, 1,
            "{prompts} prompts for {pictures} pictures: use `forward_grouped` and pass the index of \
             each prompt's picture"
        );
        Self::Broadcast(prompts)
    }

    /// Prompt `i` belongs to the picture with index `picture_of[i]`.
    pub(crate) fn grouped(pictures: usize, picture_of: &[usize], device: &Device) -> Self {
        if picture_of.iter().copied().eq(0..pictures) {
            return Self::OneToOne;
        }
        let indices: Vec<i64> = picture_of.iter().map(|&picture| picture as i64).collect();
        Self::Index(Tensor::from_data(
            TensorData::new(indices, [picture_of.len()]),
            &device.clone().without_autodiff(),
        ))
    }

    /// Repeats the rows of a tensor.
    ///
    /// # Shapes
    ///
    /// - x: `[pictures, ..]`
    /// - output: `[prompts, ..]`
    pub(crate) fn apply<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::OneToOne => x,
            Self::Broadcast(prompts) => {
                let mut shape = x.dims();
                shape[0] = *prompts;
                x.expand(shape)
            }
            Self::Index(pictures) => {
                // Of matrices, the `flex` backend copies and sums entire rows, which is faster.
                let mut shape = x.dims();
                let width = shape[1..].iter().product();
                let rows = x.reshape([shape[0], width]);
                shape[0] = pictures.dims()[0];
                rows.select(0, pictures.clone()).reshape(shape)
            }
        }
    }
}
