//! Which files are downloaded and which are kept. The submodules test interrupted transfers, refusals
//! and certificates, and environment variables.

use super::Hub;
use crate::weights::INDEX;
use clipseg_testing::warnings_of;
use fake_hub::{COMMIT, FakeHub, ID, etag};
use std::path::Path;

mod access;
mod fake_hub;
mod transfers;
mod variables;

fn weights() -> Vec<u8> {
    (0..200_000_u64).map(|i| (i * i / 7 % 251) as u8).collect()
}

fn checkpoint() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        (".gitattributes", b"*.safetensors filter=lfs".to_vec()),
        ("README.md", b"not needed".to_vec()),
        ("config.json", b"{\"model_type\": \"clipseg\"}".to_vec()),
        ("vocab.json", b"{\"a\": 0}".to_vec()),
        ("merges.txt", b"#version: 0.2\n".to_vec()),
        ("preprocessor_config.json", b"{\"size\": 352}".to_vec()),
        ("model.safetensors", weights()),
        ("pytorch_model.bin", b"the same weights".to_vec()),
    ]
}

fn hub(endpoint: &str, cache: &Path) -> Hub {
    Hub::new(cache).with_endpoint(endpoint).with_retries(0)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn failure(hub: &Hub, id: &str) -> String {
    match hub.snapshot(id) {
        Ok(folder) => panic!("got {}", folder.display()),
        Err(error) => error.to_string(),
    }
}

/// An address at which nobody listens.
fn nowhere() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn needed_files_are_downloaded_once() {
    let files = checkpoint();
    let server = FakeHub::start(&files, None);
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&server.endpoint(), cache.path());
    let folder = hub.snapshot(ID).unwrap();
    let needed = [
        "config.json",
        "merges.txt",
        "model.safetensors",
        "preprocessor_config.json",
        "vocab.json",
    ];
    assert_eq!(names(&folder), needed);
    for (name, bytes) in files.iter().filter(|(name, _)| needed.contains(name)) {
        assert!(
            std::fs::read(folder.join(name)).unwrap() == *bytes,
            "{name}"
        );
    }
    server.requests();

    assert_eq!(hub.snapshot(ID).unwrap(), folder);
    let list = [format!("/api/models/{ID}/revision/main")];
    assert_eq!(server.requests(), list);

    assert_eq!(hub.snapshot(&format!("{ID}@{COMMIT}")).unwrap(), folder);
}

#[test]
fn shards_are_downloaded_with_their_index() {
    let mut files = checkpoint();
    files.retain(|(name, _)| *name != "model.safetensors");
    files.push(("tokenizer.json", b"{}".to_vec()));
    let index = br#"{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}"#;
    files.push((INDEX, index.to_vec()));
    files.push(("one.safetensors", weights()));
    files.push(("two.safetensors", b"two".to_vec()));
    let server = FakeHub::start(&files, None);
    let cache = tempfile::tempdir().unwrap();
    let folder = hub(&server.endpoint(), cache.path()).snapshot(ID).unwrap();
    assert_eq!(
        names(&folder),
        [
            "config.json",
            INDEX,
            "one.safetensors",
            "preprocessor_config.json",
            "tokenizer.json",
            "two.safetensors",
        ]
    );
    let offline = hub(&nowhere(), cache.path());
    assert_eq!(offline.snapshot(ID).unwrap(), folder);
    std::fs::remove_file(folder.join("two.safetensors")).unwrap();
    assert!(failure(&offline, ID).contains("does not answer"));
}

#[test]
fn a_changed_cached_file_is_kept_with_a_warning() {
    let server = FakeHub::start(&checkpoint(), None);
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&server.endpoint(), cache.path());
    let file = hub.snapshot(ID).unwrap().join("config.json");
    std::fs::write(&file, b"{\"corrected\": true}").unwrap();
    let (folder, warnings) = warnings_of(|| hub.snapshot(ID).unwrap());
    assert_eq!(std::fs::read(&file).unwrap(), b"{\"corrected\": true}");
    let [warning] = warnings.as_slice() else {
        panic!("{warnings:?}");
    };
    assert!(
        warning.contains("has 19 bytes, but the hub lists 25"),
        "{warning}"
    );
    // The content of a link is deleted.
    let link = folder.join("model.safetensors");
    std::fs::remove_file(link.canonicalize().unwrap()).unwrap();
    assert!(!link.exists());
    hub.snapshot(ID).unwrap();
    assert!(std::fs::read(&link).unwrap() == weights());
}

#[test]
fn foreign_files_in_the_cache_are_kept() {
    let server = FakeHub::start(&checkpoint(), None);
    let cache = tempfile::tempdir().unwrap();
    let repository = cache.path().join("models--owner--name");
    let foreign = [
        cache.path().join("notes.txt"),
        repository.join("notes.txt"),
        repository.join("blobs/notes.part"),
        repository.join("snapshots").join(COMMIT).join("notes.txt"),
        repository.join("refs/other"),
    ];
    for path in &foreign {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "mine").unwrap();
    }
    let hub = hub(&server.endpoint(), cache.path());
    server.cut(1);
    failure(&hub, ID);
    hub.snapshot(ID).unwrap();
    for path in &foreign {
        assert_eq!(std::fs::read(path).unwrap(), b"mine", "{}", path.display());
    }
}

#[test]
fn the_newer_preprocessing_file_is_downloaded() {
    let mut files = checkpoint();
    files.retain(|(name, _)| *name != "preprocessor_config.json");
    files.push((
        "processor_config.json",
        b"{\"image_processor\": {}}".to_vec(),
    ));
    let server = FakeHub::start(&files, None);
    let cache = tempfile::tempdir().unwrap();
    let folder = hub(&server.endpoint(), cache.path()).snapshot(ID).unwrap();
    assert!(names(&folder).contains(&"processor_config.json".to_owned()));
}

#[test]
fn missing_files_are_named() {
    let lacks = |left_out: &str| {
        let mut files = checkpoint();
        files.retain(|(name, _)| !name.contains(left_out));
        let server = FakeHub::start(&files, None);
        let cache = tempfile::tempdir().unwrap();
        failure(&hub(&server.endpoint(), cache.path()), ID)
    };
    assert!(lacks("model").contains("has no model.safetensors, nor model.safetensors.index.json"));
    assert!(lacks("merges").contains("has no tokenizer.json, nor vocab.json with merges.txt"));
    let message = lacks("config.json");
    assert_eq!(
        message,
        "checkpoint `owner/name`: the repository has no config.json"
    );
}
