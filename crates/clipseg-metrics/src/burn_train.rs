//! Metrics for Burn's training loop and its dashboard (feature `burn-train`).
//!
//! Pass them to `SupervisedTraining::metrics`. The model's output must implement [`Adaptor`] for
//! [`SegmentationInput`], as [`Segmented`] does. Pixels are counted on the device, and four numbers are
//! read from it for each batch. The value for an epoch is computed from all its pixels pooled. An update
//! fails for a batch with NaN or infinite logits, or with mask values that are neither 0 nor 1.

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

/// The input of the metrics.
#[derive(Debug, Clone)]
pub struct SegmentationInput {
    /// Logits, `[batch, height, width]`.
    pub logits: Tensor<3>,
    /// Ground truth of zeros and ones, `[batch, height, width]`.
    pub masks: Tensor<3>,
}

impl SegmentationInput {
    /// The confusion counts of all pixels of the batch. A pixel is positive if `sigmoid(logit) > threshold`.
    fn counts(&self, threshold: f32) -> Result<Confusion, TensorReadError> {
        check_threshold(threshold).map_err(unusable)?;
        let logit = (threshold / (1.0 - threshold)).ln();
        let predicted = self.logits.clone().greater_scalar(logit);
        let inside = self.masks.clone().greater_scalar(0.5);
        let binary = self.masks.clone().equal_scalar(0.0);
        let binary = binary.bool_or(self.masks.clone().equal_scalar(1.0));
        let valid = self.logits.clone().is_finite().bool_and(binary);
        let number = |pixels: Tensor<3, Bool>| pixels.int().sum();
        let sums = Tensor::cat(
            vec![
                number(predicted.clone().bool_and(inside.clone())),
                number(predicted),
                number(inside),
                number(valid),
            ],
            0,
        );
        let sums = sums.try_into_data()?;
        let sums: Vec<u64> = sums.iter::<i64>().map(i64::unsigned_abs).collect();
        let [both, predicted, inside, valid] = sums[..] else {
            unreachable!("the tensor has four elements");
        };
        let pixels = self.masks.shape().num_elements() as u64;
        if valid != pixels {
            return Err(unusable(format!(
                "{} of {pixels} pixels have a NaN or infinite logit, or a mask value that is neither 0 nor 1",
                pixels - valid
            )));
        }
        Ok(Confusion {
            true_positive: both,
            false_positive: predicted - both,
            false_negative: inside - both,
            true_negative: pixels + both - predicted - inside,
        })
    }
}

/// An error with a message; Burn has no other variant for this.
fn unusable(reason: impl ToString) -> TensorReadError {
    let reason = reason.to_string();
    ExecutionError::WithContext { reason }.into()
}

/// The output of a training or validation step of a segmentation model.
#[derive(Debug, Clone)]
pub struct Segmented {
    /// The loss of the batch, `[1]`.
    pub loss: Tensor<1>,
    /// Logits, `[batch, height, width]`.
    pub logits: Tensor<3>,
    /// Ground truth of zeros and ones, `[batch, height, width]`.
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

/// The counts of the last batch and of the current epoch.
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
    ($(#[$doc:meta])* $metric:ident, $name:literal, $description:literal, $value:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $metric {
            name: MetricName,
            state: State,
        }

        impl $metric {
            /// A metric with a threshold from 0 to 1: a pixel is positive if its probability is higher.
            /// With any other number, every update fails.
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
                    .map(|counts| format_float($value(counts), 4));
                let entry = NumericEntry::Aggregated {
                    aggregated_value: $value(&self.state.batch),
                    count: self.state.masks,
                };
                Ok(SerializedEntry::new(
                    format!("epoch {epoch} - batch {batch}"),
                    entry.serialize(),
                ))
            }

            fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
                Ok(SerializedEntry::new(
                    format_float($value(&self.state.epoch), 4),
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
                    aggregated_value: $value(&self.state.batch),
                    count: self.state.masks,
                })
            }

            fn running_value(&self) -> Option<NumericEntry> {
                (self.state.masks > 0).then(|| NumericEntry::Value($value(&self.state.epoch)))
            }

            fn final_value(&self) -> NumericEntry {
                NumericEntry::Final($value(&self.state.epoch))
            }
        }
    };
}

metric!(
    /// Intersection over union of all pixels of an epoch; see [`Confusion::iou`].
    IouMetric,
    "IoU",
    "intersection over union of all pixels",
    Confusion::iou
);
metric!(
    /// Dice coefficient of all pixels of an epoch; see [`Confusion::dice`].
    DiceMetric,
    "Dice",
    "Dice coefficient of all pixels",
    Confusion::dice
);
metric!(
    /// Pixel accuracy of an epoch; see [`Confusion::accuracy`].
    AccuracyMetric,
    "Pixel accuracy",
    "fraction of pixels that are classified correctly",
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

    /// A batch with 2 true positives, 1 false positive and 1 false negative, and a batch with 3 true
    /// positives and 1 false negative.
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
    fn invalid_input_is_an_error() {
        let [input, _] = batches();
        let message = |threshold, input: &SegmentationInput| {
            let updated = IouMetric::new(threshold).update(input, &metadata());
            updated
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default()
        };
        let logits = "1 of 8 pixels have a NaN or infinite logit";
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
