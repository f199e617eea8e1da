//! A walk through all segments and all codes of a file.

use super::bits::{Bits, Stop, Table};
use super::blocks::{self, Band};
use super::header::{
    BLOCK, END_OF_IMAGE, Frame, HUFFMAN_TABLES, QUANTIZATION_TABLES, RESTART_INTERVAL,
    START_OF_IMAGE, START_OF_SCAN, Scan, ScanComponent,
};
use super::standard_tables::STANDARD;
use super::{Fault, FaultKind};
use crate::pictures::is_too_large;

/// Most scans of a picture. A small file could otherwise keep a program busy for hours.
const MOST_SCANS: usize = 100;
/// Nothing of a coefficient has come yet.
const UNSEEN: u8 = u8::MAX;

/// What is known of a file so far.
pub(super) struct Walk<'a> {
    bytes: &'a [u8],
    /// Whether the coefficients of sequential pictures are kept.
    keeps: bool,
    frame: Option<Frame>,
    /// Huffman tables for the first coefficients of blocks and for the others.
    huffman: [[Option<Table>; 4]; 2],
    /// Which of them come from the file.
    defined: [[bool; 4]; 2],
    quantization: [Option<[u16; BLOCK]>; 4],
    restart_interval: usize,
    scans: usize,
    all_tables: bool,
    end: bool,
    adobe_transform: Option<u8>,
    jfif: bool,
    /// For each component and coefficient how many bits have not come.
    to_come: Vec<[u8; BLOCK]>,
    /// For each component of a progressive picture and each block which coefficients are not 0.
    known: Vec<Vec<u64>>,
    /// For each component its blocks, if they are kept, and the table that they are multiplied by.
    pub(super) planes: Vec<Plane>,
}

