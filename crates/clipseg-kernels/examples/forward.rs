//! Times a forward pass of full-size CLIPSeg, one picture and one prompt, made of this crate's
//! operations only, with random weights.
//!
//! The picture goes through the 10 blocks of ViT-B/16 that a prompt needs, at 352 x 352 pixels; the
//! prompt, 8 tokens, through the 12 blocks of the text tower; then three layers of the decoder and
//! its head, one transposed convolution whose stride is its kernel. Left out are the class token,
//! embeddings and FiLM, which cost nothing beside these. `bf16` as an argument computes the vision
//! tower in bfloat16, `unpacked` packs no weights beforehand, a number sets the number of repeats.

mod common;

use clipseg_kernels::{Activation, Attention, LayerNorm, PackedLinear, linear};

use common::interleaved;

/// Repeatable numbers that differ from layer to layer.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    common::numbers(count + seed as usize).split_off(seed as usize)
}

/// How linear layers are computed.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Packed,
    Unpacked,
    Bf16,
}

/// A linear layer.
enum Layer {
    Packed(PackedLinear),
    Unpacked { weight: Vec<f32>, bias: Vec<f32> },
    Bf16(clipseg_kernels::Bf16Linear),
}

impl Layer {
    fn new(mode: Mode, inputs: usize, outputs: usize, seed: u32) -> Self {
        let mut weight = numbers(inputs * outputs, seed);
        weight.iter_mut().for_each(|x| *x /= (inputs as f32).sqrt());
        let bias = numbers(outputs, seed + 1);
        match mode {
            Mode::Packed => Self::Packed(PackedLinear::new(&weight, Some(&bias), inputs, outputs)),
            Mode::Unpacked => Self::Unpacked { weight, bias },
            Mode::Bf16 => Self::Bf16(
                clipseg_kernels::Bf16Linear::new(&weight, Some(&bias), inputs, outputs)
                    .expect("a CPU with bfloat16"),
            ),
        }
    }

    fn forward(&self, x: &[f32], activation: Activation, residual: Option<&[f32]>, y: &mut [f32]) {
        match self {
            Self::Packed(layer) => {
                layer.forward(x, x.len() / layer.inputs(), activation, residual, y);
            }
            Self::Unpacked { weight, bias } => {
                let outputs = bias.len();
                let inputs = weight.len() / outputs;
                let shape = (x.len() / inputs, inputs, outputs);
                linear(x, (weight, Some(bias)), shape, activation, residual, y);
            }
            Self::Bf16(layer) => {
                layer.forward(x, x.len() / layer.inputs(), activation, residual, y);
            }
        }
    }
}

struct Block {
    qkv: Layer,
    out: Layer,
    first: Layer,
    second: Layer,
    gamma: Vec<f32>,
    beta: Vec<f32>,
}

/// A stack of pre-norm transformer blocks and memory for what lies between its operations.
struct Stack {
    attention: Attention,
    blocks: Vec<Block>,
    x: Vec<f32>,
    y: Vec<f32>,
    z: Vec<f32>,
    qkv: Vec<f32>,
    hidden: Vec<f32>,
}

impl Stack {
    fn new(mode: Mode, blocks: u32, attention: Attention, inner: usize) -> Self {
        let (tokens, width) = (attention.tokens, attention.heads * attention.dim);
        let block = |i: u32| Block {
            qkv: Layer::new(mode, width, 3 * width, 10 * i),
            out: Layer::new(mode, width, width, 10 * i + 2),
            first: Layer::new(mode, width, inner, 10 * i + 4),
            second: Layer::new(mode, inner, width, 10 * i + 6),
            gamma: numbers(width, 10 * i + 8),
            beta: numbers(width, 10 * i + 9),
        };
        Self {
            attention,
            blocks: (0..blocks).map(block).collect(),
            x: numbers(tokens * width, 1),
            y: vec![0.0; tokens * width],
            z: vec![0.0; tokens * width],
            qkv: vec![0.0; 3 * tokens * width],
            hidden: vec![0.0; tokens * inner],
        }
    }

