//! The kernels against Burn's own operations, values and gradients.

use super::*;
use crate::precision::Precision;
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
            on_flex::attention([q, k, v], 3, causal, false).unwrap()
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
        let plain = on_flex::attention(qkv, 3, causal, false).unwrap();
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
    let mixed = on_flex::attention([&part, &turned, &part], 2, false, false).unwrap();
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

/// Whether this CPU can compute in bf16. If not, standard error says what is skipped, also if the test
/// runner hides the output of tests.
fn bf16_is_supported(skipped: &str) -> bool {
    use std::io::Write;
    let supported = clipseg_kernels::bf16_is_supported();
    if !supported {
        let message = format!("skipped, because this CPU lacks AVX-512 with bfloat16: {skipped}\n");
        std::io::stderr().write_all(message.as_bytes()).unwrap();
    }
    supported
}

/// Each element rounded to bf16.
fn rounded<const D: usize>(x: &Tensor<D>) -> Tensor<D> {
    x.clone().cast(DType::BF16).cast(DType::F32)
}

fn largest_difference<const D: usize>(a: &Tensor<D>, b: &Tensor<D>) -> f32 {
    (a.clone() - b.clone()).abs().max().into_scalar()
}

#[test]
fn a_linear_map_in_bf16_multiplies_rounded_factors() {
    if !bf16_is_supported("a linear map in bf16") {
        return;
    }
    let device = Device::flex();
    let cache = PackedCache::new(Precision::Bf16);
    let map = LinearConfig::new(33, 70).init(&device);
    let (weight, bias) = (map.weight.val(), map.bias.as_ref().unwrap().val());
    let x = random([2, 5, 33], &device);
    let product = rounded(&x).matmul(rounded(&weight).unsqueeze());
    let y = product + bias.clone().reshape([1, 1, 70]);
    let all = [Activation::QuickGelu, Activation::Gelu, Activation::Relu];
    for activation in [None].into_iter().chain(all.map(Some)) {
        let found = linear(&map, x.clone(), activation, Some(&cache));
        let expected = match activation {
            Some(activation) => activate(y.clone(), activation),
            None => y.clone(),
        };
        assert_close(&found, &expected);
        let single = linear(&map, x.clone(), activation, None);
        assert!(largest_difference(&found, &single) > 1e-3);
    }
    // Gradients belong to products in single precision.
    let tracked = on_flex::linear(
        &x.clone().autodiff(),
        &weight.autodiff(),
        &bias.autodiff(),
        clipseg_kernels::Activation::Identity,
        Some(&cache),
    );
    let single = linear(&map, x, None, None);
    assert_close(&tracked.unwrap().without_autodiff(), &single);
}

#[test]
fn attention_in_bf16_differs_by_the_rounding_of_its_weights() {
    if !bf16_is_supported("attention in bf16") {
        return;
    }
    let device = Device::flex();
    let qkv = [(); 3].map(|()| random([2, 11, 12], &device));
    let run = |qkv: &[Tensor<3>; 3], bf16| {
        let qkv = qkv.each_ref();
        on_flex::attention(qkv, 3, false, bf16).unwrap()
    };
    let found = run(&qkv, true);
    let expected = run(&qkv.each_ref().map(rounded), false);
    // A weight is rounded by at most 1 in 512, and all weights add up to 1.
    let most = qkv[2].clone().abs().max().into_scalar::<f32>() / 512.0;
    let difference = largest_difference(&found, &expected);
    assert!(difference <= most + 2e-5, "{difference} > {most}");
    assert!(largest_difference(&found, &run(&qkv, false)) > 1e-3);
    let tracked = qkv.each_ref().map(|x| x.clone().autodiff());
    let tracked = run(&tracked, true).without_autodiff();
    assert_close(&tracked, &run(&qkv, false));
}

#[test]
fn bf16_is_refused_with_the_reason() {
    let weight = random([3], &Device::flex());
    let message = |weight: &Tensor<1>| match check_bf16(weight) {
        Ok(()) => None,
        Err(error) => Some(error.to_string()),
    };
    assert_eq!(
        message(&weight).is_none(),
        clipseg_kernels::bf16_is_supported()
    );
    let start = "the vision tower cannot compute in bf16: ";
    for (weight, reason) in [
        (
            weight.clone().autodiff(),
            "gradients are computed in single precision only; the weights are on an autodiff device",
        ),
        (
            weight.clone().cast(DType::F16),
            "the kernels round weights of type F32; the weights are F16",
        ),
    ] {
        assert_eq!(message(&weight), Some(format!("{start}{reason}")));
    }
    assert_eq!(bf16::obstacle_of_cpu(true), None);
    assert_eq!(
        bf16::obstacle_of_cpu(false).unwrap(),
        "this CPU lacks the instructions, AVX-512 with bfloat16 (`avx512_bf16`)"
    );
}
