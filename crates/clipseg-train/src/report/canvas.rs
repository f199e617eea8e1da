//! A picture that `plotters` can draw on, with the text of [`clipseg_data::draw_text`].
//!
//! `plotters` itself needs fonts and font libraries of the system, and a training machine may have neither.

use clipseg_data::{LETTER_HEIGHT, rasterize_text, text_width};
use image::{Rgb, RgbImage};
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendTextStyle, DrawingBackend, DrawingErrorKind, FontTransform,
};
use std::convert::Infallible;

fn blend(picture: &mut RgbImage, x: u32, y: u32, colour: [u8; 3], share: f64) {
    if x < picture.width() && y < picture.height() {
        let Rgb(below) = picture.get_pixel_mut(x, y);
        for (below, above) in below.iter_mut().zip(colour) {
            let mixed = f64::from(*below) * (1.0 - share) + f64::from(above) * share;
            *below = mixed.round() as u8;
        }
    }
}

/// A backend of `plotters`.
pub(crate) struct Canvas<'a>(pub(crate) &'a mut RgbImage);

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

impl DrawingBackend for Canvas<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.0.dimensions()
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, colour: BackendColor) -> Drawn {
        let (red, green, blue) = colour.rgb;
        if let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) {
            blend(self.0, x, y, [red, green, blue], colour.alpha);
        }
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        _: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        Ok((text_width(text), LETTER_HEIGHT))
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        (x, y): BackendCoord,
    ) -> Drawn {
        let (width, height) = (text_width(text) as i32, LETTER_HEIGHT as i32);
        let left = match style.anchor().h_pos {
            HPos::Left => 0,
            HPos::Right => -width,
            HPos::Center => -width / 2,
        };
        let top = match style.anchor().v_pos {
            VPos::Top => 0,
            VPos::Center => -height / 2,
            VPos::Bottom => -height,
        };
        let (colour, turn): (_, FontTransform) = (style.color(), style.transform());
        let mut drawn = Ok(());
        rasterize_text(text, |right, down, darkness| {
            let (dx, dy) = turn.transform(left + right as i32, top + down as i32);
            let colour = BackendColor {
                alpha: colour.alpha * f64::from(darkness) / 255.0,
                ..colour
            };
            if drawn.is_ok() {
                drawn = self.draw_pixel((x + dx, y + dy), colour);
            }
        });
        drawn
    }
}
