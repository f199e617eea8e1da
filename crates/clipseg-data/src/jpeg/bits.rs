//! Reading bits and Huffman codes (annexes C and F.2.2).

/// Number of bits in the lookup table; longer codes are rare.
const QUICK: u32 = 9;
/// Maximum length of a code in bits.
const LONGEST: usize = 16;

/// Why bits could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The data ended, at a marker or at the end of the file.
    Ended,
    /// The bits are not a code of the table.
    NoCode,
}

/// A Huffman table.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// For each bit prefix: the length of its code (0 if it is longer than the prefix) and the symbol.
    quick: Vec<(u8, u8)>,
    /// For each length: the code after the last one, padded with zeros to the maximum length.
    ends: [u32; LONGEST + 1],
    /// For each length: the offset from a code to the index of its symbol.
    offsets: [i32; LONGEST + 1],
    symbols: Vec<u8>,
}

impl Table {
    /// Builds a table from the number of codes of each length and their symbols in order; `None` if there
    /// are more codes than possible.
    pub(super) fn new(counts: &[u8; LONGEST], symbols: &[u8]) -> Option<Self> {
        let mut table = Self {
            quick: vec![(0, 0); 1 << QUICK],
            ends: [0; LONGEST + 1],
            offsets: [0; LONGEST + 1],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut index) = (0u32, 0usize);
        for length in 1..=LONGEST {
            table.offsets[length] = index as i32 - code as i32;
            for _ in 0..counts[length - 1] {
                let symbol = *symbols.get(index)?;
                if code >> length != 0 {
                    return None;
                }
                if length as u32 <= QUICK {
                    let spare = QUICK - length as u32;
                    let first = (code << spare) as usize;
                    table.quick[first..first + (1 << spare)].fill((length as u8, symbol));
                }
                code += 1;
                index += 1;
            }
            table.ends[length] = code << (LONGEST - length);
            code <<= 1;
        }
        (index == symbols.len()).then_some(table)
    }

    /// Reads a symbol.
    #[inline]
    pub(super) fn read(&self, bits: &mut Bits<'_>) -> Result<u8, Stop> {
        let ahead = bits.ahead();
        let (length, symbol) = self.quick[(ahead >> (LONGEST as u32 - QUICK)) as usize];
        if length > 0 {
            bits.skip(u32::from(length))?;
            return Ok(symbol);
        }
        let long = (QUICK as usize + 1..=LONGEST).find(|&length| ahead < self.ends[length]);
        let Some(length) = long else {
            // At the end of the data, a truncated code looks like an invalid one.
            return Err(if bits.count < LONGEST as u32 {
                Stop::Ended
            } else {
                Stop::NoCode
            });
        };
        bits.skip(length as u32)?;
        let code = (ahead >> (LONGEST - length)) as i32;
        let symbol = usize::try_from(code + self.offsets[length]).ok();
        symbol
            .and_then(|place| self.symbols.get(place).copied())
            .ok_or(Stop::NoCode)
    }
}

/// The bits of a scan up to the next marker, without the zero bytes stuffed after 0xff (B.1.1.5).
#[derive(Debug)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// Index of the next byte. It never passes a marker.
    at: usize,
    /// The lowest `count` bits have not been read yet.
    buffer: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            at,
            buffer: 0,
            count: 0,
        }
    }

    /// Position of the next byte in the file.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn fill(&mut self) {
        while self.count <= 56 {
            let byte = match self.bytes.get(self.at) {
                None => return,
                Some(0xff) => match self.bytes.get(self.at + 1) {
                    Some(0x00) => {
                        self.at += 1;
                        0xff
                    }
                    // Any number of fill bytes may precede a marker.
                    Some(0xff) => {
                        self.at += 1;
                        continue;
                    }
                    _ => return,
                },
                Some(&byte) => byte,
            };
            self.at += 1;
            self.buffer = self.buffer << 8 | u64::from(byte);
            self.count += 8;
        }
    }

    /// The next 16 bits, padded with zeros at the end of the data.
    #[inline]
    fn ahead(&mut self) -> u32 {
        if self.count < 16 {
            self.fill();
        }
        let bits = if self.count < 16 {
            self.buffer << (16 - self.count)
        } else {
            self.buffer >> (self.count - 16)
        };
        (bits & 0xffff) as u32
    }

    #[inline]
    pub(super) fn skip(&mut self, count: u32) -> Result<(), Stop> {
        if self.count < count {
            self.fill();
        }
        self.count = self.count.checked_sub(count).ok_or(Stop::Ended)?;
        Ok(())
    }

    /// Reads at most 16 bits as a number.
    #[inline]
    pub(super) fn read(&mut self, count: u32) -> Result<u32, Stop> {
        self.skip(count)?;
        Ok((self.buffer >> self.count) as u32 & ((1 << count) - 1))
    }

    /// Continues after the next marker if it is a restart marker. Returns whether it is.
    pub(super) fn restart(&mut self) -> bool {
        let behind = self.at.min(self.bytes.len());
        let marker = self.bytes[behind..]
            .windows(2)
            .position(|pair| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xff));
        let Some(place) = marker.map(|place| behind + place) else {
            self.at = self.bytes.len();
            return false;
        };
        self.at = place;
        if !matches!(self.bytes[place + 1], 0xd0..=0xd7) {
            return false;
        }
        *self = Self::new(self.bytes, place + 2);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_every_length_are_read() {
        // One code of each length: 0, 10, 110, ...
        let counts = [1; LONGEST];
        let symbols: Vec<u8> = (1..=16).collect();
        let table = Table::new(&counts, &symbols).unwrap();
        for length in 1..=LONGEST as u32 {
            let code = ((1u32 << length) - 2) << (16 - length);
            let [high, low] = (code as u16).to_be_bytes();
            // Zeros are stuffed after 0xff.
            let mut bytes = vec![high];
            bytes.extend((high == 0xff).then_some(0));
            bytes.push(low);
            let mut bits = Bits::new(&bytes, 0);
            assert_eq!(table.read(&mut bits), Ok(length as u8), "{length}");
        }
        let mut none = Bits::new(&[0xff, 0x00, 0xff, 0x00], 0);
        assert_eq!(table.read(&mut none), Err(Stop::NoCode));
        let mut cut = Bits::new(&[0xff, 0x00], 0);
        assert_eq!(table.read(&mut cut), Err(Stop::Ended));
    }

    #[test]
    fn more_codes_than_fit_are_refused() {
        let mut counts = [0; LONGEST];
        counts[0] = 3;
        assert!(Table::new(&counts, &[1, 2, 3]).is_none());
        counts[0] = 2;
        assert!(Table::new(&counts, &[1, 2]).is_some());
        // Fewer and more symbols than codes.
        assert!(Table::new(&counts, &[1]).is_none());
        assert!(Table::new(&counts, &[1, 2, 3]).is_none());
    }

    #[test]
    fn reading_bits_ends_at_a_marker() {
        let mut bits = Bits::new(&[0b1010_0000, 0xff, 0xff, 0xd3, 0x80, 0xff, 0xd9], 0);
        assert_eq!(bits.read(3), Ok(0b101));
        assert_eq!(bits.read(5), Ok(0));
        assert_eq!((bits.read(1), bits.at()), (Err(Stop::Ended), 2));
        assert!(bits.restart());
        assert_eq!((bits.read(1), bits.read(7)), (Ok(1), Ok(0)));
        assert_eq!(bits.skip(1), Err(Stop::Ended));
        assert!(!bits.restart());
        assert_eq!(bits.at(), 5);
    }
}
