//! The requests to the hub: the list of a revision's files, the etag of a file, its content.

use super::fault::{Cause, Fault};
use super::options::Options;
use crate::error::{ClipError, Result};
use crate::repo_id::is_plain;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;
use ureq::config::RedirectAuthHeaders;
use ureq::http::header;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::typestate::WithoutBody;
use ureq::{Agent, RequestBuilder};

/// Time limit for connecting to a server.
const CONNECT: Duration = Duration::from_secs(10);
/// Time limit for the head of an answer, and for each read of its body.
const ANSWER: Duration = Duration::from_secs(60);
/// Redirects that are followed to find an etag.
const MOST_REDIRECTS: usize = 5;

/// The files of a revision.
pub(super) struct Listing {
    pub(super) commit: String,
    /// The size in bytes of each file, if the hub lists it.
    pub(super) sizes: HashMap<String, Option<u64>>,
}

/// Sends requests about one repository.
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    repository: String,
    token: Option<String>,
    progress: bool,
}

impl Client {
    pub(super) fn new(options: &Options, repository: &str) -> Result<Self> {
        let roots = match &options.certificates {
            Some(path) => certificates(path)?.into(),
            None => RootCerts::WebPki,
        };
        let agent = Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .timeout_per_read(Some(ANSWER))
            .user_agent(concat!(
                env!("CARGO_PKG_NAME"),
                "/",
                env!("CARGO_PKG_VERSION")
            ))
            .build()
            .into();
        Ok(Self {
            agent,
            endpoint: options.endpoint.clone(),
            repository: repository.to_owned(),
            token: options.token.clone(),
            progress: options.progress,
        })
    }

    /// A request for an address, or for a range of the bytes there.
    fn request(&self, url: &str, range: Option<String>) -> RequestBuilder<WithoutBody> {
        // A compressed answer would have another length than the file.
        let mut request = self
            .agent
            .get(url)
            .header(header::ACCEPT_ENCODING, "identity");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(range) = range {
            request = request.header(header::RANGE, range);
        }
        request
    }

