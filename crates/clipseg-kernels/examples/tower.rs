//! Times the vision tower of CLIPSeg, as much of it as a text prompt needs, made of this crate's
//! operations only: ViT-B/16 at 352 x 352 pixels, 10 blocks, random weights.

mod common;

use clipseg_kernels::{Activation, Attention, LayerNorm, PackedLinear};

use common::interleaved;

/// Repeatable numbers that differ from layer to layer.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    common::numbers(count + seed as usize).split_off(seed as usize)
}

const TOKENS: usize = 485;
const WIDTH: usize = 768;
const BLOCKS: usize = 10;

/// A linear layer in either precision.
enum Layer {
    F32(PackedLinear),
    #[cfg(target_arch = "x86_64")]
    Bf16(clipseg_kernels::Bf16Linear),
}

impl Layer {
    fn new(bf16: bool, inputs: usize, outputs: usize, seed: u32) -> Self {
        let weight: Vec<f32> = numbers(inputs * outputs, seed)
            .iter()
            .map(|x| x / (inputs as f32).sqrt())
            .collect();
        let bias = numbers(outputs, seed + 1);
        #[cfg(target_arch = "x86_64")]
        if bf16 {
            let layer = clipseg_kernels::Bf16Linear::new(&weight, Some(&bias), inputs, outputs);
            return Self::Bf16(layer.expect("a CPU with bfloat16"));
        }
        assert!(!bf16, "bfloat16 needs an x86-64 CPU");
        Self::F32(PackedLinear::new(&weight, Some(&bias), inputs, outputs))
    }

    fn forward(&self, x: &[f32], activation: Activation, residual: Option<&[f32]>, y: &mut [f32]) {
        match self {
            Self::F32(layer) => layer.forward(x, TOKENS, activation, residual, y),
            #[cfg(target_arch = "x86_64")]
            Self::Bf16(layer) => layer.forward(x, TOKENS, activation, residual, y),
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

fn main() {
    let bf16 = std::env::args().any(|argument| argument == "bf16");
    let repeats = 9;
    let blocks: Vec<Block> = (0..BLOCKS as u32)
        .map(|i| Block {
            qkv: Layer::new(bf16, WIDTH, 3 * WIDTH, 10 * i),
            out: Layer::new(bf16, WIDTH, WIDTH, 10 * i + 2),
            first: Layer::new(bf16, WIDTH, 4 * WIDTH, 10 * i + 4),
            second: Layer::new(bf16, 4 * WIDTH, WIDTH, 10 * i + 6),
            gamma: numbers(WIDTH, 10 * i + 8),
            beta: numbers(WIDTH, 10 * i + 9),
        })
        .collect();
    let image = numbers(3 * 352 * 352, 1);
    let patches = Layer::new(bf16, WIDTH, WIDTH, 7);
    let attention = Attention {
        batch: 1,
        tokens: TOKENS,
        heads: 12,
        dim: 64,
        causal: false,
    };
    let mut x = vec![0.0; TOKENS * WIDTH];
    let (mut y, mut z) = (vec![0.0; TOKENS * WIDTH], vec![0.0; TOKENS * WIDTH]);
    let (mut qkv, mut hidden) = (vec![0.0; 3 * TOKENS * WIDTH], vec![0.0; 4 * TOKENS * WIDTH]);
    let mut pass = || {
        for (patch, row) in z.chunks_exact_mut(WIDTH).skip(1).enumerate() {
            let corner = patch / 22 * 16 * 352 + patch % 22 * 16;
            for (line, to) in row.chunks_exact_mut(16).enumerate() {
                to.copy_from_slice(
                    &image[line / 16 * 352 * 352 + line % 16 * 352 + corner..][..16],
                );
            }
        }
        patches.forward(&z, Activation::Identity, None, &mut x);
        for block in &blocks {
            let norm = LayerNorm {
                gamma: &block.gamma,
                beta: &block.beta,
                epsilon: 1e-5,
            };
            norm.forward(&x, &mut y);
            block.qkv.forward(&y, Activation::Identity, None, &mut qkv);
            attention.forward_fused(&qkv, &mut y);
            block
                .out
                .forward(&y, Activation::Identity, Some(&x), &mut z);
            norm.forward(&z, &mut y);
            block
                .first
                .forward(&y, Activation::QuickGelu, None, &mut hidden);
            block
                .second
                .forward(&hidden, Activation::Identity, Some(&z), &mut x);
        }
    };
    let (least, median) = interleaved(repeats, &mut [&mut pass])[0];
    println!(
        "{BLOCKS} blocks, {}: {} threads: least {least:.1} ms, median {median:.1} ms of {repeats}; sum of the last output {}",
        if bf16 { "bfloat16" } else { "float32" },
        rayon::current_num_threads(),
        x.iter().sum::<f32>()
    );
}
