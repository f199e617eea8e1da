//! Loads checkpoints into modules, and saves modules.
//!
//! The parameters of modules have the names of Hugging Face's tensors. Files are mapped into memory, and
//! tensors are read one by one and converted to single precision. Everything in a file that does not
//! fit the module is reported in one error.

use crate::checkpoint_files::CheckpointFiles;
use crate::error::{ClipError, Result, WeightProblems, shorten};
use crate::layers::zeroed;
use crate::non_finite::NonFinite;
use crate::outline::outline;
use crate::precision::Precision;
use crate::source::Source;
use crate::weight_file::{self, Tensors};
use crate::wrappers::{remove_fields, remove_prefix};
use burn::module::Module;
use burn::store::burn_pack::Tensor as PackTensor;
use burn::store::{BurnToPyTorchAdapter, ModuleSnapshot, PyTorchToBurnAdapter, bridge};
use burn::tensor::TensorData;
use clipseg_data::files::StagedFile;
use safetensors::tensor::TensorView;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

/// The tensors of a checkpoint by name. They are read when they are used.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    path: PathBuf,
    tensors: Tensors,
}

pub(crate) const SAFETENSORS: &str = "model.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";
pub(crate) const PICKLE: &str = "pytorch_model.bin";
const PICKLE_INDEX: &str = "pytorch_model.bin.index.json";

impl Checkpoint {
    /// Opens the checkpoint in a folder with Hugging Face's layout.
    ///
    /// Of these files, the first that exists is used: `model.safetensors`,
    /// `model.safetensors.index.json` with its shards, `pytorch_model.bin`, and
    /// `pytorch_model.bin.index.json` with its shards. Files in memory have a `model.safetensors`.
    ///
    /// # Errors
    ///
    /// If none exists, or a file is incomplete or has another format; the message names the file.
    pub fn from_folder(files: impl Into<CheckpointFiles>) -> Result<Self> {
        let files = files.into();
        match files.folder() {
            Some(folder) => Self::from_disk(folder),
            None => Self::from_memory(&files),
        }
    }

    fn from_memory(files: &CheckpointFiles) -> Result<Self> {
        let bytes = files.bytes(SAFETENSORS).ok_or_else(|| ClipError::NoFile {
            folder: files.path().to_owned(),
            expected: vec![SAFETENSORS.to_owned()],
        })?;
        let path = files.location(SAFETENSORS);
        Ok(Self {
            tensors: remove_fields(weight_file::open_bytes(bytes, &path)?, &path),
            path,
        })
    }

    fn from_disk(folder: &Path) -> Result<Self> {
        if !folder.is_dir() {
            let missing = std::io::Error::new(std::io::ErrorKind::NotFound, "no such folder");
            return Err(ClipError::io("read", folder)(missing));
        }
        let names = [SAFETENSORS, INDEX, PICKLE, PICKLE_INDEX];
        let found = names.into_iter().find(|name| folder.join(name).is_file());
        match found {
            Some(name @ (INDEX | PICKLE_INDEX)) => Self::from_shards(folder, &folder.join(name)),
            Some(name) => Self::from_file(&folder.join(name)),
            None => Err(ClipError::NoFile {
                folder: folder.to_owned(),
                expected: names.map(str::to_owned).into(),
            }),
        }
    }

