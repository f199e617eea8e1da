//! Markers and their segments (annex B).

use super::fault::{Fault, FaultKind};

pub(super) const START_OF_IMAGE: [u8; 2] = [0xff, 0xd8];
pub(super) const END_OF_IMAGE: u8 = 0xd9;
pub(super) const START_OF_SCAN: u8 = 0xda;
pub(super) const HUFFMAN_TABLES: u8 = 0xc4;
pub(super) const QUANTIZATION_TABLES: u8 = 0xdb;
pub(super) const RESTART_INTERVAL: u8 = 0xdd;
const ARITHMETIC_CONDITIONING: u8 = 0xcc;

/// Number of coefficients of a block.
pub(super) const BLOCK: usize = 64;

/// A component of the picture: luminance or a colour.
#[derive(Debug, Clone)]
pub(super) struct Component {
    pub(super) id: u8,
    /// Sampling factors: samples per sample of the coarsest component.
    pub(super) horizontal: usize,
    pub(super) vertical: usize,
    pub(super) quantization: usize,
}

/// The frame header, which describes the entire picture (B.2.2).
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) progressive: bool,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) components: Vec<Component>,
}

impl Frame {
    /// Whether a marker begins a frame.
    pub(super) fn is_begun_by(marker: u8) -> bool {
        matches!(marker, 0xc0..=0xcf)
            && marker != HUFFMAN_TABLES
            && marker != ARITHMETIC_CONDITIONING
            && marker != 0xc8
    }

    /// Parses the segment of the frame, which is at `offset` in the file.
    pub(super) fn parse(marker: u8, segment: &[u8], offset: usize) -> Result<Self, Fault> {
        let unsupported = |what: &str| {
            let message = format!("{what}, which is not supported");
            Err(Fault::new(FaultKind::Unsupported, offset, message))
        };
        match marker {
            0xc0..=0xc2 => {}
            0xc3 => return unsupported("a lossless JPEG (T.81, process 14)"),
            0xc9..=0xcb | 0xcd..=0xcf => return unsupported("a JPEG with arithmetic coding"),
            _ => return unsupported("a hierarchical JPEG"),
        }
        let damaged = |message: &str| Fault::new(FaultKind::Damaged, offset, message);
        let [precision, h1, h0, w1, w0, count, rest @ ..] = segment else {
            return Err(damaged("the frame header is too short"));
        };
        if *precision != 8 {
            return unsupported(&format!("a JPEG with {precision} bits per channel"));
        }
        let count = usize::from(*count);
        if rest.len() < 3 * count || count == 0 || count > 4 {
            return Err(damaged(
                "the length of the frame header does not match its components",
            ));
        }
        let components = rest.chunks_exact(3).take(count).map(|fields| Component {
            id: fields[0],
            horizontal: usize::from(fields[1] >> 4),
            vertical: usize::from(fields[1] & 15),
            quantization: usize::from(fields[2]),
        });
        let components: Vec<Component> = components.collect();
        let fits = |component: &Component| {
            (1..=4).contains(&component.horizontal)
                && (1..=4).contains(&component.vertical)
                && component.quantization < 4
        };
        if !components.iter().all(fits) {
            return Err(damaged(
                "a component has an invalid sampling factor or table",
            ));
        }
        Ok(Self {
            progressive: marker == 0xc2,
            width: usize::from(u16::from_be_bytes([*w1, *w0])),
            height: usize::from(u16::from_be_bytes([*h1, *h0])),
            components,
        })
    }

    /// The largest sampling factors of all components, horizontally and vertically.
    pub(super) fn finest(&self) -> [usize; 2] {
        let of =
            |factor: fn(&Component) -> usize| self.components.iter().map(factor).max().unwrap_or(1);
        [
            of(|component| component.horizontal),
            of(|component| component.vertical),
        ]
    }

    /// Number of samples of a component, horizontally and vertically (A.1.1).
    pub(super) fn samples(&self, component: usize) -> [usize; 2] {
        let [across, down] = self.finest();
        let component = &self.components[component];
        [
            (self.width * component.horizontal).div_ceil(across),
            (self.height * component.vertical).div_ceil(down),
        ]
    }

