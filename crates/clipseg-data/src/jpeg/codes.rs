//! The entropy-coded data of one scan (F.2, G.2).

use super::bits::{Bits, Stop, Table};
use super::blocks::{self, Band};
use super::fault::{Fault, FaultKind};
use super::header::{BLOCK, END_OF_IMAGE, Frame, Scan, ScanComponent, next_marker};

/// The coefficients of a component.
#[derive(Default)]
pub(super) struct Plane {
    pub(super) blocks: Vec<[i16; BLOCK]>,
    pub(super) quantization: Option<[u16; BLOCK]>,
}

/// Huffman tables: four for the first coefficient (DC) of blocks, four for the others (AC).
pub(super) type Tables = [[Option<Table>; 4]; 2];

/// Reader of the entropy-coded data of one scan.
pub(super) struct Coder<'a> {
    pub(super) bits: Bits<'a>,
    pub(super) bytes: &'a [u8],
    /// Position of the scan header in the file.
    pub(super) offset: usize,
    /// Number of the scan in the file, from 1.
    pub(super) number: usize,
    pub(super) restart_interval: usize,
}

impl Coder<'_> {
    fn table<'t>(&self, tables: &'t [Option<Table>; 4], number: usize) -> Result<&'t Table, Fault> {
        tables[number].as_ref().ok_or_else(|| {
            let message = format!("Huffman table {number} is missing");
            Fault::new(FaultKind::Damaged, self.offset, message)
        })
    }

    /// Continues at the next restart marker if one is due. Returns whether it was.
    fn restarts(&mut self, done: usize, all: usize) -> Result<bool, Fault> {
        if done == 0 || self.restart_interval == 0 || !done.is_multiple_of(self.restart_interval) {
            return Ok(false);
        }
        if self.bits.restart() {
            return Ok(true);
        }
        Err(self.fault(Stop::Ended, done, all))
    }

    /// Converts a failure to read bits.
    fn fault(&self, stop: Stop, done: usize, all: usize) -> Fault {
        let at = self.bits.at();
        let (done, number) = (done.min(all), self.number);
        let there = format!("{done} of {all} groups of blocks of scan {number} were read");
        match (stop, next_marker(self.bytes, at)) {
            (Stop::Ended, None | Some((END_OF_IMAGE, _))) => {
                Fault::new(FaultKind::CutOff, at, there)
            }
            (Stop::Ended, Some(_)) => {
                let message = format!("the data of the scan ends too early: {there}");
                Fault::new(FaultKind::Damaged, at, message)
            }
            (Stop::NoCode, _) => {
                let message = format!("invalid Huffman code: {there}");
                Fault::new(FaultKind::Damaged, at, message)
            }
        }
    }

    pub(super) fn sequential(
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

    pub(super) fn progressive(
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

/// The order of the blocks in a scan (A.2).
struct Layout {
    /// Number of groups of blocks, horizontally and vertically.
    columns: usize,
    rows: usize,
    /// Whether the scan has a single component, which is then coded block by block.
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

    /// Indices of the blocks of a component in a group, counted row by row.
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
