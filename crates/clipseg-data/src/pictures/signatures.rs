//! Recognizing files that are not supported pictures, for error messages.

/// The first bytes of kinds of files, and the names of the kinds.
const BEGINNINGS: &[(&[u8], &str)] = &[
    (b"GIF8", "a GIF picture"),
    (b"II*\0", "a TIFF picture or a camera's raw file"),
    (b"MM\0*", "a TIFF picture or a camera's raw file"),
    (b"II+\0", "a TIFF picture"),
    (b"MM\0+", "a TIFF picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (
        b"\xff\xd8",
        "the beginning of a JPEG picture and nothing more",
    ),
    (b"8BPS", "a Photoshop picture"),
    (b"\0\0\x01\0", "a Windows icon"),
    (b"qoif", "a QOI picture"),
    (b"v/1\x01", "an OpenEXR picture"),
    (b"#?RADIANCE", "a Radiance picture"),
    (b"DDS ", "a DDS picture"),
    (b"farbfeld", "a Farbfeld picture"),
    (b"FUJIFILMCCD-RAW", "a camera's raw file"),
    (
        b"\x89PN",
        "a PNG picture that was damaged or cut off at its beginning",
    ),
    (b"%PDF", "a PDF document"),
    (b"\x1aE\xdf\xa3", "a video (Matroska or WebM)"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (
        b"version https://git-lfs.github.com/",
        "a Git LFS pointer, whose picture `git lfs pull` gets",
    ),
    (
        b"/annex/objects/",
        "a git-annex pointer, whose picture `git annex get` gets",
    ),
];

/// Names the kind of a file with its article, such as `a HEIC picture`.
pub(super) fn describe(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(1_024)];
    if bytes.is_empty() {
        return "an empty file".to_owned();
    }
    let known = BEGINNINGS
        .iter()
        .find(|(beginning, _)| start.starts_with(beginning))
        .map(|&(_, name)| name)
        .or_else(|| of_container(start))
        .or_else(|| of_portable_map(start))
        .or_else(|| of_text(start));
    if let Some(name) = known {
        return name.to_owned();
    }
    if bytes.iter().all(|&byte| byte == 0) {
        return "a file of zeros only".to_owned();
    }
    let first: Vec<String> = start
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("of an unknown format that begins with {}", first.join(" "))
}

/// Containers whose kind is given later in the file: ISO base media files (ISO/IEC 14496-12) and RIFF.
fn of_container(start: &[u8]) -> Option<&'static str> {
    if start.starts_with(b"RIFF") {
        return Some(match start.get(8..12) {
            Some(b"AVI ") => "a video (AVI)",
            Some(b"WAVE") => "a sound (WAV)",
            _ => "a RIFF file",
        });
    }
    if start.get(4..8) != Some(b"ftyp") {
        return None;
    }
    // The major brand, a version, and compatible brands up to the end of the box.
    let length = start.first_chunk().copied().map_or(0, u32::from_be_bytes) as usize;
    let brands = start.get(8..start.len().min(length.max(12)))?;
    let has = |names: &[&[u8; 4]]| {
        brands
            .chunks(4)
            .any(|brand| names.iter().any(|name| *name == brand))
    };
    Some(if has(&[b"avif", b"avis"]) {
        "an AVIF picture"
    } else if has(&[
        b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1",
    ]) {
        "a HEIC picture"
    } else if has(&[b"crx "]) {
        "a camera's raw file"
    } else {
        "a video (MP4 or QuickTime)"
    })
}

/// Netpbm formats: `P1` to `P7` followed by white space.
fn of_portable_map(start: &[u8]) -> Option<&'static str> {
    match start {
        [b'P', b'1'..=b'7', b' ' | b'\t' | b'\r' | b'\n', ..] => Some("a Netpbm picture"),
        _ => None,
    }
}

fn of_text(start: &[u8]) -> Option<&'static str> {
    // The last character may be incomplete.
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let strange = |letter: char| letter.is_control() && !letter.is_whitespace();
    if text.contains(strange) {
        return None;
    }
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let small = text.to_ascii_lowercase();
    Some(if small.starts_with('<') && small.contains("<svg") {
        "an SVG drawing"
    } else if [
        "<!doctype html",
        "<html",
        "<head",
        "<body",
        "<title",
        "<script",
    ]
    .iter()
    .any(|tag| small.starts_with(tag))
        || small.starts_with('<') && (small.contains("<html") || small.contains("<!doctype html"))
    {
        "a web page (HTML)"
    } else if small.starts_with("<?xml") {
        "an XML file"
    } else if small.starts_with(['{', '[']) {
        "a JSON file"
    } else if small.is_empty() {
        "a text file of white space only"
    } else {
        "a text file"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_files_are_recognized() {
        for (bytes, expected) in [
            (&b""[..], "an empty file"),
            (b"GIF89a\x01\0\x01\0", "a GIF picture"),
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture"),
            (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "a HEIC picture"),
            (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "an AVIF picture"),
            (
                b"\0\0\0\x14ftypqt  \0\0\0\0qt  \0\0\0\x08wideavif",
                "a video (MP4 or QuickTime)",
            ),
            (
                b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom",
                "a camera's raw file",
            ),
            (b"MM\0*\0\0\0\x08", "a TIFF picture or a camera's raw file"),
            (
                b"<!DOCTYPE html><title>Sign in</title>",
                "a web page (HTML)",
            ),
            (b"\xef\xbb\xbf\n  <HTML lang=en>", "a web page (HTML)"),
            (b"<!-- saved --><html>", "a web page (HTML)"),
            (
                b"<?xml version=\"1.0\"?><html xmlns=\"x\">",
                "a web page (HTML)",
            ),
            (
                b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code>",
                "an XML file",
            ),
            (
                b"<?xml version=\"1.0\"?>\n<svg width=\"1\"/>",
                "an SVG drawing",
            ),
            (b"{\"error\": \"not found\"}", "a JSON file"),
            (b"P6\n3 2\n255\n", "a Netpbm picture"),
            (b"Phone numbers", "a text file"),
            ("Gr\u{fc}\u{df}e".as_bytes(), "a text file"),
            (b"RIFF\0\0\0\0AVI LIST", "a video (AVI)"),
            (b"\0\0\0\0\0\0\0\0\0", "a file of zeros only"),
            (
                b"\x01\x02\xfe",
                "of an unknown format that begins with 01 02 fe",
            ),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:00",
                "a Git LFS pointer, whose picture `git lfs pull` gets",
            ),
            (
                b"\x89PN",
                "a PNG picture that was damaged or cut off at its beginning",
            ),
            (
                b"\xff\xd8",
                "the beginning of a JPEG picture and nothing more",
            ),
        ] {
            assert_eq!(describe(bytes), expected, "{}", bytes.escape_ascii());
        }
        // A character of two bytes crosses the end of the inspected part.
        let long = format!("{}\u{e9}", "a".repeat(1_023));
        assert_eq!(describe(long.as_bytes()), "a text file");
    }
}
