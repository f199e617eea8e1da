//! Metrics for the dashboard of Burn's training loop.
//!
//! A model's output implements [`Adaptor`] for [`SegmentationInput`], as [`Segmented`] does, and
//! `SupervisedTraining::metrics` takes these. Pixels are counted on the device; four numbers are read
//! back for each batch. The figures of an epoch are those of all its pixels together. A batch with a
//! logit that is infinite or NaN, or with a mask that holds something else than zeros and ones, is an
//! error and not a figure.

use crate::confusion::Confusion;
use crate::mask_value::check_threshold;
use burn::prelude::*;
use burn::tensor::{ExecutionError, TensorReadError};
use burn::train::ItemLazy;
use burn::train::metric::{
    Adaptor, LossInput, Metric, MetricAttributes, MetricMetadata, MetricName, Numeric,
    NumericAttributes, NumericEntry, SerializedEntry, format_float,
};
use std::sync::Arc;

/// What the metrics look at.
#[derive(Debug, Clone)]
pub struct SegmentationInput {
    /// `[batch, height, width]`.
    pub logits: Tensor<3>,
    /// `[batch, height, width]` of zeros and ones.
    pub masks: Tensor<3>,
}

impl SegmentationInput {
    /// Counts all pixels of the batch where `sigmoid(logit) > threshold`.
    fn counts(&self, threshold: f32) -> Result<Confusion, TensorReadError> {
        check_threshold(threshold).map_err(unusable)?;
        let logit = (threshold / (1.0 - threshold)).ln();
        let found = self.logits.clone().greater_scalar(logit);
        let inside = self.masks.clone().greater_scalar(0.5);
        let binary = self.masks.clone().equal_scalar(0.0);
        let binary = binary.bool_or(self.masks.clone().equal_scalar(1.0));
        let sound = self.logits.clone().is_finite().bool_and(binary);
        let number = |pixels: Tensor<3, Bool>| pixels.int().sum();
        let sums = Tensor::cat(
            vec![
                number(found.clone().bool_and(inside.clone())),
                number(found),
                number(inside),
                number(sound),
            ],
            0,
        );
        let sums = sums.try_into_data()?;
        let sums: Vec<u64> = sums.iter::<i64>().map(i64::unsigned_abs).collect();
        let [both, found, inside, sound] = sums[..] else {
            unreachable!("four sums were put together");
        };
        let pixels = self.masks.shape().num_elements() as u64;
        if sound != pixels {
            return Err(unusable(format!(
                "{} of {pixels} pixels have a logit that is not finite or a mask that is neither 0 nor 1",
                pixels - sound
            )));
        }
        Ok(Confusion {
            true_positive: both,
            false_positive: found - both,
            false_negative: inside - both,
            true_negative: pixels + both - found - inside,
        })
    }
}

/// The one error of Burn's that has a text.
fn unusable(reason: impl ToString) -> TensorReadError {
    let reason = reason.to_string();
    ExecutionError::WithContext { reason }.into()
}

/// What a step of a model that segments hands to metrics.
#[derive(Debug, Clone)]
pub struct Segmented {
    /// `[1]`.
    pub loss: Tensor<1>,
    /// `[batch, height, width]`.
    pub logits: Tensor<3>,
    /// `[batch, height, width]` of zeros and ones.
    pub masks: Tensor<3>,
}

impl ItemLazy for Segmented {
    fn sync(self) -> Result<Self, ExecutionError> {
        self.loss.device().flush()?;
        Ok(Self {
            loss: self.loss.without_autodiff(),
            logits: self.logits.without_autodiff(),
            masks: self.masks.without_autodiff(),
        })
    }
}

impl Adaptor<LossInput> for Segmented {
    fn adapt(&self) -> LossInput {
        LossInput::new(self.loss.clone())
    }
}

impl Adaptor<SegmentationInput> for Segmented {
    fn adapt(&self) -> SegmentationInput {
        SegmentationInput {
            logits: self.logits.clone(),
            masks: self.masks.clone(),
        }
    }
}

