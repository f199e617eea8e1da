//! Reading a long JSON list in pieces and parsing its elements in parallel.
//!
//! `refer_train.json` is 344 MB, most of it digits. Holding the entire text besides the records would need
//! half as much memory again, and a streaming parser uses one core only. So the text is read in pieces:
//! one core finds the ends of the elements, which is fast, while the others parse the elements of the
//! previous piece.

use crate::error::{DataError, Result};
use crate::files::{self, HEAD, mark_length};
use rayon::prelude::*;
use serde::de::DeserializeOwned;
use std::io::{BufRead, BufReader, ErrorKind};
use std::ops::Range;
use std::path::Path;

#[cfg(test)]
mod tests;

/// Size of a piece in bytes: enough elements to keep several cores busy.
const PIECE: usize = 4 << 20;
/// Maximum size of an element in bytes. Without it, a missing quotation mark would load the entire file
/// into memory.
const LONGEST: usize = 64 << 20;

/// Reads a file that contains one JSON list.
pub(crate) fn read_list_file<T: DeserializeOwned + Send>(path: &Path) -> Result<Vec<T>> {
    let file = files::open(path).map_err(DataError::io("read", path))?;
    read_list(BufReader::with_capacity(PIECE, file), path)
}

/// Reads one JSON list; `name` is used in messages.
pub(crate) fn read_list<T: DeserializeOwned + Send>(
    reader: impl BufRead + Send,
    name: &Path,
) -> Result<Vec<T>> {
    let mut cutter = Cutter::new(reader, name);
    let mut all = Vec::new();
    let mut piece = cutter.next()?;
    while let Some(elements) = piece {
        let (parsed, next) = rayon::join(|| elements.parse::<T>(name), || cutter.next());
        all.append(&mut parsed?);
        piece = next?;
    }
    all.shrink_to_fit();
    Ok(all)
}

/// The elements of one piece of text.
struct Elements {
    text: Vec<u8>,
    spans: Vec<Range<usize>>,
    /// Position of the text in the file, in bytes.
    offset: u64,
    /// Index of the first element in the list.
    index: usize,
}

impl Elements {
    fn parse<T: DeserializeOwned + Send>(&self, name: &Path) -> Result<Vec<T>> {
        let parse = |(nth, span): (usize, &Range<usize>)| {
            serde_json::from_slice::<T>(&self.text[span.clone()]).map_err(|error| {
                let offset = self.offset + span.start as u64;
                let prefix = format!("[{}]", self.index + nth);
                let mut fault =
                    explain::<T>(&self.text[span.clone()], offset, &prefix, &error, name);
                // The fault of a truncated word or number, such as `n` in `[n, 1]`, is at the next byte.
                let word = !matches!(self.text.get(span.start), Some(b'{' | b'[' | b'"'));
                if error.is_eof()
                    && word
                    && let DataError::Json { offset, .. } = &mut fault
                {
                    *offset = self.offset + span.end as u64;
                }
                fault
            })
        };
        self.spans
            .par_iter()
            .enumerate()
            .map(parse)
            .collect::<Result<Vec<T>>>()
            // With several errors, the one returned depends on the threads, so the first is searched for.
            .map_err(|error| {
                let mut in_order = self.spans.iter().enumerate();
                in_order
                    .find_map(|element| parse(element).err())
                    .unwrap_or(error)
            })
    }
}

/// Reads a JSON file of any structure. A byte order mark at its beginning is skipped.
///
/// # Errors
///
/// If the file cannot be read, is in UTF-16 or UTF-32, is not valid JSON, or has another structure than
/// `T`. The message names the file, the byte and the field.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = files::read(path).map_err(DataError::io("read", path))?;
    let start = mark_of(&bytes, path)?;
    let text = &bytes[start..];
    serde_json::from_slice(text).map_err(|error| explain::<T>(text, start as u64, "", &error, path))
}

