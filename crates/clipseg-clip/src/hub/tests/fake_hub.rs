//! A hub with one repository on the loopback interface, which fails as a test prescribes.

use clipseg_testing::{Answer, Request, Server};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

pub(super) const ID: &str = "owner/name";
pub(super) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[derive(Debug, Default)]
struct Repository {
    /// The server's own address, known once it has started.
    endpoint: OnceLock<String>,
    files: BTreeMap<String, Vec<u8>>,
    token: Option<String>,
    cuts: AtomicUsize,
    ignores_ranges: AtomicBool,
    refusal: AtomicU16,
}

/// Serves until it is dropped.
pub(super) struct FakeHub {
    repository: Arc<Repository>,
    server: Server,
}

impl FakeHub {
    /// A hub with these files, which asks for a token if one is given.
    pub(super) fn start(files: &[(&str, Vec<u8>)], token: Option<&str>) -> Self {
        let repository = Arc::new(Repository::new(files, token));
        let shared = Arc::clone(&repository);
        Self::of(
            repository,
            Server::start(move |request| shared.answer(request)),
        )
    }

    /// A hub with HTTPS, whose certificate [`clipseg_testing::ROOT_CERTIFICATE`] vouches for.
    pub(super) fn start_with_tls(files: &[(&str, Vec<u8>)]) -> Self {
        let repository = Arc::new(Repository::new(files, None));
        let shared = Arc::clone(&repository);
        Self::of(
            repository,
            Server::start_with_tls(move |request| shared.answer(request)),
        )
    }

    fn of(repository: Arc<Repository>, server: Server) -> Self {
        repository.endpoint.get_or_init(|| server.endpoint());
        Self { repository, server }
    }

    pub(super) fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    /// Cuts off the next transfers of weights half-way, this many of them.
    pub(super) fn cut(&self, times: usize) {
        self.repository.cuts.store(times, Ordering::SeqCst);
    }

    /// Answers requests for a part of a file with the entire file.
    pub(super) fn ignore_ranges(&self) {
        self.repository.ignores_ranges.store(true, Ordering::SeqCst);
    }

    /// Answers every request with this status; 0 ends that.
    pub(super) fn refuse(&self, status: u16) {
        self.repository.refusal.store(status, Ordering::SeqCst);
    }

    /// The requested paths since the last call, each with the range if the request had one.
    pub(super) fn requests(&self) -> Vec<String> {
        let requests = self.server.requests().into_iter();
        requests
            .map(|request| match request.header("range") {
                Some(range) => format!("{} {range}", request.path),
                None => request.path,
            })
            .collect()
    }
}

impl Repository {
    fn new(files: &[(&str, Vec<u8>)], token: Option<&str>) -> Self {
        Self {
            files: files
                .iter()
                .map(|(name, bytes)| ((*name).to_owned(), bytes.clone()))
                .collect(),
            token: token.map(|token| format!("Bearer {token}")),
            ..Self::default()
        }
    }

    fn answer(&self, request: &Request) -> Answer {
        let path = request.path.as_str();
        match self.refusal.load(Ordering::SeqCst) {
            0 => {}
            status => return Answer::status(format!("{status} No")),
        }
        if self.token.is_some() && request.header("authorization") != self.token.as_deref() {
            return Answer::status("401 Unauthorized");
        }
        let lists =
            ["main", COMMIT].map(|revision| format!("/api/models/{ID}/revision/{revision}"));
        let files = format!("/{ID}/resolve/{COMMIT}/");
        let range = request.header("range");
        if lists.iter().any(|list| list == path) {
            Answer::body(self.list())
        } else if let Some(name) = path.strip_prefix(&files) {
            self.resolve(name, range)
        } else if let Some(name) = path.strip_prefix("/store/") {
            self.file(name, range)
        } else {
            Answer::status("404 Not Found")
        }
    }

    fn list(&self) -> String {
        let siblings: Vec<_> = self
            .files
            .iter()
            .map(|(name, bytes)| serde_json::json!({ "rfilename": name, "size": bytes.len() }))
            .collect();
        serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string()
    }

    /// Redirects to the storage of weights, as the hub does.
    fn resolve(&self, name: &str, range: Option<&str>) -> Answer {
        if name.ends_with(".json") || name.ends_with(".txt") {
            return self.file(name, range);
        }
        let endpoint = self.endpoint.wait();
        Answer::status("302 Found")
            .with_header("Location", format!("{endpoint}/store/{name}"))
            .with_header("X-Linked-Etag", format!("\"{}\"", etag(name)))
            .with_header("X-Repo-Commit", COMMIT)
    }

    fn file(&self, name: &str, range: Option<&str>) -> Answer {
        let Some(bytes) = self.files.get(name) else {
            return Answer::status("404 Not Found");
        };
        let (start, end) = match range.and_then(|range| range.strip_prefix("bytes=")) {
            None => (0, bytes.len()),
            Some(range) => {
                let (start, end) = range.split_once('-').unwrap();
                let end = end.parse().map_or(bytes.len(), |last: usize| last + 1);
                (start.parse().unwrap(), end)
            }
        };
        let described = |answer: Answer| {
            answer
                .with_header("ETag", format!("\"{}\"", etag(name)))
                .with_header("X-Repo-Commit", COMMIT)
        };
        if start > 0 && self.ignores_ranges.load(Ordering::SeqCst) {
            return described(Answer::body(bytes.clone()));
        }
        if start >= bytes.len() {
            return Answer::status("416 Range Not Satisfiable");
        }
        let part = &bytes[start..end];
        let span = format!("bytes {start}-{}/{}", end - 1, bytes.len());
        let answer = Answer::status("206 Partial Content")
            .with_body(part)
            .with_header("Content-Range", span);
        let is_cut = name.ends_with(".safetensors") && part.len() > 1 && {
            let count = |cuts: usize| cuts.checked_sub(1);
            let order = Ordering::SeqCst;
            self.cuts.fetch_update(order, order, count).is_ok()
        };
        described(match is_cut {
            true => answer.cut_off(),
            false => answer,
        })
    }
}

/// The etag of a file.
pub(super) fn etag(name: &str) -> String {
    name.bytes().map(|byte| format!("{byte:02x}")).collect()
}
