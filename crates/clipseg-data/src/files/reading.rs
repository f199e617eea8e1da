//! Opening regular files, and text in UTF-8.

use std::fs::{File, FileType};
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

/// Opens a regular file for reading.
///
/// A named pipe is refused before it is opened, because opening it would wait for a writer. The pipes
/// that a shell hands over as `/dev/stdin` or `/dev/fd/…` have one and are accepted.
///
/// # Errors
///
/// If the path cannot be opened, or is a named pipe, a socket or a device; the message says which.
pub fn open(path: &Path) -> Result<File> {
    let handed_over = ["/dev/stdin", "/dev/fd", "/proc/self/fd"]
        .iter()
        .any(|place| path.starts_with(place));
    if !handed_over && let Some(kind) = kind_of(path) {
        let message = format!("it is {kind}, expected a file");
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    File::open(path)
}

/// Reads a regular file into memory.
///
/// # Errors
///
/// Those of [`open`], or if reading fails.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let mut file = open(path)?;
    let size = file.metadata().map_or(0, |data| data.len());
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(size).unwrap_or(0))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether a path leads to something other than a folder. [`open`] reports what is no regular file.
pub(crate) fn is_there(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|data| !data.is_dir())
}

/// What a path is if it is neither a regular file nor a folder, such as `a named pipe`; `None` also if
/// nothing can be found out. Symbolic links are followed.
pub(crate) fn kind_of(path: &Path) -> Option<&'static str> {
    let kind = std::fs::metadata(path).ok()?.file_type();
    (!kind.is_file() && !kind.is_dir()).then(|| special_kind(kind))
}

#[cfg(unix)]
fn special_kind(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(not(unix))]
fn special_kind(_: FileType) -> &'static str {
    "a device"
}

/// Decodes the content of a text file in UTF-8. A byte order mark at its beginning is skipped.
///
/// # Errors
///
/// [`InvalidData`](ErrorKind::InvalidData) for any other encoding. The message names UTF-16 and UTF-32,
/// and otherwise the first byte that is not UTF-8, counted from 0.
pub fn decode_text(mut bytes: Vec<u8>) -> Result<String> {
    let start = mark_length(&bytes)?;
    bytes.drain(..start);
    String::from_utf8(bytes).map_err(|error| {
        let offset = start + error.utf8_error().valid_up_to();
        Error::new(
            ErrorKind::InvalidData,
            format!("byte {offset} is not UTF-8, expected a text in UTF-8"),
        )
    })
}

/// Number of bytes at the beginning of a text that show its encoding.
pub(crate) const HEAD: usize = 4;

/// Length in bytes of the UTF-8 byte order mark at the beginning of a text, or 0.
///
/// # Errors
///
/// If the text is in UTF-16 or UTF-32. Without a mark they show by a zero among the first bytes: half of
/// an ASCII letter in UTF-16, three quarters of one in UTF-32. No text in UTF-8 contains a zero.
pub(crate) fn mark_length(text: &[u8]) -> Result<usize> {
    let encoding = match text {
        [0xef, 0xbb, 0xbf, ..] => return Ok(3),
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] | [0, 0, 0, _, ..] | [_, 0, 0, 0, ..] => {
            "UTF-32"
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => "UTF-16",
        _ => return Ok(0),
    };
    Err(Error::new(
        ErrorKind::InvalidData,
        format!("the text is in {encoding}, expected UTF-8"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_skipped_and_other_encodings_are_named() {
        let read = |bytes: &[u8]| decode_text(bytes.to_vec());
        assert_eq!(read(b"{}").unwrap(), "{}");
        assert_eq!(read(b"\xef\xbb\xbf{}").unwrap(), "{}");
        assert_eq!(read(b"").unwrap(), "");
        assert_eq!(read(b"x").unwrap(), "x");
        let wide = |encoding: &str, texts: &[&[u8]]| {
            for text in texts {
                let error = read(text).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidData);
                let expected = format!("the text is in {encoding}, expected UTF-8");
                assert_eq!(error.to_string(), expected, "{text:?}");
            }
        };
        wide(
            "UTF-16",
            &[b"\xff\xfe{\0}\0", b"\xfe\xff\0{\0}", b"{\0}\0", b"\0{\0}"],
        );
        wide(
            "UTF-32",
            &[
                b"\xff\xfe\0\0{\0\0\0",
                b"\0\0\xfe\xff\0\0\0{",
                b"{\0\0\0}\0\0\0",
                b"\0\0\0{\0\0\0}",
            ],
        );
        let message = read(b"{\"a\xe9\": 1}").unwrap_err().to_string();
        assert_eq!(message, "byte 3 is not UTF-8, expected a text in UTF-8");
        let message = read(b"\xef\xbb\xbf\xe9").unwrap_err().to_string();
        assert!(message.starts_with("byte 3 is not UTF-8"), "{message}");
    }

    #[cfg(unix)]
    #[test]
    fn pipes_sockets_and_devices_are_reported_without_blocking() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let made = std::process::Command::new("mkfifo")
            .arg(at("pipe"))
            .status();
        assert!(made.unwrap().success());
        std::os::unix::fs::symlink(at("pipe"), at("link")).unwrap();
        let _listening = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (path, kind) in [
            (at("pipe"), "a named pipe"),
            (at("link"), "a named pipe"),
            (at("socket"), "a socket"),
            ("/dev/null".into(), "a device"),
        ] {
            assert_eq!(kind_of(&path), Some(kind));
            let message = read(&path).unwrap_err().to_string();
            assert_eq!(message, format!("it is {kind}, expected a file"));
        }
        std::fs::write(at("file"), "content").unwrap();
        assert_eq!(read(&at("file")).unwrap(), b"content");
        assert_eq!(kind_of(&at("file")), None);
        assert_eq!(kind_of(folder.path()), None);
        let missing = read(&at("missing")).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }
}