/// Length of the byte order mark at the beginning of a text; `name` is used in messages.
fn mark_of(text: &[u8], name: &Path) -> Result<usize> {
    mark_length(text).map_err(|error| DataError::Json {
        path: name.to_owned(),
        offset: 0,
        field: String::new(),
        message: error.to_string(),
    })
}

/// Builds the error for a text that could not be parsed. `offset` is the position of the text in the file,
/// `prefix` the field that it belongs to.
fn explain<T: DeserializeOwned>(
    text: &[u8],
    offset: u64,
    prefix: &str,
    error: &serde_json::Error,
    name: &Path,
) -> DataError {
    // Tracking the field costs time, so the text is parsed again only after an error.
    let json = &mut serde_json::Deserializer::from_slice(text);
    let field = serde_path_to_error::deserialize::<_, T>(json)
        .err()
        .map(|error| error.path().to_string())
        // `?` is a field whose name was not read.
        .map(|field| field.trim_end_matches(['?', '.']).to_owned())
        .unwrap_or_default();
    let dot = if prefix.is_empty() || field.is_empty() || field.starts_with('[') {
        ""
    } else {
        "."
    };
    let (line, column) = (error.line(), error.column());
    let before: usize = text
        .split_inclusive(|&byte| byte == b'\n')
        .take(line.saturating_sub(1))
        .map(<[u8]>::len)
        .sum();
    let within = (before + column).saturating_sub(1).min(text.len());
    let message = error.to_string();
    // The line and column refer to a part of the file, so they would mislead.
    let place = format!(" at line {line} column {column}");
    DataError::Json {
        path: name.to_owned(),
        offset: offset + within as u64,
        field: format!("{prefix}{dot}{field}"),
        message: message.strip_suffix(&place).unwrap_or(&message).to_owned(),
    }
}

/// Position in the list between two elements.
#[derive(Clone, Copy)]
enum Place {
    BeforeList,
    /// After `[`.
    First,
    /// After `,`.
    Next,
    AfterElement,
    AfterList,
}

/// The state of the search for the end of an element.
#[derive(Default)]
struct Element {
    scalar: bool,
    depth: usize,
    in_text: bool,
    escaped: bool,
}

impl Element {
    fn new(first: u8) -> Self {
        Self {
            scalar: !matches!(first, b'{' | b'[' | b'"'),
            ..Self::default()
        }
    }

    /// Number of the next bytes that belong to the element, if its end is among them.
    ///
    /// Only the nesting is tracked. Other errors are found by the parser.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.scalar {
            return bytes
                .iter()
                .position(|byte| matches!(byte, b',' | b']' | b' ' | b'\t' | b'\r' | b'\n'));
        }
        for (at, byte) in bytes.iter().enumerate() {
            if self.in_text {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => {
                        self.in_text = false;
                        if self.depth == 0 {
                            return Some(at + 1);
                        }
                    }
                    _ => {}
                }
            } else {
                match byte {
                    b'"' => self.in_text = true,
                    b'[' | b'{' => self.depth += 1,
                    b']' | b'}' => {
                        self.depth -= 1;
                        if self.depth == 0 {
                            return Some(at + 1);
                        }
                    }
                    _ => {}
                }
            }
        }
        None
    }
}

struct Cutter<'a, R> {
    reader: R,
    name: &'a Path,
    /// Text that was read but not returned yet. It begins at `offset` in the file.
    text: Vec<u8>,
    offset: u64,
    /// Number of bytes of the text that have been scanned.
    position: usize,
    place: Place,
    /// An element whose end is not found yet, and its start.
    open: Option<(usize, Element)>,
    elements: usize,
    /// Whether the byte order mark has been checked.
    begun: bool,
}

impl<'a, R: BufRead> Cutter<'a, R> {
    fn new(reader: R, name: &'a Path) -> Self {
        Self {
            reader,
            name,
            text: Vec::new(),
            offset: 0,
            position: 0,
            place: Place::BeforeList,
            open: None,
            elements: 0,
            begun: false,
        }
    }

