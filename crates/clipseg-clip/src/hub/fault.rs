//! What a failed transfer means to the person who waits for it.
//!
//! hf-hub has one kind of error for a broken connection and a full disk, and another for a server
//! that says no and one that says nothing. The remedies differ, so they are told apart here.

use hf_hub::api::sync::ApiError;
use std::io::ErrorKind;
use std::path::Path;

/// An error of hf-hub, and what it was about.
#[derive(Debug)]
pub(super) struct Fault {
    what: String,
    address: String,
    error: ApiError,
}

impl Fault {
    pub(super) fn new(what: impl Into<String>, address: &str, error: ApiError) -> Self {
        Self {
            what: what.into(),
            address: address.to_owned(),
            error,
        }
    }

    fn status(&self) -> Option<u16> {
        match &self.error {
            ApiError::RequestError(error) => match **error {
                ureq::Error::StatusCode(status) => Some(status),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether the server was not reached at all.
    fn is_silence(&self) -> bool {
        use ureq::Error::{
            ConnectProxyFailed, ConnectionFailed, HostNotFound, Io, Protocol, Timeout,
        };
        match &self.error {
            ApiError::RequestError(error) => matches!(
                **error,
                ConnectProxyFailed(_)
                    | ConnectionFailed
                    | HostNotFound
                    | Io(_)
                    | Protocol(_)
                    | Timeout(_)
            ),
            _ => false,
        }
    }

    /// Whether the connection ended before the file did. hf-hub reports reading from the network
    /// and writing to the disk alike.
    fn is_broken_off(&self) -> bool {
        match &self.error {
            ApiError::IoError(error) => matches!(
                error.kind(),
                ErrorKind::UnexpectedEof
                    | ErrorKind::ConnectionReset
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::BrokenPipe
                    | ErrorKind::TimedOut
                    | ErrorKind::Other
            ),
            _ => false,
        }
    }

    /// Whether an earlier download left more than can be continued: hf-hub asks for the bytes after
    /// the last one, for which a server answers 416, and then never gets on.
    pub(super) fn is_stale_part(&self) -> bool {
        matches!(self.error, ApiError::InvalidResume) || self.status() == Some(416)
    }

    /// Whether another try may go better.
    pub(super) fn is_passing(&self) -> bool {
        self.is_silence()
            || self.is_broken_off()
            || self.is_stale_part()
            || matches!(self.status(), Some(408 | 429 | 500..))
    }

    /// The rest of a sentence that begins with the id of the checkpoint.
    pub(super) fn explain(&self, cache: &Path) -> String {
        let Self {
            what,
            address,
            error,
        } = self;
        match (self.status(), error) {
            (Some(status @ (401 | 403)), _) => format!(
                "the hub refuses {what} (status {status}): there is no such repository, or it is \
                 private, or its terms have to be accepted first; set HF_TOKEN to a token that may \
                 read it ({address})"
            ),
            (Some(404), _) => format!(
                "the hub does not have {what} (status 404); check the name and the revision \
                 ({address})"
            ),
            (Some(status), _) => {
                format!("the hub answers status {status} for {what} ({address})")
            }
            _ if self.is_silence() => format!(
                "the hub does not answer for {what} ({address}: {error}); without a network, \
                 download the files of the repository by hand and pass their folder to --model"
            ),
            _ if self.is_broken_off() => format!(
                "the download of {what} broke off ({error}); the next one goes on from there, or \
                 download the files of the repository by hand and pass their folder to --model"
            ),
            (None, ApiError::IoError(error)) => {
                format!("cannot keep {what} in {}: {error}", cache.display())
            }
            (None, ApiError::LockAcquisition(lock)) => format!(
                "another program is downloading {what} and holds {}; try again when it is done",
                lock.display()
            ),
            (None, ApiError::InvalidResume) => {
                format!("{what} came with another length than the hub lists ({address}); try again")
            }
            (None, error) => format!("the hub's answer for {what} is no use ({address}): {error}"),
        }
    }
}
