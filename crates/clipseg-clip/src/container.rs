//! From a file to named tensors: which format it is of, and where in it the weights lie.
//!
//! The content decides, not the name: `.bin`, `.pt` and `.pth` mean the same three formats, and files
//! get renamed. Formats are those of safetensors 0.8 and of `torch.save` in PyTorch 0.1 to 2.15.

use crate::error::{ClipError, Result};
use burn::store::burn_pack::Tensor as PackTensor;
use burn::store::{ModuleStore, PytorchStore, SafetensorsStore};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Tensors by name, none of which has been read yet.
pub(crate) type Tensors = BTreeMap<String, PackTensor>;

/// What training programs and wrappers put before the names of the weights: keys under which these
/// lie among other state, and the field in which a wrapper keeps the model.
const WRAPPERS: [&str; 12] = [
    "state_dict.",
    "model_state_dict.",
    "module.",
    "_orig_mod.",
    "_forward_module.",
    "_fsdp_wrapped_module.",
    "model.",
    "net.",
    "network.",
    "base_model.",
    "student.",
    "params.",
];

/// Fields of wrappers around a part of a model, which then stand in the middle of names.
const FIELDS: [&str; 5] = [
    "module",
    "_orig_mod",
    "_forward_module",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
];

/// First parts of the names that models have here: Hugging Face's, OpenAI's and CLIPSeg's own.
const ROOTS: [&str; 18] = [
    "clip",
    "decoder",
    "text_model",
    "vision_model",
    "text_projection",
    "visual_projection",
    "logit_scale",
    "visual",
    "transformer",
    "token_embedding",
    "positional_embedding",
    "ln_final",
    "reduces",
    "reduce",
    "film_mul",
    "film_add",
    "blocks",
    "trans_conv",
];

/// The directory of a zip archive lies at its end; that of the largest CLIP is 60 kB long.
const DIRECTORY: u64 = 1 << 20;

enum Format {
    Safetensors,
    Pytorch,
}

/// Opens a safetensors file or a PyTorch state dict; names are those in the file.
pub(crate) fn open(path: &Path) -> Result<Tensors> {
    let mut file = File::open(path).map_err(ClipError::io("read", path))?;
    if file
        .metadata()
        .map_err(ClipError::io("read", path))?
        .is_dir()
    {
        return Err(ClipError::format(path, "a folder, expected a file"));
    }
    let tensors = match format(&mut file, path)? {
        Format::Safetensors => SafetensorsStore::from_file(path)
            .get_all_tensors()
            .map_err(|error| ClipError::format(path, explain(&error.to_string(), "not whole: ")))?
            .clone(),
        // Burn renumbers lists with gaps unless told not to, which would move layers.
        Format::Pytorch => PytorchStore::from_file(path)
            .map_indices_contiguous(false)
            .get_all_tensors()
            .map_err(|error| ClipError::format(path, explain(&error.to_string(), "")))?
            .clone(),
    };
    if tensors.is_empty() {
        return Err(ClipError::format(path, "there are no tensors in it"));
    }
    Ok(tensors)
}

/// Tells numbers of a kind that is not read from a damaged file, both of which the readers refuse.
fn explain(error: &str, otherwise: &str) -> String {
    let kind = ["Unsupported dtype: ", "unsupported Python type 'torch."]
        .into_iter()
        .find_map(|before| error.split_once(before))
        .map(|(_, behind)| behind);
    let Some(kind) = kind else {
        return format!("{otherwise}{error}");
    };
    let word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let kind = kind.split(word).next().unwrap_or_default();
    if kind.starts_with("F8_") || kind.starts_with("float8_") {
        format!(
            "it holds numbers of the kind {kind}, and 8-bit floats are not read; save the weights in \
             half or single precision"
        )
    } else {
        format!("it holds numbers of the kind {kind}, which are not read")
    }
}

fn format(file: &mut File, path: &Path) -> Result<Format> {
    let mut start = Vec::new();
    file.take(64)
        .read_to_end(&mut start)
        .map_err(ClipError::io("read", path))?;
    if start.is_empty() {
        return Err(ClipError::format(path, "the file is empty"));
    }
    if start.starts_with(b"version https://git-lfs") {
        return Err(ClipError::format(
            path,
            "a Git LFS pointer, not the weights; `git lfs pull` fetches them",
        ));
    }
    if start.starts_with(b"PK") {
        if is_torchscript(file).map_err(ClipError::io("read", path))? {
            return Err(ClipError::format(path, torchscript_advice(path)));
        }
        return Ok(Format::Pytorch);
    }
    // A safetensors file opens with the length of its header, eight bytes, and the header, JSON.
    let named = path
        .extension()
        .is_some_and(|extension| extension == "safetensors");
    if named || start.get(8) == Some(&b'{') {
        return Ok(Format::Safetensors);
    }
    Ok(Format::Pytorch)
}

