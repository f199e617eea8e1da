//! Any bytes to the reader of phrases, in pieces of any length.
//!
//! It must not panic; accept exactly what a parser of the whole text accepts, with the same result;
//! place its errors within the text; and draw what it has read.

#![no_main]

use clipseg_data::{DataError, Phrase, read_phrases};
use libfuzzer_sys::fuzz_target;
use std::io::BufReader;
use std::path::Path;

fuzz_target!(|input: &[u8]| {
    let Some((&piece, json)) = input.split_first() else {
        return;
    };
    let name = Path::new("fuzz.json");
    let pieces = BufReader::with_capacity(1 + usize::from(piece), json);
    // A byte order mark is skipped, which a parser of JSON does not do.
    let unmarked = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    let whole: Result<Vec<Phrase>, _> = serde_json::from_slice(unmarked);
    match (read_phrases(pieces, name), whole) {
        (Ok(phrases), Ok(expected)) => {
            assert!(phrases == expected, "{phrases:?} is not {expected:?}");
            for phrase in &phrases {
                phrase.mask(64, 48);
                let instances: usize = phrase.polygons.by_instance().map(|i| i.len()).sum();
                assert_eq!(instances, phrase.polygons.iter().count());
            }
        }
        (Err(DataError::Json { offset, .. }), Err(_)) => assert!(offset <= json.len() as u64),
        (Err(error), Err(_)) => panic!("another kind of error: {error}"),
        (Ok(phrases), Err(error)) => panic!("{} phrases in spite of: {error}", phrases.len()),
        (Err(error), Ok(_)) => panic!("refused: {error}"),
    }
});
