//! Lists read in pieces, valid and damaged.

use super::*;
use crate::records::Phrase;
use proptest::prelude::*;
use serde_json::Value;

fn read<T: DeserializeOwned + Send>(json: &str, piece: usize) -> Result<Vec<T>> {
    let reader = BufReader::with_capacity(piece, json.as_bytes());
    read_list(reader, Path::new("list.json"))
}

/// The message, which must not depend on the division into pieces.
fn message(json: &str) -> String {
    let messages = [1, 2, 3, 7, json.len().max(1), 1 << 16].map(|piece| {
        read::<Phrase>(json, piece)
            .expect_err("the text is damaged")
            .to_string()
    });
    assert!(
        messages.iter().all(|message| *message == messages[0]),
        "{messages:?}"
    );
    messages[0].clone()
}

#[test]
fn errors_name_the_byte_and_the_field() {
    let good = r#"{"task_id":"1__2","image_id":1,"phrase":"a cat"}"#;
    for (json, expected) in [
        (
            "",
            "byte 0: expected a list, which begins with `[`, found the end of the file",
        ),
        ("  {}", "byte 2: expected a list, which begins with `[`"),
        (
            "[",
            "byte 1, field `[0]`: expected a value or `]`, found the end of the file",
        ),
        ("[,", "byte 1, field `[0]`: expected a value or `]`"),
        ("[]\n]", "byte 3: expected nothing after the list"),
        ("[{}]", "byte 2, field `[0]`: missing field `task_id`"),
        (
            "[7]",
            "byte 1, field `[0]`: invalid type: integer `7`, expected struct Phrase",
        ),
        (
            r#"[{"task_id":7}]"#,
            "byte 12, field `[0].task_id`: invalid type: integer `7`, expected a string",
        ),
        (
            r#"[{"Polygons":[[[[1,2],[3,"x"]]]]}]"#,
            "byte 27, field `[0].Polygons[0][0][1][1]`: invalid type: string \"x\", expected f64",
        ),
        (
            r#"[{"Polygons":[[7]]}]"#,
            "byte 15, field `[0].Polygons[0][0]`: invalid type: integer `7`, expected a polygon, \
             which is a list of [x, y]",
        ),
        (
            "[{\n\n \"image_id\": -1}]",
            "byte 18, field `[0].image_id`: invalid value: integer `-1`, expected u64",
        ),
        (
            "[{\"task_id\": NaN}]",
            "byte 13, field `[0].task_id`: expected value",
        ),
    ] {
        assert_eq!(message(json), format!("list.json: {expected}"));
    }
    for (json, expected) in [
        (
            format!("[{good}"),
            "byte 49, field `[0]`: expected `,` or `]`, found the end of the file",
        ),
        (
            format!("[{good} {good}]"),
            "byte 50, field `[0]`: expected `,` or `]`",
        ),
        (
            format!("[{good},]"),
            "byte 50, field `[1]`: expected a value",
        ),
        (
            format!("[{good},{good}}}]"),
            "byte 98, field `[1]`: expected `,` or `]`",
        ),
        (
            format!("[{good}, {}", &good[..30]),
            "byte 80, field `[1]`: EOF while parsing an object",
        ),
        (
            format!("[{good}, {}", &good[..5]),
            "byte 55, field `[1]`: EOF while parsing a string",
        ),
    ] {
        assert_eq!(message(&json), format!("list.json: {expected}"));
    }
}

#[test]
fn a_byte_order_mark_is_skipped_and_other_encodings_are_named() {
    let marked = "\u{feff} [1, 22]";
    for piece in [1, 2, 3, 4, 5, 100] {
        assert_eq!(read::<u8>(marked, piece).unwrap(), [1, 22]);
    }
    assert_eq!(read::<u8>("\u{feff}[]", 1).unwrap(), <[u8; 0]>::default());
    let wrong = message("\u{feff}[{}]");
    assert_eq!(
        wrong,
        "list.json: byte 5, field `[0]`: missing field `task_id`"
    );
    assert!(message("\u{feff}").starts_with("list.json: byte 3: expected a list"));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("numbers.json");
    let write = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let [all, list] = [read_json::<Vec<u8>>(&path), read_list_file::<u8>(&path)];
        let [all, list] = [all, list].map(|read| read.map_err(|error| error.to_string()));
        (all, list)
    };
    let (all, list) = write(marked.as_bytes());
    assert_eq!((all, list), (Ok(vec![1, 22]), Ok(vec![1, 22])));
    let (all, _) = write("\u{feff}[1, x]".as_bytes());
    assert!(
        all.unwrap_err()
            .ends_with("byte 7, field `[1]`: expected value")
    );
    let little: Vec<u8> = "[1, 2]".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = "[1, 2]".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let wide = |bytes: fn(u32) -> [u8; 4]| -> Vec<u8> {
        "[1, 2]"
            .chars()
            .flat_map(|letter| bytes(letter as u32))
            .collect()
    };
    let (wide_little, wide_big) = (wide(u32::to_le_bytes), wide(u32::to_be_bytes));
    for (bytes, encoding) in [
        ([&[0xff, 0xfe], &little[..]].concat(), "UTF-16"),
        ([&[0xfe, 0xff], &big[..]].concat(), "UTF-16"),
        (little, "UTF-16"),
        (big, "UTF-16"),
        ([&[0xff, 0xfe, 0, 0], &wide_little[..]].concat(), "UTF-32"),
        ([&[0, 0, 0xfe, 0xff], &wide_big[..]].concat(), "UTF-32"),
        (wide_little, "UTF-32"),
        (wide_big, "UTF-32"),
    ] {
        let (all, list) = write(&bytes);
        let expected = format!("numbers.json: byte 0: the text is in {encoding}, expected UTF-8");
        assert!(all.unwrap_err().ends_with(&expected), "{bytes:?}");
        assert!(list.unwrap_err().ends_with(&expected), "{bytes:?}");
    }
}

