//! Checkpoints by their id on the Hugging Face hub, into the cache that its other tools use.
//!
//! The transfers are `hf-hub`'s: a file grows under another name, beside a lock, and is renamed when
//! its last byte has come, so that an interrupted download leaves nothing that looks finished and
//! the next one goes on from there. This module adds what that lacks: all files come from one
//! commit; a branch points to a commit only when all of its files are there; lengths are compared
//! with the hub's; leftovers that cannot be continued are dropped; and without a network a complete
//! copy in the cache will do.

use crate::error::{ClipError, Result};
use crate::resolve::split_id;
use crate::weights::{INDEX, PICKLE, WHOLE, read_index};
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

mod fault;
#[cfg(test)]
mod tests;

use fault::Fault;

/// Where checkpoints come from, and where they are kept.
///
/// ```no_run
/// let hub = clipseg_clip::Hub::from_env()?.with_progress(false);
/// let folder = hub.snapshot("CIDAS/clipseg-rd64-refined")?;
/// # Ok::<(), clipseg_clip::ClipError>(())
/// ```
#[derive(Clone)]
pub struct Hub {
    endpoint: Option<String>,
    cache: PathBuf,
    token: Option<String>,
    progress: bool,
    retries: u32,
}

impl Hub {
    /// The public hub with this cache folder, without a token and without progress bars.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            endpoint: None,
            cache: cache.into(),
            token: None,
            progress: false,
            retries: 2,
        }
    }

    /// The hub and the cache that the Hugging Face tools of this user have, with progress bars.
    ///
    /// `HF_HOME` holds the cache and the stored token, and is `.cache/huggingface` in the home folder
    /// by default. `HF_TOKEN` goes before the stored token, and `HF_ENDPOINT` names another server.
    ///
    /// # Errors
    ///
    /// If there is neither `HF_HOME` nor a home folder.
    pub fn from_env() -> Result<Self> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let home = match variable("HF_HOME") {
            Some(home) => PathBuf::from(home),
            None => std::env::home_dir()
                .filter(|home| !home.as_os_str().is_empty())
                .ok_or_else(|| {
                    ClipError::Input(
                        "there is no home folder to keep downloads in; set HF_HOME".into(),
                    )
                })?
                .join(".cache/huggingface"),
        };
        let cache = home.join("hub");
        let stored = || Cache::new(cache.clone()).token();
        let token = variable("HF_TOKEN").or_else(stored);
        let hub = Self::new(cache).with_token(token).with_progress(true);
        Ok(match variable("HF_ENDPOINT") {
            Some(endpoint) => hub.with_endpoint(endpoint),
            None => hub,
        })
    }

    /// Takes another server than the public one, as `https://example.org`.
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into().trim_end_matches('/').to_owned());
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
    /// are in the cache already are not downloaded again, and if the hub does not answer, a
    /// complete copy in the cache is given as it is.
    ///
    /// # Errors
    ///
    /// [`ClipError::Hub`] if the repository or a file is not there or not for this token, if the hub
    /// does not answer, or if a transfer breaks off; another call then goes on with it.
    pub fn snapshot(&self, id: &str) -> Result<PathBuf> {
        let (repository, revision) = split_id(id).ok_or_else(|| {
            ClipError::hub(id, "not an id like `owner/name` or `owner/name@revision`")
        })?;
        let at = |revision: &str| {
            Repo::with_revision(repository.to_owned(), RepoType::Model, revision.to_owned())
        };
        let cache = Cache::new(self.cache.clone());
        let named = cache.repo(at(revision));
        let api = self
            .api(cache.clone())
            .map_err(|error| ClipError::hub(id, error.to_string()))?;
        let list = match list(&api.repo(at(revision))) {
            Ok(list) => list,
            Err(fault) => {
                return cached(&named, revision).ok_or_else(|| self.explain(id, &fault));
            }
        };
        let pinned = at(&list.commit);
        let download = Download {
            hub: self,
            id,
            folder: named.pointer_path(&list.commit),
            cache: cache.repo(pinned.clone()),
            api: &api,
            remote: api.repo(pinned),
            sizes: list.sizes,
        };
        download.all()?;
        let config = download.folder.join(CONFIG);
        // A cache that is up to date may belong to somebody else and be closed to writing.
        if named.get(CONFIG).as_ref() != Some(&config) {
            named
                .create_ref(&list.commit)
                .map_err(ClipError::io("write", &self.cache))?;
        }
        Ok(download.folder)
    }

    fn api(&self, cache: Cache) -> Result<Api, ApiError> {
        // hf-hub's own retries start again at the first byte of a file that is half there, and
        // append; so it gets none.
        let builder = ApiBuilder::from_cache(cache)
            .with_token(self.token.clone())
            .with_progress(self.progress)
            .with_retries(0)
            .with_user_agent(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        match &self.endpoint {
            Some(endpoint) => builder.with_endpoint(endpoint.clone()),
            None => builder,
        }
        .build()
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
            .field("progress", &self.progress)
            .field("retries", &self.retries)
            .finish()
    }
}

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const VOCABULARY: [&str; 2] = ["vocab.json", "merges.txt"];
const OPTIONAL: [&str; 3] = [
    "preprocessor_config.json",
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
fn cached(cache: &CacheRepo, revision: &str) -> Option<PathBuf> {
    let folder = match cache.get(CONFIG) {
        Some(config) => config.parent()?.to_owned(),
        // A revision that is a commit has no entry of its own unless it was asked for before.
        None => cache.pointer_path(revision),
    };
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

struct List {
    commit: String,
    sizes: HashMap<String, Option<u64>>,
}

/// What a revision holds. hf-hub's own request leaves out the sizes and waits without end.
fn list(remote: &ApiRepo) -> Result<List, Fault> {
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
    let fault = |error| Fault::new("the list of files", &remote.url(""), error);
    let answer: Answer = remote
        .info_request()
        .config()
        .timeout_connect(Some(Duration::from_secs(10)))
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .query("blobs", "true")
        .call()
        .and_then(|mut response| response.body_mut().read_json())
        .map_err(|error| fault(Box::new(error).into()))?;
    // It becomes the name of a folder.
    if answer.sha.is_empty() || !answer.sha.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(fault(ApiError::InvalidHeader("sha")));
    }
    let sizes = answer
        .siblings
        .into_iter()
        .map(|sibling| (sibling.rfilename, sibling.size))
        .collect();
    Ok(List {
        commit: answer.sha,
        sizes,
    })
}

/// One commit on its way into the cache.
struct Download<'a> {
    hub: &'a Hub,
    id: &'a str,
    folder: PathBuf,
    cache: CacheRepo,
    api: &'a Api,
    remote: ApiRepo,
    sizes: HashMap<String, Option<u64>>,
}

