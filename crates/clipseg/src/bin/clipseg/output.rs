//! Writing results without replacing the user's files.
//!
//! An existing file is replaced only if `--overwrite` was given, or if it is a picture that this program
//! wrote and that has not changed since. Each written picture contains a text chunk (`Software`, section
//! 11.3.3.2 of the PNG specification, third edition) with a checksum over the rest of the file. A
//! picture that was edited since has another checksum and is treated as the user's.

use clipseg::clip::ClipError;
use clipseg::data::files;
use image::{DynamicImage, ImageFormat};
use std::fmt::Display;
use std::fs::File;
use std::io::{Cursor, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// The longest file name, in bytes, that common file systems accept.
pub(crate) const LONGEST_FILE_NAME: usize = 255;

/// How a command writes its files.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Output {
    /// Replace existing files, including files of other programs.
    #[arg(long)]
    pub(crate) overwrite: bool,
}

impl Output {
    /// Checks that a file may be written. Called before the work for every file name known by then;
    /// writing checks again.
    pub(crate) fn check(self, path: &Path) -> Result<(), ClipError> {
        let refuse = |reason: &str| Err(ClipError::format(path, reason));
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(ClipError::io("access", path)(error)),
            Ok(there) if there.is_dir() => refuse("is a folder, expected a file name"),
            Ok(there) if !there.is_file() && !there.is_symlink() => {
                refuse("exists and is not a regular file, so it is not replaced")
            }
            Ok(_) if self.overwrite => Ok(()),
            Ok(there) if there.is_file() && is_ours(path)? => Ok(()),
            Ok(_) if path.extension().is_some_and(|name| name == "png") => refuse(
                "exists and was changed or written by another program; choose another name, or pass \
                 --overwrite to replace it",
            ),
            Ok(_) => refuse("exists; choose another name, or pass --overwrite to replace it"),
        }
    }

    /// As [`Self::check`], and checks that the file's folder exists and is writable.
    pub(crate) fn check_with_folder(self, path: &Path) -> Result<(), ClipError> {
        self.check(path)?;
        check_writable(folder_of(path))
    }

    /// Writes a picture as a PNG with this program's mark, atomically.
    pub(crate) fn png(self, path: &Path, picture: &DynamicImage) -> Result<(), ClipError> {
        let mut bytes = Cursor::new(Vec::new());
        picture
            .write_to(&mut bytes, ImageFormat::Png)
            .map_err(|error| ClipError::format(path, error))?;
        self.write(path, &signed(&bytes.into_inner()))
    }

    /// Writes a file atomically.
    pub(crate) fn write(self, path: &Path, bytes: &[u8]) -> Result<(), ClipError> {
        self.check(path)?;
        files::write(path, bytes).map_err(ClipError::io("write", path))
    }
}

/// Offset of the mark: behind the signature and the header chunk, which start every PNG file.
const OFFSET: usize = 8 + 25;
const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
const KEYWORD: &[u8] = b"tEXtSoftware\0clipseg, checksum of the rest ";

/// Adds the mark to a PNG file: a chunk with this program's name and the checksum of all other bytes.
fn signed(png: &[u8]) -> Vec<u8> {
    let (head, rest) = png.split_at(OFFSET.min(png.len()));
    [head, &chunk(checksum([head, rest])), rest].concat()
}

/// Whether a file is a picture of this program, unchanged since it was written.
fn is_ours(path: &Path) -> Result<bool, ClipError> {
    let Some((start, mut file)) = marked(path)? else {
        return Ok(false);
    };
    let (head, found) = start.split_at(OFFSET);
    let mut rest = Vec::new();
    file.read_to_end(&mut rest)
        .map_err(ClipError::io("read", path))?;
    Ok(found == chunk(checksum([head, &rest])))
}

/// Whether a file is a picture of this program, changed or not.
pub(crate) fn is_marked(path: &Path) -> bool {
    // Opening a named pipe would block.
    path.is_file() && marked(path).is_ok_and(|start| start.is_some())
}

/// The start of a file up to the end of the mark, and the file positioned behind it; `None` if there is
/// no mark. Reads no more than that, because a foreign file may be of any size.
fn marked(path: &Path) -> Result<Option<(Vec<u8>, File)>, ClipError> {
    let read = |error| ClipError::io("read", path)(error);
    let mut file = File::open(path).map_err(read)?;
    let length = OFFSET + chunk(0).len();
    let mut start = Vec::with_capacity(length);
    (&mut file)
        .take(length as u64)
        .read_to_end(&mut start)
        .map_err(read)?;
    let is_marked = start.len() == length
        && start.starts_with(SIGNATURE)
        && start[OFFSET + 4..].starts_with(KEYWORD);
    Ok(is_marked.then_some((start, file)))
}

/// The text chunk: length, type and text, and the CRC over type and text.
fn chunk(checksum_of_rest: u32) -> Vec<u8> {
    let named = [KEYWORD, format!("{checksum_of_rest:08x}").as_bytes()].concat();
    let length = (named.len() - 4) as u32;
    [
        &length.to_be_bytes(),
        named.as_slice(),
        &checksum([&named, &[]]).to_be_bytes(),
    ]
    .concat()
}

