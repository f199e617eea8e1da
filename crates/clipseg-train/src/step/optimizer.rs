//! Burn's AdamW, with a learning rate of its own for CLIP and moments that are loaded onto the device of their
//! parameter.

use crate::config::adamw_options::AdamWOptions;
use burn::module::ParamGroup;
use burn::optim::{
    AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, LearningRate, ModuleOptimizer,
    Optimizer, RecordState, StateSink, StateSource,
};
use burn::prelude::*;

/// Names of biases and of the weights of norms in Burn's modules, and of CLIP's temperature.
const NOT_DECAYED: &str = r"(^|\.)(bias|gamma|beta|logit_scale)$";

/// The same of the parameters in the field `clip` of a module.
const NOT_DECAYED_OF_CLIP: &str = r"^clip\.(.*\.)?(bias|gamma|beta|logit_scale)$";
/// All parameters in that field.
const OF_CLIP: &str = r"^clip\.";

/// Creates the optimizer of a configuration. With `clip_share`, the learning rate of the parameters in the
/// module's field `clip` is that of the step times this share.
pub(crate) fn adamw(options: &AdamWOptions, clip_share: Option<f64>) -> ModuleOptimizer {
    let config = AdamWConfig::new()
        .with_weight_decay(options.weight_decay)
        .with_beta_1(options.beta_1)
        .with_beta_2(options.beta_2)
        .with_epsilon(options.epsilon);
    let undecayed =
        (!options.decay_biases_and_norms).then(|| config.clone().with_weight_decay(0.0));
    let of = |config: &AdamWConfig, share| OnItsDevice {
        adamw: config.build(),
        share,
    };
    let mut optimizer = ModuleOptimizer::from(of(&config, 1.0));
    // A later group has precedence over an earlier one.
    if let Some(undecayed) = &undecayed {
        optimizer = optimizer.with_group(group(NOT_DECAYED), of(undecayed, 1.0), None);
    }
    if let Some(share) = clip_share {
        optimizer = optimizer.with_group(group(OF_CLIP), of(&config, share), None);
        if let Some(undecayed) = &undecayed {
            let undecayed = of(undecayed, share);
            optimizer = optimizer.with_group(group(NOT_DECAYED_OF_CLIP), undecayed, None);
        }
    }
    optimizer
}

/// The parameters whose names match a constant expression.
fn group(expression: &str) -> ParamGroup {
    match ParamGroup::from_regex(expression) {
        Ok(group) => group,
        Err(_) => unreachable!("the expression is a constant"),
    }
}

/// Burn's AdamW with a share of the learning rate, except that the moments of a record stay in main memory until
/// the device of their parameter is known.
///
/// Burn loads them onto `Device::default()` first, which depends on the compiled features: a build with
/// CUDA would need a GPU to resume a run on the CPU (`load_record` of `burn-optim` 0.22.1).
#[derive(Clone)]
struct OnItsDevice {
    adamw: AdamW,
    /// The factor on the learning rate of each step.
    share: f64,
}

#[derive(Clone)]
struct Moments<const D: usize> {
    time: usize,
    place: Place<D>,
}

#[derive(Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one for each parameter, nearly always of the larger variant"
)]
enum Place<const D: usize> {
    Device {
        first: Tensor<D>,
        second: Tensor<D>,
    },
    Memory {
        first: TensorData,
        second: TensorData,
    },
}

impl<const D: usize> RecordState for Moments<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        let (first, second) = match &self.place {
            Place::Device { first, second } => (first.to_data(), second.to_data()),
            Place::Memory { first, second } => (first.clone(), second.clone()),
        };
        out.push_scalar(prefix, "time", self.time.into());
        out.push_tensor(prefix, "moment_1", first);
        out.push_tensor(prefix, "moment_2", second);
    }

    fn state_unflatten(prefix: &str, source: &mut StateSource, _: &Device) -> Option<Self> {
        Some(Self {
            time: source.take_scalar(prefix, "time")?.try_into().ok()?,
            place: Place::Memory {
                first: source.take_tensor(prefix, "moment_1")?,
                second: source.take_tensor(prefix, "moment_2")?,
            },
        })
    }
}

