//! Checkpoints by their id on the Hugging Face hub, into the cache that its other tools use.
//!
//! A file grows under another name, beside a lock, and is renamed when its last byte has come, so that
//! an interrupted download leaves nothing that looks finished and the next one goes on from there. All
//! files come from one commit; a branch points to a commit only when all of its files are there;
//! lengths are compared with the hub's; and without a network a complete copy in the cache will do.
//! A file in the cache that somebody has changed stays as it is.

use crate::error::{ClipError, Result};
use crate::preprocess::COMBINED;
use crate::resolve::split_id;
use crate::weights::{INDEX, PICKLE, WHOLE, read_index};
use cache::Cache;
use client::{Client, List};
use fault::{Cause, Fault};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod cache;
mod client;
mod environment;
mod fault;
#[cfg(test)]
mod tests;

/// The public hub.
const ENDPOINT: &str = "https://huggingface.co";

/// Where checkpoints come from, and where they are kept.
///
/// ```no_run
/// let hub = clipseg_clip::Hub::from_env()?.with_progress(false);
/// let folder = hub.snapshot("CIDAS/clipseg-rd64-refined")?;
/// # Ok::<(), clipseg_clip::ClipError>(())
/// ```
#[derive(Clone)]
pub struct Hub {
    endpoint: String,
    cache: PathBuf,
    token: Option<String>,
    certificates: Option<PathBuf>,
    offline: bool,
    progress: bool,
    retries: u32,
}