    /// Runs blocks from `first` to `last` on `x`.
    fn forward(&mut self, first: usize, last: usize, activation: Activation) {
        for block in &self.blocks[first..last] {
            let norm = LayerNorm {
                gamma: &block.gamma,
                beta: &block.beta,
                epsilon: 1e-5,
            };
            norm.forward(&self.x, &mut self.y);
            block
                .qkv
                .forward(&self.y, Activation::Identity, None, &mut self.qkv);
            if matches!(block.qkv, Layer::Bf16(_)) {
                self.attention.forward_fused_bf16(&self.qkv, &mut self.y);
            } else {
                self.attention.forward_fused(&self.qkv, &mut self.y);
            }
            block
                .out
                .forward(&self.y, Activation::Identity, Some(&self.x), &mut self.z);
            norm.forward(&self.z, &mut self.y);
            block
                .first
                .forward(&self.y, activation, None, &mut self.hidden);
            block.second.forward(
                &self.hidden,
                Activation::Identity,
                Some(&self.z),
                &mut self.x,
            );
        }
    }
}

fn main() {
    let given = |name: &str| std::env::args().any(|argument| argument == name);
    // The text tower and the decoder stay in `f32`.
    let small = if given("unpacked") {
        Mode::Unpacked
    } else {
        Mode::Packed
    };
    let (name, mode) = if given("bf16") {
        ("bfloat16", Mode::Bf16)
    } else {
        ("float32", small)
    };
    let shape = |tokens, heads, dim, causal| Attention {
        batch: 1,
        tokens,
        heads,
        dim,
        causal,
    };
    let mut vision = Stack::new(mode, 10, shape(485, 12, 64, false), 3072);
    let mut text = Stack::new(small, 12, shape(8, 8, 64, true), 2048);
    let mut decoder = Stack::new(small, 3, shape(485, 4, 16, false), 2048);
    let patches = Layer::new(mode, 768, 768, 7);
    let reduce = Layer::new(small, 768, 64, 8);
    let head = Layer::new(small, 64, 256, 9);
    let image = numbers(3 * 352 * 352, 1);
    let mut mask = vec![0.0; 485 * 256];

    let repeats = std::env::args()
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(9);
    let mut pass = || {
        for (patch, row) in vision.z.chunks_exact_mut(768).skip(1).enumerate() {
            let corner = patch / 22 * 16 * 352 + patch % 22 * 16;
            for (line, to) in row.chunks_exact_mut(16).enumerate() {
                let start = line / 16 * 352 * 352 + line % 16 * 352 + corner;
                to.copy_from_slice(&image[start..start + 16]);
            }
        }
        patches.forward(&vision.z, Activation::Identity, None, &mut vision.x);
        text.x.fill(0.5);
        text.forward(0, 12, Activation::QuickGelu);
        // The decoder takes the outputs of blocks 4, 7 and 10.
        for (index, last) in [4, 7, 10].into_iter().enumerate() {
            vision.forward(
                if index == 0 { 0 } else { last - 3 },
                last,
                Activation::QuickGelu,
            );
            let residual = std::mem::take(&mut decoder.z);
            reduce.forward(
                &vision.x,
                Activation::Identity,
                Some(&residual),
                &mut decoder.x,
            );
            decoder.z = residual;
            decoder.forward(index, index + 1, Activation::Relu);
            decoder.z.copy_from_slice(&decoder.x);
        }
        head.forward(&decoder.x, Activation::Identity, None, &mut mask);
    };
    let (least, median) = interleaved(repeats, &mut [&mut pass])[0];
    println!(
        "{}, {} threads: least {least:.1} ms, median {median:.1} ms of {repeats}; sum {}",
        name,
        rayon::current_num_threads(),
        mask.iter().sum::<f32>()
    );
}