impl Optimizer for OnItsDevice {
    type State<const D: usize> = Moments<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: LearningRate,
        tensor: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<Moments<D>>,
    ) -> (Tensor<D>, Option<Moments<D>>) {
        let device = tensor.device();
        let state = state.map(|state| {
            let time = state.time;
            let (first, second) = match Self::to_device(state, &device).place {
                Place::Device { first, second } => (first, second),
                Place::Memory { .. } => unreachable!("it was moved to the device"),
            };
            AdamWState::new(AdaptiveMomentumState::new(time, first, second))
        });
        let rate = self.share * learning_rate;
        let (tensor, state) = self.adamw.step(rate, tensor, gradient, state);
        let state = state.map(|AdamWState { momentum }| Moments {
            time: momentum.time,
            place: Place::Device {
                first: momentum.moment_1,
                second: momentum.moment_2,
            },
        });
        (tensor, state)
    }

    fn to_device<const D: usize>(state: Moments<D>, device: &Device) -> Moments<D> {
        let (first, second) = match state.place {
            Place::Device { first, second } => (first.to_device(device), second.to_device(device)),
            Place::Memory { first, second } => (
                Tensor::from_data(first, device),
                Tensor::from_data(second, device),
            ),
        };
        Moments {
            time: state.time,
            place: Place::Device { first, second },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Module;
    use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
    use burn::optim::{GradientsParams, OptimizerRecord};

    #[derive(Module, Debug)]
    struct Two {
        map: Linear,
        norm: LayerNorm,
    }

    fn module() -> Two {
        let device = Device::flex();
        device.seed(3);
        let module = Two {
            map: LinearConfig::new(3, 3).init(&device),
            norm: LayerNormConfig::new(3).init(&device),
        };
        clipseg_clip::initialise(&module);
        module.train()
    }

    fn step(module: Two, optimizer: &mut ModuleOptimizer) -> Two {
        let input = Tensor::<2>::ones([2, 3], &Device::flex()).autodiff();
        let loss = module.norm.forward(module.map.forward(input)).square();
        // The squares of a normalised row have a constant sum; weights give them a gradient.
        let weights = Tensor::<2>::from_floats([[1.0, 2.0, 4.0]], &Device::flex()).autodiff();
        let gradients = (loss * weights).sum().backward();
        let gradients = GradientsParams::from_grads(gradients, &module);
        optimizer.step(1e-2, module, gradients)
    }

    fn values(module: &Two) -> Vec<f32> {
        let read = |data: TensorData| data.try_to_vec::<f32>().unwrap();
        let mut values = read(module.map.weight.val().into_data());
        values.extend(read(module.norm.gamma.val().into_data()));
        values
    }

    #[test]
    fn moments_are_read_back_bit_for_bit() {
        let options = AdamWOptions {
            decay_biases_and_norms: false,
            ..AdamWOptions::default()
        };
        let (mut module, mut optimizer) = (module(), adamw(&options, None));
        for _ in 0..3 {
            module = step(module, &mut optimizer);
        }
        let bytes = optimizer.into_bytes().unwrap();
        let record = OptimizerRecord::from_bytes(bytes).unwrap();
        let restored = adamw(&options, None).load_record(record);
        // Written again before any step, as by a run that is stopped right after it was resumed.
        let bytes = restored.into_bytes().unwrap();
        let record = OptimizerRecord::from_bytes(bytes).unwrap();
        let mut restored = adamw(&options, None).load_record(record);
        let expected = values(&step(module.clone(), &mut optimizer));
        assert_eq!(values(&step(module, &mut restored)), expected);
    }

    /// A module with parameters in the field `clip` and in another.
    #[derive(Module, Debug)]
    struct Both {
        decoder: Two,
        clip: Option<Two>,
    }

    #[test]
    fn clip_has_its_own_share_of_the_learning_rate() {
        let both = Both {
            decoder: module(),
            clip: Some(module()),
        };
        let clip = |both: &Both| values(both.clip.as_ref().unwrap());
        // By how much a step changes the decoder and CLIP.
        let changes = |share: Option<f64>, decay_biases_and_norms, weight_decay| {
            let options = AdamWOptions {
                weight_decay,
                decay_biases_and_norms,
                ..AdamWOptions::default()
            };
            let input = Tensor::<2>::ones([2, 3], &Device::flex()).autodiff();
            let weights = Tensor::<2>::from_floats([[1.0, 2.0, 4.0]], &Device::flex()).autodiff();
            let losses = [&both.decoder, both.clip.as_ref().unwrap()].map(|two| {
                let output = two.norm.forward(two.map.forward(input.clone()));
                (output.square() * weights.clone()).sum()
            });
            let [one, other] = losses;
            let gradients = GradientsParams::from_grads((one + other).backward(), &both);
            let after = adamw(&options, share).step(1e-2, both.clone(), gradients);
            let change = |before: Vec<f32>, after: Vec<f32>| -> Vec<f32> {
                before.iter().zip(&after).map(|(a, b)| b - a).collect()
            };
            [
                change(values(&both.decoder), values(&after.decoder)),
                change(clip(&both), clip(&after)),
            ]
        };
        for decay_biases_and_norms in [true, false] {
            let [decoder, same] = changes(None, decay_biases_and_norms, 0.5);
            let [unchanged, quarter] = changes(Some(0.25), decay_biases_and_norms, 0.5);
            assert_eq!(unchanged, decoder);
            assert!(same.iter().all(|change| change.abs() > 1e-3), "{same:?}");
            for (quarter, whole) in quarter.iter().zip(&same) {
                assert!((quarter - 0.25 * whole).abs() < 1e-6, "{quarter} {whole}");
            }
        }
        // The last three values are those of a norm, which can be excluded from weight decay.
        let [_, decayed] = changes(Some(0.25), false, 0.5);
        let [_, undecayed] = changes(Some(0.25), false, 0.0);
        assert_eq!(decayed[9..], undecayed[9..]);
        assert_ne!(decayed[..9], undecayed[..9]);
    }

    #[test]
    fn biases_and_norms_can_be_excluded_from_weight_decay() {
        let decayed_by = |decay_biases_and_norms| {
            let optimizer = |weight_decay| {
                let options = AdamWOptions {
                    weight_decay,
                    decay_biases_and_norms,
                    ..AdamWOptions::default()
                };
                adamw(&options, None)
            };
            let with = step(module(), &mut optimizer(0.5));
            let without = step(module(), &mut optimizer(0.0));
            let differ = |a: TensorData, b: TensorData| a != b;
            [
                differ(
                    with.map.weight.val().into_data(),
                    without.map.weight.val().into_data(),
                ),
                differ(
                    with.norm.gamma.val().into_data(),
                    without.norm.gamma.val().into_data(),
                ),
            ]
        };
        assert_eq!(decayed_by(true), [true, true]);
        assert_eq!(decayed_by(false), [true, false]);
    }
}
