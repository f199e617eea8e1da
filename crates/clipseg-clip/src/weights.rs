//! Reading checkpoints into modules and writing them back, on `burn-store` and `safetensors`.
//!
//! Modules in this workspace are named like Hugging Face's tensors, so a checkpoint's names need at
//! most a common prefix taken off. A file is mapped into memory and its tensors are read one by one,
//! converted to single precision, and checked against the module: everything that does not fit is
//! reported at once.

use crate::error::{ClipError, Result, WeightProblems};
use crate::files::write_aside;
use burn::module::Module;
use burn::store::burn_pack::Tensor as PackTensor;
use burn::store::{
    ApplyError, BurnToPyTorchAdapter, FloatCastAdapter, ModuleAdapter, ModuleSnapshot, ModuleStore,
    PyTorchToBurnAdapter, PytorchStore, SafetensorsStore, bridge,
};
use burn::tensor::{DType, Shape, TensorData};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Component, Path, PathBuf};

/// The tensors of a checkpoint, by the names in its files; none is read before it is needed.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    path: PathBuf,
    tensors: BTreeMap<String, PackTensor>,
}

/// What is done to a tensor on its way from one naming to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reshape {
    /// Nothing but a new name.
    Keep,
    /// A matrix is transposed.
    Transpose,
    /// The rows are shared out equally among the new names.
    SplitRows,
}

pub(crate) const WHOLE: &str = "model.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";
pub(crate) const PICKLE: &str = "pytorch_model.bin";

impl Checkpoint {
    /// Opens the checkpoint in a folder as Hugging Face lays it out: `model.safetensors`, or shards
    /// with `model.safetensors.index.json`, or `pytorch_model.bin`.
    ///
    /// # Errors
    ///
    /// If there is none, or a file is cut off or of another format; the message names the file.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        if !folder.is_dir() {
            let missing = std::io::Error::new(std::io::ErrorKind::NotFound, "no such folder");
            return Err(ClipError::io("read", folder)(missing));
        }
        let [whole, index, pickle] = [WHOLE, INDEX, PICKLE].map(|name| folder.join(name));
        if whole.is_file() {
            return Self::from_file(&whole);
        }
        if index.is_file() {
            return Self::from_shards(folder, &index);
        }
        if pickle.is_file() {
            return Self::from_file(&pickle);
        }
        Err(ClipError::NoFile {
            folder: folder.to_owned(),
            expected: [WHOLE, INDEX, PICKLE].map(str::to_owned).into(),
        })
    }

    /// Opens one file: `.safetensors`, or a PyTorch state dict with any other ending.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is cut off, or is of another format.
    pub fn from_file(path: &Path) -> Result<Self> {
        std::fs::File::open(path).map_err(ClipError::io("read", path))?;
        let tensors = if path
            .extension()
            .is_some_and(|extension| extension == "safetensors")
        {
            let mut store = SafetensorsStore::from_file(path);
            store
                .get_all_tensors()
                .map_err(|error| ClipError::format(path, error))?
                .clone()
        } else {
            // Burn renumbers lists with gaps unless told not to, which would move layers.
            let mut store = PytorchStore::from_file(path).map_indices_contiguous(false);
            store
                .get_all_tensors()
                .map_err(|error| ClipError::format(path, error))?
                .clone()
        };
        Ok(Self {
            path: path.to_owned(),
            tensors,
        })
    }

    fn from_shards(folder: &Path, index: &Path) -> Result<Self> {
        let map = read_index(index)?;
        let files: BTreeSet<&String> = map.values().collect();
        let mut tensors = BTreeMap::new();
        for file in files {
            tensors.extend(Self::from_file(&folder.join(file))?.tensors);
        }
        if let Some(name) = map.keys().find(|name| !tensors.contains_key(*name)) {
            return Err(ClipError::format(
                index,
                format!("`{name}` is in none of the files"),
            ));
        }
        Ok(Self {
            path: folder.to_owned(),
            tensors,
        })
    }

    /// Names of the tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Renames every tensor; one whose new name is `None` is left out.
    #[must_use]
    pub fn rename(self, mut name: impl FnMut(&str) -> Option<String>) -> Self {
        let Self { path, tensors } = self;
        let tensors = tensors
            .into_iter()
            .filter_map(|(old, mut tensor)| {
                let new = name(&old)?;
                tensor.name.clone_from(&new);
                Some((new, tensor))
            })
            .collect();
        Self { path, tensors }
    }

    /// Where the tensors came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The shape of a tensor, if it is there.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name).map(|tensor| tensor.shape.to_vec())
    }

    /// Renames and reshapes every tensor; one for which `change` gives nothing is left out. Tensors
    /// that are reshaped are read here.
    ///
    /// # Errors
    ///
    /// If a tensor that is to be reshaped cannot be read, or does not have the rows for it.
    pub fn convert(self, change: impl Fn(&str) -> Option<(Reshape, Vec<String>)>) -> Result<Self> {
        let Self { path, tensors: old } = self;
        let mut tensors = BTreeMap::new();
        for (name, mut tensor) in old {
            let Some((reshape, names)) = change(&name) else {
                continue;
            };
            if let (Reshape::Keep, [new]) = (reshape, names.as_slice()) {
                tensor.name.clone_from(new);
                tensors.insert(new.clone(), tensor);
                continue;
            }
            let fail = |message: String| ClipError::format(&path, format!("`{name}`: {message}"));
            let data = bridge::into_data(tensor).map_err(|error| fail(error.to_string()))?;
            let shape = data.shape().to_vec();
            let values: Vec<f32> = data
                .convert::<f32>()
                .try_to_vec()
                .map_err(|error| fail(format!("{error:?}")))?;
            let parts = match (reshape, shape.as_slice()) {
                (Reshape::Transpose, &[rows, columns]) => {
                    let turned = (0..columns)
                        .flat_map(|c| (0..rows).map(move |r| (r, c)))
                        .map(|(r, c)| values[r * columns + c])
                        .collect();
                    vec![TensorData::new::<f32, _>(turned, [columns, rows])]
                }
                (Reshape::SplitRows, &[rows, ..]) if rows.is_multiple_of(names.len()) => {
                    let mut part = shape.clone();
                    part[0] = rows / names.len();
                    let size = values.len() / names.len();
                    (0..names.len())
                        .map(|index| &values[index * size..(index + 1) * size])
                        .map(|part_values| TensorData::new(part_values.to_vec(), part.clone()))
                        .collect()
                }
                _ => return Err(fail(format!("shape {shape:?} does not fit its name"))),
            };
            for (new, data) in names.into_iter().zip(parts) {
                tensors.insert(new.clone(), bridge::from_data(data, new, None));
            }
        }
        Ok(Self { path, tensors })
    }

    /// Puts the tensors into a module whose parameters have their names.
    ///
    /// Half precision becomes single, linear maps are transposed, and a scalar fits a parameter of
    /// one element. The `position_ids` that older exports contain are passed over.
    ///
    /// # Errors
    ///
    /// [`ClipError::Weights`] with every tensor that is missing, unexpected or misshapen; the module
    /// is then half loaded and should be dropped.
    pub fn load_into<M: Module>(self, module: &mut M) -> Result<()> {
        let mut tensors = Vec::with_capacity(self.tensors.len());
        for (name, mut tensor) in self.tensors {
            if name.ends_with("position_ids") {
                continue;
            }
            if tensor.shape.num_dims() == 0 {
                let data = bridge::into_data(tensor)
                    .map_err(|error| ClipError::format(&self.path, error))?;
                let (bytes, _, dtype) = data.into_parts();
                tensor = PackTensor::new(name, dtype, Shape::new([1]), None, bytes);
            }
            tensors.push(tensor);
        }
        let adapter = PyTorchToBurnAdapter.chain(FloatCastAdapter::to(DType::F32));
        let report = module.apply(tensors, None, Some(Box::new(adapter)), true);
        let problems = WeightProblems {
            missing: report
                .missing
                .iter()
                .map(|(name, _)| file_name(name))
                .collect(),
            unexpected: report.unused,
            mismatched: report.errors.iter().map(describe).collect(),
        };
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ClipError::Weights {
                path: self.path,
                problems,
            })
        }
    }
}

