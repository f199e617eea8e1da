//! COCO's run lengths, and their form as text.

use crate::error::{DataError, Result};
use crate::limits::is_too_large;
use crate::mask::Mask;
use serde::{Deserialize, Serialize};

/// A mask as COCO's run lengths: pixels outside and inside in turn, column by column.
///
/// In JSON it is an object: `size` is `[height, width]`, and `counts` is COCO's text. A list of numbers is read too.
///
/// ```
/// use clipseg_data::{CocoRle, Mask};
///
/// let mask = Mask::from_vec(3, 2, vec![0, 1, 1, 0, 1, 1]);
/// let rle = mask.to_rle();
/// assert_eq!((rle.counts(), rle.text().as_str()), (&[2, 4][..], "24"));
/// assert_eq!(CocoRle::parse(3, 2, "24")?.to_mask(), mask);
/// # Ok::<(), clipseg_data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Fields", try_from = "Fields")]
pub struct CocoRle {
    width: u32,
    height: u32,
    counts: Vec<u32>,
}

/// The JSON object.
#[derive(Serialize, Deserialize)]
struct Fields {
    /// Height and width.
    size: [u32; 2],
    counts: Counts,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of run lengths")]
enum Counts {
    Text(String),
    List(Vec<u32>),
}

impl From<CocoRle> for Fields {
    fn from(rle: CocoRle) -> Self {
        Self {
            size: [rle.height, rle.width],
            counts: Counts::Text(rle.text()),
        }
    }
}

impl TryFrom<Fields> for CocoRle {
    type Error = DataError;

    fn try_from(fields: Fields) -> Result<Self> {
        let [height, width] = fields.size;
        match fields.counts {
            Counts::Text(text) => Self::parse(width, height, &text),
            Counts::List(counts) => Self::new(width, height, counts),
        }
    }
}

/// The smallest character of the text, which stands for 0.
const ZERO: u8 = b'0';
/// Bits of a number in one character.
const BITS: u32 = 5;
/// Marks a character that another one of the same number follows.
const MORE: u8 = 1 << BITS;

impl CocoRle {
    /// Creates run lengths of a mask of `width` × `height` pixels. The first one is of pixels outside.
    ///
    /// # Errors
    ///
    /// If they do not add up to the number of pixels, or the mask is larger than pictures may be.
    pub fn new(width: u32, height: u32, counts: Vec<u32>) -> Result<Self> {
        let pixels = u64::from(width) * u64::from(height);
        if is_too_large(width, height) {
            return Err(DataError::Input(format!(
                "a mask of {width}x{height} is too large, expected at most 32768 pixels per side and 179 \
                 megapixels"
            )));
        }
        let sum: u64 = counts.iter().map(|&count| u64::from(count)).sum();
        if sum != pixels {
            return Err(DataError::Input(format!(
                "run lengths of {sum} pixels for a mask of {width}x{height}, expected {pixels}"
            )));
        }
        Ok(Self {
            width,
            height,
            counts,
        })
    }

    /// Reads the text of `counts` (`rleFrString` of `maskApi.c`).
    ///
    /// Each character has five bits of a number and a mark if more follow, lowest bits first; the highest bit is the
    /// sign. From the fourth number on, each is the difference to the last but one.
    ///
    /// # Errors
    ///
    /// If the text has another character, ends within a number or has a number out of range, or as for
    /// [`new`](Self::new).
    pub fn parse(width: u32, height: u32, text: &str) -> Result<Self> {
        let fault = |message: String| DataError::Input(format!("run lengths as text: {message}"));
        let mut counts: Vec<u32> = Vec::new();
        let mut letters = text.chars().enumerate();
        while let Some((start, first)) = letters.next() {
            let (mut letter, mut number, mut shift) = ((start, first), 0i64, 0);
            loop {
                let code = u8::try_from(letter.1)
                    .ok()
                    .and_then(|byte| byte.checked_sub(ZERO));
                let Some(code) = code.filter(|&code| code < 2 * MORE) else {
                    let (at, letter) = letter;
                    return Err(fault(format!(
                        "the character `{letter}` at {at} is not from `0` to `o`"
                    )));
                };
                // More bits than any number of pixels needs.
                if shift > 35 {
                    return Err(fault(format!("the number at {start} is too long")));
                }
                number |= i64::from(code % MORE) << shift;
                shift += BITS;
                if code < MORE {
                    if code & (MORE >> 1) != 0 {
                        number |= -1 << shift;
                    }
                    break;
                }
                letter = letters
                    .next()
                    .ok_or_else(|| fault(format!("it ends within the number at {start}")))?;
            }
            if let [_, .., before, _] = counts[..] {
                number += i64::from(before);
            }
            counts.push(u32::try_from(number).map_err(|_| {
                fault(format!(
                    "the run length {number} at {start} is out of range"
                ))
            })?);
        }
        Self::new(width, height, counts)
    }