/// The coefficients of a component.
#[derive(Default)]
pub(super) struct Plane {
    pub(super) blocks: Vec<[i16; BLOCK]>,
    pub(super) quantization: Option<[u16; BLOCK]>,
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
            // The standard's own tables have no faults.
            let _ = walk.huffman_tables(table, 0);
        }
        walk.defined = [[false; 4]; 2];
        walk
    }

    /// Keeps the coefficients.
    pub(super) fn with_coefficients(bytes: &'a [u8]) -> Self {
        Self {
            keeps: true,
            ..Self::new(bytes)
        }
    }

    /// Whether all Huffman tables that are used are in the file.
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

    /// Whether three components are red, green and blue. Adobe's marker tells, else the components'
    /// names do, as `libjpeg` has it.
    pub(super) fn is_rgb(&self) -> bool {
        let names = self.frame.iter().flat_map(|frame| &frame.components);
        match self.adobe_transform {
            _ if self.jfif => false,
            Some(transform) => transform == 0,
            None => names.map(|component| component.id).eq(*b"RGB"),
        }
    }

    /// Whether this is a sequential picture of several scans.
    pub(super) fn is_mixed_up_by_the_decoder(&self) -> bool {
        let sequential = |frame: &Frame| !frame.progressive;
        self.scans > 1 && self.frame.as_ref().is_some_and(sequential)
    }

    /// Walks to the end of the picture.
    pub(super) fn run(&mut self) -> Result<(), Fault> {
        let mut at = START_OF_IMAGE.len();
        while let Some((marker, after)) = next_marker(self.bytes, at) {
            let begin = after - 2;
            match marker {
                END_OF_IMAGE => {
                    self.end = true;
                    break;
                }
                // These have no length. Restarts lie between scans only if something is wrong.
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

    /// Whether nothing is missing, even if more scans could be to come.
    fn is_complete(&self) -> bool {
        self.scans > 0 && self.to_come.as_flattened().iter().all(|&bits| bits == 0)
    }

    fn cut_off(&self, offset: usize) -> Fault {
        let message = match self.scans {
            0 => "nothing of its pixels is there".to_owned(),
            scans => format!("no more than {scans} of its scans are there"),
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
        let damaged = || Fault::new(FaultKind::Damaged, offset, "a Huffman table that cannot be");
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
        let damaged = || {
            Fault::new(
                FaultKind::Damaged,
                offset,
                "a quantization table that cannot be",
            )
        };
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

    /// Walks through the codes of a scan, which begin at `at`, and gives the place behind them.
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

/// Whether a picture is of a size that is refused anyway, or not known yet.
fn is_refused(frame: &Frame) -> bool {
    let [width, height] = [frame.width, frame.height].map(|side| side as u32);
    width == 0 || height == 0 || is_too_large(width, height)
}

/// The next marker and the place behind it. Anything before it is passed over, as decoders do.
fn next_marker(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    let first = bytes
        .get(at..)?
        .windows(2)
        .position(|pair| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xff))?;
    Some((bytes[at + first + 1], at + first + 2))
}

/// What a segment holds behind its length.
fn segment(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let length = usize::from(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    bytes.get(at + 2..at + length)
}

type Tables = [[Option<Table>; 4]; 2];

/// Reads the codes of one scan.
struct Coder<'a> {
    bits: Bits<'a>,
    bytes: &'a [u8],
    /// Where the scan's header is.
    offset: usize,
    /// Which of the file's scans it is, from 1.
    number: usize,
    restart_interval: usize,
}

impl Coder<'_> {
    fn table<'t>(&self, tables: &'t [Option<Table>; 4], number: usize) -> Result<&'t Table, Fault> {
        tables[number].as_ref().ok_or_else(|| {
            let message = format!("Huffman table {number} is missing");
            Fault::new(FaultKind::Damaged, self.offset, message)
        })
    }

    /// Goes to the next restart marker where there has to be one. Tells whether it did.
    fn restarts(&mut self, done: usize, all: usize) -> Result<bool, Fault> {
        if done == 0 || self.restart_interval == 0 || !done.is_multiple_of(self.restart_interval) {
            return Ok(false);
        }
        if self.bits.restart() {
            return Ok(true);
        }
        Err(self.fault(Stop::Ended, done, all))
    }

    /// What it means that bits could not be read.
    fn fault(&self, stop: Stop, done: usize, all: usize) -> Fault {
        let at = self.bits.at();
        let (done, number) = (done.min(all), self.number);
        let there = format!("{done} of {all} groups of blocks of scan {number} are there");
        match (stop, next_marker(self.bytes, at)) {
            (Stop::Ended, None | Some((END_OF_IMAGE, _))) => {
                Fault::new(FaultKind::CutOff, at, there)
            }
            (Stop::Ended, Some(_)) => {
                let message = format!("the scan's codes end too early: {there}");
                Fault::new(FaultKind::Damaged, at, message)
            }
            (Stop::NoCode, _) => {
                let message = format!("bits that are no code: {there}");
                Fault::new(FaultKind::Damaged, at, message)
            }
        }
    }

    fn sequential(
        &mut self,
        frame: &Frame,
        scan: &Scan,
        tables: &Tables,
        planes: &mut [Plane],
    ) -> Result<(), Fault> {
        let mut of_scan = Vec::with_capacity(scan.components.len());
        for component in &scan.components {
            let dc = self.table(&tables[0], component.dc_table)?;
            let ac = self.table(&tables[1], component.ac_table)?;
            of_scan.push((component, [dc, ac], 0));
        }
        let layout = Layout::new(frame, &scan.components);
        for group in 0..layout.groups() {
            if self.restarts(group, layout.groups())? {
                of_scan.iter_mut().for_each(|(_, _, before)| *before = 0);
            }
            for (component, tables, before) in &mut of_scan {
                for index in layout.blocks(frame, component.place, group) {
                    let kept = planes[component.place].blocks.get_mut(index);
                    blocks::sequential(&mut self.bits, *tables, before, kept)
                        .map_err(|stop| self.fault(stop, group, layout.groups()))?;
                }
            }
        }
        Ok(())
    }

    fn progressive(
        &mut self,
        frame: &Frame,
        scan: &Scan,
        tables: &Tables,
        known: &mut [Vec<u64>],
    ) -> Result<(), Fault> {
        let layout = Layout::new(frame, &scan.components);
        let groups = layout.groups();
        if scan.first == 0 {
            for group in 0..groups {
                self.restarts(group, groups)?;
                for component in &scan.components {
                    for _ in layout.blocks(frame, component.place, group) {
                        let table = if scan.refines {
                            None
                        } else {
                            Some(self.table(&tables[0], component.dc_table)?)
                        };
                        blocks::progressive_dc(&mut self.bits, table)
                            .map_err(|stop| self.fault(stop, group, groups))?;
                    }
                }
            }
            return Ok(());
        }
        let component = scan.components[0];
        let mut band = Band {
            ac: self.table(&tables[1], component.ac_table)?,
            first: scan.first,
            last: scan.last,
            refines: scan.refines,
            ended: 0,
        };
        for group in 0..groups {
            if self.restarts(group, groups)? {
                band.ended = 0;
            }
            for index in layout.blocks(frame, component.place, group) {
                if let Some(known) = known[component.place].get_mut(index) {
                    band.read(&mut self.bits, known)
                        .map_err(|stop| self.fault(stop, group, groups))?;
                }
            }
        }
        Ok(())
    }
}

/// In which order the blocks of a scan are coded (A.2).
struct Layout {
    /// Groups of blocks, horizontally and vertically.
    columns: usize,
    rows: usize,
    /// Whether a component has the scan to itself, and is coded block by block.
    alone: bool,
}

impl Layout {
    fn new(frame: &Frame, components: &[ScanComponent]) -> Self {
        let alone = components.len() == 1;
        let [columns, rows] = match components {
            [component] => frame
                .samples(component.place)
                .map(|samples| samples.div_ceil(8)),
            _ => frame.groups(),
        };
        Self {
            columns,
            rows,
            alone,
        }
    }

    fn groups(&self) -> usize {
        self.columns * self.rows
    }

    /// The blocks of a component in a group, as places among all its blocks row by row.
    fn blocks(
        &self,
        frame: &Frame,
        component: usize,
        group: usize,
    ) -> impl Iterator<Item = usize> + use<> {
        let [stride, _] = frame.padded_blocks(component);
        let factors = &frame.components[component];
        let (across, down) = if self.alone {
            (1, 1)
        } else {
            (factors.horizontal, factors.vertical)
        };
        let (left, top) = (group % self.columns * across, group / self.columns * down);
        (top..top + down).flat_map(move |y| (left..left + across).map(move |x| y * stride + x))
    }
}