/// The file that each tensor of a checkpoint in shards is in, from its index.
pub(crate) fn read_index(index: &Path) -> Result<BTreeMap<String, String>> {
    let json = crate::config::read_json(index)?;
    let bad = || ClipError::format(index, "expected `weight_map`, an object of file names");
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

/// Writes a module's parameters as a safetensors file that PyTorch reads, under their own names.
///
/// The parameters named in `scalars` are written without a dimension. The file appears whole or not
/// at all.
///
/// # Errors
///
/// If a tensor cannot be read from its device or the file cannot be written.
pub fn save_module<M: Module>(
    module: &M,
    path: &Path,
    scalars: &[&str],
    rename: impl Fn(&str) -> String,
) -> Result<()> {
    let mut tensors = Vec::new();
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
        tensors.push((name, shape, data.into_bytes()));
    }
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| {
            TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name, view))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| ClipError::format(path, error))?;
    // Transformers refuses a file that does not say that it is PyTorch's.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    write_aside(path, |aside| {
        safetensors::serialize_to_file(views, Some(metadata), aside)
            .map_err(|error| ClipError::format(path, error))
    })
}

/// Burn calls the parameters of a norm `gamma` and `beta`; files call them `weight` and `bias`.
fn file_name(path: &str) -> String {
    match path.rsplit_once('.') {
        Some((parent, "gamma")) => format!("{parent}.weight"),
        Some((parent, "beta")) => format!("{parent}.bias"),
        _ => path.to_owned(),
    }
}

fn describe(error: &ApplyError) -> String {
    match error {
        ApplyError::ShapeMismatch {
            path,
            expected,
            found,
        } => {
            format!(
                "{} has shape {found:?}, expected {expected:?}",
                file_name(path)
            )
        }
        ApplyError::DTypeMismatch {
            path,
            expected,
            found,
        } => {
            format!("{} holds {found:?}, expected {expected:?}", file_name(path))
        }
        ApplyError::AdapterError { path, message } | ApplyError::LoadError { path, message } => {
            format!("{}: {message}", file_name(path))
        }
    }
}
