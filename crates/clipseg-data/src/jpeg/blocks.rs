//! Reading the codes of one block (F.2.2 and G.1.2).

use super::bits::{Bits, Stop, Table};
use super::header::BLOCK;

/// Index in the block, row by row, of each coefficient of the zigzag sequence (A.3.6).
#[rustfmt::skip]
pub(super) const ZIGZAG: [u8; BLOCK] = [
     0,  1,  8, 16,  9,  2,  3, 10,
    17, 24, 32, 25, 18, 11,  4,  5,
    12, 19, 26, 33, 40, 48, 41, 34,
    27, 20, 13,  6,  7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36,
    29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46,
    53, 60, 61, 54, 47, 55, 62, 63,
];

/// Reads a complete block of a sequential picture. The coefficients are written to `kept`, row by row,
/// before dequantization.
#[inline]
pub(super) fn sequential(
    bits: &mut Bits<'_>,
    tables: [&Table; 2],
    before: &mut i32,
    mut kept: Option<&mut [i16; BLOCK]>,
) -> Result<(), Stop> {
    let [dc, ac] = tables;
    let size = dc.read(bits)?;
    let difference = value(bits, size)?;
    *before = before.wrapping_add(difference);
    if let Some(kept) = kept.as_deref_mut() {
        kept[0] = *before as i16;
    }
    let mut place = 1;
    while place < BLOCK {
        let symbol = ac.read(bits)?;
        let (zeros, size) = (usize::from(symbol >> 4), symbol & 15);
        if size == 0 {
            if zeros < 15 {
                break;
            }
            place += 16;
            continue;
        }
        place += zeros;
        let coefficient = value(bits, size)?;
        if let (Some(kept), Some(&at)) = (kept.as_deref_mut(), ZIGZAG.get(place)) {
            kept[usize::from(at)] = coefficient as i16;
        }
        place += 1;
    }
    Ok(())
}

/// Reads a signed number of `bits` bits (F.2.2.1, EXTEND).
#[inline]
fn value(bits: &mut Bits<'_>, size: u8) -> Result<i32, Stop> {
    if size > 16 {
        return Err(Stop::NoCode);
    }
    let size = u32::from(size);
    let number = bits.read(size)? as i32;
    Ok(if size > 0 && number < 1 << (size - 1) {
        number - (1 << size) + 1
    } else {
        number
    })
}

/// Reads the first coefficient of a block of a progressive picture, or one more bit of it if there is no
/// table.
pub(super) fn progressive_dc(bits: &mut Bits<'_>, dc: Option<&Table>) -> Result<(), Stop> {
    let Some(dc) = dc else {
        return bits.skip(1);
    };
    let size = dc.read(bits)?;
    value(bits, size).map(|_| ())
}

/// Reads the other coefficients of a progressive picture.
pub(super) struct Band<'a> {
    pub(super) ac: &'a Table,
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) refines: bool,
    /// Number of blocks without further codes, including the current one.
    pub(super) ended: u32,
}

impl Band<'_> {
    /// Reads the scan's part of one block. `known` has a bit for each coefficient that is not 0 so far.
    pub(super) fn read(&mut self, bits: &mut Bits<'_>, known: &mut u64) -> Result<(), Stop> {
        if self.refines {
            self.refine(bits, known)
        } else {
            self.begin(bits, known)
        }
    }

    fn begin(&mut self, bits: &mut Bits<'_>, known: &mut u64) -> Result<(), Stop> {
        if self.ended > 0 {
            self.ended -= 1;
            return Ok(());
        }
        let mut place = self.first;
        while place <= self.last {
            let symbol = self.ac.read(bits)?;
            let (zeros, size) = (u32::from(symbol >> 4), symbol & 15);
            if size == 0 && zeros < 15 {
                self.ended = (1 << zeros) - 1 + bits.read(zeros)?;
                break;
            }
            place += zeros as usize;
            if size > 0 {
                bits.skip(u32::from(size))?;
                *known |= bit(place);
            }
            place += 1;
        }
        Ok(())
    }

    /// Reads one bit for each coefficient that is not 0, and codes for those that become so (G.1.2.3).
    fn refine(&mut self, bits: &mut Bits<'_>, known: &mut u64) -> Result<(), Stop> {
        let mut place = self.first;
        while self.ended == 0 && place <= self.last {
            let symbol = self.ac.read(bits)?;
            let (zeros, size) = (u32::from(symbol >> 4), symbol & 15);
            if size == 0 && zeros < 15 {
                self.ended = (1 << zeros) + bits.read(zeros)?;
                break;
            }
            if size > 0 {
                bits.skip(1)?;
            }
            let mut left = zeros;
            while place <= self.last {
                if *known & bit(place) != 0 {
                    bits.skip(1)?;
                } else if left == 0 {
                    break;
                } else {
                    left -= 1;
                }
                place += 1;
            }
            if size > 0 {
                *known |= bit(place);
            }
            place += 1;
        }
        if self.ended > 0 {
            for place in place..=self.last {
                if *known & bit(place) != 0 {
                    bits.skip(1)?;
                }
            }
            self.ended -= 1;
        }
        Ok(())
    }
}

/// The bit of a coefficient in `known`; 0 beyond the last coefficient.
fn bit(place: usize) -> u64 {
    1u64.checked_shl(place as u32).unwrap_or(0)
}
