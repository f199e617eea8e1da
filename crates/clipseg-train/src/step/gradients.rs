//! Scaling and clipping gradients over all weights.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;

/// Multiplies every gradient by a factor.
pub(crate) fn scaled<M: Module>(
    module: &M,
    mut gradients: GradientsParams,
    factor: f64,
) -> GradientsParams {
    if factor != 1.0 {
        module.visit(&mut Multiply {
            gradients: &mut gradients,
            by: Factor::Number(factor),
        });
    }
    gradients
}

/// The gradient norm over all weights, `[1]`; `None` if there is no gradient.
pub(crate) fn norm<M: Module>(module: &M, gradients: &GradientsParams) -> Option<Tensor<1>> {
    let mut squares = Squares {
        gradients,
        sum: None,
    };
    module.visit(&mut squares);
    squares.sum.map(Tensor::sqrt)
}

/// Scales the gradients down to a norm over all weights, if theirs is larger, and returns the norm before,
/// `[1]`.
///
/// Burn clips each tensor separately. This is PyTorch's `clip_grad_norm_`, with its 1e-6 in the
/// denominator. Like PyTorch, it does not read the norm back from the device.
pub(crate) fn clipped<M: Module>(
    module: &M,
    mut gradients: GradientsParams,
    longest: f64,
) -> (GradientsParams, Option<Tensor<1>>) {
    let Some(norm) = norm(module, &gradients) else {
        return (gradients, None);
    };
    let factor = norm.clone().add_scalar(1e-6).recip().mul_scalar(longest);
    module.visit(&mut Multiply {
        gradients: &mut gradients,
        by: Factor::Tensor(Box::new(factor.clamp_max(1.0))),
    });
    (gradients, Some(norm))
}

struct Squares<'a> {
    gradients: &'a GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let square = gradient.square().sum();
            self.sum = Some(match self.sum.take() {
                Some(sum) => sum + square,
                None => square,
            });
        }
    }
}

enum Factor {
    Number(f64),
    Tensor(Box<Tensor<1>>),
}

struct Multiply<'a> {
    gradients: &'a mut GradientsParams,
    by: Factor,
}

impl ModuleVisitor for Multiply<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            let gradient = match &self.by {
                Factor::Number(factor) => gradient.mul_scalar(*factor),
                Factor::Tensor(factor) => gradient * Tensor::clone(factor).unsqueeze(),
            };
            self.gradients.register(param.id, gradient);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{Linear, LinearConfig};

    /// A linear layer whose gradients are 3 for each of its four weights and 8 for its one bias.
    fn module_and_gradients() -> (Linear, GradientsParams) {
        let device = Device::flex().autodiff();
        let linear = LinearConfig::new(4, 1).init(&device);
        let mut gradients = GradientsParams::new();
        let plain = device.without_autodiff();
        gradients.register(linear.weight.id, Tensor::<2>::full([4, 1], 3.0, &plain));
        let bias = linear.bias.as_ref().unwrap();
        gradients.register(bias.id, Tensor::<1>::full([1], 8.0, &plain));
        (linear, gradients)
    }

    fn values(linear: &Linear, gradients: &GradientsParams) -> Vec<f32> {
        let weight = gradients.get::<2>(linear.weight.id).unwrap();
        let bias = gradients
            .get::<1>(linear.bias.as_ref().unwrap().id)
            .unwrap();
        let mut values: Vec<f32> = weight.into_data().try_to_vec().unwrap();
        values.extend(bias.into_data().try_to_vec::<f32>().unwrap());
        values
    }

    #[test]
    fn the_norm_is_over_all_weights() {
        // √(4 · 3² + 8²) = 10
        let (linear, gradients) = module_and_gradients();
        let alone = norm(&linear, &gradients).unwrap();
        assert!((alone.into_scalar::<f32>() - 10.0).abs() < 1e-5);
        assert!(norm(&linear, &GradientsParams::new()).is_none());
        let (gradients, norm) = clipped(&linear, gradients, 5.0);
        assert!((norm.unwrap().into_scalar::<f32>() - 10.0).abs() < 1e-5);
        for (found, expected) in values(&linear, &gradients)
            .iter()
            .zip([1.5, 1.5, 1.5, 1.5, 4.0])
        {
            assert!((found - expected).abs() < 1e-5);
        }
        let (gradients, _) = clipped(&linear, gradients, 6.0);
        assert!(
            (values(&linear, &gradients)[4] - 4.0).abs() < 1e-5,
            "small enough"
        );
    }

    #[test]
    fn every_gradient_is_scaled() {
        let (linear, gradients) = module_and_gradients();
        let gradients = scaled(&linear, gradients, 0.5);
        assert_eq!(values(&linear, &gradients), [1.5, 1.5, 1.5, 1.5, 4.0]);
    }
}
