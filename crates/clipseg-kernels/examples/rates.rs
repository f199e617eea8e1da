//! Prints the rate of linear layers in CLIPSeg's sizes, interleaved with the `gemm` crate.
//!
//! `rates [REPEATS [LEVEL]]`, for instance `rates 9 avx2`; `gemm` always takes its best.
//!
//! With `RAYON_NUM_THREADS=1` the times are CPU times, which other programs on the machine hardly
//! disturb; else they are times of day.

mod common;

use clipseg_kernels::{
    Activation, Attention, LayerNorm, Level, LinearGradients, PackedLinear, linear,
    linear_backward, softmax,
};

use common::{interleaved, numbers};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let repeats: usize = arguments
        .next()
        .map_or(9, |x| x.parse().expect("a number of repeats"));
    if let Some(level) = arguments.next() {
        let level = level.parse().expect("the name of a level");
        Level::force(Some(level)).expect("a level of this CPU");
    }
    println!(
        "level {}, {} threads, minimum and median of {repeats}",
        Level::active(),
        rayon::current_num_threads()
    );
    for (name, rows, inputs, outputs) in [
        ("vision qkv", 485, 768, 2304),
        ("vision out", 485, 768, 768),
        ("vision mlp 1", 485, 768, 3072),
        ("vision mlp 2", 485, 3072, 768),
        ("short text mlp", 8, 512, 2048),
        ("text qkv", 77, 512, 1536),
        ("text mlp 1", 77, 512, 2048),
        ("text mlp 2", 77, 2048, 512),
        ("decoder reduce", 485, 768, 64),
        ("decoder qkv", 485, 64, 192),
        ("decoder mlp 1", 485, 64, 2048),
        ("decoder mlp 2", 485, 2048, 64),
    ] {
        let x = numbers(rows * inputs);
        let w = numbers(inputs * outputs);
        let b = numbers(outputs);
        let mut y = vec![0.0; rows * outputs];
        let mut z = vec![0.0; rows * outputs];
        let layer = PackedLinear::new(&w, Some(&b), inputs, outputs);
        let rounded = clipseg_kernels::Bf16Linear::new(&w, Some(&b), inputs, outputs);
        let mut rounded_y = vec![0.0; rows * outputs];
        let times = interleaved(
            repeats,
            &mut [
                &mut || layer.forward(&x, rows, Activation::Identity, None, &mut y),
                &mut || {
                    // SAFETY: the slices have the lengths of their matrices, and `z` overlaps
                    // neither `x` nor `w`.
                    unsafe {
                        gemm::gemm(
                            rows,
                            outputs,
                            inputs,
                            z.as_mut_ptr(),
                            1,
                            outputs as isize,
                            false,
                            x.as_ptr(),
                            1,
                            inputs as isize,
                            w.as_ptr(),
                            1,
                            outputs as isize,
                            0.0,
                            1.0,
                            false,
                            false,
                            false,
                            gemm::Parallelism::Rayon(0),
                        );
                    }
                },
                &mut || {
                    if let Some(layer) = &rounded {
                        layer.forward(&x, rows, Activation::Identity, None, &mut rounded_y);
                    }
                },
            ],
        );
        let work = 2e-6 * (rows * inputs * outputs) as f64;
        let show = |(least, median): (f64, f64)| {
            format!(
                "{least:7.3} {median:7.3} ms {:6.0} {:6.0} GFLOP/s",
                work / least,
                work / median
            )
        };
        println!(
            "{name:15} {rows:4} {inputs:4} {outputs:4}  ours {}   gemm {}   bfloat16 {}",
            show(times[0]),
            show(times[1]),
            show(times[2])
        );
    }
    operations(repeats);
}

/// Times of the operations between the linear layers of a vision block and of a decoder layer.
fn operations(repeats: usize) {
    let show =
        |name: &str, (least, median): (f64, f64)| println!("{name:40} {least:7.3} {median:7.3} ms");
    for (name, tokens, heads, dim, causal) in [
        ("vision", 485, 12, 64, false),
        ("text", 77, 8, 64, true),
        ("decoder", 485, 4, 16, false),
    ] {
        let width = heads * dim;
        let attention = Attention {
            batch: 1,
            tokens,
            heads,
            dim,
            causal,
        };
        let qkv = numbers(3 * tokens * width);
        let d_out = numbers(tokens * width);
        let mut out = vec![0.0; tokens * width];
        let mut d_qkv = vec![0.0; 3 * tokens * width];
        let times = interleaved(
            repeats,
            &mut [&mut || attention.forward_fused(&qkv, &mut out), &mut || {
                attention.backward_fused(&qkv, &d_out, &mut d_qkv)
            }],
        );
        show(&format!("{name} attention, forward"), times[0]);
        show(&format!("{name} attention, backward"), times[1]);
    }
    for (rows, inputs, outputs) in [
        (8, 512, 2048),
        (485, 768, 2304),
        (485, 64, 2048),
        (1940, 64, 2048),
    ] {
        let (x, w, dy) = (
            numbers(rows * inputs),
            numbers(inputs * outputs),
            numbers(rows * outputs),
        );
        let mut y = vec![0.0; rows * outputs];
        let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
        let mut db = vec![0.0; outputs];
        let shape = (rows, inputs, outputs);
        let times = interleaved(
            repeats,
            &mut [
                &mut || linear(&x, (&w, None), shape, Activation::Identity, None, &mut y),
                &mut || {
                    let gradients = LinearGradients {
                        dx: Some((&w, &mut dx)),
                        d_weight: Some((&x, &mut dw)),
                        d_bias: Some(&mut db),
                    };
                    linear_backward(&dy, shape, gradients);
                },
            ],
        );
        show(
            &format!("linear, not packed, {rows} x {inputs} x {outputs}"),
            times[0],
        );
        show(
            &format!("linear, backward, {rows} x {inputs} x {outputs}"),
            times[1],
        );
    }
    let x: Vec<f32> = numbers(485 * 3072);
    let mut y = vec![0.0; x.len()];
    for activation in [
        Activation::Exp,
        Activation::Sigmoid,
        Activation::QuickGelu,
        Activation::Relu,
    ] {
        show(
            &format!("{activation:?} of 485 x 3072"),
            interleaved(repeats, &mut [&mut || activation.forward(&x, &mut y)])[0],
        );
    }
    show("softmax of 12 x 485 x 485", {
        let x = numbers(12 * 485 * 485);
        let mut y = vec![0.0; x.len()];
        interleaved(repeats, &mut [&mut || softmax(&x, 485, &mut y)])[0]
    });
    let (gamma, beta) = (numbers(768), numbers(768));
    let norm = LayerNorm {
        gamma: &gamma,
        beta: &beta,
        epsilon: 1e-5,
    };
    let x = numbers(485 * 768);
    let mut y = vec![0.0; x.len()];
    show(
        "layer norm of 485 x 768",
        interleaved(repeats, &mut [&mut || norm.forward(&x, &mut y)])[0],
    );
}
