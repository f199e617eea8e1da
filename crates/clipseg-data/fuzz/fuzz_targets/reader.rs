//! Fuzzes the reader of phrases with random bytes in pieces of random length.
//!
//! The reader must not panic, must accept exactly the texts that a JSON parser accepts, with the same
//! result, and must report errors at positions within the text. The phrases that were read are drawn.

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
    // The reader skips a byte order mark; a JSON parser does not.
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
