//! The files of one commit: which a checkpoint needs, which are cached, and the download of the rest.

use super::cache::{self, Cache};
use super::client::{Client, Listing};
use super::fault::{Cause, Fault};
use super::options::Options;
use crate::error::{ClipError, Result};
use crate::preprocess::COMBINED;
use crate::repo_id::RepoId;
use crate::weights::{INDEX, PICKLE, SAFETENSORS, read_index};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const VOCABULARY: [&str; 2] = ["vocab.json", "merges.txt"];
const OPTIONAL: [&str; 4] = [
    "preprocessor_config.json",
    COMBINED,
    "special_tokens_map.json",
    "tokenizer_config.json",
];
/// Before the first repetition of a transfer; each further wait is twice as long, up to 64 times.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const MOST_DOUBLINGS: u32 = 6;

/// See [`Hub::snapshot`](super::Hub::snapshot).
pub(super) fn snapshot(options: &Options, id: &str) -> Result<PathBuf> {
    let RepoId {
        repository,
        revision,
    } = RepoId::parse(id).ok_or_else(|| {
        ClipError::hub(id, "not an id like `owner/name` or `owner/name@revision`")
    })?;
    let cache = Cache::new(&options.cache, repository);
    if options.offline {
        return cached_snapshot(&cache, revision).ok_or_else(|| {
            let message = format!(
                "offline mode is set (HF_HUB_OFFLINE), and the cache {} has no complete copy",
                options.cache.display()
            );
            ClipError::hub(id, message)
        });
    }
    options
        .check()
        .map_err(|message| ClipError::hub(id, message))?;
    let client = Client::new(options, repository)?;
    let explain = |fault: &Fault| fault.explain(&options.cache);
    let listing = match client.list(revision) {
        Ok(listing) => listing,
        Err(fault) => {
            let copy = cached_snapshot(&cache, revision).filter(|_| !fault.is_refusal());
            let folder = copy.ok_or_else(|| ClipError::hub(id, explain(&fault)))?;
            tracing::warn!(
                folder = %folder.display(),
                "using the cached copy of {id}: {}",
                explain(&fault)
            );
            return Ok(folder);
        }
    };
    let download = Download {
        options,
        id,
        folder: cache.snapshot(&listing.commit),
        cache: &cache,
        client: &client,
        listing,
    };
    download.all()?;
    // Writing only what has changed lets an up-to-date cache be read-only.
    let commit = &download.listing.commit;
    if revision != commit && cache.commit(revision).as_ref() != Some(commit) {
        cache.set_commit(revision, commit)?;
    }
    Ok(download.folder)
}

/// Chooses the files that a checkpoint needs among those that exist, without the shards of an index.
///
/// The small files come first, so that an error in them shows before the weights are downloaded.
fn needed_files(exists: impl Fn(&str) -> bool) -> Result<Vec<&'static str>, String> {
    let lacks = |what: &str| format!("the repository has no {what}");
    let mut files = vec![CONFIG];
    if !exists(CONFIG) {
        return Err(lacks(CONFIG));
    }
    if exists(TOKENIZER) {
        files.push(TOKENIZER);
    } else if VOCABULARY.into_iter().all(&exists) {
        files.extend(VOCABULARY);
    } else {
        return Err(lacks("tokenizer.json, nor vocab.json with merges.txt"));
    }
    files.extend(OPTIONAL.into_iter().filter(|name| exists(name)));
    let formats = [SAFETENSORS, INDEX, PICKLE];
    let weights = formats.into_iter().find(|name| exists(name));
    files.push(weights.ok_or_else(|| lacks(&formats.join(", nor ")))?);
    Ok(files)
}

/// The cached folder of a revision, if all files of the checkpoint are in it.
fn cached_snapshot(cache: &Cache, revision: &str) -> Option<PathBuf> {
    // Only branches and tags are recorded; a commit is the name of its folder.
    let commit = cache.commit(revision);
    let folder = cache.snapshot(commit.as_deref().unwrap_or(revision));
    let exists = |name: &str| folder.join(name).is_file();
    let files = needed_files(exists).ok()?;
    if files.contains(&INDEX) {
        let map = read_index(&folder.join(INDEX)).ok()?;
        if !map.values().all(|shard| exists(shard)) {
            return None;
        }
    }
    Some(folder)
}

/// The download of one commit into the cache.
struct Download<'a> {
    options: &'a Options,
    id: &'a str,
    folder: PathBuf,
    cache: &'a Cache,
    client: &'a Client,
    listing: Listing,
}

impl Download<'_> {
    /// Downloads every needed file that is not cached.
    fn all(&self) -> Result<()> {
        let files = needed_files(|name| self.listing.sizes.contains_key(name))
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

    /// Downloads a file unless it is cached, and repeats transfers that fail for a temporary reason.
    fn file(&self, file: &str) -> Result<()> {
        let path = self.folder.join(file);
        let size = self.listing.sizes.get(file).copied().flatten();
        if let Ok(found) = std::fs::metadata(&path) {
            warn_of_other_size(&path, found.len(), size);
            return Ok(());
        }
        let mut repetitions = 0;
        loop {
            let Err(fault) = self.attempt(file, &path, size) else {
                return Ok(());
            };
            if repetitions == self.options.retries || !fault.is_temporary() {
                let message = fault.explain(&self.options.cache);
                return Err(ClipError::hub(self.id, message));
            }
            std::thread::sleep(FIRST_WAIT * (1 << repetitions.min(MOST_DOUBLINGS)));
            repetitions += 1;
        }
    }

    fn attempt(&self, file: &str, path: &Path, size: Option<u64>) -> Result<(), Fault> {
        let what = format!("`{file}`");
        let url = self.client.url(&self.listing.commit, file);
        let disk = |path: &Path| {
            let path = path.to_owned();
            |error| Fault::new(&what, &url, Cause::Disk(path, error))
        };
        let blob = self.cache.blob(&self.client.etag(&what, &url)?);
        for folder in [path.parent(), blob.parent()].into_iter().flatten() {
            std::fs::create_dir_all(folder).map_err(disk(folder))?;
        }
        let with = |ending: &str| {
            let mut name = blob.clone().into_os_string();
            name.push(ending);
            PathBuf::from(name)
        };
        let lock = cache::lock(&with(".lock"), &what)?;
        match std::fs::metadata(&blob) {
            Ok(found) => warn_of_other_size(&blob, found.len(), size),
            Err(_) => {
                let part = with(".part");
                self.client.download(&what, &url, &part, size)?;
                std::fs::rename(&part, &blob).map_err(disk(&blob))?;
            }
        }
        cache::link(&blob, path).map_err(disk(path))?;
        drop(lock);
        Ok(())
    }
}

/// Warns of a cached file with another size than the hub lists.
///
/// Downloads appear in the cache complete, so somebody has changed the file, perhaps on purpose.
fn warn_of_other_size(path: &Path, found: u64, size: Option<u64>) {
    if let Some(size) = size.filter(|size| *size != found) {
        tracing::warn!(
            path = %path.display(),
            "the cached file has {found} bytes, but the hub lists {size}; the file is used as it is. \
             To download it again, remove it and the file that it links to"
        );
    }
}
