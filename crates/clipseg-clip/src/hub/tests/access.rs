//! Hubs that refuse or do not answer, offline mode, certificates and tokens.

use super::*;

#[test]
fn a_refusal_and_no_answer_have_different_messages() {
    let server = FakeHub::start(&checkpoint(), None);
    let cache = tempfile::tempdir().unwrap();
    let open = hub(&server.endpoint(), cache.path());
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
fn a_cached_copy_replaces_a_failing_hub_but_not_a_refusing_one() {
    let server = FakeHub::start(&checkpoint(), None);
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&server.endpoint(), cache.path());
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
            warning.contains("using the cached copy of owner/name")
                && warning.contains(&format!("status {status}")),
            "{warning}"
        );
    }
    server.refuse(0);
    assert!(warnings_of(|| hub.snapshot(ID).unwrap()).1.is_empty());
}

#[test]
fn offline_mode_sends_no_request() {
    let server = FakeHub::start(&checkpoint(), None);
    let cache = tempfile::tempdir().unwrap();
    let online = hub(&server.endpoint(), cache.path());
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
fn a_complete_cached_copy_needs_no_network() {
    let server = FakeHub::start(&checkpoint(), None);
    let cache = tempfile::tempdir().unwrap();
    let folder = hub(&server.endpoint(), cache.path()).snapshot(ID).unwrap();
    drop(server);
    let offline = hub(&nowhere(), cache.path());
    let (found, warnings) = warnings_of(|| offline.snapshot(ID).unwrap());
    assert_eq!(found, folder);
    assert!(warnings[0].contains("does not answer"), "{warnings:?}");
    assert_eq!(offline.snapshot(&format!("{ID}@{COMMIT}")).unwrap(), folder);
    std::fs::remove_file(folder.join("vocab.json")).unwrap();
    assert!(failure(&offline, ID).contains("does not answer"));
}
#[test]
fn private_certificates_can_be_trusted() {
    let server = FakeHub::start_with_tls(&checkpoint());
    let cache = tempfile::tempdir().unwrap();
    let strict = hub(&server.endpoint(), cache.path());
    let message = failure(&strict, ID);
    assert!(
        message.contains("no secure connection")
            && message.contains("certificate")
            && message.contains("SSL_CERT_FILE"),
        "{message}"
    );
    assert!(!message.contains("does not answer"), "{message}");

    let root = cache.path().join("root.pem");
    std::fs::write(&root, clipseg_testing::ROOT_CERTIFICATE).unwrap();
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
    // Now that there is a cached copy, the failure is a warning.
    let (found, warnings) = warnings_of(|| strict.snapshot(ID).unwrap());
    assert_eq!(found, folder);
    assert!(warnings[0].contains("no secure connection"), "{warnings:?}");

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
fn a_token_gives_access_and_is_never_printed() {
    let server = FakeHub::start(&checkpoint(), Some("secret"));
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&server.endpoint(), cache.path());
    let message = failure(&hub, ID);
    assert!(
        message.contains("401") && message.contains("HF_TOKEN"),
        "{message}"
    );
    let hub = hub.with_token(Some("secret".into()));
    hub.snapshot(ID).unwrap();
    assert!(!format!("{hub:?}").contains("secret"));
}
