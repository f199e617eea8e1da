//! Removes what wrappers and training programs add to the names of a model's tensors.
//!
//! Two kinds of additions are known. PyTorch's wrappers insert a field such as `module` anywhere in a
//! name. Everything else, such as the key `state_dict` of a training checkpoint or a field in which
//! another model keeps this one, is a prefix that all names of the model share.

use crate::error::{ClipError, Result, shorten};
use crate::weight_file::Tensors;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

/// The fields in which PyTorch's wrappers keep a model or a part of it.
const FIELDS: [&str; 5] = [
    "module",
    "_orig_mod",
    "_forward_module",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
];

/// Removes the fields of PyTorch's wrappers from all names.
///
/// The names stay as they are if two tensors would get the same one.
pub(crate) fn remove_fields(tensors: Tensors, path: &Path) -> Tensors {
    let has = |field: &&str| {
        let mut names = tensors.keys();
        names.any(|name| name.split('.').any(|part| part == *field))
    };
    let found: Vec<&str> = FIELDS.into_iter().filter(has).collect();
    let bare = |name: &str| {
        let parts = name.split('.').filter(|part| !FIELDS.contains(part));
        parts.collect::<Vec<_>>().join(".")
    };
    let names: BTreeSet<String> = tensors.keys().map(|name| bare(name)).collect();
    if found.is_empty() || names.len() < tensors.len() {
        return tensors;
    }
    tracing::info!(
        path = %path.display(),
        fields = found.join(", "),
        "removed the fields of wrappers from the tensor names"
    );
    tensors
        .into_iter()
        .map(|(name, tensor)| (bare(&name), tensor))
        .collect()
}

/// Finds the prefix under which all tensors named in `expected` are, removes it from their names, and
/// drops the tensors outside it.
///
/// Without such a prefix the model is incomplete. The prefix that most of the expected tensors have
/// is then removed if all tensors have it, so that messages name the few that are missing.
///
/// # Errors
///
/// If the model is complete under one prefix and at least half complete under another; the message
/// lists the prefixes.
pub(crate) fn remove_prefix(
    tensors: Tensors,
    expected: &HashSet<String>,
    path: &Path,
) -> Result<Tensors> {
    let counts = count_prefixes(tensors.keys(), expected);
    let complete = counts.iter().find(|(_, count)| **count == expected.len());
    let prefix = match complete {
        Some((prefix, _)) => {
            // A prefix inside the complete model, such as `visual.`, can have some of the names too.
            let is_used = |name: &String| {
                let name = name.strip_prefix(prefix);
                name.is_some_and(|name| expected.contains(name))
            };
            let unused = tensors.keys().filter(|name| !is_used(name));
            let others = count_prefixes(unused, expected).into_iter();
            let others = others.filter(|(_, count)| 2 * count >= expected.len());
            let others: Vec<&str> = others.map(|(prefix, _)| prefix).collect();
            if !others.is_empty() {
                return Err(ambiguous(prefix, &others, path));
            }
            *prefix
        }
        None => {
            let most = counts.iter().max_by_key(|(_, count)| **count);
            let shared = |prefix: &&str| tensors.keys().all(|name| name.starts_with(*prefix));
            let common = most.map(|(prefix, _)| *prefix).filter(shared);
            common.unwrap_or_default()
        }
    };
    if prefix.is_empty() {
        return Ok(tensors);
    }
    tracing::info!(
        path = %path.display(),
        prefix,
        "removed a prefix from the tensor names"
    );
    let outside = tensors.keys().filter(|name| !name.starts_with(prefix));
    let outside: Vec<String> = outside.cloned().collect();
    if !outside.is_empty() {
        tracing::warn!(
            path = %path.display(),
            tensors = shorten(&outside),
            "{} tensors are not loaded because they are outside the prefix `{prefix}`",
            outside.len()
        );
    }
    let prefix = prefix.to_owned();
    Ok(tensors
        .into_iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix(&prefix)?.to_owned(), tensor)))
        .collect())
}

/// For each prefix, the number of names that are the prefix and an expected name.
fn count_prefixes<'a>(
    names: impl Iterator<Item = &'a String>,
    expected: &HashSet<String>,
) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for name in names {
        let after_dots = name.match_indices('.').map(|(dot, _)| dot + 1);
        for start in std::iter::once(0).chain(after_dots) {
            if expected.contains(&name[start..]) {
                *counts.entry(&name[..start]).or_default() += 1;
            }
        }
    }
    counts
}