#[test]
fn the_first_of_several_errors_is_reported() {
    let elements: Vec<String> = (0..5_000)
        .map(|number| {
            let id = if number % 1_000 == 700 { "x" } else { "1" };
            format!(r#"{{"task_id":"{number}","image_id":{id},"phrase":""}}"#)
        })
        .collect();
    let json = format!("[{}]", elements.join(","));
    for piece in [100, 10_000, 1_000_000] {
        let message = read::<Phrase>(&json, piece).unwrap_err().to_string();
        assert!(message.contains("field `[700].image_id`"), "{message}");
    }
}

#[test]
fn an_element_without_end_is_not_read_to_its_end() {
    struct Endless(u64);
    impl std::io::Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            buffer.fill(b' ');
            if self.0 == 0 {
                buffer[..2].copy_from_slice(b"[\"");
            }
            self.0 += buffer.len() as u64;
            assert!(self.0 < 4 * LONGEST as u64, "it goes on reading");
            Ok(buffer.len())
        }
    }
    let reader = BufReader::with_capacity(1 << 20, Endless(0));
    let error = read_list::<Value>(reader, Path::new("list.json")).unwrap_err();
    let message = error.to_string();
    assert!(
        message.ends_with("field `[0]`: an element is longer than 67108864 bytes"),
        "{message}"
    );
}

#[test]
fn a_gap_may_be_longer_than_an_element() {
    let json = format!("[1,{}2]", " ".repeat(LONGEST + 10));
    let numbers: Vec<u8> = read(&json, 1 << 20).unwrap();
    assert_eq!(numbers, [1, 2]);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let message = read_list_file::<Value>(Path::new("no/such/list.json"))
        .unwrap_err()
        .to_string();
    assert!(
        message.starts_with("cannot read no/such/list.json: "),
        "{message}"
    );
}

/// Random JSON, nested as deep as records.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e6..1e6).prop_map(Value::from),
        r#"[a-c\[\]{},:"\\é ]{0,8}"#.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(r#"[a-b"\\{}]{0,3}"#, inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

#[test]
fn a_value_that_ends_too_early_is_wrong_behind_it() {
    for (json, byte) in [("[n,ll,null]", 2), ("[1, tru , 2]", 7), ("[0, -]", 5)] {
        let (found, _) = place(&read::<Value>(json, 3).unwrap_err(), json);
        assert_eq!(found, byte, "{json}");
    }
}

proptest! {
    #[test]
    fn a_list_does_not_depend_on_the_pieces(
        values in prop::collection::vec(value(), 0..6),
        piece in 1..40_usize,
        pretty in any::<bool>(),
    ) {
        let json = if pretty {
            serde_json::to_string_pretty(&values)
        } else {
            serde_json::to_string(&values)
        };
        prop_assert_eq!(read::<Value>(&json.unwrap(), piece).unwrap(), values);
    }

    #[test]
    fn errors_have_the_positions_of_a_parser_of_the_entire_text(
        values in prop::collection::vec(value(), 0..4),
        cut in any::<prop::sample::Index>(),
        put in r#"[\[\]{},:"\\ 1a]{0,2}"#,
        piece in 1..40_usize,
    ) {
        let mut json = serde_json::to_string(&values).unwrap();
        let mut at = cut.index(json.len());
        while !json.is_char_boundary(at) {
            at -= 1;
        }
        let after = json.split_off(at);
        json.push_str(&put);
        json.extend(after.chars().skip(1));
        let found = read::<Value>(&json, piece);
        match serde_json::from_str::<Vec<Value>>(&json) {
            Ok(expected) => prop_assert_eq!(found.unwrap(), expected),
            Err(_) if !json.trim_start().starts_with('[') => {
                // A parser first reads the entire value; this reader detects at the first byte that it is no list.
                let first = json.len() - json.trim_start().len();
                let (found, _) = place(&found.expect_err("it is no list"), &json);
                prop_assert_eq!(found, first.min(json.len().saturating_sub(1)) as u64, "{}", json);
            }
            Err(error) => {
                let (name, text) = (Path::new("list.json"), json.as_bytes());
                let whole = explain::<Vec<Value>>(text, 0, "", &error, name);
                let (found, found_in) = place(&found.expect_err("a parser refuses it"), &json);
                let (expected, expected_in) = place(&whole, &json);
                prop_assert_eq!(found, expected, "{}", json);
                // Bytes after an element belong to it in this reader and to the next one in the parser.
                let same = found_in == expected_in
                    || found_in.zip(expected_in).is_some_and(|(a, b)| a + 1 == b)
                    || expected_in.is_none();
                prop_assert!(same, "{}: [{:?}], not [{:?}]", json, found_in, expected_in);
            }
        }
    }
}

/// The position in the message of an error (the last byte for the end of the file) and the element.
fn place(error: &DataError, json: &str) -> (u64, Option<usize>) {
    let DataError::Json { offset, field, .. } = error else {
        panic!("not an error of the text: {error}");
    };
    let number = field
        .strip_prefix('[')
        .and_then(|rest| rest.split(']').next());
    let last = json.len().saturating_sub(1) as u64;
    (
        (*offset).min(last),
        number.and_then(|number| number.parse().ok()),
    )
}