/// The counts of the last batch and of the epoch so far.
#[derive(Debug, Clone)]
struct State {
    threshold: f32,
    batch: Confusion,
    masks: usize,
    epoch: Confusion,
}

impl State {
    fn new(threshold: f32) -> Self {
        Self {
            threshold,
            batch: Confusion::default(),
            masks: 0,
            epoch: Confusion::default(),
        }
    }
}

macro_rules! metric {
    ($(#[$doc:meta])* $metric:ident, $name:literal, $description:literal, $figure:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $metric {
            name: MetricName,
            state: State,
        }

        impl $metric {
            /// With the probability above which a pixel is inside, from 0 to 1; with any other number,
            /// every update fails.
            pub fn new(threshold: f32) -> Self {
                Self {
                    name: Arc::new(format!(concat!($name, " @ {}"), threshold)),
                    state: State::new(threshold),
                }
            }
        }

        impl Metric for $metric {
            type Input = SegmentationInput;

            fn name(&self) -> MetricName {
                self.name.clone()
            }

            fn description(&self) -> Option<String> {
                Some($description.into())
            }

            fn attributes(&self) -> MetricAttributes {
                NumericAttributes {
                    unit: None,
                    higher_is_better: true,
                }
                .into()
            }

            fn update(
                &mut self,
                item: &SegmentationInput,
                _metadata: &MetricMetadata,
            ) -> Result<SerializedEntry, TensorReadError> {
                self.state.batch = item.counts(self.state.threshold)?;
                self.state.masks = item.masks.dims()[0];
                self.state.epoch += self.state.batch;
                let [epoch, batch] = [&self.state.epoch, &self.state.batch]
                    .map(|counts| format_float($figure(counts), 4));
                let entry = NumericEntry::Aggregated {
                    aggregated_value: $figure(&self.state.batch),
                    count: self.state.masks,
                };
                Ok(SerializedEntry::new(
                    format!("epoch {epoch} - batch {batch}"),
                    entry.serialize(),
                ))
            }

            fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
                Ok(SerializedEntry::new(
                    format_float($figure(&self.state.epoch), 4),
                    self.final_value().serialize(),
                ))
            }

            fn clear(&mut self) {
                self.state = State::new(self.state.threshold);
            }
        }

        impl Numeric for $metric {
            fn value(&self) -> Option<NumericEntry> {
                (self.state.masks > 0).then(|| NumericEntry::Aggregated {
                    aggregated_value: $figure(&self.state.batch),
                    count: self.state.masks,
                })
            }

            fn running_value(&self) -> Option<NumericEntry> {
                (self.state.masks > 0).then(|| NumericEntry::Value($figure(&self.state.epoch)))
            }

            fn final_value(&self) -> NumericEntry {
                NumericEntry::Final($figure(&self.state.epoch))
            }
        }
    };
}

metric!(
    /// [`Confusion::iou`] of all pixels of an epoch, as a metric of `burn-train`.
    IouMetric,
    "IoU",
    "intersection over union of all pixels",
    Confusion::iou
);
metric!(
    /// [`Confusion::dice`] of all pixels of an epoch, as a metric of `burn-train`.
    DiceMetric,
    "Dice",
    "Dice coefficient of all pixels",
    Confusion::dice
);
metric!(
    /// [`Confusion::accuracy`] of all pixels of an epoch, as a metric of `burn-train`.
    AccuracyMetric,
    "Pixel accuracy",
    "share of pixels that are right",
    Confusion::accuracy
);

#[cfg(test)]
mod tests {
    use super::*;
    use burn::data::dataloader::Progress;

    fn metadata() -> MetricMetadata {
        MetricMetadata {
            progress: Progress {
                items_processed: 1,
                items_total: 2,
                unit: None,
            },
            iteration: Some(1),
            lr: None,
        }
    }