impl Hub {
    /// The public hub with this cache folder, without a token and without progress bars.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            endpoint: ENDPOINT.to_owned(),
            cache: cache.into(),
            token: None,
            certificates: None,
            offline: false,
            progress: false,
            retries: 2,
        }
    }

    /// The hub and the cache that the Hugging Face tools of this user have, with progress bars.
    ///
    /// The variables mean what they mean for `huggingface_hub`:
    ///
    /// | Variable | Meaning |
    /// |---|---|
    /// | `HF_HOME` | holds the cache and the stored token; `~/.cache/huggingface` by default |
    /// | `HF_HUB_CACHE` | the cache; `hub` in `HF_HOME` by default |
    /// | `HF_TOKEN`, `HF_TOKEN_PATH` | the token, and the file of the stored one, which it goes before |
    /// | `HF_HUB_DISABLE_IMPLICIT_TOKEN` | send neither |
    /// | `HF_ENDPOINT` | another server, with `https://` or `http://` |
    /// | `HF_HUB_OFFLINE` | ask no server, take what the cache has |
    /// | `HF_HUB_DISABLE_PROGRESS_BARS` | draw none |
    /// | `SSL_CERT_FILE`, `SSL_CERT_DIR`, `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE` | certificates to trust in place of the usual ones |
    ///
    /// # Errors
    ///
    /// If there is neither `HF_HOME` nor a home folder, the stored token cannot be read, or
    /// `HF_ENDPOINT` is not an address.
    pub fn from_env() -> Result<Self> {
        environment::read(|name| std::env::var_os(name))
    }

    /// Takes another server than the public one, as `https://example.org`.
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = endpoint.into().trim_end_matches('/').to_owned();
        self
    }

    /// Keeps checkpoints in another folder, laid out like the `hub` folder in `HF_HOME`.
    #[must_use]
    pub fn with_cache(mut self, cache: impl Into<PathBuf>) -> Self {
        self.cache = cache.into();
        self
    }

    /// Sends a token, which private repositories and those with terms to accept ask for.
    #[must_use]
    pub fn with_token(mut self, token: Option<String>) -> Self {
        self.token = token;
        self
    }

    /// Trusts the certificates in a PEM file, or in the files of a folder, in place of the usual ones.
    #[must_use]
    pub fn with_certificates(mut self, certificates: Option<PathBuf>) -> Self {
        self.certificates = certificates;
        self
    }

    /// Whether no server is asked, and only what the cache has is given.
    #[must_use]
    pub fn with_offline(mut self, offline: bool) -> Self {
        self.offline = offline;
        self
    }

    /// Whether downloads draw bars on standard error; none is drawn where that is not a terminal.
    #[must_use]
    pub fn with_progress(mut self, progress: bool) -> Self {
        self.progress = progress;
        self
    }

    /// How often a file is tried again when its transfer breaks off; 2 unless set.
    #[must_use]
    pub fn with_retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Downloads what a CLIP or CLIPSeg needs and gives the folder: configuration, weights,
    /// tokenizer and preprocessing, each in the form that this workspace prefers.
    ///
    /// `id` is `owner/name`, or `owner/name@revision` for a branch, a tag or a commit. Files that
    /// are in the cache already are not downloaded again. If the hub cannot be reached or fails, a
    /// complete copy in the cache is given as it is, with a warning of `tracing`; if it refuses, not.
    ///
    /// # Errors
    ///
    /// [`ClipError::Hub`] if the repository or a file is not there or not for this token, if the hub
    /// does not answer, or if a transfer breaks off; another call then goes on with it.
    pub fn snapshot(&self, id: &str) -> Result<PathBuf> {
        let (repository, revision) = split_id(id).ok_or_else(|| {
            ClipError::hub(id, "not an id like `owner/name` or `owner/name@revision`")
        })?;
        let cache = Cache::new(&self.cache, repository);
        if self.offline {
            let message = || {
                format!(
                    "no server is asked, as HF_HUB_OFFLINE says, and {} has no complete copy",
                    self.cache.display()
                )
            };
            return cached(&cache, revision).ok_or_else(|| ClipError::hub(id, message()));
        }
        self.check_endpoint()
            .map_err(|message| ClipError::hub(id, format!("the server is {message}")))?;
        let printable = |token: &String| token.bytes().all(|byte| byte.is_ascii_graphic());
        if !self.token.as_ref().is_none_or(printable) {
            let message = "the token (HF_TOKEN) holds characters that no token has";
            return Err(ClipError::hub(id, message));
        }
        let client = Client::new(self, repository)?;
        let list = match client.list(revision) {
            Ok(list) => list,
            Err(fault) => {
                let copy = cached(&cache, revision).filter(|_| !fault.is_refusal());
                let folder = copy.ok_or_else(|| self.explain(id, &fault))?;
                tracing::warn!(
                    folder = %folder.display(),
                    "{id} is taken from the cache: {}",
                    fault.explain(&self.cache)
                );
                return Ok(folder);
            }
        };
        let download = Download {
            hub: self,
            id,
            folder: cache.snapshot(&list.commit),
            cache: &cache,
            client: &client,
            list,
        };
        download.all()?;
        // A cache that is up to date may belong to somebody else and be closed to writing.
        let commit = &download.list.commit;
        if revision != commit && cache.commit(revision).as_ref() != Some(commit) {
            cache.set_commit(revision, commit)?;
        }
        Ok(download.folder)
    }

    /// What is wrong with the server's address.
    fn check_endpoint(&self) -> Result<(), String> {
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

    fn explain(&self, id: &str, fault: &Fault) -> ClipError {
        ClipError::hub(id, fault.explain(&self.cache))
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token is a secret, and what can be printed ends up in logs.
        f.debug_struct("Hub")
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

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const VOCABULARY: [&str; 2] = ["vocab.json", "merges.txt"];
const OPTIONAL: [&str; 4] = [
    "preprocessor_config.json",
    COMBINED,
    "special_tokens_map.json",
    "tokenizer_config.json",
];

/// The files to have, of those that are there; shards are not among them. Small ones come first, so
/// that what is wrong with them shows before the weights are downloaded.
fn choose(has: impl Fn(&str) -> bool) -> Result<Vec<&'static str>, String> {
    let lacks = |what: &str| format!("the repository has no {what}");
    let mut files = vec![CONFIG];
    if !has(CONFIG) {
        return Err(lacks(CONFIG));
    }
    if has(TOKENIZER) {
        files.push(TOKENIZER);
    } else if VOCABULARY.into_iter().all(&has) {
        files.extend(VOCABULARY);
    } else {
        return Err(lacks("tokenizer.json, nor vocab.json with merges.txt"));
    }
    files.extend(OPTIONAL.into_iter().filter(|name| has(name)));
    let weights = [WHOLE, INDEX, PICKLE].into_iter().find(|name| has(name));
    files.push(weights.ok_or_else(|| lacks(&[WHOLE, INDEX, PICKLE].join(", nor ")))?);
    Ok(files)
}

/// The folder of a revision whose files are all in the cache.
fn cached(cache: &Cache, revision: &str) -> Option<PathBuf> {
    // A revision that is a commit has no entry of its own.
    let commit = cache.commit(revision);
    let folder = cache.snapshot(commit.as_deref().unwrap_or(revision));
    let has = |name: &str| folder.join(name).is_file();
    let files = choose(has).ok()?;
    if files.contains(&INDEX) {
        let map = read_index(&folder.join(INDEX)).ok()?;
        if !map.values().all(|shard| has(shard)) {
            return None;
        }
    }
    Some(folder)
}

/// One commit on its way into the cache.
struct Download<'a> {
    hub: &'a Hub,
    id: &'a str,
    folder: PathBuf,
    cache: &'a Cache,
    client: &'a Client,
    list: List,
}

