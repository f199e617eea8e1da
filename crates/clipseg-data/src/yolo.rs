//! YOLO's label format for masks.

use std::fmt::Write;

/// A line of a YOLO label file: the number of the class, counted from 0, and the corners of a polygon with x and y
/// divided by the width and height of the picture. [`Mask::to_outlines`](crate::Mask::to_outlines) and
/// [`Instance::outline`](crate::Instance::outline) return such corners.
///
/// Numbers have six decimals. Multiplied by the size of a picture of at most 32,768 pixels and rounded, they are the
/// corners again.
///
/// ```
/// let line = clipseg_data::yolo_line(2, &[[0, 0], [3, 0], [3, 1]], 6, 4);
/// assert_eq!(line, "2 0.000000 0.000000 0.500000 0.000000 0.500000 0.250000");
/// ```
pub fn yolo_line(class: usize, outline: &[[u32; 2]], width: u32, height: u32) -> String {
    let mut line = class.to_string();
    for &[x, y] in outline {
        let [x, y] = [(x, width), (y, height)].map(|(at, side)| f64::from(at) / f64::from(side));
        // Writing into a text cannot fail.
        let _ = write!(line, " {x:.6} {y:.6}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_are_restored_in_pictures_of_any_size() {
        for side in [1u32, 3, 7, 352, 4_000, 32_767, 32_768] {
            let step = (side / 50).max(1) as usize;
            let outline: Vec<[u32; 2]> = (0..=side).step_by(step).map(|x| [x, side - x]).collect();
            let line = yolo_line(0, &outline, side, side);
            let numbers = line
                .split(' ')
                .skip(1)
                .map(|text| text.parse::<f64>().unwrap());
            let read: Vec<u32> = numbers
                .map(|value| (value * f64::from(side)).round() as u32)
                .collect();
            assert_eq!(read, outline.concat());
        }
    }
}