    /// Number of blocks of a component in a scan of several components, padded to complete groups of blocks
    /// (MCUs, A.2.3).
    pub(super) fn padded_blocks(&self, component: usize) -> [usize; 2] {
        let [columns, rows] = self.groups();
        let component = &self.components[component];
        [columns * component.horizontal, rows * component.vertical]
    }

    /// Number of groups of blocks (MCUs), horizontally and vertically, in a scan of several components.
    pub(super) fn groups(&self) -> [usize; 2] {
        let [across, down] = self.finest();
        [
            self.width.div_ceil(8 * across),
            self.height.div_ceil(8 * down),
        ]
    }
}

/// A component of a scan.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScanComponent {
    /// Index of the component in the frame.
    pub(super) place: usize,
    pub(super) dc_table: usize,
    pub(super) ac_table: usize,
}

/// A scan header (B.2.3).
#[derive(Debug, Clone)]
pub(super) struct Scan {
    pub(super) components: Vec<ScanComponent>,
    /// First and last coefficient.
    pub(super) first: usize,
    pub(super) last: usize,
    /// Whether the scan refines the coefficients of earlier scans, and how many low bits it leaves out.
    pub(super) refines: bool,
    pub(super) low: u8,
}

impl Scan {
    pub(super) fn parse(segment: &[u8], offset: usize, frame: &Frame) -> Result<Self, Fault> {
        let damaged = |message: &str| Fault::new(FaultKind::Damaged, offset, message);
        let (&count, rest) = segment
            .split_first()
            .ok_or_else(|| damaged("the scan header is empty"))?;
        let count = usize::from(count);
        let (fields, bounds) = rest
            .split_at_checked(2 * count)
            .ok_or_else(|| damaged("the scan header is too short"))?;
        let &[first, last, approximation, ..] = bounds else {
            return Err(damaged("the scan header is too short"));
        };
        let mut components = Vec::with_capacity(count);
        for field in fields.chunks_exact(2) {
            let place = frame
                .components
                .iter()
                .position(|component| component.id == field[0])
                .filter(|place| {
                    components
                        .iter()
                        .all(|other: &ScanComponent| other.place != *place)
                })
                .ok_or_else(|| {
                    damaged("the scan refers to a component that is not in the frame")
                })?;
            let (dc_table, ac_table) = (usize::from(field[1] >> 4), usize::from(field[1] & 15));
            if dc_table > 3 || ac_table > 3 {
                return Err(damaged("the scan refers to an invalid table"));
            }
            components.push(ScanComponent {
                place,
                dc_table,
                ac_table,
            });
        }
        // Decoders read complete blocks of sequential files, whatever these fields say.
        let (first, last, refines, low) = if frame.progressive {
            let (first, last) = (usize::from(first), usize::from(last));
            (first, last, approximation >> 4 > 0, approximation & 15)
        } else {
            (0, BLOCK - 1, false, 0)
        };
        let of_one_kind = !frame.progressive || (first == 0) == (last == 0);
        let alone = first == 0 || components.len() == 1;
        if components.is_empty()
            || last >= BLOCK
            || first > last
            || !of_one_kind
            || !alone
            || low > 13
        {
            return Err(damaged(
                "the scan header has invalid progressive parameters",
            ));
        }
        Ok(Self {
            components,
            first,
            last,
            refines,
            low,
        })
    }
}

/// Builds the segment that defines Huffman tables, including its marker.
pub(super) fn segment_of_tables(tables: &[&[u8]]) -> Vec<u8> {
    let tables = tables.concat();
    let length = (tables.len() + 2) as u16;
    let mut segment = vec![0xff, HUFFMAN_TABLES];
    segment.extend(length.to_be_bytes());
    segment.extend(tables);
    segment
}

/// The next marker and the position after it. Bytes before it are skipped, as decoders do.
pub(super) fn next_marker(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    let first = bytes
        .get(at..)?
        .windows(2)
        .position(|pair| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xff))?;
    Some((bytes[at + first + 1], at + first + 2))
}

/// The content of a segment after its length.
pub(super) fn segment(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let length = usize::from(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    bytes.get(at + 2..at + length)
}
