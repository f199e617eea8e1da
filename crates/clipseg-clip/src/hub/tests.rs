//! Downloads from a server in this process, undisturbed and disturbed.

use super::*;
use crate::warnings::warnings_of;
use server::{COMMIT, ID, Server, etag};

mod server;
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
        ("pytorch_model.bin", b"the same again".to_vec()),
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
fn what_a_checkpoint_needs_is_downloaded_once() {
    let files = checkpoint();
    let server = Server::start(&files, None);
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(server.endpoint(), cache.path());
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
fn shards_come_with_their_index() {
    let mut files = checkpoint();
    files.retain(|(name, _)| *name != "model.safetensors");
    files.push(("tokenizer.json", b"{}".to_vec()));
    let index = br#"{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}"#;
    files.push((INDEX, index.to_vec()));
    files.push(("one.safetensors", weights()));
    files.push(("two.safetensors", b"two".to_vec()));
    let server = Server::start(&files, None);
    let cache = tempfile::tempdir().unwrap();
    let folder = hub(server.endpoint(), cache.path()).snapshot(ID).unwrap();
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
fn a_transfer_that_is_cut_off_leaves_nothing_that_looks_whole_and_goes_on_later() {
    let server = Server::start(&checkpoint(), None);
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(server.endpoint(), cache.path());
    server.cut(1);
    let message = failure(&hub, ID);
    assert!(message.contains("`owner/name`: the download of `model.safetensors` broke off"));
    assert!(message.contains("--model"), "{message}");
    let repository = cache.path().join("models--owner--name");
    let snapshot = repository.join("snapshots").join(COMMIT);
    assert!(!snapshot.join("model.safetensors").exists());
    let blob = repository.join("blobs").join(etag("model.safetensors"));
    assert!(!blob.exists());
    let part = std::fs::metadata(blob.with_extension("part")).unwrap();
    assert_eq!(part.len(), 100_000);
    // The branch has to wait until everything is there.
    assert!(!repository.join("refs/main").exists());
    server.requests();

    let folder = hub.snapshot(ID).unwrap();
    assert!(std::fs::read(folder.join("model.safetensors")).unwrap() == weights());
    assert!(!blob.with_extension("part").exists());
    let requests = server.requests();
    assert!(requests.contains(&"/store/model.safetensors bytes=100000-".to_owned()));
    assert!(
        !requests
            .iter()
            .any(|request| request.contains("config.json"))
    );
}

#[test]
fn one_call_tries_again_when_it_may() {
    let server = Server::start(&checkpoint(), None);
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(server.endpoint(), cache.path()).with_retries(2);
    server.cut(2);
    let folder = hub.snapshot(ID).unwrap();
    assert!(std::fs::read(folder.join("model.safetensors")).unwrap() == weights());
}

#[test]
fn a_server_that_cannot_go_on_from_the_middle_starts_again() {
    let server = Server::start(&checkpoint(), None);
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(server.endpoint(), cache.path());
    server.be_deaf();
    server.cut(1);
    failure(&hub, ID);
    let folder = hub.snapshot(ID).unwrap();
    assert!(std::fs::read(folder.join("model.safetensors")).unwrap() == weights());
}

#[test]
fn leftovers_that_cannot_be_continued_are_dropped() {
    for length in [200_000, 200_001] {
        let server = Server::start(&checkpoint(), None);
        let cache = tempfile::tempdir().unwrap();
        let blobs = cache.path().join("models--owner--name/blobs");
        std::fs::create_dir_all(&blobs).unwrap();
        let part = blobs.join(etag("model.safetensors")).with_extension("part");
        std::fs::write(part, vec![0; length]).unwrap();
        let hub = hub(server.endpoint(), cache.path()).with_retries(1);
        let folder = hub.snapshot(ID).unwrap();
        assert!(std::fs::read(folder.join("model.safetensors")).unwrap() == weights());
    }
}

#[test]
fn a_changed_file_in_the_cache_is_kept_and_told_of() {
    let server = Server::start(&checkpoint(), None);
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(server.endpoint(), cache.path());
    let file = hub.snapshot(ID).unwrap().join("config.json");
    std::fs::write(&file, b"{\"corrected\": true}").unwrap();
    let (folder, warnings) = warnings_of(|| hub.snapshot(ID).unwrap());
    assert_eq!(std::fs::read(&file).unwrap(), b"{\"corrected\": true}");
    let [warning] = warnings.as_slice() else {
        panic!("{warnings:?}");
    };
    assert!(
        warning.contains("has 19 bytes where the hub lists 25"),
        "{warning}"
    );
    // A link whose content somebody has deleted leads nowhere.
    let link = folder.join("model.safetensors");
    std::fs::remove_file(link.canonicalize().unwrap()).unwrap();
    assert!(!link.exists());
    hub.snapshot(ID).unwrap();
    assert!(std::fs::read(&link).unwrap() == weights());
}

#[test]
fn what_is_not_the_hubs_is_left_alone() {
    let server = Server::start(&checkpoint(), None);
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
    let hub = hub(server.endpoint(), cache.path());
    server.cut(1);
    failure(&hub, ID);
    hub.snapshot(ID).unwrap();
    for path in &foreign {
        assert_eq!(std::fs::read(path).unwrap(), b"mine", "{}", path.display());
    }
}

#[test]
fn a_download_waits_for_another_of_the_same_file_and_then_says_so() {
    let server = Server::start(&checkpoint(), None);
    let cache = tempfile::tempdir().unwrap();
    let blobs = cache.path().join("models--owner--name/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let lock = blobs.join(format!("{}.lock", etag("config.json")));
    let held = std::fs::File::create(&lock).unwrap();
    held.lock().unwrap();
    let hub = hub(server.endpoint(), cache.path());
    let message = failure(&hub, ID);
    assert!(
        message.contains("another program is downloading `config.json`")
            && message.contains(&lock.display().to_string()),
        "{message}"
    );
    drop(held);
    hub.snapshot(ID).unwrap();
}

#[test]
fn a_refusal_is_told_from_silence() {
    let server = Server::start(&checkpoint(), None);
    let cache = tempfile::tempdir().unwrap();
    let open = hub(server.endpoint(), cache.path());
    for id in ["owner/other", "owner/name@v9"] {
        let message = failure(&open, id);
        assert!(message.contains(&format!("`{id}`: the hub does not have the list of files")));
        assert!(message.contains("404"), "{message}");
        assert!(!message.contains("--model"), "{message}");
    }

    let message = failure(&hub(&nowhere(), cache.path()), ID);
    assert!(message.contains("`owner/name`: the hub does not answer"));
    assert!(
        message.contains("pass their folder to --model"),
        "{message}"
    );
    assert!(names(cache.path()).is_empty());
    assert!(failure(&open, "no id at all").contains("not an id like `owner/name`"));
}

#[test]
fn a_full_cache_answers_for_a_hub_that_fails_but_not_for_one_that_refuses() {
    let server = Server::start(&checkpoint(), None);
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(server.endpoint(), cache.path());
    let folder = hub.snapshot(ID).unwrap();
    for status in [401, 403, 404, 410, 451] {
        server.refuse(status);
        let (message, warnings) = warnings_of(|| failure(&hub, ID));
        assert!(message.contains(&format!("status {status}")), "{message}");
        assert!(warnings.is_empty(), "{warnings:?}");
    }
    for status in [429, 500, 503] {
        server.refuse(status);
        let (found, warnings) = warnings_of(|| hub.snapshot(ID).unwrap());
        assert_eq!(found, folder);
        let [warning] = warnings.as_slice() else {
            panic!("{warnings:?}");
        };
        assert!(
            warning.contains("owner/name is taken from the cache")
                && warning.contains(&format!("status {status}")),
            "{warning}"
        );
    }
    server.refuse(0);
    assert!(warnings_of(|| hub.snapshot(ID).unwrap()).1.is_empty());
}

#[test]
fn offline_means_that_nobody_is_asked() {
    let server = Server::start(&checkpoint(), None);
    let cache = tempfile::tempdir().unwrap();
    let online = hub(server.endpoint(), cache.path());
    let offline = online.clone().with_offline(true);
    let message = failure(&offline, ID);
    assert!(
        message.contains("HF_HUB_OFFLINE") && message.contains("no complete copy"),
        "{message}"
    );
    assert!(server.requests().is_empty());
    let folder = online.snapshot(ID).unwrap();
    server.requests();
    let (found, warnings) = warnings_of(|| offline.snapshot(ID).unwrap());
    assert_eq!(found, folder);
    assert!(warnings.is_empty() && server.requests().is_empty());
}

#[test]
fn a_certificate_of_ones_own_is_named_and_taken() {
    let server = Server::start_secure(&checkpoint());
    let cache = tempfile::tempdir().unwrap();
    let strict = hub(server.endpoint(), cache.path());
    let message = failure(&strict, ID);
    assert!(
        message.contains("cannot be made secure")
            && message.contains("certificate")
            && message.contains("SSL_CERT_FILE"),
        "{message}"
    );
    assert!(!message.contains("does not answer"), "{message}");

    let root = cache.path().join("root.pem");
    std::fs::write(&root, include_bytes!("tests/root.pem")).unwrap();
    let trusting = strict.clone().with_certificates(Some(root.clone()));
    let folder = trusting.snapshot(ID).unwrap();
    assert!(std::fs::read(folder.join("model.safetensors")).unwrap() == weights());
    // A folder of certificates, among other files.
    let certificates = tempfile::tempdir().unwrap();
    std::fs::copy(&root, certificates.path().join("5c2a1f0e.0")).unwrap();
    std::fs::write(certificates.path().join("README"), "nothing").unwrap();
    let path = certificates.path().to_owned();
    strict
        .clone()
        .with_certificates(Some(path))
        .snapshot(ID)
        .unwrap();
    // With the copy that is there now, the reason is warned of.
    let (found, warnings) = warnings_of(|| strict.snapshot(ID).unwrap());
    assert_eq!(found, folder);
    assert!(
        warnings[0].contains("cannot be made secure"),
        "{warnings:?}"
    );

    std::fs::write(&root, "not a certificate").unwrap();
    let message = failure(&trusting, ID);
    assert!(
        message.contains("root.pem: it holds no certificate"),
        "{message}"
    );
    std::fs::remove_file(&root).unwrap();
    assert!(failure(&trusting, ID).contains("cannot read"), "{message}");
}

#[test]
fn the_newer_preprocessing_comes_along() {
    let mut files = checkpoint();
    files.retain(|(name, _)| *name != "preprocessor_config.json");
    files.push((
        "processor_config.json",
        b"{\"image_processor\": {}}".to_vec(),
    ));
    let server = Server::start(&files, None);
    let cache = tempfile::tempdir().unwrap();
    let folder = hub(server.endpoint(), cache.path()).snapshot(ID).unwrap();
    assert!(names(&folder).contains(&"processor_config.json".to_owned()));
}

#[test]
fn a_token_opens_what_is_closed_and_is_never_printed() {
    let server = Server::start(&checkpoint(), Some("secret"));
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(server.endpoint(), cache.path());
    let message = failure(&hub, ID);
    assert!(
        message.contains("401") && message.contains("HF_TOKEN"),
        "{message}"
    );
    let hub = hub.with_token(Some("secret".into()));
    hub.snapshot(ID).unwrap();
    assert!(!format!("{hub:?}").contains("secret"));
}

#[test]
fn what_is_missing_is_named() {
    let lacks = |left_out: &str| {
        let mut files = checkpoint();
        files.retain(|(name, _)| !name.contains(left_out));
        let server = Server::start(&files, None);
        let cache = tempfile::tempdir().unwrap();
        failure(&hub(server.endpoint(), cache.path()), ID)
    };
    assert!(lacks("model").contains("has no model.safetensors, nor model.safetensors.index.json"));
    assert!(lacks("merges").contains("has no tokenizer.json, nor vocab.json with merges.txt"));
    let message = lacks("config.json");
    assert_eq!(
        message,
        "checkpoint `owner/name`: the repository has no config.json"
    );
}

#[test]
fn a_full_cache_needs_no_network() {
    let server = Server::start(&checkpoint(), None);
    let cache = tempfile::tempdir().unwrap();
    let folder = hub(server.endpoint(), cache.path()).snapshot(ID).unwrap();
    drop(server);
    let offline = hub(&nowhere(), cache.path());
    let (found, warnings) = warnings_of(|| offline.snapshot(ID).unwrap());
    assert_eq!(found, folder);
    assert!(warnings[0].contains("does not answer"), "{warnings:?}");
    assert_eq!(offline.snapshot(&format!("{ID}@{COMMIT}")).unwrap(), folder);
    std::fs::remove_file(folder.join("vocab.json")).unwrap();
    assert!(failure(&offline, ID).contains("does not answer"));
}
