//! Linear layers whose weights are packed once.

use std::fmt;

use crate::activation::Activation;
use crate::level::Level;
use crate::matmul::{Packed, Store, multiply_parallel, multiply_unpacked};
use crate::panels::PanelLayout;
use crate::scratch::Aligned;
use crate::simd::{Kernel, Simd, dispatch};
use crate::view::{View, ViewMut};

/// A linear layer, y = activation(x · W + b) + residual, with W laid out for the matrix kernel.
///
/// The layout depends on the [`Level`] that was active when the weights were packed; the layer
/// keeps that level.
#[derive(Clone)]
pub struct PackedLinear {
    layout: PanelLayout,
    weight: Aligned,
    bias: Option<Aligned>,
}

impl fmt::Debug for PackedLinear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PackedLinear")
            .field("inputs", &self.inputs())
            .field("outputs", &self.outputs())
            .field("bias", &self.bias.is_some())
            .field("level", &self.layout.level)
            .finish()
    }
}

impl PackedLinear {
    /// Packs `weight`, `[inputs, outputs]` as Burn stores it, and keeps a copy of `bias`,
    /// `[outputs]`.
    ///
    /// # Panics
    ///
    /// If the slices do not have these lengths.
    #[must_use]
    pub fn new(weight: &[f32], bias: Option<&[f32]>, inputs: usize, outputs: usize) -> Self {
        assert_eq!(
            weight.len(),
            inputs * outputs,
            "length of the weight of {inputs} x {outputs} numbers"
        );
        Self::from_view(View::new(weight, inputs, outputs), bias)
    }

    /// Packs `weight`, `[outputs, inputs]` as PyTorch stores it, and keeps a copy of `bias`,
    /// `[outputs]`.
    ///
    /// # Panics
    ///
    /// If the slices do not have these lengths.
    #[must_use]
    pub fn from_transposed(
        weight: &[f32],
        bias: Option<&[f32]>,
        inputs: usize,
        outputs: usize,
    ) -> Self {
        assert_eq!(
            weight.len(),
            inputs * outputs,
            "length of the weight of {outputs} x {inputs} numbers"
        );
        Self::from_view(View::new(weight, outputs, inputs).transposed(), bias)
    }

    fn from_view(weight: View<'_>, bias: Option<&[f32]>) -> Self {
        let layout = PanelLayout::new(Level::active(), weight.rows, weight.columns);
        let mut packed = Aligned::zeros(layout.len());
        layout.pack(weight, packed.as_mut_slice());
        let bias = bias.map(|bias| {
            assert_eq!(bias.len(), weight.columns, "length of the bias");
            let mut copy = Aligned::zeros(bias.len());
            copy.as_mut_slice().copy_from_slice(bias);
            copy
        });
        Self {
            layout,
            weight: packed,
            bias,
        }
    }

    /// Replaces the weights and the bias by others of the same shape, in the memory that is there,
    /// for the active level.
    ///
    /// # Panics
    ///
    /// If the slices do not have the lengths of [`PackedLinear::new`], or if a bias is given to a
    /// layer without one or missing for a layer with one.
    pub fn repack(&mut self, weight: &[f32], bias: Option<&[f32]>) {
        let (inputs, outputs) = (self.inputs(), self.outputs());
        assert_eq!(
            weight.len(),
            inputs * outputs,
            "length of the weight of {inputs} x {outputs} numbers"
        );
        assert_eq!(
            bias.is_some(),
            self.bias.is_some(),
            "whether the layer has a bias"
        );
        let layout = PanelLayout::new(Level::active(), inputs, outputs);
        if layout.len() != self.layout.len() {
            self.weight = Aligned::zeros(layout.len());
        }
        self.layout = layout;
        layout.pack(
            View::new(weight, inputs, outputs),
            self.weight.as_mut_slice(),
        );
        if let (Some(to), Some(bias)) = (&mut self.bias, bias) {
            assert_eq!(bias.len(), outputs, "length of the bias");
            to.as_mut_slice().copy_from_slice(bias);
        }
    }

