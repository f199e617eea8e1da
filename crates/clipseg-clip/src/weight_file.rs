//! Opens weight files: finds the format, and lists the tensors.
//!
//! The content determines the format, because the names `.bin`, `.pt` and `.pth` do not, and files get
//! renamed. Supported are safetensors 0.8 and the formats of `torch.save` in PyTorch 0.1 to 2.15.

use crate::error::{ClipError, Result};
use burn::store::burn_pack::Tensor as PackTensor;
use burn::store::{ModuleStore, PytorchStore, SafetensorsStore};
use clipseg_data::files;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Tensors by name. They are read when they are used.
pub(crate) type Tensors = BTreeMap<String, PackTensor>;

/// How many bytes at the end of a zip archive are searched for its directory. The directory of the
/// largest CLIP has 60 kB.
const DIRECTORY: u64 = 1 << 20;

enum Format {
    Safetensors,
    Pytorch,
}

/// Opens a safetensors file or a PyTorch state dict. The names are those in the file.
pub(crate) fn open(path: &Path) -> Result<Tensors> {
    let mut file = files::open(path).map_err(ClipError::io("read", path))?;
    if file
        .metadata()
        .map_err(ClipError::io("read", path))?
        .is_dir()
    {
        return Err(ClipError::format(path, "it is a folder, expected a file"));
    }
    let tensors = match format(&mut file, path)? {
        Format::Safetensors => safetensors(SafetensorsStore::from_file(path), path)?,
        // By default Burn renumbers lists with gaps, which would move layers.
        Format::Pytorch => PytorchStore::from_file(path)
            .map_indices_contiguous(false)
            .get_all_tensors()
            .map_err(|error| ClipError::format(path, explain(&error.to_string(), "")))?
            .clone(),
    };
    if tensors.is_empty() {
        return Err(ClipError::format(path, "it contains no tensors"));
    }
    Ok(tensors)
}

/// Opens a safetensors file in memory; `path` is used in messages.
pub(crate) fn open_bytes(bytes: &[u8], path: &Path) -> Result<Tensors> {
    let tensors = safetensors(SafetensorsStore::from_bytes(Some(bytes.to_vec())), path)?;
    if tensors.is_empty() {
        return Err(ClipError::format(path, "it contains no tensors"));
    }
    Ok(tensors)
}

fn safetensors(mut store: SafetensorsStore, path: &Path) -> Result<Tensors> {
    let tensors = store.get_all_tensors().map_err(|error| {
        ClipError::format(path, explain(&error.to_string(), "damaged or incomplete: "))
    })?;
    Ok(tensors.clone())
}

/// Explains an error of a reader: a data type that is not supported, or else a damaged file.
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
            "it contains tensors of the data type {kind}, and 8-bit floats are not supported; save the \
             weights in half or single precision"
        )
    } else {
        format!("it contains tensors of the data type {kind}, which is not supported")
    }
}

/// Determines the format by the first bytes of a file.
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
            "it is a Git LFS pointer instead of the weights; `git lfs pull` downloads them",
        ));
    }
    if start.starts_with(b"PK") {
        if is_torchscript(file).map_err(ClipError::io("read", path))? {
            return Err(ClipError::format(path, torchscript_advice(path)));
        }
        return Ok(Format::Pytorch);
    }
    // A safetensors file begins with the length of its header in eight bytes, followed by JSON.
    let named = path
        .extension()
        .is_some_and(|extension| extension == "safetensors");
    if named || start.get(8) == Some(&b'{') {
        return Ok(Format::Safetensors);
    }
    Ok(Format::Pytorch)
}

/// Whether a zip archive contains a file that only TorchScript writes.
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
        "it is a TorchScript archive, which contains code besides weights and is not supported. \
         Convert it with: python -c \"import torch; torch.save(torch.jit.load('{}', \
         map_location='cpu').state_dict(), 'state_dict.pt')\"",
        path.display()
    )
}