impl Download<'_> {
    fn all(&self) -> Result<()> {
        let files = choose(|name| self.sizes.contains_key(name))
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
        let size = self.sizes.get(file).copied().flatten();
        if let Ok(found) = std::fs::metadata(&place) {
            if size.is_none_or(|size| size == found.len()) {
                return Ok(());
            }
            // hf-hub keeps an old entry even when it has downloaded what should be in its place.
            std::fs::remove_file(&place).map_err(ClipError::io("replace", &place))?;
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

    fn attempt(&self, file: &str, place: &Path, size: Option<u64>) -> Result<(), Fault> {
        let url = self.remote.url(file);
        let fault = |error| Fault::new(format!("`{file}`"), &url, error);
        let path = self.remote.download(file).map_err(|error| {
            let fault = fault(error);
            if fault.is_stale_part() {
                self.drop_part(&url);
            }
            fault
        })?;
        if path != place {
            return Err(fault(ApiError::InvalidHeader("x-repo-commit")));
        }
        // A server that passes over the request to go on from the middle sends the whole file
        // again, and hf-hub appends it.
        let found = std::fs::metadata(&path).map_err(|error| fault(error.into()))?;
        if size.is_some_and(|size| size != found.len()) {
            let blob = path.canonicalize().map_err(|error| fault(error.into()))?;
            for wrong in [&path, &blob] {
                std::fs::remove_file(wrong).ok();
            }
            return Err(fault(ApiError::InvalidResume));
        }
        Ok(())
    }

    /// Removes what an earlier download left, so that the next starts from the first byte.
    fn drop_part(&self, url: &str) {
        // Only a help: without it the same error comes again and is reported.
        if let Ok(metadata) = self.api.metadata(url) {
            let part = self.cache.blob_path(metadata.etag()).with_extension("part");
            std::fs::remove_file(part).ok();
        }
    }
}
