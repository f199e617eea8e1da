//! The kernels against Burn's own operations, values and gradients.

use super::*;
use burn::nn::LinearConfig;
use burn::tensor::{Distribution, Tolerance};

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

fn assert_close<const D: usize>(found: &Tensor<D>, expected: &Tensor<D>) {
    let tolerance = Tolerance::rel_abs(2e-5, 2e-5);
    let (found, expected) = (found.to_data(), expected.to_data());
    found.assert_approx_eq::<f32>(&expected, tolerance);
}

/// A function of some tensors, and the gradients of a weighted sum of its values.
fn with_gradients<const N: usize>(
    inputs: &[Tensor<3>; N],
    of: impl Fn(&[Tensor<3>; N]) -> Tensor<3>,
) -> (Tensor<3>, [Tensor<3>; N]) {
    let leaves = inputs
        .each_ref()
        .map(|x| x.clone().autodiff().require_grad());
    let y = of(&leaves);
    let [a, b, c] = y.dims();
    let weights = Tensor::<1, Int>::arange(0..(a * b * c) as i64, &y.device().without_autodiff());
    let weights = weights.float().sin().reshape([a, b, c]).autodiff();
    let mut tape = (y.clone() * weights).sum().backward();
    let gradients = leaves.map(|leaf| leaf.grad_remove(&mut tape).unwrap());
    (y.without_autodiff(), gradients)
}

#[test]
fn linear_maps_equal_burns() {
    let device = Device::flex();
    let inputs = [
        random([2, 5, 7], &device),
        random([1, 7, 9], &device),
        random([1, 1, 9], &device),
    ];
    for activation in [Activation::QuickGelu, Activation::Relu, Activation::Gelu] {
        for activation in [None, Some(activation)] {
            let run = |kernels: bool| {
                with_gradients(&inputs, |[x, weight, bias]| {
                    let weight = weight.clone().squeeze_dim::<2>(0);
                    let bias = bias.clone().reshape([9]);
                    let kernel = kernel(activation).filter(|_| kernels);
                    if let Some(kernel) = kernel {
                        on_flex::linear(x, &weight, &bias, kernel, None).unwrap()
                    } else {
                        let y = x.clone().matmul(weight.unsqueeze()) + bias.reshape([1, 1, 9]);
                        match activation {
                            Some(Activation::QuickGelu) => y.clone() * sigmoid(y.mul_scalar(1.702)),
                            Some(Activation::Gelu) => gelu(y),
                            Some(Activation::Relu) => relu(y),
                            None => y,
                        }
                    }
                })
            };
            let ((y, gradients), (expected_y, expected)) = (run(true), run(false));
            assert_close(&y, &expected_y);
            for (found, expected) in gradients.iter().zip(&expected) {
                assert_close(found, expected);
            }
        }
    }
}

#[test]
fn attention_equals_the_portable_one() {
    let device = Device::flex();
    for causal in [false, true] {
        let inputs = [(); 3].map(|()| random([2, 11, 12], &device));
        let (y, gradients) = with_gradients(&inputs, |[q, k, v]| {
            on_flex::attention([q, k, v], 3, causal).unwrap()
        });
        let (expected_y, expected) = with_gradients(&inputs, |qkv| {
            let [q, k, v] = qkv.clone().map(|x| split(x, 3));
            join(attention_with_gradients(q, k, v, causal, None))
        });
        assert_close(&y, &expected_y);
        for (found, expected) in gradients.iter().zip(&expected) {
            assert_close(found, expected);
        }
        let qkv = inputs.each_ref();
        let plain = on_flex::attention(qkv, 3, causal).unwrap();
        assert_close(&plain, &expected_y);
    }
}

#[test]
fn layer_normalisation_equals_burns() {
    let device = Device::flex();
    let inputs = [
        random([2, 5, 24], &device),
        random([1, 1, 24], &device),
        random([1, 1, 24], &device),
    ];
    let run = |kernels: bool| {
        with_gradients(&inputs, |[x, gamma, beta]| {
            let [gamma, beta] = [gamma, beta].map(|x| x.clone().reshape([24]));
            if kernels {
                on_flex::layer_norm(x, &gamma, &beta, 1e-5).unwrap()
            } else {
                burn_layer_norm(x.clone(), gamma, Some(beta), 1e-5)
            }
        })
    };
    let ((y, gradients), (expected_y, expected)) = (run(true), run(false));
    assert_close(&y, &expected_y);
    for (found, expected) in gradients.iter().zip(&expected) {
        assert_close(found, expected);
    }
}

#[test]
fn activations_equal_burns() {
    let device = Device::flex();
    let inputs = [random([2, 3, 40], &device)];
    use clipseg_kernels::Activation as Kernel;
    for (kernel, burns) in [
        (Kernel::Sigmoid, sigmoid as fn(Tensor<3>) -> Tensor<3>),
        (Kernel::Relu, relu),
        (Kernel::QuickGelu, |x| {
            x.clone() * sigmoid(x.mul_scalar(1.702))
        }),
    ] {
        let (y, [gradient]) =
            with_gradients(&inputs, |[x]| on_flex::activation(x, kernel).unwrap());
        let (expected_y, [expected]) = with_gradients(&inputs, |[x]| burns(x.clone()));
        assert_close(&y, &expected_y);
        assert_close(&gradient, &expected);
    }
}

#[test]
fn tensors_in_any_layout_are_accepted() {
    let device = Device::flex();
    let x = random([2, 7, 5], &device).swap_dims(1, 2);
    let weight = random([9, 7], &device).transpose();
    let bias = random([18], &device).slice(s![9..18]);
    let found = on_flex::linear(
        &x,
        &weight,
        &bias,
        clipseg_kernels::Activation::Identity,
        None,
    );
    let expected = x.clone().matmul(weight.unsqueeze()) + bias.reshape([1, 1, 9]);
    assert_close(&found.unwrap(), &expected);
    let part = random([4, 5, 12], &device).slice(s![1..3, .., ..]);
    let turned = random([2, 12, 5], &device).swap_dims(1, 2);
    let mixed = on_flex::attention([&part, &turned, &part], 2, false).unwrap();
    let [q, k, v] = [part.clone(), turned, part].map(|x| split(x, 2));
    assert_close(
        &mixed,
        &join(attention_with_gradients(q, k, v, false, None)),
    );
}

#[test]
fn changed_weights_are_packed_again() {
    let device = Device::flex();
    let cache = PackedCache::default();
    let x = random([1, 3, 16], &device);
    let mut map = LinearConfig::new(16, 16).init(&device);
    for _ in 0..3 {
        let found = linear(&map, x.clone(), None, Some(&cache));
        assert_close(&found, &map.forward(x.clone()));
        // Changed in place if nothing else held them.
        map.weight = map
            .weight
            .map(|weight| weight.mul_scalar(-2.0).add_scalar(0.5));
        map.bias = map.bias.map(|bias| bias.map(|bias| bias.add_scalar(1.0)));
    }
}

#[test]
fn other_types_and_devices_are_left_to_burn() {
    let device = Device::flex();
    let map = LinearConfig::new(4, 4).init(&device);
    let x = random([1, 2, 4], &device);
    let (weight, bias) = (map.weight.val(), map.bias.as_ref().unwrap().val());
    let identity = clipseg_kernels::Activation::Identity;
    let half = x.clone().cast(DType::F16);
    assert!(on_flex::linear(&half, &weight, &bias, identity, None).is_none());
    // One on the tape, the other not: Burn's operations say what is wrong.
    let tracked = x.autodiff();
    assert!(on_flex::linear(&tracked, &weight, &bias, identity, None).is_none());
}
