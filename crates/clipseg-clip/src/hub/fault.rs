//! What a failed transfer means to the person who waits for it.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Why a transfer failed, and what it was about.
#[derive(Debug)]
pub(super) struct Fault {
    what: String,
    address: String,
    cause: Cause,
}

#[derive(Debug)]
pub(super) enum Cause {
    /// The server answered that it does not give it.
    Status(u16),
    /// The server was not reached.
    Silence(String),
    /// The connection could not be made secure.
    Tls(String),
    /// The connection ended before the file did.
    BrokenOff(String),
    /// More came than should.
    Length {
        /// Bytes that the hub lists.
        expected: u64,
        /// Bytes that came.
        total: u64,
    },
    /// The answer is not that of a hub.
    Answer(String),
    /// The cache cannot be written.
    Disk(PathBuf, io::Error),
    /// Another program downloads the same.
    Locked(PathBuf),
}

impl From<ureq::Error> for Cause {
    fn from(error: ureq::Error) -> Self {
        use ureq::Error::{
            BadUri, ConnectProxyFailed, ConnectionFailed, HostNotFound, InvalidProxyUrl, Io, Pem,
            Protocol, Rustls, StatusCode, Timeout, Tls, TlsRequired,
        };
        let message = error.to_string();
        match error {
            StatusCode(status) => Self::Status(status),
            // What rustls finds wrong with a certificate comes as an error of reading.
            Io(error) if error.kind() == ErrorKind::InvalidData => Self::Tls(error.to_string()),
            Tls(_) | Pem(_) | Rustls(_) | TlsRequired => Self::Tls(message),
            ConnectProxyFailed(_)
            | ConnectionFailed
            | HostNotFound
            | Io(_)
            | Protocol(_)
            | Timeout(_) => Self::Silence(message),
            BadUri(_) | InvalidProxyUrl => Self::Answer(message),
            _ => Self::Answer(message),
        }
    }
}

impl Fault {
    pub(super) fn new(what: &str, address: &str, cause: Cause) -> Self {
        Self {
            what: what.to_owned(),
            address: address.to_owned(),
            cause,
        }
    }

    /// Whether the server decided, so that a copy from an earlier day is no answer.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.cause, Cause::Status(400..500)) && !self.is_passing()
    }

    /// Whether another try may go better.
    pub(super) fn is_passing(&self) -> bool {
        matches!(
            self.cause,
            Cause::Silence(_)
                | Cause::BrokenOff(_)
                | Cause::Length { .. }
                | Cause::Status(408 | 429 | 500..)
        )
    }

    /// The rest of a sentence that begins with the id of the checkpoint.
    pub(super) fn explain(&self, cache: &Path) -> String {
        let Self { what, address, .. } = self;
        let by_hand =
            "download the files of the repository by hand and pass their folder to --model";
        match &self.cause {
            Cause::Status(status @ (401 | 403)) => format!(
                "the hub refuses {what} (status {status}): there is no such repository, or it is \
                 private, or its terms have to be accepted first; set HF_TOKEN to a token that may \
                 read it ({address})"
            ),
            Cause::Status(404) => format!(
                "the hub does not have {what} (status 404); check the name and the revision \
                 ({address})"
            ),
            Cause::Status(status) => {
                format!("the hub answers status {status} for {what} ({address})")
            }
            Cause::Silence(error) => format!(
                "the hub does not answer for {what} ({address}: {error}); without a network, {by_hand}"
            ),
            Cause::Tls(error) => format!(
                "the connection to the hub cannot be made secure for {what} ({address}: {error}); if \
                 the hub or a proxy before it has a certificate of its own, name the file of it in \
                 SSL_CERT_FILE, or {by_hand}"
            ),
            Cause::BrokenOff(error) => format!(
                "the download of {what} broke off ({error}); the next one goes on from there, or \
                 {by_hand}"
            ),
            Cause::Length { expected, total } => format!(
                "{total} bytes of {what} came where the hub lists {expected} ({address}); try again"
            ),
            Cause::Answer(error) => {
                format!("the hub's answer for {what} is no use ({address}): {error}")
            }
            Cause::Disk(path, error) => format!(
                "cannot keep {what} in {}: {}: {error}",
                cache.display(),
                path.display()
            ),
            Cause::Locked(lock) => format!(
                "another program is downloading {what} and holds {}; try again when it is done",
                lock.display()
            ),
        }
    }
}
