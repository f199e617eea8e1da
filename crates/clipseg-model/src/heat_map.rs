//! Soft masks as colour pictures.

use crate::soft_mask::SoftMask;
use image::{Rgb, RgbImage};

/// Renders a soft mask as a heat map: probabilities from 0 to 1 are coloured from black through red and
/// yellow to white (the colour map Inferno).
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
    fn higher_probabilities_are_brighter() {
        let mask = SoftMask::from_logits(&[-20.0, 0.0, 20.0], [3, 1], [3, 1]).unwrap();
        let brightness: Vec<u32> = heat_map(&mask)
            .pixels()
            .map(|p| p.0.iter().map(|&v| u32::from(v)).sum())
            .collect();
        assert!(brightness[0] < brightness[1] && brightness[1] < brightness[2]);
    }
}
