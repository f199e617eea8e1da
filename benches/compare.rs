//! The side of this project in `compare.sh`: does the work whose name it reads, and answers with the time.
//!
//! `compare FOLDER`, with a checkpoint and `expected.safetensors` in the folder. The first line of the output
//! is the largest difference of our logits from the reference's. The second one is the same with the vision
//! tower in bf16, then the lowest IoU of its masks with ours in single precision, or the reason why it cannot
//! compute in bf16. Then each line of the input is the name of a work; each line of the output is the
//! milliseconds that it took.

use burn::prelude::*;
use clipseg::clip::{Precision, TextBatch};
use clipseg::metrics::Loss;
use clipseg::model::{ClipSeg, ImageFeatures};
use clipseg::train::{AdamWOptions, DecoderTrainer, StepInput};
use safetensors::SafeTensors;
use std::error::Error;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

/// Keeps the memory of large tensors for the next ones.
#[global_allocator]
static ALLOCATOR: clipseg::Allocator = clipseg::Allocator;

/// The inputs and the answers of the reference.
struct Expected {
    /// `[1, 3, height, width]`
    pixel_values: Tensor<4>,
    /// `[4, tokens]`
    texts: TextBatch,
    /// `[4, height, width]`
    logits: Tensor<3>,
}

impl Expected {
    fn read(path: &Path, device: &Device) -> Result<Self, Box<dyn Error>> {
        let bytes = std::fs::read(path)?;
        let file = SafeTensors::deserialize(&bytes)?;
        let floats = |name: &str| -> Result<TensorData, Box<dyn Error>> {
            let view = file.tensor(name)?;
            let values: Vec<f32> = view
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect();
            Ok(TensorData::new(values, view.shape()))
        };
        let view = file.tensor("in.input_ids")?;
        let ids: Vec<i32> = view
            .data()
            .chunks_exact(4)
            .map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        Ok(Self {
            pixel_values: Tensor::from_data(floats("in.pixel_values")?, device),
            texts: TextBatch {
                input_ids: Tensor::from_data(TensorData::new(ids, view.shape()), device),
                attention_mask: None,
            },
            logits: Tensor::from_data(floats("out.logits")?, device),
        })
    }

    /// The first `count` texts; more than there are repeat.
    fn texts(&self, count: usize) -> TextBatch {
        let ids = self.texts.input_ids.clone().repeat_dim(0, 4);
        TextBatch {
            input_ids: ids.slice(s![0..count, ..]),
            attention_mask: None,
        }
    }
}

/// What the works share.
struct Works {
    model: ClipSeg,
    /// The same with the vision tower in bf16, where that is supported.
    bf16: Option<ClipSeg>,
    expected: Expected,
    trainer: DecoderTrainer,
    /// Hidden states of four pictures, so that the decoder does what the reference's does.
    hidden: ImageFeatures,
    masks: Tensor<3>,
}

impl Works {
    fn logits(&self, model: &ClipSeg, prompts: usize) -> Result<Tensor<3>, Box<dyn Error>> {
        let texts = self.expected.texts(prompts);
        let embedding = model.clip().text_embedding(&texts)?;
        let pixels = self.expected.pixel_values.clone();
        Ok(model.forward(pixels, embedding)?)
    }

    /// The largest difference of logits from the reference's.
    fn difference(&self, logits: Tensor<3>) -> f32 {
        let difference = logits - self.expected.logits.clone();
        difference.abs().max().into_scalar::<f32>()
    }

    /// A step on four phrases.
    fn step(
        &mut self,
        features: ImageFeatures,
        picture_of: Vec<usize>,
    ) -> Result<(), Box<dyn Error>> {
        let texts = self.expected.texts(4);
        let input = StepInput {
            features,
            conditional_embedding: self.model.clip().text_embedding(&texts)?,
            picture_of,
            masks: self.masks.clone(),
        };
        let (loss, gradients) = self.trainer.gradients(&input);
        self.trainer.apply(gradients, 1e-3);
        loss.into_scalar::<f32>();
        Ok(())
    }

    fn run(&mut self, work: &str) -> Result<(), Box<dyn Error>> {
        match work {
            "decoder step" => self.step(self.hidden.clone(), vec![0, 1, 2, 3]),
            "training step" => {
                let pixels = self.expected.pixel_values.clone();
                let features = self.model.encode_image(pixels)?;
                self.step(features, vec![0; 4])
            }
            _ => {
                let (prompts, model) = match work.strip_suffix(", bf16") {
                    None => (work, Some(&self.model)),
                    Some(prompts) => (prompts, self.bf16.as_ref()),
                };
                let prompts = prompts
                    .strip_suffix(" prompts")
                    .and_then(|n| n.parse().ok());
                let (Some(prompts), Some(model)) = (prompts, model) else {
                    return Err(format!("no such work: {work}").into());
                };
                self.logits(model, prompts)?.into_data();
                Ok(())
            }
        }
    }
}

/// The lowest IoU of the masks of one prompt each, of the pixels with positive logits.
fn lowest_iou(found: &Tensor<3>, expected: &Tensor<3>) -> f32 {
    let [found, expected] = [found, expected].map(|x| x.clone().greater_elem(0.0));
    let count = |mask: Tensor<3, Bool>| mask.float().flatten::<2>(1, 2).sum_dim(1);
    let both = count(found.clone().bool_and(expected.clone()));
    let either = count(found.bool_or(expected)).clamp_min(1.0);
    (both / either).min().into_scalar()
}

fn main() -> Result<(), Box<dyn Error>> {
    let Some(folder) = std::env::args().nth(1) else {
        return Err("compare FOLDER; compare.sh calls it".into());
    };
    let folder = Path::new(&folder);
    let name = std::env::var("CLIPSEG_BENCH_DEVICE").unwrap_or_else(|_| "cpu".into());
    let device = clipseg::device(&name)?;
    let model = ClipSeg::from_pretrained(folder, &device)?;
    let expected = Expected::read(&folder.join("expected.safetensors"), &device)?;
    let four = expected.pixel_values.clone().repeat_dim(0, 4);
    let mut works = Works {
        trainer: DecoderTrainer::new(
            model.decoder().clone(),
            &AdamWOptions::default(),
            Loss::bce(),
        ),
        hidden: model.encode_image(four)?,
        masks: expected.logits.clone().greater_elem(0.0).float(),
        bf16: None,
        model,
        expected,
    };
    let single = works.logits(&works.model, 4)?;
    println!("{}", works.difference(single.clone()));
    match works.model.clone().with_vision_precision(Precision::Bf16) {
        Ok(model) => {
            let logits = works.logits(&model, 4)?;
            let iou = lowest_iou(&logits, &single);
            println!("{} {iou}", works.difference(logits));
            works.bf16 = Some(model);
        }
        Err(reason) => println!("{reason}"),
    }
    for line in std::io::stdin().lock().lines() {
        let start = Instant::now();
        works.run(&line?)?;
        println!("{}", start.elapsed().as_secs_f64() * 1e3);
        std::io::stdout().flush()?;
    }
    Ok(())
}
