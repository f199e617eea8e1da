//! Parsing all segments and all entropy-coded data of a file.

use super::bits::{Bits, Table};
use super::codes::{Coder, Plane, Tables};
use super::fault::{Fault, FaultKind};
use super::header::{
    BLOCK, END_OF_IMAGE, Frame, HUFFMAN_TABLES, QUANTIZATION_TABLES, RESTART_INTERVAL,
    START_OF_IMAGE, START_OF_SCAN, Scan, next_marker, segment,
};
use super::standard_tables::STANDARD;
use crate::limits::is_too_large;

/// Maximum number of scans. Without it, a small malicious file could take hours.
const MOST_SCANS: usize = 100;
/// Marks a coefficient that no scan has contained yet.
const UNSEEN: u8 = u8::MAX;

/// The state of the parser.
pub(super) struct Walk<'a> {
    bytes: &'a [u8],
    /// Whether the coefficients of sequential pictures are stored.
    keeps: bool,
    frame: Option<Frame>,
    huffman: Tables,
    /// Which Huffman tables are defined in the file.
    defined: [[bool; 4]; 2],
    quantization: [Option<[u16; BLOCK]>; 4],
    restart_interval: usize,
    scans: usize,
    all_tables: bool,
    end: bool,
    adobe_transform: Option<u8>,
    jfif: bool,
    /// For each component and coefficient, the number of low bits that no scan has contained yet.
    to_come: Vec<[u8; BLOCK]>,
    /// For each component of a progressive picture and each block, a bit for each coefficient that is not 0.
    known: Vec<Vec<u64>>,
    /// For each component, its quantization table and its blocks, if they are stored.
    pub(super) planes: Vec<Plane>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut walk = Self {
            bytes,
            keeps: false,
            frame: None,
            huffman: Default::default(),
            defined: [[false; 4]; 2],
            quantization: [None; 4],
            restart_interval: 0,
            scans: 0,
            all_tables: true,
            end: false,
            adobe_transform: None,
            jfif: false,
            to_come: Vec::new(),
            known: Vec::new(),
            planes: Vec::new(),
        };
        for table in STANDARD {
            // The tables of the standard are valid.
            let _ = walk.huffman_tables(table, 0);
        }
        walk.defined = [[false; 4]; 2];
        walk
    }

    /// Creates a parser that stores the coefficients.
    pub(super) fn with_coefficients(bytes: &'a [u8]) -> Self {
        Self {
            keeps: true,
            ..Self::new(bytes)
        }
    }

    /// Whether the file defines all Huffman tables that it uses.
    pub(super) fn has_all_tables(&self) -> bool {
        self.all_tables
    }

    /// Whether the file has its end marker.
    pub(super) fn has_end(&self) -> bool {
        self.end
    }

    pub(super) fn frame(&self) -> Option<&Frame> {
        self.frame.as_ref()
    }

    /// Whether three components are red, green and blue. This is decided by Adobe's marker, or else by the
    /// ids of the components, as in `libjpeg`.
    pub(super) fn is_rgb(&self) -> bool {
        let names = self.frame.iter().flat_map(|frame| &frame.components);
        match self.adobe_transform {
            _ if self.jfif => false,
            Some(transform) => transform == 0,
            None => names.map(|component| component.id).eq(*b"RGB"),
        }
    }

    /// Whether this is a sequential picture with several scans.
    pub(super) fn is_mixed_up_by_the_decoder(&self) -> bool {
        let sequential = |frame: &Frame| !frame.progressive;
        self.scans > 1 && self.frame.as_ref().is_some_and(sequential)
    }

    /// Parses up to the end of the picture.
    pub(super) fn run(&mut self) -> Result<(), Fault> {
        let mut at = START_OF_IMAGE.len();
        while let Some((marker, after)) = next_marker(self.bytes, at) {
            let begin = after - 2;
            match marker {
                END_OF_IMAGE => {
                    self.end = true;
                    break;
                }
                // These markers have no length. Restart markers between scans are an error, but harmless.
                0x01 | 0xd0..=0xd8 => at = after,
                _ => {
                    let Some(segment) = segment(self.bytes, after) else {
                        if self.is_complete() {
                            return Ok(());
                        }
                        return Err(self.cut_off(self.bytes.len()));
                    };
                    at = after + 2 + segment.len();
                    if marker == START_OF_SCAN {
                        at = self.scan(segment, begin, at)?;
                    } else {
                        self.segment(marker, segment, begin)?;
                    }
                }
            }
            if self.frame().is_some_and(is_refused) {
                self.end = true;
                return Ok(());
            }
        }
        let begun = self.to_come.iter().all(|bits| bits[0] != UNSEEN) && self.scans > 0;
        if self.is_complete() || self.end && begun {
            return Ok(());
        }
        Err(self.cut_off(self.bytes.len()))
    }

    /// Whether all bits of all coefficients have been read, even if more scans could follow.
    fn is_complete(&self) -> bool {
        self.scans > 0 && self.to_come.as_flattened().iter().all(|&bits| bits == 0)
    }

    fn cut_off(&self, offset: usize) -> Fault {
        let message = match self.scans {
            0 => "it contains no pixel data".to_owned(),
            scans => format!("it contains only {scans} of its scans"),
        };
        Fault::new(FaultKind::CutOff, offset, message)
    }

    fn segment(&mut self, marker: u8, segment: &[u8], offset: usize) -> Result<(), Fault> {
        match marker {
            HUFFMAN_TABLES => self.huffman_tables(segment, offset),
            QUANTIZATION_TABLES => self.quantization_tables(segment, offset),
            RESTART_INTERVAL => {
                if let Some(&interval) = segment.first_chunk() {
                    self.restart_interval = usize::from(u16::from_be_bytes(interval));
                }
                Ok(())
            }
            0xe0 => {
                self.jfif |= segment.starts_with(b"JFIF\0");
                Ok(())
            }
            0xee => {
                if segment.starts_with(b"Adobe") {
                    self.adobe_transform = segment.get(11).copied();
                }
                Ok(())
            }
            _ if Frame::is_begun_by(marker) => {
                if self.frame.is_some() {
                    let message = "a second frame begins";
                    return Err(Fault::new(FaultKind::Damaged, offset, message));
                }
                let frame = Frame::parse(marker, segment, offset)?;
                self.begin(frame);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, frame: Frame) {
        let places = 0..frame.components.len();
        if !is_refused(&frame) {
            let blocks = |place: usize| {
                let [across, down] = frame.padded_blocks(place);
                across * down
            };
            self.to_come = vec![[UNSEEN; BLOCK]; places.len()];
            if frame.progressive {
                self.known = places.clone().map(|place| vec![0; blocks(place)]).collect();
            }
            self.planes = places
                .map(|place| Plane {
                    blocks: if self.keeps && !frame.progressive {
                        vec![[0; BLOCK]; blocks(place)]
                    } else {
                        Vec::new()
                    },
                    quantization: None,
                })
                .collect();
        }
        self.frame = Some(frame);
    }

    fn huffman_tables(&mut self, mut segment: &[u8], offset: usize) -> Result<(), Fault> {
        let damaged = || Fault::new(FaultKind::Damaged, offset, "an invalid Huffman table");
        while let Some((&name, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or_else(damaged)?;
            let count = counts.iter().map(|&count| usize::from(count)).sum();
            let (symbols, rest) = rest.split_at_checked(count).ok_or_else(damaged)?;
            let (class, number) = (usize::from(name >> 4), usize::from(name & 15));
            let table = Table::new(counts, symbols).ok_or_else(damaged)?;
            let place = self
                .huffman
                .get_mut(class)
                .and_then(|of| of.get_mut(number));
            *place.ok_or_else(damaged)? = Some(table);
            self.defined[class][number] = true;
            segment = rest;
        }
        Ok(())
    }

    fn quantization_tables(&mut self, mut segment: &[u8], offset: usize) -> Result<(), Fault> {
        let damaged = || Fault::new(FaultKind::Damaged, offset, "an invalid quantization table");
        while let Some((&name, rest)) = segment.split_first() {
            let wide = name >> 4 > 0;
            let length = if wide { 2 * BLOCK } else { BLOCK };
            let (values, rest) = rest.split_at_checked(length).ok_or_else(damaged)?;
            let mut table = [0; BLOCK];
            if wide {
                for (value, pair) in table.iter_mut().zip(values.as_chunks().0) {
                    *value = u16::from_be_bytes(*pair);
                }
            } else {
                for (value, &byte) in table.iter_mut().zip(values) {
                    *value = u16::from(byte);
                }
            }
            let place = self.quantization.get_mut(usize::from(name & 15));
            *place.ok_or_else(damaged)? = Some(table);
            segment = rest;
        }
        Ok(())
    }

    /// Reads the entropy-coded data of a scan, which begins at `at`, and returns the position after it.
    fn scan(&mut self, segment: &[u8], offset: usize, at: usize) -> Result<usize, Fault> {
        let damaged = |message: &str| Fault::new(FaultKind::Damaged, offset, message);
        let frame = self
            .frame
            .take()
            .ok_or_else(|| damaged("a scan begins before its frame"))?;
        self.scans += 1;
        if self.scans > MOST_SCANS {
            return Err(damaged(&format!("there are more than {MOST_SCANS} scans")));
        }
        let scan = Scan::parse(segment, offset, &frame)?;
        for component in &scan.components {
            let tables = match (frame.progressive, scan.first, scan.refines) {
                (false, ..) => &[(0, component.dc_table), (1, component.ac_table)][..],
                (true, 0, false) => &[(0, component.dc_table)],
                (true, 0, true) => &[],
                (true, ..) => &[(1, component.ac_table)],
            };
            self.all_tables &= tables
                .iter()
                .all(|&(class, number)| self.defined[class][number]);
            let plane = &mut self.planes[component.place];
            let number = frame.components[component.place].quantization;
            plane.quantization = plane.quantization.or(self.quantization[number]);
            self.to_come[component.place][scan.first..=scan.last].fill(scan.low);
        }
        let mut coder = Coder {
            bits: Bits::new(self.bytes, at),
            bytes: self.bytes,
            offset,
            number: self.scans,
            restart_interval: self.restart_interval,
        };
        if frame.progressive {
            coder.progressive(&frame, &scan, &self.huffman, &mut self.known)?;
        } else {
            coder.sequential(&frame, &scan, &self.huffman, &mut self.planes)?;
        }
        self.frame = Some(frame);
        Ok(coder.bits.at())
    }
}

/// Whether the size of a picture is refused later, or not known yet.
fn is_refused(frame: &Frame) -> bool {
    let [width, height] = [frame.width, frame.height].map(|side| side as u32);
    width == 0 || height == 0 || is_too_large(width, height)
}