    /// Opens a safetensors file or a PyTorch state dict. The content determines the format, not the name.
    ///
    /// The fields that PyTorch's wrappers insert into names (`module.`, `_orig_mod.`, …) are removed. A
    /// prefix that all names share, such as the `state_dict.` of a training checkpoint, is removed when
    /// the tensors are loaded, or by [`remove_prefix_of`](Self::remove_prefix_of).
    ///
    /// # Errors
    ///
    /// If it cannot be read, is incomplete, or has another format. TorchScript archives, such as OpenAI's
    /// own downloads, are not supported; the message gives the command that converts one.
    pub fn from_file(path: &Path) -> Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            tensors: remove_fields(weight_file::open(path)?, path),
        })
    }

    /// Opens the shards that an index lists.
    fn from_shards(folder: &Path, index: &Path) -> Result<Self> {
        let map = read_index(index)?;
        let files: BTreeSet<&String> = map.values().collect();
        let mut tensors = Tensors::new();
        for file in files {
            tensors.extend(weight_file::open(&folder.join(file))?);
        }
        if let Some(name) = map.keys().find(|name| !tensors.contains_key(*name)) {
            return Err(ClipError::format(
                index,
                format!("`{name}` is in none of the listed files"),
            ));
        }
        Ok(Self {
            path: folder.to_owned(),
            tensors: remove_fields(tensors, folder),
        })
    }

    /// The names of the tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Renames every tensor, and drops a tensor if the new name is `None`.
    #[must_use]
    pub fn rename(self, mut name: impl FnMut(&str) -> Option<String>) -> Self {
        let Self { path, tensors } = self;
        let tensors = tensors
            .into_iter()
            .filter_map(|(old, tensor)| Some((name(&old)?, tensor)))
            .collect();
        Self { path, tensors }
    }

    /// Finds the tensor `known`, removes the prefix of its name from all names, and drops the tensors
    /// outside the prefix.
    ///
    /// For a checkpoint that other code wraps, before its configuration is inferred from its shapes.
    /// Nothing changes if the tensor is missing or has no prefix. The removed prefix is logged, and a
    /// warning names the dropped tensors.
    ///
    /// # Errors
    ///
    /// If the tensor is under several prefixes; the message lists them.
    pub fn remove_prefix_of(self, known: &str) -> Result<Self> {
        let Self { path, tensors } = self;
        let tensors = remove_prefix(tensors, &HashSet::from([known.to_owned()]), &path)?;
        Ok(Self { path, tensors })
    }

    /// The file or folder of the checkpoint.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The shape of a tensor; `None` if there is no tensor of that name.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name).map(|tensor| tensor.shape.to_vec())
    }

    /// Reads a tensor with the data type that it has in the file.
    ///
    /// # Errors
    ///
    /// If there is no tensor of that name, or the file is incomplete or was changed since it was opened.
    pub fn tensor(&self, name: &str) -> Result<TensorData> {
        let tensor = self.tensors.get(name).ok_or_else(|| {
            ClipError::format(&self.path, format!("the tensor `{name}` is missing"))
        })?;
        bridge::to_data(tensor)
            .map_err(|error| ClipError::format(&self.path, format!("`{name}`: {error}")))
    }

    /// Loads the tensors into a module whose parameters have the same names.
    ///
    /// # Errors
    ///
    /// As [`load_into_as`](Self::load_into_as).
    pub fn load_into<M: Module>(self, module: &mut M) -> Result<()> {
        self.load_into_as(module, Source::whole)
    }

    /// Loads the tensors into a module. `source` maps the name of a parameter, as in a file of
    /// [`save_module`], to a tensor of the checkpoint.
    ///
    /// If the names of all needed tensors share a prefix, it is removed and logged. Tensors outside the
    /// prefix are not loaded, and a warning of `tracing` names them. The `position_ids` of older exports
    /// are ignored.
    ///
    /// Tensors are converted to single precision, weights of linear layers are transposed, and a scalar
    /// fits a parameter with one element. NaN and infinite weights are loaded, and a warning of `tracing`
    /// names their tensors; [`non_finite`](crate::non_finite) lists them afterwards. Parameters that are
    /// not initialised yet are not initialised with random numbers.
    ///
    /// # Errors
    ///
    /// - [`ClipError::Format`] if the needed tensors exist under several prefixes.
    /// - [`ClipError::Weights`] with every tensor that is missing, unexpected or misshapen, under its name
    ///   without the prefix. The module is unchanged.
    /// - [`ClipError::Format`] if a tensor cannot be read. The module is partly loaded and should be
    ///   dropped.
    pub fn load_into_as<M: Module>(
        self,
        module: &mut M,
        source: impl Fn(&str) -> Source,
    ) -> Result<()> {
        let outline = outline(module);
        let names = outline.iter().map(|wanted| source(&wanted.name).name);
        let tensors = remove_prefix(self.tensors, &names.collect(), &self.path)?;
        let found = Self {
            path: self.path,
            tensors,
        };
        found.fill(module, outline, source)
    }

    /// Loads the tensors, whose names have no prefix, into a module with this outline.
    fn fill<M: Module>(
        self,
        module: &mut M,
        outline: Vec<PackTensor>,
        source: impl Fn(&str) -> Source,
    ) -> Result<()> {
        let non_finite = NonFinite::default();
        let mut missing = BTreeSet::new();
        let mut mismatched = BTreeSet::new();
        let mut used = BTreeSet::new();
        let mut tensors = Vec::new();
        for wanted in outline {
            let Source { name, part } = source(&wanted.name);
            match self.tensors.get(&name) {
                None => {
                    missing.insert(name.clone());
                }
                Some(found) => match part.misfit(found, &wanted.shape) {
                    Some(misfit) => {
                        mismatched.insert(format!("{name} {misfit}"));
                    }
                    None => tensors.push(part.take(
                        found.clone(),
                        name.clone(),
                        wanted.name,
                        wanted.shape,
                        non_finite.clone(),
                    )),
                },
            }
            used.insert(name);
        }
        let mut problems = WeightProblems {
            missing: missing.into_iter().collect(),
            unexpected: self
                .names()
                .filter(|name| !used.contains(*name) && !name.ends_with("position_ids"))
                .map(str::to_owned)
                .collect(),
            mismatched: mismatched.into_iter().collect(),
        };
        if problems.is_empty() {
            *module = zeroed(module.clone());
            let report = module.apply(tensors, None, Some(Box::new(PyTorchToBurnAdapter)), true);
            problems.mismatched = report.errors.iter().map(ToString::to_string).collect();
            problems.missing = report.missing.into_iter().map(|(name, _)| name).collect();
        }
        if !problems.is_empty() {
            return Err(ClipError::Weights {
                path: self.path,
                problems,
            });
        }
        let non_finite = non_finite.names();
        if !non_finite.is_empty() {
            tracing::warn!(
                path = %self.path.display(),
                tensors = shorten(&non_finite),
                "weights are NaN or infinite"
            );
        }
        Ok(())
    }
}

