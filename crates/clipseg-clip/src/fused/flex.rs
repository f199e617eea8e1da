//! The operations on the `flex` backend, by the kernels of `clipseg-kernels`.

use super::ops::{FusedGradients, FusedOps};
use super::packed::PackedCache;
use super::rows::{elements, row_by_row};
use burn::backend::flex::FlexTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{Shape, TensorData};
use clipseg_kernels::{Activation, Attention, LayerNorm, LinearGradients, linear, linear_backward};

fn tensor(elements: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(elements, shape.into()))
}

/// The number of rows of a tensor whose last dimension has `width` elements.
fn rows(x: &FlexTensor, width: usize) -> usize {
    x.layout().num_elements() / width.max(1)
}

impl FusedOps for Flex {
    fn fused_linear(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        activation: Activation,
        cache: Option<PackedCache>,
    ) -> FlexTensor {
        let [inputs, outputs] = weight.shape().dims();
        let x = row_by_row(x);
        let rows = rows(&x, inputs);
        let mut y = vec![0.0; rows * outputs];
        if let Some(cache) = cache {
            let packed = cache.get(&weight, &bias);
            packed.forward(elements(&x), rows, activation, &mut y);
        } else {
            let [weight, bias] = [weight, bias].map(row_by_row);
            let map = (elements(&weight), Some(elements(&bias)));
            let sizes = (rows, inputs, outputs);
            linear(elements(&x), map, sizes, activation, None, &mut y);
        }
        let mut shape = x.shape();
        let last = shape.num_dims() - 1;
        shape[last] = outputs;
        tensor(y, shape)
    }

    fn fused_attention(
        query: FlexTensor,
        key: FlexTensor,
        value: FlexTensor,
        heads: usize,
        causal: bool,
        bf16: bool,
    ) -> FlexTensor {
        let [query, key, value] = [query, key, value].map(row_by_row);
        let mut mixed = vec![0.0; query.layout().num_elements()];
        let kernel = attention(&query, heads, causal);
        let [q, k, v] = [&query, &key, &value].map(elements);
        if bf16 {
            kernel.forward_bf16(q, k, v, &mut mixed);
        } else {
            kernel.forward(q, k, v, &mut mixed);
        }
        tensor(mixed, query.shape())
    }

    fn fused_layer_norm(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        epsilon: f64,
    ) -> FlexTensor {
        let [x, gamma, beta] = [x, gamma, beta].map(row_by_row);
        let mut y = vec![0.0; x.layout().num_elements()];
        let norm = LayerNorm {
            gamma: elements(&gamma),
            beta: elements(&beta),
            epsilon: epsilon as f32,
        };
        norm.forward(elements(&x), &mut y);
        tensor(y, x.shape())
    }

    fn fused_activation(x: FlexTensor, activation: Activation) -> FlexTensor {
        let mut x = row_by_row(x);
        let all = x.layout().num_elements();
        if x.layout().start_offset() == 0
            && x.storage::<f32>().len() == all
            && let Some(storage) = x.try_storage_mut::<f32>()
        {
            activation.forward_in_place(storage);
            return x;
        }
        let mut y = vec![0.0; all];
        activation.forward(elements(&x), &mut y);
        tensor(y, x.shape())
    }
}

impl FusedGradients for Flex {
    fn linear_gradients(
        x: Option<FlexTensor>,
        weight: Option<FlexTensor>,
        gradient: FlexTensor,
        bias_is_wanted: bool,
    ) -> [Option<FlexTensor>; 3] {
        let gradient = row_by_row(gradient);
        let mut shape = gradient.shape();
        let last = shape.num_dims() - 1;
        let outputs = shape[last];
        let rows = rows(&gradient, outputs);
        let [x, weight] = [x, weight].map(|tensor| tensor.map(row_by_row));
        let inputs = match (&weight, &x) {
            (Some(weight), _) => weight.shape()[0],
            (None, Some(x)) => x.layout().num_elements() / rows.max(1),
            (None, None) => 0,
        };
        shape[last] = inputs;
        let mut dx = weight.as_ref().map(|_| vec![0.0; rows * inputs]);
        let mut d_weight = x.as_ref().map(|_| vec![0.0; inputs * outputs]);
        let mut d_bias = bias_is_wanted.then(|| vec![0.0; outputs]);
        let gradients = LinearGradients {
            dx: weight.as_ref().map(elements).zip(dx.as_deref_mut()),
            d_weight: x.as_ref().map(elements).zip(d_weight.as_deref_mut()),
            d_bias: d_bias.as_deref_mut(),
        };
        linear_backward(elements(&gradient), (rows, inputs, outputs), gradients);
        [
            dx.map(|dx| tensor(dx, shape)),
            d_weight.map(|d_weight| tensor(d_weight, [inputs, outputs])),
            d_bias.map(|d_bias| tensor(d_bias, [outputs])),
        ]
    }

    fn activation_gradient(
        saved: FlexTensor,
        gradient: FlexTensor,
        activation: Activation,
    ) -> FlexTensor {
        let [saved, gradient] = [saved, gradient].map(row_by_row);
        let mut dx = vec![0.0; saved.layout().num_elements()];
        activation.backward(elements(&saved), elements(&gradient), &mut dx);
        tensor(dx, saved.shape())
    }

    fn attention_gradients(
        inputs: [FlexTensor; 3],
        gradient: FlexTensor,
        heads: usize,
        causal: bool,
    ) -> [FlexTensor; 3] {
        let [query, key, value] = inputs.map(row_by_row);
        let gradient = row_by_row(gradient);
        let zeros = || vec![0.0; query.layout().num_elements()];
        let (mut d_query, mut d_key, mut d_value) = (zeros(), zeros(), zeros());
        attention(&query, heads, causal).backward(
            elements(&query),
            elements(&key),
            elements(&value),
            elements(&gradient),
            &mut d_query,
            &mut d_key,
            &mut d_value,
        );
        [d_query, d_key, d_value].map(|gradient| tensor(gradient, query.shape()))
    }

    fn layer_norm_gradients(
        x: FlexTensor,
        gamma: FlexTensor,
        gradient: FlexTensor,
        epsilon: f64,
    ) -> [FlexTensor; 3] {
        let [x, gamma, gradient] = [x, gamma, gradient].map(row_by_row);
        let width = gamma.layout().num_elements();
        let mut dx = vec![0.0; x.layout().num_elements()];
        let (mut d_gamma, mut d_beta) = (vec![0.0; width], vec![0.0; width]);
        let norm = LayerNorm {
            gamma: elements(&gamma),
            // No gradient depends on it.
            beta: elements(&gamma),
            epsilon: epsilon as f32,
        };
        norm.backward(
            elements(&x),
            elements(&gradient),
            &mut dx,
            &mut d_gamma,
            &mut d_beta,
        );
        [
            tensor(dx, x.shape()),
            tensor(d_gamma, [width]),
            tensor(d_beta, [width]),
        ]
    }
}

/// The sizes of the attention of queries `[batch, tokens, heads * dim]`.
fn attention(query: &FlexTensor, heads: usize, causal: bool) -> Attention {
    let [batch, tokens, width] = query.shape().dims();
    Attention {
        batch,
        tokens,
        heads,
        dim: width / heads,
        causal,
    }
}