    fn batch(logits: [[f32; 4]; 2], masks: [[f32; 4]; 2]) -> SegmentationInput {
        let device = Device::flex();
        SegmentationInput {
            logits: Tensor::<2>::from_data(logits, &device).reshape([2, 2, 2]),
            masks: Tensor::<2>::from_data(masks, &device).reshape([2, 2, 2]),
        }
    }

    /// A batch with 2 hits, 1 false alarm and 1 miss, and one with 3 hits and a miss.
    fn batches() -> [SegmentationInput; 2] {
        [
            batch(
                [[3.0, 3.0, 3.0, -3.0], [-3.0; 4]],
                [[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]],
            ),
            batch(
                [[3.0, 3.0, 3.0, -3.0], [-3.0; 4]],
                [[1.0, 1.0, 1.0, 1.0], [0.0; 4]],
            ),
        ]
    }

    fn check<M: Metric<Input = SegmentationInput> + Numeric>(
        mut metric: M,
        name: &str,
        batch_values: [f64; 2],
        epoch: f64,
    ) {
        assert_eq!(metric.name().as_str(), name);
        assert!(metric.value().is_none() && metric.running_value().is_none());
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{name}: {a} and {b}");
        for (input, expected) in batches().iter().zip(batch_values) {
            let entry = metric.update(input, &metadata()).unwrap();
            let read = NumericEntry::deserialize(&entry.serialized).unwrap();
            close(read.current(), expected);
            close(metric.value().unwrap().current(), expected);
            assert!(
                entry
                    .formatted
                    .ends_with(&format!("batch {}", format_float(expected, 4)))
            );
        }
        close(metric.running_value().unwrap().current(), epoch);
        let last = metric.compute().unwrap();
        assert_eq!(last.formatted, format_float(epoch, 4));
        close(metric.final_value().current(), epoch);
        assert!(matches!(metric.attributes(), MetricAttributes::Numeric(a) if a.higher_is_better));
        metric.clear();
        assert!(metric.value().is_none());
        close(metric.final_value().current(), 0.0);
    }

    #[test]
    fn an_epoch_pools_its_batches() {
        check(
            IouMetric::new(0.5),
            "IoU @ 0.5",
            [2.0 / 4.0, 3.0 / 4.0],
            5.0 / 8.0,
        );
        check(
            DiceMetric::new(0.5),
            "Dice @ 0.5",
            [4.0 / 6.0, 6.0 / 7.0],
            10.0 / 13.0,
        );
        let accuracy = AccuracyMetric::new(0.5);
        check(
            accuracy,
            "Pixel accuracy @ 0.5",
            [6.0 / 8.0, 7.0 / 8.0],
            13.0 / 16.0,
        );
    }

    #[test]
    fn what_cannot_be_counted_is_an_error() {
        let [input, _] = batches();
        let message = |threshold, input: &SegmentationInput| {
            let updated = IouMetric::new(threshold).update(input, &metadata());
            updated
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default()
        };
        let logits = "1 of 8 pixels have a logit that is not finite";
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let broken = batch([[bad, 3.0, 3.0, -3.0], [-3.0; 4]], [[0.0; 4]; 2]);
            assert!(message(0.5, &broken).contains(logits));
        }
        let mut grey = input.clone();
        grey.masks = grey.masks.mul_scalar(0.5);
        assert!(message(0.5, &grey).contains("3 of 8 pixels have"));
        for threshold in [-0.5, 1.5, f32::NAN] {
            let found = message(threshold, &input);
            assert!(
                found.contains("expected a probability from 0 to 1"),
                "{found}"
            );
        }
        assert_eq!(message(0.5, &input), "");
    }

    #[test]
    fn the_threshold_is_a_probability() {
        let [input, _] = batches();
        let mut strict = IouMetric::new(0.99); // σ(3) is 0.953
        strict.update(&input, &metadata()).unwrap();
        assert_eq!(strict.final_value().current(), 0.0);
        let counts =
            Confusion::from_logits(input.logits.clone(), input.masks.clone(), 0.3).unwrap();
        let on_device = input.counts(0.3).unwrap();
        assert_eq!(on_device, counts.into_iter().sum());
    }
}
