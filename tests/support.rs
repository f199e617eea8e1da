//! Reference values and comparison with them.

use burn::module::{ModuleMapper, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::Device;
use clipseg::data::Mask;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The folder of the shipped fixtures.
pub(crate) fn shipped() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures"))
}

/// The folder of fixtures: `CLIPSEG_FIXTURES`, such as fixtures of another seed, or the shipped ones.
pub(crate) fn fixtures() -> PathBuf {
    std::env::var_os("CLIPSEG_FIXTURES").map_or_else(shipped, PathBuf::from)
}

/// The set of fixtures that holds this file: [`fixtures`], or the shipped set if it lacks the file.
pub(crate) fn fixtures_with(file: &str) -> PathBuf {
    let named = fixtures();
    if named.join(file).is_file() {
        named
    } else {
        shipped()
    }
}

/// What `make` returns with the device's random generator seeded. Runs of other tests wait meanwhile.
pub(crate) fn drawn<T>(seed: u64, make: impl FnOnce() -> T) -> T {
    let _alone = clipseg::train::drawing(&device(), seed);
    make()
}

/// The device of the tests: `CLIPSEG_TEST_DEVICE`, or the CPU.
pub(crate) fn device() -> Device {
    let name = std::env::var("CLIPSEG_TEST_DEVICE").unwrap_or_else(|_| "cpu".into());
    clipseg::device(&name).unwrap_or_else(|error| panic!("{error}"))
}

/// The tensors of a safetensors file.
pub(crate) struct Answers {
    folder: PathBuf,
    tensors: BTreeMap<String, TensorData>,
}

impl Answers {
    /// `expected.safetensors` of a folder.
    pub(crate) fn of(folder: PathBuf) -> Self {
        Self::from_file(folder, "expected.safetensors")
    }

    pub(crate) fn from_file(folder: PathBuf, name: &str) -> Self {
        let bytes = std::fs::read(folder.join(name)).expect("the fixtures are part of the tests");
        let file = safetensors::SafeTensors::deserialize(&bytes).expect("the fixture is whole");
        let tensors = file
            .tensors()
            .into_iter()
            .map(|(name, view)| {
                let (shape, bytes) = (view.shape().to_vec(), view.data());
                let data = match view.dtype() {
                    safetensors::Dtype::F32 => {
                        TensorData::new(read(bytes, f32::from_le_bytes), shape)
                    }
                    safetensors::Dtype::I64 => {
                        TensorData::new(read(bytes, i64::from_le_bytes), shape)
                    }
                    other => panic!("{name} holds {other:?}"),
                };
                (name, data)
            })
            .collect();
        Self { folder, tensors }
    }

    pub(crate) fn folder(&self) -> &PathBuf {
        &self.folder
    }

    pub(crate) fn names(&self, prefix: &str) -> Vec<String> {
        self.tensors
            .keys()
            .filter(|name| name.starts_with(prefix))
            .cloned()
            .collect()
    }

    pub(crate) fn data(&self, name: &str) -> TensorData {
        self.tensors
            .get(name)
            .unwrap_or_else(|| panic!("no `{name}` in the fixture"))
            .clone()
    }

    pub(crate) fn values(&self, name: &str) -> Vec<f32> {
        self.data(name).try_to_vec().expect("a float tensor")
    }

    pub(crate) fn float<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        Tensor::from_data(self.data(name), device)
    }

    pub(crate) fn int<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D, Int> {
        Tensor::from_data(self.data(name), device)
    }

    /// Asserts that no element differs by more than `relative` times the tensor's largest value.
    pub(crate) fn check<const D: usize>(&self, name: &str, found: Tensor<D>, relative: f32) {
        let data = found.into_data();
        assert_eq!(data.shape(), self.data(name).shape(), "shape of {name}");
        self.check_values(name, &data.try_to_vec().expect("a float tensor"), relative);
    }

    pub(crate) fn check_values(&self, name: &str, found: &[f32], relative: f32) {
        let expected = self.values(name);
        assert_eq!(found.len(), expected.len(), "size of {name}");
        let largest = expected
            .iter()
            .fold(0f32, |largest, value| largest.max(value.abs()));
        let worst = found
            .iter()
            .zip(&expected)
            .map(|(found, expected)| (found - expected).abs())
            .fold(0f32, |worst, difference| {
                if difference.is_nan() {
                    f32::NAN
                } else {
                    worst.max(difference)
                }
            });
        assert!(
            worst <= relative * largest,
            "{}: {name} differs by {worst:e}, which is {:e} of its largest value",
            self.folder.display(),
            worst / largest
        );
    }
}

fn read<const N: usize, T>(bytes: &[u8], convert: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, rest) = bytes.as_chunks::<N>();
    assert!(rest.is_empty(), "the fixture is whole");
    chunks.iter().map(|chunk| convert(*chunk)).collect()
}

/// A mask from the runs of each row, as pairs of start and length.
pub(crate) fn from_runs(width: u32, height: u32, rows: &[Vec<u32>]) -> Mask {
    let mut inside = vec![0; (width * height) as usize];
    for (row, runs) in inside.chunks_exact_mut(width as usize).zip(rows) {
        for run in runs.chunks_exact(2) {
            row[run[0] as usize..(run[0] + run[1]) as usize].fill(1);
        }
    }
    Mask::from_vec(width, height, inside)
}

/// Pseudo-random numbers below the given limit, the same in every run.
pub(crate) fn random() -> impl FnMut(usize) -> usize {
    let mut state = 7u64;
    move |below| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    }
}

/// The two CLIPSeg fixtures.
pub(crate) const SEGMENTERS: [&str; 2] = ["clipseg-refined", "clipseg-plain"];

/// The picture sizes for which a CLIPSeg fixture has reference values.
pub(crate) fn sizes(answers: &Answers) -> Vec<String> {
    let names = answers.names("in.");
    let suffix = ".pixel_values";
    names
        .iter()
        .filter_map(|name| name.strip_prefix("in.")?.strip_suffix(suffix))
        .map(str::to_owned)
        .collect()
}

/// Replaces parameters by their gradients, so that these are written under the same names.
pub(crate) struct IntoGradients<'a>(pub(crate) &'a GradientsParams);

impl ModuleMapper for IntoGradients<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let gradient = self
            .0
            .get::<D>(param.id)
            .expect("every parameter has a gradient");
        Param::initialized(param.id, gradient)
    }
}
