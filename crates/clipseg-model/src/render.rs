//! Soft masks as pictures that people look at.

use crate::soft_mask::SoftMask;
use image::{Rgb, RgbImage};

/// A soft mask in colours from black over red and yellow to white.
pub fn heat_map(mask: &SoftMask) -> RgbImage {
    let probabilities = mask.probabilities();
    RgbImage::from_fn(mask.width(), mask.height(), |x, y| {
        let p = probabilities[(y * mask.width() + x) as usize];
        let colour = colorous::INFERNO.eval_continuous(f64::from(p.clamp(0.0, 1.0)));
        Rgb([colour.r, colour.g, colour.b])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heat_map_runs_from_dark_to_bright() {
        let mask = SoftMask::from_logits(&[-20.0, 0.0, 20.0], [3, 1], [3, 1]).unwrap();
        let brightness: Vec<u32> = heat_map(&mask)
            .pixels()
            .map(|p| p.0.iter().map(|&v| u32::from(v)).sum())
            .collect();
        assert!(brightness[0] < brightness[1] && brightness[1] < brightness[2]);
    }
}
