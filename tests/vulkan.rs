//! The answers of the reference implementations on Vulkan.
//!
//! `cargo test --features vulkan --test vulkan`; not part of the default tests, because Burn's GPU
//! backends take minutes to build. Any driver will do, a software one included (Debian's
//! `mesa-vulkan-drivers`); where there is none, the test says that it was skipped.

mod parity;
#[expect(dead_code, reason = "the other tests need more of it")]
mod support;

/// GPUs add up in other orders and with other exponentials than the processor.
const TOLERANCE: f32 = 1e-3;

#[test]
fn encoders_and_decoders_on_vulkan() {
    let device = match clipseg::device("vulkan") {
        Ok(device) => device,
        Err(error) => {
            println!("skipped: {error}");
            return;
        }
    };
    parity::text_encoder(&device, TOLERANCE);
    parity::vision_encoder_at_every_layer_and_size(&device, TOLERANCE);
    parity::decoder_layers_and_logits_of_text_and_visual_prompts(&device, TOLERANCE);
    parity::contrastive_scores(&device, TOLERANCE);
}
