//! Pairing of two runs by the ids of their pictures or tasks.

use crate::error::{MetricsError, Result};
use std::collections::BTreeMap;
use std::fmt::Display;

/// Checks that two runs have the same ids. `what` names the ids in the error.
pub(crate) fn check_same_keys<K: Ord + Display, A, B>(
    what: &'static str,
    first: &BTreeMap<K, A>,
    second: &BTreeMap<K, B>,
) -> Result<()> {
    let only_first: Vec<&K> = first
        .keys()
        .filter(|key| !second.contains_key(key))
        .collect();
    let only_second: Vec<&K> = second
        .keys()
        .filter(|key| !first.contains_key(key))
        .collect();
    match only_first.first().or(only_second.first()) {
        None => Ok(()),
        Some(example) => Err(MetricsError::Unpaired {
            what,
            only_first: only_first.len(),
            only_second: only_second.len(),
            example: example.to_string(),
        }),
    }
}
