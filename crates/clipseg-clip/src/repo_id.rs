//! The names of checkpoints on the Hugging Face hub: `owner/name` and `owner/name@revision`.

/// A repository on the hub and one of its revisions.
///
/// Both become parts of paths in the cache, so [`parse`](Self::parse) accepts nothing that leads out
/// of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "hub"),
    allow(dead_code, reason = "only downloads read the fields")
)]
pub(crate) struct RepoId<'a> {
    /// `owner/name`.
    pub(crate) repository: &'a str,
    /// A branch, a tag or a commit; `main` if the id names none.
    pub(crate) revision: &'a str,
}

impl<'a> RepoId<'a> {
    /// Splits an id; `None` if it is not of the form `owner/name` or `owner/name@revision`.
    pub(crate) fn parse(id: &'a str) -> Option<Self> {
        let (repository, revision) = id.split_once('@').unwrap_or((id, "main"));
        let (owner, name) = repository.split_once('/')?;
        (is_plain(owner) && is_plain(name) && revision.split('/').all(is_plain)).then_some(Self {
            repository,
            revision,
        })
    }
}

/// Whether a string can be one component of a path without leading elsewhere.
pub(crate) fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_distinguished_from_paths() {
        let parts = |id| RepoId::parse(id).map(|id| (id.repository, id.revision));
        assert_eq!(parts("a/b"), Some(("a/b", "main")));
        assert_eq!(parts("a-1/b_2.c@v1.0"), Some(("a-1/b_2.c", "v1.0")));
        assert_eq!(parts("a/b@refs/pr/1"), Some(("a/b", "refs/pr/1")));
        for path in [
            "", "b", "a/", "/b", "a/b/c", "../b", "./b", "a/..", "a/b@", "a/b@../c", "a/b@/c",
            "a b/c", "C:\\a", "a/b@c@d", "~/b",
        ] {
            assert_eq!(parts(path), None, "{path}");
        }
    }
}