/// CRC-32 as defined for PNG (annex D of the specification), over concatenated parts.
pub(crate) fn checksum(parts: [&[u8]; 2]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let mut crc = byte as u32;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 1 == 1 {
                    (crc >> 1) ^ 0xedb8_8320
                } else {
                    crc >> 1
                };
                bit += 1;
            }
            table[byte] = crc;
            byte += 1;
        }
        table
    };
    let bytes = parts.into_iter().flatten();
    !bytes.fold(u32::MAX, |crc, &byte| {
        TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8)
    })
}

/// Prints a line of results. A closed pipe, as `head` leaves behind, does not stop the work.
pub(crate) fn print_line(line: &str) -> std::io::Result<()> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(std::io::Error::new(
            error.kind(),
            format!("cannot write to standard output: {error}"),
        )),
        Ok(()) => Ok(()),
    }
}

/// Prints a note to standard error. If that is closed, the note is dropped and the work continues.
pub(crate) fn tell(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "clipseg: {line}");
}

/// Checks before the work that a folder is writable.
pub(crate) fn check_writable(folder: &Path) -> Result<(), ClipError> {
    tempfile::tempfile_in(folder).map_err(ClipError::io("write into", folder))?;
    Ok(())
}

/// A canonical path, by which two names of one file compare equal, if the file's folder exists. A link as
/// the last component is not followed, because writing replaces the link itself.
pub(crate) fn place(path: &Path) -> Option<PathBuf> {
    Some(folder_of(path).canonicalize().ok()?.join(path.file_name()?))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};

    fn picture(shade: u8) -> DynamicImage {
        RgbImage::from_pixel(5, 4, Rgb([shade, 2, 3])).into()
    }

    const CAREFUL: Output = Output { overwrite: false };
    const ASKED: Output = Output { overwrite: true };

    #[test]
    fn the_checksum_has_the_published_check_values() {
        // The check value of CRC-32/ISO-HDLC in the catalogue of parametrised CRC algorithms.
        assert_eq!(checksum([b"1234", b"56789"]), 0xcbf4_3926);
        // The last chunk of every PNG file.
        assert_eq!(checksum([b"IEND", b""]), 0xae42_6082);
    }

    #[test]
    fn own_pictures_are_replaced_and_edited_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.png");
        CAREFUL.png(&path, &picture(1)).unwrap();
        CAREFUL.png(&path, &picture(9)).unwrap();
        // Any decoder reads it, and checks the checksum of the chunk.
        assert_eq!(
            image::open(&path).unwrap().into_rgb8(),
            picture(9).into_rgb8()
        );
        let ours = std::fs::read(&path).unwrap();
        for at in [8 + 4 + 3, 40, ours.len() / 2, ours.len() - 1] {
            let mut changed = ours.clone();
            changed[at] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            let error = CAREFUL.png(&path, &picture(5)).unwrap_err().to_string();
            assert!(
                error.contains("mask.png: exists and was changed") && error.contains("--overwrite")
            );
            assert_eq!(std::fs::read(&path).unwrap(), changed);
        }
        ASKED.png(&path, &picture(5)).unwrap();
        assert_eq!(
            image::open(&path).unwrap().into_rgb8(),
            picture(5).into_rgb8()
        );
    }

    #[test]
    fn other_files_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        picture(1).save(path("theirs.png")).unwrap();
        let signature = [SIGNATURE, &[0; 40]].concat();
        for (name, bytes) in [
            ("empty", &b""[..]),
            ("text", b"x"),
            ("cut", &signature[..20]),
        ] {
            std::fs::write(path(name), bytes).unwrap();
        }
        std::fs::write(path("header"), signature).unwrap();
        for name in ["theirs.png", "empty", "text", "cut", "header"] {
            let before = std::fs::read(path(name)).unwrap();
            assert!(CAREFUL.png(&path(name), &picture(5)).is_err(), "{name}");
            assert!(CAREFUL.write(&path(name), b"new").is_err(), "{name}");
            assert_eq!(std::fs::read(path(name)).unwrap(), before, "{name}");
            ASKED.write(&path(name), b"new").unwrap();
            assert_eq!(std::fs::read(path(name)).unwrap(), b"new");
        }
        let inside = path("folder/inside");
        std::fs::create_dir(path("folder")).unwrap();
        std::fs::write(&inside, "kept").unwrap();
        for output in [CAREFUL, ASKED] {
            let error = output.write(&path("folder"), b"new").unwrap_err();
            assert!(error.to_string().contains(": is a folder"), "{error}");
        }
        assert_eq!(std::fs::read(inside).unwrap(), b"kept");
    }

    #[cfg(unix)]
    #[test]
    fn links_and_sockets_are_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link, nowhere] = ["file.png", "link", "nowhere"].map(|n| folder.path().join(n));
        CAREFUL.png(&file, &picture(1)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        std::os::unix::fs::symlink("no/such/file", &nowhere).unwrap();
        for path in [&link, &nowhere] {
            assert!(CAREFUL.png(path, &picture(2)).is_err());
            assert!(path.is_symlink());
        }
        let socket = folder.path().join("socket");
        let _listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let error = ASKED.write(&socket, b"x").unwrap_err().to_string();
        assert!(error.contains("not a regular file"), "{error}");
    }
}
