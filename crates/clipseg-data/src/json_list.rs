//! A long JSON list, cut into its elements while it is read, and parsed by all cores.
//!
//! `refer_train.json` is 344 MB, most of it digits. Its text and its records together would take
//! half as much again, and a parser that reads byte by byte keeps one core busy. So the text comes
//! in pieces; finding where an element ends is quick and done by one core, while the others parse
//! the elements of the piece before.

use crate::error::{DataError, Result};
use crate::files::{self, HEAD, mark_length};
use rayon::prelude::*;
use serde::de::DeserializeOwned;
use std::io::{BufRead, BufReader, ErrorKind};
use std::ops::Range;
use std::path::Path;

#[cfg(test)]
mod tests;

/// Bytes of a file that are read at once: enough elements to keep several cores busy.
const PIECE: usize = 4 << 20;
/// Longest element in bytes. Without a bound, a quotation mark that is never closed would have the
/// whole file in memory.
const LONGEST: usize = 64 << 20;

/// Reads a file that is one list.
pub(crate) fn read_list_file<T: DeserializeOwned + Send>(path: &Path) -> Result<Vec<T>> {
    let file = files::open(path).map_err(DataError::io("read", path))?;
    read_list(BufReader::with_capacity(PIECE, file), path)
}

/// Reads one list; `name` is for messages.
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

/// Elements that lie in one piece of text.
struct Elements {
    text: Vec<u8>,
    spans: Vec<Range<usize>>,
    /// Of the text in the file.
    offset: u64,
    /// Of the first element in the list.
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
                // A word or number that ends too early, as `n` in `[n, 1]`, is wrong at the byte behind.
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
            // Which of several errors comes out depends on the threads, so the first is looked for.
            .map_err(|error| {
                let mut in_order = self.spans.iter().enumerate();
                in_order
                    .find_map(|element| parse(element).err())
                    .unwrap_or(error)
            })
    }
}

/// Reads a JSON file of any shape at once. A byte order mark at its beginning is skipped.
///
/// # Errors
///
/// If the file cannot be read, is UTF-16 or UTF-32, or is no JSON or of another shape; the message names
/// the file, the byte and the field.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = files::read(path).map_err(DataError::io("read", path))?;
    let start = mark_of(&bytes, path)?;
    let text = &bytes[start..];
    serde_json::from_slice(text).map_err(|error| explain::<T>(text, start as u64, "", &error, path))
}

/// Length of the byte order mark at the beginning of a text; `name` is for messages.
fn mark_of(text: &[u8], name: &Path) -> Result<usize> {
    mark_length(text).map_err(|error| DataError::Json {
        path: name.to_owned(),
        offset: 0,
        field: String::new(),
        message: error.to_string(),
    })
}

/// Says where in a file and in which field a text went wrong; `offset` and `prefix` are the text's own.
fn explain<T: DeserializeOwned>(
    text: &[u8],
    offset: u64,
    prefix: &str,
    error: &serde_json::Error,
    name: &Path,
) -> DataError {
    // Following the fields costs time, so it is done only where there is something to report.
    let json = &mut serde_json::Deserializer::from_slice(text);
    let field = serde_path_to_error::deserialize::<_, T>(json)
        .err()
        .map(|error| error.path().to_string())
        // A field that was not read far enough to have a name is `?`.
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
    // A line and a column of a part of the file are of no use to who has the file.
    let place = format!(" at line {line} column {column}");
    DataError::Json {
        path: name.to_owned(),
        offset: offset + within as u64,
        field: format!("{prefix}{dot}{field}"),
        message: message.strip_suffix(&place).unwrap_or(&message).to_owned(),
    }
}

/// Where in the list the cutter is when it is not in an element.
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

/// An element whose end is looked for.
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

    /// How many of the next bytes belong to it, if its end is among them.
    ///
    /// Only the nesting is followed. What is wrong otherwise is found by the parser.
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
    /// What was read and not yet given away, which begins at `offset` in the file.
    text: Vec<u8>,
    offset: u64,
    /// What of the text has been looked at.
    position: usize,
    place: Place,
    /// An element that has begun, and where.
    open: Option<(usize, Element)>,
    elements: usize,
    /// Whether the encoding is known.
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

    /// The next elements; `None` after the last.
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
                // White space, which is of no use to anybody.
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
                // The elements before come first, and perhaps one of them is wrong.
                _ if !spans.is_empty() => return Ok(spans),
                _ => return Err(self.fail(self.expected())),
            }
            self.position += 1;
        }
        if end_of_file {
            if let Some((start, _)) = self.open.take() {
                // The parser says what it lacks.
                self.place = Place::AfterElement;
                spans.push(start..self.text.len());
            } else if spans.is_empty() && !matches!(self.place, Place::AfterList) {
                let expected = self.expected();
                return Err(self.fail(format!("{expected}, found the end of the file")));
            }
        }
        Ok(spans)
    }

    /// Gives the elements away, with their text, and keeps what comes after them.
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
