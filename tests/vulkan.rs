//! Comparison with the reference values on Vulkan.
//!
//! `cargo test -p clipseg --features vulkan --test vulkan`; not part of the default tests, because
//! Burn's GPU backends take minutes to build. It prints the driver it runs on, and without a driver
//! that it was skipped.
//!
//! It has no test harness, so that it can print the driver, and so that the tests in the modules it
//! shares do not run here on the CPU.

#[expect(dead_code, reason = "its tests run with another tolerance")]
mod contrastive;
mod parity;
#[expect(dead_code, reason = "the other tests need more of it")]
mod support;
#[expect(dead_code, reason = "its test runs with another tolerance")]
mod training;

use burn::tensor::Device;
use burn::tensor::wgpu::{WgpuBackend, WgpuInitError};
use std::time::Instant;

/// GPUs use other summation orders and exponentials than the CPU.
const TOLERANCE: f32 = 1e-3;

const COMPARISONS: [(&str, fn(&Device, f32)); 6] = [
    ("text encoder", parity::text_encoder),
    (
        "vision encoder at every layer and size",
        parity::vision_encoder_at_every_layer_and_size,
    ),
    (
        "decoder layers and logits of text and visual prompts",
        parity::decoder_layers_and_logits_of_text_and_visual_prompts,
    ),
    ("contrastive scores", parity::contrastive_scores),
    (
        "losses, gradients and steps of AdamW",
        training::three_steps_of_adamw,
    ),
    (
        "contrastive losses, gradients and steps of both towers",
        contrastive::three_contrastive_steps,
    ),
];

fn main() {
    // Opened here and not by `clipseg::device`, to learn the driver's name and to distinguish a machine
    // without Vulkan from one whose driver fails.
    let opened = Device::wgpu_options()
        .graphics_api(WgpuBackend::Vulkan)
        .init_with_setup();
    let adapter = match opened {
        Ok((_, setup)) => setup.adapter.get_info(),
        Err(error @ WgpuInitError::AdapterUnavailable { .. }) => {
            println!("skipped: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    println!("on {}, {}", adapter.name, adapter.driver_info);
    let device = clipseg::device("vulkan").unwrap_or_else(|error| panic!("{error}"));
    for (name, compare) in COMPARISONS {
        let start = Instant::now();
        compare(&device, TOLERANCE);
        println!("ok: {name} ({:.1} s)", start.elapsed().as_secs_f32());
    }
}
