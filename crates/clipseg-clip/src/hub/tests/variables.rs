//! What the environment variables mean.

use super::super::options::{ENDPOINT, Options};
use super::*;
use crate::error::Result;

/// The settings for these environment variables.
fn environment(variables: &[(&str, &str)]) -> Result<Options> {
    let mut all = vec![("HOME", "/home/me")];
    all.extend(variables);
    super::super::environment::read(|name| {
        let (_, value) = all.iter().rev().find(|(other, _)| *other == name)?;
        Some((*value).into())
    })
}

#[test]
fn variables_set_the_cache_folder() {
    let cache = |variables: &[(&str, &str)]| environment(variables).unwrap().cache;
    for (variables, expected) in [
        (vec![], "/home/me/.cache/huggingface/hub"),
        (vec![("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
        (vec![("HF_HOME", "/h")], "/h/hub"),
        (vec![("HF_HOME", "")], "/home/me/.cache/huggingface/hub"),
        (vec![("HF_HOME", "~/h")], "/home/me/h/hub"),
        (vec![("HF_HOME", "~")], "/home/me/hub"),
        (vec![("HF_HOME", "~other/h")], "~other/h/hub"),
        (vec![("HF_HOME", "/a/~/h")], "/a/~/h/hub"),
        (
            vec![("HF_HOME", "$D/${E}/h"), ("D", "/d"), ("E", "e")],
            "/d/e/h/hub",
        ),
        (
            vec![("HF_HOME", "/$UNSET/${NONE}x$")],
            "/$UNSET/${NONE}x$/hub",
        ),
        (
            vec![("HF_HOME", "/h"), ("HF_HUB_CACHE", "~/c")],
            "/home/me/c",
        ),
        (vec![("HUGGINGFACE_HUB_CACHE", "/old")], "/old"),
        (
            vec![("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/new")],
            "/new",
        ),
    ] {
        assert_eq!(cache(&variables), Path::new(expected), "{variables:?}");
    }
    let none = environment(&[("HOME", "")]).map(|options| options.cache);
    if std::env::home_dir().is_none() {
        assert!(none.unwrap_err().to_string().contains("set HF_HOME"));
    }
}

#[test]
fn variables_set_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_str().unwrap();
    let token = |variables: &[(&str, &str)]| {
        let mut all = vec![("HF_HOME", home)];
        all.extend(variables);
        environment(&all).unwrap().token
    };
    assert_eq!(token(&[]), None);
    std::fs::write(folder.path().join("token"), "stored\n").unwrap();
    std::fs::write(folder.path().join("elsewhere"), " other\r\n").unwrap();
    let other = folder.path().join("elsewhere");
    let other = other.to_str().unwrap();
    for (variables, expected) in [
        (vec![], Some("stored")),
        (vec![("HF_TOKEN", "mine\n")], Some("mine")),
        (vec![("HF_TOKEN", " mi\r\nne ")], Some("mine")),
        (vec![("HF_TOKEN", "\n")], Some("stored")),
        (vec![("HUGGING_FACE_HUB_TOKEN", "older")], Some("older")),
        (vec![("HF_TOKEN_PATH", other)], Some("other")),
        (vec![("HF_TOKEN_PATH", "/no/such/file")], None),
        (
            vec![("HF_TOKEN", "a"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")],
            None,
        ),
        (vec![("HF_HUB_DISABLE_IMPLICIT_TOKEN", "0")], Some("stored")),
    ] {
        assert_eq!(token(&variables).as_deref(), expected, "{variables:?}");
    }
    let options = environment(&[("HF_HOME", home), ("HF_TOKEN", "t\u{e4}")]).unwrap();
    assert!(failure(&Hub { options }, ID).contains("(HF_TOKEN) contains characters"));
}

#[test]
fn variables_set_the_server_and_how_it_is_asked() {
    let options = environment(&[]).unwrap();
    assert_eq!(
        (options.endpoint.as_str(), options.offline),
        (ENDPOINT, false)
    );
    assert!(options.progress && options.certificates.is_none());
    let endpoint = |value| environment(&[("HF_ENDPOINT", value)]);
    assert_eq!(
        endpoint("https://a.b/c/\n").unwrap().endpoint,
        "https://a.b/c"
    );
    for wrong in ["hub.example.org", "ftp://a.b", "https://", "a.b:8080"] {
        let message = match endpoint(wrong) {
            Ok(options) => panic!("{options:?}"),
            Err(error) => error.to_string(),
        };
        let start = format!("HF_ENDPOINT is `{}`", wrong.trim_end_matches('/'));
        assert!(message.starts_with(&start), "{message}");
        assert!(message.contains("begins with https://"), "{message}");
    }
    let message = failure(&Hub::new("/c").with_endpoint("a.b"), ID);
    assert!(
        message.contains("the server is `a.b`, expected"),
        "{message}"
    );

    for (variables, expected) in [
        (vec![("HF_HUB_OFFLINE", "1")], true),
        (vec![("HF_HUB_OFFLINE", "yes")], true),
        (vec![("HF_HUB_OFFLINE", "0")], false),
        (vec![("TRANSFORMERS_OFFLINE", "true")], true),
        (
            vec![("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")],
            false,
        ),
    ] {
        assert_eq!(
            environment(&variables).unwrap().offline,
            expected,
            "{variables:?}"
        );
    }
    let bars = environment(&[("HF_HUB_DISABLE_PROGRESS_BARS", "1")]).unwrap();
    assert!(!bars.progress);
    for (variables, expected) in [
        (vec![("SSL_CERT_FILE", "~/ca.pem")], "/home/me/ca.pem"),
        (
            vec![("SSL_CERT_DIR", "/certs"), ("CURL_CA_BUNDLE", "/d")],
            "/certs",
        ),
        (
            vec![("REQUESTS_CA_BUNDLE", "/a"), ("SSL_CERT_FILE", "/b")],
            "/b",
        ),
        (vec![("REQUESTS_CA_BUNDLE", "/a")], "/a"),
        (vec![("CURL_CA_BUNDLE", "/c")], "/c"),
    ] {
        let found = environment(&variables).unwrap().certificates;
        assert_eq!(found.as_deref(), Some(Path::new(expected)), "{variables:?}");
    }
}