impl Download<'_> {
    fn all(&self) -> Result<()> {
        let files = choose(|name| self.list.sizes.contains_key(name))
            .map_err(|message| ClipError::hub(self.id, message))?;
        for file in &files {
            self.file(file)?;
        }
        if files.contains(&INDEX) {
            let shards: BTreeSet<String> = read_index(&self.folder.join(INDEX))?
                .into_values()
                .collect();
            for shard in shards {
                self.file(&shard)?;
            }
        }
        Ok(())
    }

    fn file(&self, file: &str) -> Result<()> {
        let place = self.folder.join(file);
        let size = self.list.sizes.get(file).copied().flatten();
        if let Ok(found) = std::fs::metadata(&place) {
            self.compare(&place, found.len(), size);
            return Ok(());
        }
        let mut tried = 0;
        loop {
            let Err(fault) = self.attempt(file, &place, size) else {
                return Ok(());
            };
            if tried == self.hub.retries || !fault.is_passing() {
                return Err(self.hub.explain(self.id, &fault));
            }
            std::thread::sleep(Duration::from_millis(200 << tried.min(6)));
            tried += 1;
        }
    }

    /// A file in the cache that is not what the hub lists was changed by somebody, perhaps on
    /// purpose, for downloads appear there whole.
    fn compare(&self, place: &Path, found: u64, size: Option<u64>) {
        if let Some(size) = size.filter(|size| *size != found) {
            tracing::warn!(
                path = %place.display(),
                "the file has {found} bytes where the hub lists {size}; it is used as it is, and \
                 downloaded again if it is removed together with what it links to"
            );
        }
    }

    fn attempt(&self, file: &str, place: &Path, size: Option<u64>) -> Result<(), Fault> {
        let what = format!("`{file}`");
        let url = self.client.url(&self.list.commit, file);
        let disk = |path: &Path| {
            let path = path.to_owned();
            |error| Fault::new(&what, &url, Cause::Disk(path, error))
        };
        let blob = self.cache.blob(&self.client.etag(&what, &url)?);
        for folder in [place.parent(), blob.parent()].into_iter().flatten() {
            std::fs::create_dir_all(folder).map_err(disk(folder))?;
        }
        let with = |ending: &str| {
            let mut name = blob.clone().into_os_string();
            name.push(ending);
            PathBuf::from(name)
        };
        let held = cache::lock(&with(".lock"), &what)?;
        match std::fs::metadata(&blob) {
            Ok(found) => self.compare(&blob, found.len(), size),
            Err(_) => {
                let part = with(".part");
                self.client.download(&what, &url, &part, size)?;
                std::fs::rename(&part, &blob).map_err(disk(&blob))?;
            }
        }
        cache::link(&blob, place).map_err(disk(place))?;
        drop(held);
        Ok(())
    }
}