    /// Width of the input.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.layout.depth
    }

    /// Width of the output.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.layout.columns
    }

    /// Writes activation(x · W + b) + residual to `y`.
    ///
    /// # Shapes
    ///
    /// - `x`: `[rows, inputs]`
    /// - `residual` and `y`: `[rows, outputs]`
    ///
    /// # Panics
    ///
    /// If the slices do not have these lengths.
    pub fn forward(
        &self,
        x: &[f32],
        rows: usize,
        activation: Activation,
        residual: Option<&[f32]>,
        y: &mut [f32],
    ) {
        let (x, y) = self.views(x, rows, y);
        let after = After::new(self.bias(), activation, residual, (rows, self.outputs()));
        let level = self.layout.level;
        multiply_parallel(x, self.packed(), y, Store::Replace, |row, column, part| {
            after.apply(level, row, column, part);
        });
    }

    /// Adds x · W + b to `y`: a linear layer on a residual path.
    ///
    /// # Shapes
    ///
    /// - `x`: `[rows, inputs]`
    /// - `y`: `[rows, outputs]`
    ///
    /// # Panics
    ///
    /// If the slices do not have these lengths.
    pub fn forward_add(&self, x: &[f32], rows: usize, y: &mut [f32]) {
        let (x, y) = self.views(x, rows, y);
        let after = After::new(
            self.bias(),
            Activation::Identity,
            None,
            (rows, self.outputs()),
        );
        let level = self.layout.level;
        multiply_parallel(x, self.packed(), y, Store::Add, |row, column, part| {
            after.apply(level, row, column, part);
        });
    }

    fn bias(&self) -> Option<&[f32]> {
        self.bias.as_ref().map(Aligned::as_slice)
    }

    fn packed(&self) -> Packed<'_> {
        Packed {
            layout: self.layout,
            data: self.weight.as_slice(),
        }
    }

    fn views<'x, 'y>(
        &self,
        x: &'x [f32],
        rows: usize,
        y: &'y mut [f32],
    ) -> (View<'x>, ViewMut<'y>) {
        assert_eq!(
            x.len(),
            rows * self.inputs(),
            "length of the input of {rows} x {} numbers",
            self.inputs()
        );
        assert_eq!(
            y.len(),
            rows * self.outputs(),
            "length of the output of {rows} x {} numbers",
            self.outputs()
        );
        (
            View::new(x, rows, self.inputs()),
            ViewMut::new(y, rows, self.outputs()),
        )
    }
}

/// Writes activation(x · W + b) + residual to `y`, with weights that are used once.
///
/// They are packed on the way; [`PackedLinear`] saves that where the same weights are used again.
///
/// # Shapes
///
/// - `x`: `[rows, inputs]`
/// - `weight`: `[inputs, outputs]`
/// - `bias`: `[outputs]`
/// - `residual` and `y`: `[rows, outputs]`
///
/// # Panics
///
/// If a slice does not have its length.
pub fn linear(
    x: &[f32],
    (weight, bias): (&[f32], Option<&[f32]>),
    (rows, inputs, outputs): (usize, usize, usize),
    activation: Activation,
    residual: Option<&[f32]>,
    y: &mut [f32],
) {
    assert_eq!(
        x.len(),
        rows * inputs,
        "length of the input of {rows} x {inputs} numbers"
    );
    assert_eq!(
        weight.len(),
        inputs * outputs,
        "length of the weight of {inputs} x {outputs} numbers"
    );
    assert_eq!(
        y.len(),
        rows * outputs,
        "length of the output of {rows} x {outputs} numbers"
    );
    if let Some(bias) = bias {
        assert_eq!(bias.len(), outputs, "length of the bias");
    }
    let after = After::new(bias, activation, residual, (rows, outputs));
    let level = Level::active();
    let (x, weight) = (
        View::new(x, rows, inputs),
        View::new(weight, inputs, outputs),
    );
    let y = ViewMut::new(y, rows, outputs);
    multiply_unpacked(level, x, weight, y, Store::Replace, |row, column, part| {
        after.apply(level, row, column, part);
    });
}

