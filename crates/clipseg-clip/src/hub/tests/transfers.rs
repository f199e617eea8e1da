//! Transfers that are interrupted, resumed, repeated or locked.

use super::*;

#[test]
fn an_interrupted_transfer_leaves_no_complete_file_and_is_resumed() {
    let server = FakeHub::start(&checkpoint(), None);
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&server.endpoint(), cache.path());
    server.cut(1);
    let message = failure(&hub, ID);
    assert!(message.contains("`owner/name`: the download of `model.safetensors` was interrupted"));
    assert!(message.contains("--model"), "{message}");
    let repository = cache.path().join("models--owner--name");
    let snapshot = repository.join("snapshots").join(COMMIT);
    assert!(!snapshot.join("model.safetensors").exists());
    let blob = repository.join("blobs").join(etag("model.safetensors"));
    assert!(!blob.exists());
    let part = std::fs::metadata(blob.with_extension("part")).unwrap();
    assert_eq!(part.len(), 100_000);
    // A branch is recorded only when all files are complete.
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
fn a_call_repeats_interrupted_transfers() {
    let server = FakeHub::start(&checkpoint(), None);
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&server.endpoint(), cache.path()).with_retries(2);
    server.cut(2);
    let folder = hub.snapshot(ID).unwrap();
    assert!(std::fs::read(folder.join("model.safetensors")).unwrap() == weights());
}

#[test]
fn a_server_that_ignores_ranges_sends_the_entire_file() {
    let server = FakeHub::start(&checkpoint(), None);
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&server.endpoint(), cache.path());
    server.ignore_ranges();
    server.cut(1);
    failure(&hub, ID);
    let folder = hub.snapshot(ID).unwrap();
    assert!(std::fs::read(folder.join("model.safetensors")).unwrap() == weights());
}

#[test]
fn a_partial_file_that_is_too_long_is_dropped() {
    for length in [200_000, 200_001] {
        let server = FakeHub::start(&checkpoint(), None);
        let cache = tempfile::tempdir().unwrap();
        let blobs = cache.path().join("models--owner--name/blobs");
        std::fs::create_dir_all(&blobs).unwrap();
        let part = blobs.join(etag("model.safetensors")).with_extension("part");
        std::fs::write(part, vec![0; length]).unwrap();
        let hub = hub(&server.endpoint(), cache.path()).with_retries(1);
        let folder = hub.snapshot(ID).unwrap();
        assert!(std::fs::read(folder.join("model.safetensors")).unwrap() == weights());
    }
}

#[test]
fn a_locked_file_is_waited_for_and_then_reported() {
    let server = FakeHub::start(&checkpoint(), None);
    let cache = tempfile::tempdir().unwrap();
    let blobs = cache.path().join("models--owner--name/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let lock = blobs.join(format!("{}.lock", etag("config.json")));
    let held = std::fs::File::create(&lock).unwrap();
    held.lock().unwrap();
    let hub = hub(&server.endpoint(), cache.path());
    let message = failure(&hub, ID);
    assert!(
        message.contains("another program is downloading `config.json`")
            && message.contains(&lock.display().to_string()),
        "{message}"
    );
    drop(held);
    hub.snapshot(ID).unwrap();
}
