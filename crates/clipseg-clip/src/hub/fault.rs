//! Why a transfer failed, and what the user can do about it.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// A failed transfer: what was requested, from which address, and the cause.
#[derive(Debug)]
pub(super) struct Fault {
    what: String,
    address: String,
    cause: Cause,
}

#[derive(Debug)]
pub(super) enum Cause {
    /// The server answered with an error status.
    Status(u16),
    /// The server could not be reached or did not answer.
    NoAnswer(String),
    /// No secure connection could be established.
    Tls(String),
    /// The connection ended before the end of the file.
    Interrupted(String),
    /// More bytes were received than the file has.
    Length {
        /// Bytes that the hub lists.
        expected: u64,
        /// Bytes that were received.
        total: u64,
    },
    /// The answer does not follow the hub's API.
    Answer(String),
    /// The cache could not be written.
    Disk(PathBuf, io::Error),
    /// Another program is downloading the same file and holds this lock.
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
            // An invalid certificate that rustls finds arrives as a read error.
            Io(error) if error.kind() == ErrorKind::InvalidData => Self::Tls(error.to_string()),
            Tls(_) | Pem(_) | Rustls(_) | TlsRequired => Self::Tls(message),
            ConnectProxyFailed(_)
            | ConnectionFailed
            | HostNotFound
            | Io(_)
            | Protocol(_)
            | Timeout(_) => Self::NoAnswer(message),
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

    /// Whether the server refused the request. A cached copy must not be used then.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.cause, Cause::Status(400..500)) && !self.is_temporary()
    }

    /// Whether another attempt may succeed.
    pub(super) fn is_temporary(&self) -> bool {
        matches!(
            self.cause,
            Cause::NoAnswer(_)
                | Cause::Interrupted(_)
                | Cause::Length { .. }
                | Cause::Status(408 | 429 | 500..)
        )
    }

    /// Explains the failure in a sentence that continues the id of the checkpoint.
    pub(super) fn explain(&self, cache: &Path) -> String {
        let Self { what, address, .. } = self;
        let by_hand =
            "download the files of the repository by hand and pass their folder to --model";
        match &self.cause {
            Cause::Status(status @ (401 | 403)) => format!(
                "the hub refuses {what} (status {status}): the repository does not exist, or it is \
                 private, or its terms have not been accepted; set HF_TOKEN to a token with access \
                 ({address})"
            ),
            Cause::Status(404) => format!(
                "the hub does not have {what} (status 404); check the name and the revision \
                 ({address})"
            ),
            Cause::Status(status) => {
                format!("the hub answers the request for {what} with status {status} ({address})")
            }
            Cause::NoAnswer(error) => format!(
                "the hub does not answer the request for {what} ({address}: {error}); without a \
                 network, {by_hand}"
            ),
            Cause::Tls(error) => format!(
                "no secure connection to the hub can be established for {what} ({address}: {error}); \
                 if the hub or a proxy uses a private certificate authority, set SSL_CERT_FILE to the \
                 file of its certificate, or {by_hand}"
            ),
            Cause::Interrupted(error) => format!(
                "the download of {what} was interrupted ({error}); the next download resumes it, or \
                 {by_hand}"
            ),
            Cause::Length { expected, total } => format!(
                "{total} bytes of {what} were received, but the hub lists {expected} ({address}); try \
                 again"
            ),
            Cause::Answer(error) => {
                format!(
                    "the hub's answer to the request for {what} is not valid ({address}): {error}"
                )
            }
            Cause::Disk(path, error) => format!(
                "cannot store {what} in the cache {}: {}: {error}",
                cache.display(),
                path.display()
            ),
            Cause::Locked(lock) => format!(
                "another program is downloading {what} and holds the lock {}; try again when it has \
                 finished",
                lock.display()
            ),
        }
    }
}