    /// Lists the files of a branch, a tag or a commit.
    pub(super) fn list(&self, revision: &str) -> Result<Listing, Fault> {
        #[derive(Deserialize)]
        struct Answer {
            sha: String,
            siblings: Vec<Sibling>,
        }
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
            size: Option<u64>,
        }
        let url = format!(
            "{}/api/models/{}/revision/{}?blobs=true",
            self.endpoint,
            self.repository,
            escape(revision)
        );
        let fault = |cause| Fault::new("the list of files", &url, cause);
        let answer: Answer = self
            .request(&url, None)
            .call()
            .and_then(|mut response| response.body_mut().read_json())
            .map_err(|error| fault(error.into()))?;
        // The commit becomes the name of a folder.
        if !answer.sha.chars().all(|c| c.is_ascii_alphanumeric()) || answer.sha.is_empty() {
            return Err(fault(Cause::Answer("`sha` is not a commit".into())));
        }
        let sizes = answer.siblings.into_iter();
        Ok(Listing {
            commit: answer.sha,
            sizes: sizes.map(|file| (file.rfilename, file.size)).collect(),
        })
    }

    /// The address of a file.
    pub(super) fn url(&self, commit: &str, file: &str) -> String {
        format!(
            "{}/{}/resolve/{commit}/{}",
            self.endpoint,
            self.repository,
            escape(file)
        )
    }

    /// Requests a file's etag, under which the cache stores the content.
    ///
    /// For large files the hub sends it along with the redirect to their storage.
    pub(super) fn etag(&self, what: &str, url: &str) -> Result<String, Fault> {
        let fault = |cause| Fault::new(what, url, cause);
        let mut next = url.to_owned();
        for _ in 0..=MOST_REDIRECTS {
            let response = self
                .request(&next, Some("bytes=0-0".into()))
                .config()
                .max_redirects(0)
                .build()
                .call()
                .map_err(|error| fault(error.into()))?;
            let value = |name: &str| {
                let value = response.headers().get(name)?.to_str().ok()?;
                Some(value.to_owned())
            };
            let moved = response.status().is_redirection();
            let etag = value("x-linked-etag").or_else(|| value("etag").filter(|_| !moved));
            if let Some(etag) = etag {
                let bare = etag.trim_start_matches("W/").trim_matches('"').to_owned();
                let unusable = || Cause::Answer(format!("its etag is {etag}"));
                // The etag becomes the name of a file.
                return is_plain(&bare)
                    .then_some(bare)
                    .ok_or_else(|| fault(unusable()));
            }
            match value("location").filter(|_| moved) {
                Some(path) if path.starts_with('/') => next = format!("{}{path}", origin(url)),
                Some(elsewhere) if elsewhere.contains("://") => next = elsewhere,
                _ => return Err(fault(Cause::Answer("it has no etag".into()))),
            }
        }
        Err(fault(Cause::Answer("it redirects too often".into())))
    }

    /// Downloads into `part`. If the file exists, an interrupted download is resumed, provided that the
    /// server can send the rest alone.
    pub(super) fn download(
        &self,
        what: &str,
        url: &str,
        part: &Path,
        size: Option<u64>,
    ) -> Result<(), Fault> {
        let fault = |cause| Fault::new(what, url, cause);
        let disk = |error| fault(Cause::Disk(part.to_owned(), error));
        let mut file = open(part).map_err(disk)?;
        let mut start = file.seek(SeekFrom::End(0)).map_err(disk)?;
        // A complete file would have been renamed, so this is something else.
        if size.is_some_and(|size| start >= size) {
            start = restart(&mut file).map_err(disk)?;
        }
        let range = (start > 0).then(|| format!("bytes={start}-"));
        let mut response = match self.request(url, range).call() {
            Err(ureq::Error::StatusCode(416)) if start > 0 => {
                start = restart(&mut file).map_err(disk)?;
                self.request(url, None).call()
            }
            other => other,
        }
        .map_err(|error| fault(error.into()))?;
        if response.status() != 206 && start > 0 {
            // The server sends the entire file again.
            start = restart(&mut file).map_err(disk)?;
        }
        let length = response.body().content_length();
        let expected = size.or(length.map(|length| start + length));
        let bar = self.bar(what, expected, start);
        let mut body = response.body_mut().as_reader();
        let mut buffer = vec![0; 1 << 16];
        let mut total = start;
        loop {
            let read = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(fault(Cause::Interrupted(error.to_string()))),
            };
            file.write_all(&buffer[..read]).map_err(disk)?;
            total += read as u64;
            bar.set_position(total);
        }
        bar.finish();
        file.sync_all().map_err(disk)?;
        match expected {
            Some(expected) if total < expected => {
                let message = format!("{total} of {expected} bytes were received");
                Err(fault(Cause::Interrupted(message)))
            }
            Some(expected) if total > expected => {
                restart(&mut file).map_err(disk)?;
                Err(fault(Cause::Length { expected, total }))
            }
            _ => Ok(()),
        }
    }

    fn bar(&self, what: &str, size: Option<u64>, start: u64) -> ProgressBar {
        let bar = match (self.progress, size) {
            (true, Some(size)) => ProgressBar::new(size),
            (true, None) => ProgressBar::new_spinner(),
            (false, _) => ProgressBar::hidden(),
        };
        let style = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        bar.with_message(what.to_owned()).with_position(start)
    }
}

/// Opens a file for writing and keeps its content.
fn open(part: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(part)
}

/// Empties a file and returns the position, 0.
fn restart(file: &mut File) -> std::io::Result<u64> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))
}

/// Reads the certificates in a PEM file, or in all files of a folder.
fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let read = |path: &Path| std::fs::read(path).map_err(ClipError::io("read", path));
    let mut found = Vec::new();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).map_err(ClipError::io("read", path))? {
            let file = entry.map_err(ClipError::io("read", path))?.path();
            if file.is_file() {
                found.extend(parse(&read(&file)?));
            }
        }
    } else {
        found.extend(parse(&read(path)?));
    }
    if found.is_empty() {
        return Err(ClipError::format(
            path,
            "it holds no certificate in PEM format, expected the certificates to trust for downloads",
        ));
    }
    Ok(found)
}

/// The certificates in a PEM file; everything else in it is skipped.
fn parse(pem: &[u8]) -> Vec<Certificate<'static>> {
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    parse_pem(pem).filter_map(certificate).collect()
}

/// The scheme and the host of an address, `https://host`.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find('/').map_or(url.len(), |at| host + at);
    &url[..end]
}

/// Percent-encodes one component of an address.
fn escape(part: &str) -> String {
    let mut escaped = String::with_capacity(part.len());
    for byte in part.bytes() {
        match byte {
            b'-' | b'_' | b'.' | b'~' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                escaped.push(byte.into());
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