/// Whether a zip archive holds what only TorchScript writes.
fn is_torchscript(file: &mut File) -> std::io::Result<bool> {
    let size = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(size.saturating_sub(DIRECTORY)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    let marker = b"/constants.pkl";
    Ok(end.windows(marker.len()).any(|window| window == marker))
}

fn torchscript_advice(path: &Path) -> String {
    format!(
        "a TorchScript archive, which holds programs besides weights and is not read. Convert it \
         with: python -c \"import torch; torch.save(torch.jit.load('{}', \
         map_location='cpu').state_dict(), 'state_dict.pt')\"",
        path.display()
    )
}

/// The weights alone, under the names of the model that was trained.
pub(crate) fn unwrap(mut tensors: Tensors) -> Tensors {
    let is_root = |name: &str| {
        let first = name.split('.').find(|part| !FIELDS.contains(part));
        first.is_some_and(|first| ROOTS.contains(&first))
    };
    // What lies beside the weights is left out, unless it looks like weights itself.
    while let Some(wrapper) = WRAPPERS.into_iter().find(|wrapper| {
        let beside = |name: &&String| !name.starts_with(wrapper);
        tensors.keys().any(|name| name.starts_with(wrapper))
            && !tensors.keys().filter(beside).any(|name| is_root(name))
    }) {
        tensors = strip(tensors, wrapper);
    }
    let bare = |name: &str| {
        let parts = name.split('.').filter(|part| !FIELDS.contains(part));
        parts.collect::<Vec<_>>().join(".")
    };
    let names: BTreeSet<String> = tensors.keys().map(|name| bare(name)).collect();
    if names.len() < tensors.len() {
        // Two would be taken for one; as they are, both are reported as not fitting.
        return tensors;
    }
    tensors
        .into_iter()
        .map(|(name, tensor)| (bare(&name), tensor))
        .collect()
}

/// The tensors whose names start with `prefix`, without it.
fn strip(tensors: Tensors, prefix: &str) -> Tensors {
    tensors
        .into_iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::store::bridge;
    use burn::tensor::{DType, Shape};

    fn unwrapped(names: &[&str]) -> Vec<String> {
        let unread = || unreachable!("only names are asked for");
        let tensor = |name: &&str| {
            let name = (*name).to_owned();
            let tensor = bridge::deferred(name.clone(), DType::F32, Shape::new([1]), None, unread);
            (name, tensor)
        };
        let tensors = names.iter().map(tensor).collect();
        unwrap(tensors).into_keys().collect()
    }

    #[test]
    fn wrappers_come_off_in_any_combination() {
        let wrappers = ["", "module.", "_orig_mod.", "model.", "state_dict.", "net."];
        for outer in wrappers {
            for inner in wrappers {
                for last in wrappers {
                    let names = ["clip.logit_scale", "decoder.film_mul.bias"];
                    let wrapped = names.map(|name| format!("{outer}{inner}{last}{name}"));
                    assert_eq!(unwrapped(&wrapped.each_ref().map(String::as_str)), names);
                }
            }
        }
        assert_eq!(
            unwrapped(&[
                "clip._orig_mod.visual.proj",
                "decoder.module.reduces.0.bias"
            ]),
            ["clip.visual.proj", "decoder.reduces.0.bias"]
        );
    }

    #[test]
    fn other_state_is_left_out_but_no_weight_is() {
        let with_state = [
            "model.clip.logit_scale",
            "optimizer.state.0.exp_avg",
            "ema.shadow",
        ];
        assert_eq!(unwrapped(&with_state), ["clip.logit_scale"]);
        for mixed in [
            ["decoder.a", "model.clip.b"],
            ["a.model.b", "decoder.model.c"],
        ] {
            assert_eq!(unwrapped(&mixed), mixed);
        }
        // Both would get the same name.
        let doubled = ["clip.module.a", "clip.a"];
        assert_eq!(unwrapped(&doubled), ["clip.a", "clip.module.a"]);
    }
}