/// Reads the index of a sharded checkpoint: the file of each tensor.
pub(crate) fn read_index(index: &Path) -> Result<BTreeMap<String, String>> {
    let json = crate::files::read_json(index)?;
    let bad = || {
        ClipError::format(
            index,
            "expected `weight_map`, an object with a file name for each tensor",
        )
    };
    let map = json
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(bad)?;
    map.iter()
        .map(|(tensor, file)| {
            let file = file.as_str().ok_or_else(bad)?;
            let mut parts = Path::new(file).components();
            if !matches!(
                (parts.next(), parts.next()),
                (Some(Component::Normal(_)), None)
            ) {
                return Err(ClipError::format(
                    index,
                    format!("`{file}` is not a plain file name"),
                ));
            }
            Ok((tensor.clone(), file.to_owned()))
        })
        .collect()
}

/// How [`save_module`] writes parameters.
#[derive(Debug, Clone, Copy, Default)]
pub struct SaveOptions<'a> {
    /// The data type of the tensors. Default: single precision.
    pub precision: Precision,
    /// The names of the parameters that are saved as scalars, without a dimension.
    pub scalars: &'a [&'a str],
}

/// Saves the parameters of a module to a safetensors file with PyTorch's names and shapes. Returns the
/// number of weights other than zero that are rounded to zero by the precision.
///
/// `rename` maps the names of the parameters to those in the file. The file is written atomically.
///
/// # Errors
///
/// If a tensor cannot be read from its device, a finite weight would become infinite in the precision, or
/// the file cannot be written. The message names the tensors that have such weights.
pub fn save_module<M: Module>(
    module: &M,
    path: &Path,
    options: SaveOptions<'_>,
    rename: impl Fn(&str) -> String,
) -> Result<usize> {
    let SaveOptions { precision, scalars } = options;
    let mut tensors = Vec::new();
    let (mut to_zero, mut too_large) = (0, Vec::new());
    for tensor in module.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true) {
        let scalar = scalars.contains(&tensor.name.as_str());
        let name = rename(&tensor.name);
        let data = bridge::into_data(tensor).map_err(|error| ClipError::format(path, error))?;
        let data = data.convert::<f32>();
        let shape = if scalar {
            Vec::new()
        } else {
            data.shape().to_vec()
        };
        let values: Vec<f32> = data
            .try_into_vec()
            .map_err(|error| ClipError::format(path, error))?;
        let rounded = || values.iter().map(|&value| (value, precision.round(value)));
        let lost = rounded().filter(|(value, rounded)| *value != 0.0 && *rounded == 0.0);
        to_zero += lost.count();
        if rounded().any(|(value, rounded)| value.is_finite() && rounded.is_infinite()) {
            let largest = values
                .iter()
                .fold(0f32, |most, value| most.max(value.abs()));
            too_large.push(format!("`{name}` with {largest}"));
        }
        tensors.push((name, shape, precision.encode(&values)));
    }
    if !too_large.is_empty() {
        let message = format!(
            "weights of these tensors are infinite in {precision}: {}; save them in another precision",
            shorten(&too_large)
        );
        return Err(ClipError::format(path, message));
    }
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| {
            TensorView::new(precision.dtype(), shape.clone(), bytes).map(|view| (name, view))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| ClipError::format(path, error))?;
    // Transformers refuses files without this entry.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let staged = StagedFile::new(path).map_err(ClipError::io("write", path))?;
    safetensors::serialize_to_file(views, Some(metadata), staged.path())
        .map_err(|error| ClipError::format(path, error))?;
    staged.persist().map_err(ClipError::io("write", path))?;
    Ok(to_zero)
}
