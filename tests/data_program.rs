//! The commands `clipseg data …`, run as a user runs them.

use crate::running::{run_command, text};
use crate::support::shipped;
use std::path::Path;
use std::process::Output;

fn data(arguments: &[&str]) -> Output {
    run_command("data", arguments)
}

/// A copy of the data set of the fixtures for tests to damage.
fn copy() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let from = shipped().join("phrasecut/VGPhraseCut_v0");
    for folder in ["", "images"] {
        std::fs::create_dir_all(copy.path().join(folder)).unwrap();
        for entry in std::fs::read_dir(from.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let to = copy.path().join(folder).join(path.file_name().unwrap());
                std::fs::copy(path, to).unwrap();
            }
        }
    }
    copy
}

fn name(folder: &Path) -> &str {
    folder.to_str().unwrap()
}

#[test]
fn a_check_counts_and_shows_what_is_odd() {
    let output = data(&["check", name(&shipped().join("phrasecut/VGPhraseCut_v0"))]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    let lines: Vec<&str> = table.lines().collect();
    let expected = [
        "split  pictures  phrases  unusable",
        "train        14       46         0",
        "val           5       19         0",
        "test          5       22         0",
        "miniv         4       15         0",
        "",
        "problem                           train     val    test   miniv  makes unusable",
        "polygon of less than two points       8       4       3       2  no",
        "picture of another size               1       0       0       0  no",
        "",
        "polygon of less than two points",
        "  train: phrase `2300042__4000001`: polygon 2 has 1 of the required 2 points",
    ];
    assert_eq!(lines[..expected.len()], expected, "{table}");
    assert!(table.contains("\n  and 14 more\n"), "{table}");
    let ending = "  train: picture 2300110: recorded as 179x130, the file has 172x130\n";
    assert!(table.ends_with(ending), "{table}");
}

#[test]
fn a_check_fails_where_a_phrase_cannot_be_used() {
    let copy = copy();
    std::fs::remove_file(copy.path().join("images/2300467.jpg")).unwrap();
    let output = data(&["check", name(copy.path()), "--split", "val", "--first", "1"]);
    assert_eq!(output.status.code(), Some(1));
    let table = text(&output.stdout);
    assert!(
        table.contains("missing picture                       1  yes"),
        "{table}"
    );
    assert!(table.contains("picture 2300467: cannot read "), "{table}");
    let errors = text(&output.stderr);
    assert_eq!(
        errors.trim_end(),
        "clipseg: 3 phrases are unusable",
        "{table}"
    );

    // Damage in one split does not affect the others.
    let output = data(&[
        "check",
        name(copy.path()),
        "--split",
        "test",
        "--first",
        "0",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), 5);

    std::fs::write(copy.path().join("refer_test.json"), "[{\"task_id\": 7}]").unwrap();
    let output = data(&["check", name(copy.path())]);
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    let expected = "refer_test.json: byte 13, field `[0].task_id`: invalid type: integer `7`";
    assert!(errors.contains(expected), "{errors}");

    let output = data(&["check", name(copy.path()), "--split", "dev"]);
    let errors = text(&output.stderr);
    let expected = "expected one of train, val, test, miniv";
    assert!(
        !output.status.success() && errors.contains(expected),
        "{errors}"
    );
}

#[cfg(feature = "fetch")]
#[test]
fn pictures_come_from_where_the_list_says() {
    use std::io::{BufRead, BufReader, Write};

    let copy = copy();
    let images = copy.path().join("images");
    // The first three of `val`.
    let names = ["2300467", "2300470", "2300481"].map(|name| format!("{name}.jpg"));
    let pictures = names.clone().map(|name| {
        let bytes = std::fs::read(images.join(&name)).unwrap();
        (name, bytes)
    });
    for entry in std::fs::read_dir(&images).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let list = copy.path().join("image_data_split3000.json");
    let text_of_list = std::fs::read_to_string(&list).unwrap();
    let here = text_of_list.replace("https://example.invalid", &format!("http://{address}"));
    assert_ne!(text_of_list, here);
    std::fs::write(&list, here).unwrap();

    let server = std::thread::spawn(move || {
        // The third picture does not exist on the server; one picture is requested twice in total.
        for stream in listener.incoming().take(4) {
            let mut stream = stream.unwrap();
            let reader = BufReader::new(stream.try_clone().unwrap());
            let lines: Vec<String> = reader
                .lines()
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .collect();
            let found = pictures[..2]
                .iter()
                .find(|(name, _)| lines[0].contains(name.as_str()));
            let (status, body) = found.map_or(("404 Not Found", &b""[..]), |(_, bytes)| {
                ("200 OK", bytes.as_slice())
            });
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(body).unwrap();
        }
    });
    let fetch = |max: &str| data(&["fetch", name(copy.path()), "--split", "val", "--max", max]);
    let output = fetch("2");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(
        said.starts_with("2 of 2 pictures are complete: 0 existed, 2 were downloaded ("),
        "{said}"
    );
    std::fs::remove_file(images.join(&names[0])).unwrap();
    let output = fetch("3");
    server.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    assert!(
        said.starts_with("2 of 3 pictures are complete: 1 existed, 1 were downloaded ("),
        "{said}"
    );
    let errors = text(&output.stderr);
    assert!(
        errors.contains("2300481.jpg): the server responded with 404 Not Found"),
        "{errors}"
    );
    assert!(
        errors.contains("clipseg: 1 picture could not be downloaded"),
        "{errors}"
    );
    let mut found: Vec<String> = std::fs::read_dir(&images)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, names[..2]);
}

#[cfg(feature = "fetch")]
#[test]
fn there_must_be_something_to_fetch() {
    let copy = copy();
    let output = data(&["fetch", name(copy.path()), "--max", "0"]);
    let errors = text(&output.stderr);
    assert!(
        errors.contains("the picture list has no picture of these splits"),
        "{errors}"
    );
    let output = data(&["fetch", name(&copy.path().join("images"))]);
    let errors = text(&output.stderr);
    assert!(
        errors.contains("images is not a data set: it contains none of image_data"),
        "{errors}"
    );
}
