//! Downloads checkpoints by their id on the Hugging Face hub into the cache that its other tools use.
//!
//! A call of [`Hub::snapshot`] passes through these files in turn:
//!
//! 1. `options`: which hub, which cache, which token. `environment` reads them from the environment
//!    variables of Hugging Face's tools.
//! 2. `snapshot`: which files a checkpoint needs, which of them are cached, and the order in which
//!    the others are downloaded.
//! 3. `client`: the HTTP requests.
//! 4. `cache`: the folders, links and locks on disk.
//! 5. `fault`: why a transfer failed, as the user is told.
//!
//! An interrupted download never looks complete, and the next one resumes it: a file is written under
//! another name, protected by a lock, and renamed after its last byte. All files come from one commit.
//! A branch is recorded only after all files of its commit are complete. File sizes are compared with
//! those that the hub lists. Without a network a complete cached copy is used. A cached file that
//! somebody has changed is kept.

use crate::error::Result;
use options::Options;
use std::path::PathBuf;

mod cache;
mod client;
mod environment;
mod fault;
mod options;
mod snapshot;
#[cfg(test)]
mod tests;

/// The Hugging Face hub, or another server with its API, and the folder that caches its files.
///
/// ```no_run
/// let hub = clipseg_clip::Hub::from_env()?.with_progress(false);
/// let folder = hub.snapshot("CIDAS/clipseg-rd64-refined")?;
/// # Ok::<(), clipseg_clip::ClipError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Hub {
    options: Options,
}

impl Hub {
    /// The public hub with this cache folder, without a token and without progress bars.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        let options = Options::new(cache.into());
        Self { options }
    }

    /// The hub, cache and token of this user's Hugging Face tools, with progress bars.
    ///
    /// The environment variables have the meaning that `huggingface_hub` gives them:
    ///
    /// | Variable | Meaning |
    /// |---|---|
    /// | `HF_HOME` | folder of the cache and the stored token; default `~/.cache/huggingface` |
    /// | `HF_HUB_CACHE` | folder of the cache; default `hub` in `HF_HOME` |
    /// | `HF_TOKEN`, `HF_TOKEN_PATH` | the token, and the file of the stored token; `HF_TOKEN` takes precedence |
    /// | `HF_HUB_DISABLE_IMPLICIT_TOKEN` | send no token |
    /// | `HF_ENDPOINT` | another server, beginning with `https://` or `http://` |
    /// | `HF_HUB_OFFLINE` | send no request, use only the cache |
    /// | `HF_HUB_DISABLE_PROGRESS_BARS` | draw no progress bars |
    /// | `SSL_CERT_FILE`, `SSL_CERT_DIR`, `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE` | certificates to trust instead of the built-in ones |
    ///
    /// # Errors
    ///
    /// If neither `HF_HOME` nor a home folder is known, the stored token cannot be read, or
    /// `HF_ENDPOINT` is not an address.
    pub fn from_env() -> Result<Self> {
        let options = environment::read(|name| std::env::var_os(name))?;
        Ok(Self { options })
    }

    /// Uses another server, such as `https://example.org`.
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.options.set_endpoint(&endpoint.into());
        self
    }

    /// Uses another cache folder, with the layout of the folder `hub` in `HF_HOME`.
    #[must_use]
    pub fn with_cache(mut self, cache: impl Into<PathBuf>) -> Self {
        self.options.cache = cache.into();
        self
    }

    /// Sends a token, which private repositories and those with terms to accept require.
    #[must_use]
    pub fn with_token(mut self, token: Option<String>) -> Self {
        self.options.token = token;
        self
    }

    /// Trusts the certificates in a PEM file, or in the PEM files of a folder, instead of the built-in
    /// ones.
    #[must_use]
    pub fn with_certificates(mut self, certificates: Option<PathBuf>) -> Self {
        self.options.certificates = certificates;
        self
    }

    /// Whether to send no request and to use only the cache.
    #[must_use]
    pub fn with_offline(mut self, offline: bool) -> Self {
        self.options.offline = offline;
        self
    }

    /// Whether to draw progress bars on standard error. None is drawn if that is not a terminal.
    #[must_use]
    pub fn with_progress(mut self, progress: bool) -> Self {
        self.options.progress = progress;
        self
    }

    /// How many times the transfer of a file is repeated after a failure. Default: 2.
    #[must_use]
    pub fn with_retries(mut self, retries: u32) -> Self {
        self.options.retries = retries;
        self
    }

    /// Downloads the files of a CLIP or CLIPSeg checkpoint and returns their folder.
    ///
    /// These are the configuration, the weights, the tokenizer and the preprocessing; if the
    /// repository has one of them in several formats, only the format that this crate prefers.
    ///
    /// `id` is `owner/name`, or `owner/name@revision` for a branch, a tag or a commit. Cached files
    /// are not downloaded again. If the hub cannot be reached or fails, a complete cached copy is
    /// returned with a warning of `tracing`. If the hub refuses, that is an error.
    ///
    /// # Errors
    ///
    /// [`ClipError::Hub`](crate::ClipError::Hub) if the repository or a file does not exist or the
    /// token has no access, if the hub does not answer, or if a transfer is interrupted; another call
    /// then resumes it.
    pub fn snapshot(&self, id: &str) -> Result<PathBuf> {
        snapshot::snapshot(&self.options, id)
    }
}