    /// The run lengths of a part of a larger mask: the top left corner of `part` is at `at`, and everything else is
    /// outside. `at` is `[x, y]` and `size` is `[width, height]`, in pixels.
    ///
    /// # Errors
    ///
    /// If the part does not fit.
    pub fn of_part(part: &Mask, at: [u32; 2], size: [u32; 2]) -> Result<Self> {
        let [x, y] = at.map(u64::from);
        let [width, height] = size.map(u64::from);
        if x + u64::from(part.width()) > width || y + u64::from(part.height()) > height {
            return Err(DataError::Input(format!(
                "a part of {}x{} at ({x}, {y}) does not fit into a mask of {width}x{height}",
                part.width(),
                part.height()
            )));
        }
        let mut runs = Runs::default();
        runs.add(false, x * height);
        runs.add_columns(part, y, height - y - u64::from(part.height()));
        runs.add(false, (width - x - u64::from(part.width())) * height);
        Ok(Self {
            width: size[0],
            height: size[1],
            counts: runs.finish(),
        })
    }

    /// Width of the mask in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height of the mask in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The run lengths in pixels: outside, inside, outside, …
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// Number of pixels inside.
    pub fn area(&self) -> usize {
        let inside = self.counts.iter().skip(1).step_by(2);
        inside.map(|&count| count as usize).sum()
    }

    /// The run lengths as text, which [`parse`](Self::parse) reads (`rleToString` of `maskApi.c`).
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(2 * self.counts.len());
        for (index, &count) in self.counts.iter().enumerate() {
            let mut number = i64::from(count);
            if index > 2 {
                number -= i64::from(self.counts[index - 2]);
            }
            loop {
                let bits = (number & i64::from(MORE - 1)) as u8;
                number >>= BITS;
                let sign = bits & (MORE >> 1) != 0;
                let done = number == if sign { -1 } else { 0 };
                text.push(char::from(ZERO + bits + if done { 0 } else { MORE }));
                if done {
                    break;
                }
            }
        }
        text
    }

    /// Returns the mask.
    pub fn to_mask(&self) -> Mask {
        let mut mask = Mask::new(self.width, self.height);
        let mut at = 0u64;
        let height = u64::from(self.height);
        for (index, &count) in self.counts.iter().enumerate() {
            let end = at + u64::from(count);
            if index % 2 == 1 {
                for pixel in at..end {
                    mask.set((pixel / height) as u32, (pixel % height) as u32);
                }
            }
            at = end;
        }
        mask
    }
}

impl Mask {
    /// Returns COCO's run lengths. The first one is of pixels outside, and may be 0.
    pub fn to_rle(&self) -> CocoRle {
        let mut runs = Runs::default();
        runs.add_columns(self, 0, 0);
        CocoRle {
            width: self.width(),
            height: self.height(),
            counts: runs.finish(),
        }
    }
}

/// Counts equal values in a row.
#[derive(Default)]
struct Runs {
    counts: Vec<u32>,
    inside: bool,
    count: u32,
}

impl Runs {
    fn add(&mut self, inside: bool, count: u64) {
        if count == 0 {
            return;
        }
        if inside != self.inside {
            self.end();
            self.inside = inside;
        }
        let mut left = u64::from(self.count) + count;
        // A run that is too long for one number goes on after a run of 0 pixels.
        while left > u64::from(u32::MAX) {
            self.counts.extend([u32::MAX, 0]);
            left -= u64::from(u32::MAX);
        }
        self.count = left as u32;
    }

    /// Adds the columns of a mask, each between pixels outside.
    fn add_columns(&mut self, mask: &Mask, above: u64, below: u64) {
        for x in 0..mask.width() {
            self.add(false, above);
            for y in 0..mask.height() {
                self.add(mask.contains(x, y), 1);
            }
            self.add(false, below);
        }
    }

    fn end(&mut self) {
        self.counts.push(self.count);
        self.count = 0;
    }