    /// Returns the next elements; `None` after the last.
    fn next(&mut self) -> Result<Option<Elements>> {
        if !self.begun {
            self.begun = true;
            while self.text.len() < HEAD && self.read()? > 0 {}
            self.position = mark_of(&self.text, self.name)?;
        }
        loop {
            let read = self.read()?;
            let spans = self.cut(read == 0)?;
            if !spans.is_empty() {
                return Ok(Some(self.give(spans)));
            }
            if read == 0 {
                return Ok(None);
            }
            if self.open.is_none() {
                // Only white space is left, which is not kept.
                self.give(spans);
            }
            if self.text.len() > LONGEST {
                return Err(self.fail(format!("an element is longer than {LONGEST} bytes")));
            }
        }
    }

    fn read(&mut self) -> Result<usize> {
        loop {
            match self.reader.fill_buf() {
                Ok(bytes) => {
                    let read = bytes.len();
                    self.text.extend_from_slice(bytes);
                    self.reader.consume(read);
                    return Ok(read);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(DataError::io("read", self.name)(error)),
            }
        }
    }

    fn cut(&mut self, end_of_file: bool) -> Result<Vec<Range<usize>>> {
        let mut spans = Vec::new();
        while let Some(&byte) = self.text.get(self.position) {
            if let Some((start, mut element)) = self.open.take() {
                match element.end(&self.text[self.position..]) {
                    Some(length) => {
                        self.position += length;
                        self.place = Place::AfterElement;
                        spans.push(start..self.position);
                    }
                    None => {
                        self.position = self.text.len();
                        self.open = Some((start, element));
                    }
                }
                continue;
            }
            match (self.place, byte) {
                (_, b' ' | b'\t' | b'\r' | b'\n') => {}
                (Place::BeforeList, b'[') => self.place = Place::First,
                (Place::First | Place::AfterElement, b']') => self.place = Place::AfterList,
                (Place::AfterElement, b',') => self.place = Place::Next,
                (Place::First | Place::Next, byte) if !matches!(byte, b',' | b']') => {
                    self.open = Some((self.position, Element::new(byte)));
                    continue;
                }
                // The previous elements are parsed first, because their errors precede this one.
                _ if !spans.is_empty() => return Ok(spans),
                _ => return Err(self.fail(self.expected())),
            }
            self.position += 1;
        }
        if end_of_file {
            if let Some((start, _)) = self.open.take() {
                // The parser reports what is missing.
                self.place = Place::AfterElement;
                spans.push(start..self.text.len());
            } else if spans.is_empty() && !matches!(self.place, Place::AfterList) {
                let expected = self.expected();
                return Err(self.fail(format!("{expected}, found the end of the file")));
            }
        }
        Ok(spans)
    }

    /// Returns the elements with their text, and keeps the text after them.
    fn give(&mut self, spans: Vec<Range<usize>>) -> Elements {
        let end = spans.last().map_or(self.position, |last| last.end);
        let rest = self.text.split_off(end);
        let text = std::mem::replace(&mut self.text, rest);
        let elements = Elements {
            text,
            offset: self.offset,
            index: self.elements,
            spans,
        };
        self.offset += end as u64;
        self.position -= end;
        if let Some((start, _)) = &mut self.open {
            *start -= end;
        }
        self.elements += elements.spans.len();
        elements
    }

    fn expected(&self) -> String {
        match self.place {
            Place::BeforeList => "expected a list, which begins with `[`",
            Place::First => "expected a value or `]`",
            Place::Next => "expected a value",
            Place::AfterElement => "expected `,` or `]`",
            Place::AfterList => "expected nothing after the list",
        }
        .into()
    }

    fn fail(&self, message: String) -> DataError {
        DataError::Json {
            path: self.name.to_owned(),
            offset: self.offset + self.position as u64,
            field: match self.place {
                Place::BeforeList | Place::AfterList => String::new(),
                Place::First | Place::Next => format!("[{}]", self.elements),
                Place::AfterElement => format!("[{}]", self.elements.saturating_sub(1)),
            },
            message,
        }
    }
}
