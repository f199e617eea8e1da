//! The gradients of the operations.

use super::ops::{FusedGradients, FusedOps, saves_output};
use super::packed::PackedCache;
use burn::backend::Autodiff;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use clipseg_kernels::Activation;

/// The value of a node of the graph.
fn value<B: FusedGradients>(checkpointer: &mut Checkpointer, id: NodeId) -> FloatTensor<B> {
    checkpointer.retrieve_node_output::<FloatTensor<B>>(id)
}

/// Adds the gradients of those parents that are tracked.
fn register<B: FusedGradients>(
    grads: &mut Gradients,
    parents: [Option<NodeId>; 3],
    gradients: [Option<FloatTensor<B>>; 3],
) {
    for (parent, gradient) in parents.into_iter().zip(gradients) {
        if let (Some(parent), Some(gradient)) = (parent, gradient) {
            grads.register::<B>(parent, gradient);
        }
    }
}

impl<B: FusedGradients, C: CheckpointStrategy> FusedOps for Autodiff<B, C> {
    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        activation: Activation,
        cache: Option<PackedCache>,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Linear;

        /// What the backward pass needs: input and weight, each if a gradient depends on it, and the
        /// activation with its input or output.
        type Saved<B> = ([Option<NodeId>; 2], Option<(FloatTensor<B>, Activation)>);

        impl<B: FusedGradients> Backward<B, 3> for Linear {
            type State = Saved<B>;

            fn backward(
                self,
                ops: Ops<Self::State, 3>,
                grads: &mut Gradients,
                checkpointer: &mut Checkpointer,
            ) {
                let mut gradient = grads.consume::<B>(&ops.node);
                let (inputs, activation) = ops.state;
                let [x, weight] = inputs.map(|id| id.map(|id| value::<B>(checkpointer, id)));
                if let Some((saved, activation)) = activation {
                    gradient = B::activation_gradient(saved, gradient, activation);
                }
                let bias_is_wanted = ops.parents[2].is_some();
                let gradients = B::linear_gradients(x, weight, gradient, bias_is_wanted);
                register::<B>(
                    grads,
                    ops.parents.map(|node| node.map(|node| node.id)),
                    gradients,
                );
            }
        }

        let (x_tracked, weight_tracked) = (x.is_tracked(), weight.is_tracked());
        let prepared = Linear.prepare::<C>([x.node(), weight.node(), bias.node()]);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let inputs = [
                    weight_tracked.then(|| prep.checkpoint(&x)),
                    x_tracked.then(|| prep.checkpoint(&weight)),
                ];
                let [x, weight, bias] = [x, weight, bias].map(|tensor| tensor.into_primitive());
                if activation == Activation::Identity {
                    let y = B::fused_linear(x, weight, bias, activation, cache);
                    prep.finish((inputs, None), y)
                } else if saves_output(activation) {
                    let y = B::fused_linear(x, weight, bias, activation, cache);
                    prep.finish((inputs, Some((y.clone(), activation))), y)
                } else {
                    let z = B::fused_linear(x, weight, bias, Activation::Identity, cache);
                    let y = B::fused_activation(z.clone(), activation);
                    prep.finish((inputs, Some((z, activation))), y)
                }
            }
            OpsKind::UnTracked(prep) => {
                let [x, weight, bias] = [x, weight, bias].map(|tensor| tensor.into_primitive());
                prep.finish(B::fused_linear(x, weight, bias, activation, cache))
            }
        }
    }

    fn fused_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        heads: usize,
        causal: bool,
        bf16: bool,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Attention;

        impl<B: FusedGradients> Backward<B, 3> for Attention {
            type State = ([NodeId; 3], usize, bool);

            fn backward(
                self,
                ops: Ops<Self::State, 3>,
                grads: &mut Gradients,
                checkpointer: &mut Checkpointer,
            ) {
                let gradient = grads.consume::<B>(&ops.node);
                let (inputs, heads, causal) = ops.state;
                let inputs = inputs.map(|id| self::value::<B>(checkpointer, id));
                let gradients = B::attention_gradients(inputs, gradient, heads, causal);
                register::<B>(
                    grads,
                    ops.parents.map(|node| node.map(|node| node.id)),
                    gradients.map(Some),
                );
            }
        }

        let prepared = Attention.prepare::<C>([query.node(), key.node(), value.node()]);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let ids = [&query, &key, &value].map(|tensor| prep.checkpoint(tensor));
                let [query, key, value] = [query, key, value].map(|tensor| tensor.into_primitive());
                let mixed = B::fused_attention(query, key, value, heads, causal, bf16);
                prep.finish((ids, heads, causal), mixed)
            }
            OpsKind::UnTracked(prep) => {
                let [query, key, value] = [query, key, value].map(|tensor| tensor.into_primitive());
                prep.finish(B::fused_attention(query, key, value, heads, causal, bf16))
            }
        }
    }

    fn fused_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct LayerNorm;

        impl<B: FusedGradients> Backward<B, 3> for LayerNorm {
            type State = ([NodeId; 2], f64);

            fn backward(
                self,
                ops: Ops<Self::State, 3>,
                grads: &mut Gradients,
                checkpointer: &mut Checkpointer,
            ) {
                let gradient = grads.consume::<B>(&ops.node);
                let (inputs, epsilon) = ops.state;
                let [x, gamma] = inputs.map(|id| value::<B>(checkpointer, id));
                let gradients = B::layer_norm_gradients(x, gamma, gradient, epsilon);
                register::<B>(
                    grads,
                    ops.parents.map(|node| node.map(|node| node.id)),
                    gradients.map(Some),
                );
            }
        }

        let prepared = LayerNorm.prepare::<C>([x.node(), gamma.node(), beta.node()]);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let ids = [&x, &gamma].map(|tensor| prep.checkpoint(tensor));
                let [x, gamma, beta] = [x, gamma, beta].map(|tensor| tensor.into_primitive());
                let y = B::fused_layer_norm(x, gamma, beta, epsilon);
                prep.finish((ids, epsilon), y)
            }
            OpsKind::UnTracked(prep) => {
                let [x, gamma, beta] = [x, gamma, beta].map(|tensor| tensor.into_primitive());
                prep.finish(B::fused_layer_norm(x, gamma, beta, epsilon))
            }
        }
    }

    fn fused_activation(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Function;

        impl<B: FusedGradients> Backward<B, 1> for Function {
            type State = (FloatTensor<B>, Activation);

            fn backward(
                self,
                ops: Ops<Self::State, 1>,
                grads: &mut Gradients,
                _checkpointer: &mut Checkpointer,
            ) {
                let gradient = grads.consume::<B>(&ops.node);
                let (saved, activation) = ops.state;
                if let [Some(parent)] = ops.parents {
                    let gradient = B::activation_gradient(saved, gradient, activation);
                    grads.register::<B>(parent.id, gradient);
                }
            }
        }

        match Function.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let x = x.into_primitive();
                let y = B::fused_activation(x.clone(), activation);
                let saved = if saves_output(activation) {
                    y.clone()
                } else {
                    x
                };
                prep.finish((saved, activation), y)
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(B::fused_activation(x.into_primitive(), activation))
            }
        }
    }
}
