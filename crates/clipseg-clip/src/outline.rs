//! Lists the names and shapes of a module's parameters without allocating the parameters.
//!
//! Burn's own collector initialises every parameter that it visits. With a wrong number in the
//! configuration, that could need more memory than the machine has, before the shapes could be
//! compared with a file's.

use burn::module::{Module, ModuleVisitor, Param, Parameter};
use burn::prelude::*;
use burn::store::burn_pack::{Error, Tensor as PackTensor};
use burn::store::{BurnToPyTorchAdapter, ModuleAdapter, ModuleContext, bridge};
use burn::tensor::{Bool, DType};

/// The parameters with the names and shapes that they have in PyTorch. Their values cannot be read.
pub(crate) fn outline<M: Module>(module: &M) -> Vec<PackTensor> {
    let mut outline = Outline::default();
    module.visit(&mut outline);
    outline.tensors
}

#[derive(Default)]
struct Outline {
    tensors: Vec<PackTensor>,
    path: Vec<String>,
    containers: Vec<String>,
}

impl Outline {
    fn add<T: Parameter>(&mut self, _: &Param<T>, dtype: DType, shape: Shape) {
        let name = self.path.join(".");
        let unread = || Err(Error::ValidationError("only the shape is available".into()));
        let tensor = bridge::deferred(name, dtype, shape, None, unread);
        let context = ModuleContext::new(&self.containers);
        self.tensors
            .push(BurnToPyTorchAdapter.adapt(tensor, context));
    }
}

impl ModuleVisitor for Outline {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.containers.push(container_type.to_owned());
        if !container_type.starts_with("Enum:") {
            self.path.push(name.to_owned());
        }
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.containers.pop();
        if !container_type.starts_with("Enum:") {
            self.path.pop();
        }
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.add(param, DType::F32, param.lazy_shape());
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.add(param, DType::I64, param.lazy_shape());
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.add(param, DType::U8, param.lazy_shape());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clip, ClipConfig};
    use burn::store::ModuleSnapshot;

    #[test]
    fn the_outline_equals_the_collected_parameters_and_initialises_none() {
        let device = Device::flex();
        let clip = Clip::unfilled(&ClipConfig::small(), &device);
        let list = |tensors: Vec<PackTensor>| -> Vec<(String, Vec<usize>)> {
            let pair = |tensor: PackTensor| (tensor.name.clone(), tensor.shape.to_vec());
            tensors.into_iter().map(pair).collect()
        };
        let found = list(outline(&clip));
        assert!(found.len() > 60);
        struct Initialised(usize);
        impl ModuleVisitor for Initialised {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0 += usize::from(param.is_initialized());
            }
        }
        let mut initialised = Initialised(0);
        clip.visit(&mut initialised);
        // The logit scale is initialised from the configuration.
        assert_eq!(initialised.0, 1);
        let collected = clip.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true);
        assert_eq!(found, list(collected));
    }
}