/// What is done with each part of a product when it is complete.
#[derive(Clone, Copy)]
pub(crate) struct After<'a> {
    bias: Option<&'a [f32]>,
    activation: Activation,
    residual: Option<View<'a>>,
}

impl<'a> After<'a> {
    /// Checks the length of the residual.
    pub(crate) fn new(
        bias: Option<&'a [f32]>,
        activation: Activation,
        residual: Option<&'a [f32]>,
        (rows, outputs): (usize, usize),
    ) -> Self {
        let residual = residual.map(|residual| {
            assert_eq!(residual.len(), rows * outputs, "length of the residual");
            View::new(residual, rows, outputs)
        });
        Self {
            bias,
            activation,
            residual,
        }
    }

    /// Adds the bias to the part that starts at `row` and `column`, applies the activation, adds
    /// the residual.
    pub(crate) fn apply(&self, level: Level, row: usize, column: usize, part: ViewMut<'_>) {
        if self.bias.is_none() && self.residual.is_none() && self.activation == Activation::Identity
        {
            return;
        }
        let bias = self.bias.map(|bias| &bias[column..column + part.columns]);
        let residual = self.residual.map(|residual| {
            residual
                .rows_from(row, part.rows)
                .columns_from(column, part.columns)
        });
        dispatch(
            level,
            Finish {
                bias,
                activation: self.activation,
                residual,
                part,
            },
        );
    }
}

/// [`After`] for one part.
struct Finish<'a> {
    bias: Option<&'a [f32]>,
    activation: Activation,
    residual: Option<View<'a>>,
    part: ViewMut<'a>,
}

impl Kernel for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // A constant in each call, so that the inner loop has no branches.
        match self.activation {
            Activation::Identity => self.with(simd, Activation::Identity),
            Activation::Relu => self.with(simd, Activation::Relu),
            Activation::QuickGelu => self.with(simd, Activation::QuickGelu),
            Activation::Sigmoid => self.with(simd, Activation::Sigmoid),
            Activation::Exp => self.with(simd, Activation::Exp),
        }
    }
}

impl Finish<'_> {
    #[inline(always)]
    fn with<S: Simd>(&self, simd: S, activation: Activation) {
        let columns = self.part.columns;
        let whole = columns - columns % S::LANES;
        if let Some(bias) = self.bias {
            assert_eq!(bias.len(), columns, "length of the bias");
        }
        for row in 0..self.part.rows {
            // SAFETY: `part` belongs to this call alone, and its rows are taken one at a time.
            let y = unsafe { self.part.row(row) };
            let residual = self.residual.map(|residual| residual.row(row));
            if let Some(residual) = residual {
                assert_eq!(residual.len(), columns, "columns of the residual");
            }
            for first in (0..whole).step_by(S::LANES) {
                // SAFETY: all rows have `columns` numbers, so that `LANES` of them from `first` on
                // exist.
                unsafe {
                    let mut sum = simd.load(y.as_ptr().add(first));
                    if let Some(bias) = self.bias {
                        sum = simd.add(sum, simd.load(bias.as_ptr().add(first)));
                    }
                    sum = activation.vector(simd, sum);
                    if let Some(residual) = residual {
                        sum = simd.add(sum, simd.load(residual.as_ptr().add(first)));
                    }
                    simd.store(y.as_mut_ptr().add(first), sum);
                }
            }
            if whole < columns {
                let mut sum = simd.load_part(&y[whole..], 0.0);
                if let Some(bias) = self.bias {
                    sum = simd.add(sum, simd.load_part(&bias[whole..], 0.0));
                }
                sum = activation.vector(simd, sum);
                if let Some(residual) = residual {
                    sum = simd.add(sum, simd.load_part(&residual[whole..], 0.0));
                }
                simd.store_part(&mut y[whole..], sum);
            }
        }
    }
}