    fn finish(mut self) -> Vec<u32> {
        self.end();
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn columns_follow_each_other() {
        let mask = Mask::from_vec(3, 2, vec![1, 0, 0, 1, 1, 0]);
        let rle = mask.to_rle();
        assert_eq!(rle.counts(), [0, 2, 1, 1, 2]);
        assert_eq!((rle.area(), rle.to_mask()), (3, mask));
        assert_eq!(Mask::new(3, 2).to_rle().counts(), [6]);
        assert_eq!(Mask::from_vec(1, 2, vec![1, 1]).to_rle().counts(), [0, 2]);
        for (width, height) in [(0, 0), (0, 3), (3, 0)] {
            let rle = Mask::new(width, height).to_rle();
            assert_eq!(
                (rle.counts(), rle.to_mask()),
                (&[0][..], Mask::new(width, height))
            );
        }
    }

    #[test]
    fn numbers_have_five_bits_in_a_character() {
        // By hand: 0 is `0`; 15 needs a bit for the sign: 15 = 01111; 16 = 10000 and 00000; 1000 = 31 · 32 + 8.
        let rle = CocoRle::new(1016, 1, vec![0, 15, 1, 1000]).unwrap();
        // The fourth number is 1000 − 15 = 985 = 30 · 32 + 25, in the characters 25 + 32 and 30 + 32, and 0 for the sign.
        assert_eq!(rle.text(), "0?1in0");
        assert_eq!(CocoRle::parse(1016, 1, "0?1in0").unwrap(), rle);
        // 3 − 16 = −13 = 10011 in five bits, 19.
        let rle = CocoRle::new(24, 1, vec![4, 16, 1, 3]).unwrap();
        assert_eq!(rle.text(), "4`01C");
    }

    #[test]
    fn a_run_that_is_too_long_for_one_number_is_split() {
        let mut runs = Runs::default();
        runs.add(true, 5);
        runs.add(false, u64::from(u32::MAX));
        runs.add(false, 7);
        assert_eq!(runs.finish(), [0, 5, u32::MAX, 0, 7]);
    }

    #[test]
    fn parts_are_placed_in_a_larger_mask() {
        let part = Mask::from_vec(2, 2, vec![1, 1, 0, 1]);
        let rle = CocoRle::of_part(&part, [1, 2], [4, 5]).unwrap();
        let mut expected = Mask::new(4, 5);
        expected.fill_runs(2, [(1, 2), (2, 2)]);
        assert_eq!(rle, expected.to_rle());
        assert_eq!(
            CocoRle::of_part(&part, [3, 0], [4, 5])
                .unwrap_err()
                .to_string(),
            "a part of 2x2 at (3, 0) does not fit into a mask of 4x5"
        );
        assert!(CocoRle::of_part(&part, [0, u32::MAX], [4, 5]).is_err());
    }

    #[test]
    fn faults_in_the_text_are_named() {
        let message = |text: &str| CocoRle::parse(3, 2, text).unwrap_err().to_string();
        for (text, expected) in [
            ("6p", "the character `p` at 1 is not from `0` to `o`"),
            ("/", "the character `/` at 0 is not"),
            ("6o", "it ends within the number at 1"),
            ("ooooooooo0", "the number at 0 is too long"),
            ("O", "the run length -1 at 0 is out of range"),
            ("oooooo7", "is out of range"),
            ("5", "run lengths of 5 pixels for a mask of 3x2, expected 6"),
        ] {
            assert!(
                message(text).contains(expected),
                "{text}: {}",
                message(text)
            );
        }
        assert!(CocoRle::new(32_769, 1, vec![32_769]).is_err());
        let huge = CocoRle::new(u32::MAX, u32::MAX, vec![1])
            .unwrap_err()
            .to_string();
        assert!(huge.contains("is too large"), "{huge}");
    }

    proptest! {
        #[test]
        fn masks_and_texts_are_restored(
            (width, values) in (1u32..40, 1usize..90, 1u8..6).prop_flat_map(|(width, height, of)| {
                let pixel = (0u8..6).prop_map(move |value| u8::from(value < of));
                (Just(width), prop::collection::vec(pixel, width as usize * height))
            })
        ) {
            let height = (values.len() / width as usize) as u32;
            let mask = Mask::from_vec(width, height, values);
            let rle = mask.to_rle();
            prop_assert_eq!(rle.area(), mask.area());
            let read = CocoRle::parse(width, height, &rle.text()).unwrap();
            prop_assert_eq!(&read, &rle);
            prop_assert_eq!(read.to_mask(), mask);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[/-p]{0,12}|.{0,6}") {
            let _ = CocoRle::parse(5, 4, &text);
        }

        #[test]
        fn any_counts_have_a_text(counts in prop::collection::vec(0u32..40_000, 1..9)) {
            let sum = counts.iter().sum::<u32>();
            let height = sum.div_ceil(30_000).max(1);
            let mut counts = counts;
            counts.push(height * 30_000 - sum);
            let rle = CocoRle::new(30_000, height, counts).unwrap();
            prop_assert_eq!(CocoRle::parse(30_000, height, &rle.text()).unwrap(), rle);
        }
    }
}
