//! Comparison with the reference values on a GPU.
//!
//! `cargo test -p clipseg --features vulkan --test gpu`, or with `wgpu` or `cuda`; not part of the default
//! tests, because Burn's GPU backends take minutes to build. `CLIPSEG_TEST_DEVICE` names the device; without
//! it, the test runs on the first GPU of the compiled backend, and is skipped with a message if there is
//! none.
//!
//! It has no test harness, so that it can print the driver, and so that the tests in the modules it
//! shares do not run here on the CPU.

#[expect(
    dead_code,
    unused_imports,
    reason = "its tests run with another tolerance"
)]
mod contrastive;
mod parity;
#[expect(dead_code, reason = "the other tests need more of it")]
mod support;
#[expect(dead_code, reason = "its test runs with another tolerance")]
mod training;

use burn::tensor::Device;
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

/// The device to test when none is named.
fn compiled() -> &'static str {
    if cfg!(feature = "vulkan") {
        "vulkan"
    } else if cfg!(feature = "cuda") {
        "cuda"
    } else {
        "wgpu"
    }
}

/// Whether the machine has an adapter, whose name is printed then. Opened here and not by `clipseg::device`,
/// to learn the driver's name and to distinguish a machine without a GPU from one whose driver fails.
#[cfg(any(feature = "vulkan", feature = "wgpu"))]
fn print_adapter(name: &str) -> Result<(), String> {
    use burn::tensor::wgpu::{WgpuBackend, WgpuInitError};

    let options = if name.starts_with("vulkan") {
        Device::wgpu_options().graphics_api(WgpuBackend::Vulkan)
    } else {
        Device::wgpu_options()
    };
    match options.init_with_setup() {
        Ok((_, setup)) => {
            let adapter = setup.adapter.get_info();
            println!("on {}, {}", adapter.name, adapter.driver_info);
            Ok(())
        }
        Err(error @ WgpuInitError::AdapterUnavailable { .. }) => Err(error.to_string()),
        Err(error) => panic!("{error}"),
    }
}

fn main() {
    let named = std::env::var("CLIPSEG_TEST_DEVICE").ok();
    let name = named.as_deref().unwrap_or_else(|| compiled());
    let skip = |reason: String| match &named {
        None => println!("skipped: {reason}"),
        Some(name) => panic!("{name}: {reason}"),
    };
    #[cfg(any(feature = "vulkan", feature = "wgpu"))]
    if (name == "vulkan" || name == "wgpu")
        && let Err(reason) = print_adapter(name)
    {
        return skip(reason);
    }
    let device = match clipseg::device(name) {
        Ok(device) => device,
        // A machine without CUDA; Vulkan's adapter was found above.
        Err(error) if name.starts_with("cuda") => return skip(error.to_string()),
        Err(error) => panic!("{error}"),
    };
    println!("device {name}");
    for (name, compare) in COMPARISONS {
        let start = Instant::now();
        compare(&device, TOLERANCE);
        println!("ok: {name} ({:.1} s)", start.elapsed().as_secs_f32());
    }
}
