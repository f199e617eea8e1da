//! The settings of a [`Hub`](super::Hub).

use std::path::PathBuf;

/// The public hub.
pub(super) const ENDPOINT: &str = "https://huggingface.co";

/// Which server is asked, how, and where its files are cached.
#[derive(Clone)]
pub(super) struct Options {
    pub(super) endpoint: String,
    pub(super) cache: PathBuf,
    pub(super) token: Option<String>,
    pub(super) certificates: Option<PathBuf>,
    pub(super) offline: bool,
    pub(super) progress: bool,
    pub(super) retries: u32,
}

impl Options {
    pub(super) fn new(cache: PathBuf) -> Self {
        Self {
            endpoint: ENDPOINT.to_owned(),
            cache,
            token: None,
            certificates: None,
            offline: false,
            progress: false,
            retries: 2,
        }
    }

    pub(super) fn set_endpoint(&mut self, endpoint: &str) {
        self.endpoint = endpoint.trim_end_matches('/').to_owned();
    }

    /// Checks that the endpoint is an address. The error continues a sentence such as "the server is".
    pub(super) fn check_endpoint(&self) -> Result<(), String> {
        let host = ["https://", "http://"]
            .into_iter()
            .find_map(|scheme| self.endpoint.strip_prefix(scheme));
        match host {
            Some(host) if !host.is_empty() => Ok(()),
            _ => Err(format!(
                "`{}`, expected an address that begins with https:// or http://",
                self.endpoint
            )),
        }
    }

    /// Checks that the endpoint is an address and that the token can be sent in a header.
    pub(super) fn check(&self) -> Result<(), String> {
        self.check_endpoint()
            .map_err(|message| format!("the server is {message}"))?;
        let printable = |token: &String| token.bytes().all(|byte| byte.is_ascii_graphic());
        if !self.token.as_ref().is_none_or(printable) {
            return Err("the token (HF_TOKEN) contains characters that no token has".into());
        }
        Ok(())
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token is a secret, and printed values end up in logs.
        f.debug_struct("Options")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("token", &self.token.as_ref().map(|_| "set"))
            .field("certificates", &self.certificates)
            .field("offline", &self.offline)
            .field("progress", &self.progress)
            .field("retries", &self.retries)
            .finish()
    }
}
