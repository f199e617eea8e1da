//! From a file to named tensors: which format it is of, and where in it the weights lie.
//!
//! The content decides, not the name: `.bin`, `.pt` and `.pth` mean the same three formats, and files
//! get renamed. Formats are those of safetensors 0.8 and of `torch.save` in PyTorch 0.1 to 2.15.

use crate::error::{ClipError, Result};
use crate::wrappers::Tensors;
use burn::store::{ModuleStore, PytorchStore, SafetensorsStore};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

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