fn ambiguous(first: &str, others: &[&str], path: &Path) -> ClipError {
    let mut prefixes: Vec<&str> = others.to_vec();
    prefixes.push(first);
    prefixes.sort_unstable();
    let quoted = prefixes.iter().map(|prefix| match prefix.is_empty() {
        true => "no prefix".to_owned(),
        false => format!("`{prefix}`"),
    });
    let quoted: Vec<String> = quoted.collect();
    let message = format!(
        "it holds {} models with the same tensor names, under the prefixes {}; save the one to load \
         to a separate file",
        quoted.len(),
        quoted.join(", ")
    );
    ClipError::format(path, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::store::bridge;
    use burn::store::burn_pack::Tensor as PackTensor;
    use burn::tensor::{DType, Shape};
    use clipseg_testing::{logged, warnings_of};

    const EXPECTED: [&str; 3] = [
        "clip.logit_scale",
        "clip.visual.proj",
        "decoder.film_mul.bias",
    ];

    fn tensor(name: &str) -> PackTensor {
        let unread = || unreachable!("the tests look at names only");
        bridge::deferred(name.to_owned(), DType::F32, Shape::new([1]), None, unread)
    }

    fn removed<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Result<Vec<String>> {
        let tensors = names.into_iter().map(|name| {
            let name = name.as_ref();
            (name.to_owned(), tensor(name))
        });
        let tensors = tensors.collect();
        let path = Path::new("model.pt");
        let expected = EXPECTED.map(str::to_owned).into();
        let tensors = remove_prefix(remove_fields(tensors, path), &expected, path)?;
        Ok(tensors.into_keys().collect())
    }

    #[test]
    fn any_common_prefix_is_removed() {
        let wrappers = ["", "module.", "_orig_mod.", "model.", "state_dict.", "foo."];
        for outer in wrappers {
            for inner in wrappers {
                for last in ["", "clip.", "clipseg.", "teacher.model.", "module."] {
                    let wrapped = EXPECTED.map(|name| format!("{outer}{inner}{last}{name}"));
                    let (found, warnings) = warnings_of(|| removed(&wrapped).unwrap());
                    assert_eq!(found, EXPECTED, "{wrapped:?}");
                    assert!(warnings.is_empty(), "{warnings:?}");
                }
            }
        }
    }

    #[test]
    fn the_log_names_what_was_removed() {
        let wrapped = EXPECTED.map(|name| format!("teacher.module.{name}"));
        let ((), lines) = logged(tracing::Level::INFO, || drop(removed(&wrapped).unwrap()));
        let [fields, prefix] = lines.as_slice() else {
            panic!("{lines:?}");
        };
        assert!(fields.contains("fields = \"module\""), "{fields}");
        assert!(prefix.contains("prefix = \"teacher.\""), "{prefix}");
        let ((), lines) = logged(tracing::Level::INFO, || drop(removed(EXPECTED).unwrap()));
        assert!(lines.is_empty(), "{lines:?}");
    }

    #[test]
    fn fields_inside_names_are_removed() {
        let wrapped = [
            "clip._orig_mod.visual.proj",
            "clip.logit_scale",
            "decoder.module.film_mul.bias",
        ];
        assert_eq!(removed(wrapped).unwrap(), EXPECTED);
    }

    #[test]
    fn other_state_is_dropped_with_a_warning() {
        let other = ["ema.shadow", "optimizer.state.0.exp_avg"];
        let names = EXPECTED.map(|name| format!("model.{name}"));
        let names = names.into_iter().chain(other.map(str::to_owned));
        let (found, warnings) = warnings_of(|| removed(names).unwrap());
        assert_eq!(found, EXPECTED);
        let [warning] = warnings.as_slice() else {
            panic!("{warnings:?}");
        };
        assert!(
            warning.contains("2 tensors are not loaded")
                && warning.contains("outside the prefix `model.`")
                && warning.contains(&other.join(", ")),
            "{warning}"
        );
    }

    #[test]
    fn two_models_under_two_prefixes_are_refused() {
        for (prefixes, expected) in [
            (
                ["student.", "teacher.model."],
                "`student.`, `teacher.model.`",
            ),
            (["", "ema."], "no prefix, `ema.`"),
            (["", "module."], "no prefix, `module.`"),
        ] {
            let names = prefixes
                .into_iter()
                .flat_map(|prefix| EXPECTED.map(|name| format!("{prefix}{name}")));
            let error = removed(names).unwrap_err().to_string();
            assert!(
                error.starts_with("model.pt: it holds 2 models") && error.contains(expected),
                "{error}"
            );
        }
        // The second model lacks a tensor.
        let teacher = ["teacher.clip.logit_scale", "teacher.clip.visual.proj"];
        let student = EXPECTED.map(|name| format!("student.{name}"));
        let names = student.into_iter().chain(teacher.map(str::to_owned));
        let error = removed(names).unwrap_err().to_string();
        assert!(error.contains("`student.`, `teacher.`"), "{error}");
    }

    #[test]
    fn a_tower_with_the_names_of_the_other_is_no_second_model() {
        let names = ["blocks.0", "blocks.1", "visual.blocks.0", "visual.blocks.1"];
        let expected = names.map(str::to_owned).into();
        let found = |prefix: &str| {
            let tensors = names.map(|name| {
                let name = format!("{prefix}{name}");
                (name.clone(), tensor(&name))
            });
            let found = remove_prefix(tensors.into(), &expected, Path::new("model.pt"));
            found.unwrap().into_keys().collect::<Vec<_>>()
        };
        assert_eq!(found(""), names);
        assert_eq!(found("clip."), names);
    }

    #[test]
    fn names_of_an_incomplete_model_are_kept_for_messages() {
        // One tensor is missing, and all that are there share a prefix.
        let most = ["foo.clip.logit_scale", "foo.clip.visual.proj", "foo.x"];
        assert_eq!(
            removed(most).unwrap(),
            ["clip.logit_scale", "clip.visual.proj", "x"]
        );
        for mixed in [
            ["clip.visual.proj", "model.decoder.film_mul.bias"],
            ["a.clip.logit_scale", "b.x"],
            ["clip.logit_scale", "clip.module.logit_scale"],
        ] {
            assert_eq!(removed(mixed).unwrap(), mixed);
        }
    }
}
