//! The side of this project in `compare.sh`: does the work whose name it reads, and answers with the time.
//!
//! `compare FOLDER`, with a checkpoint and `expected.safetensors` in the folder. Each line of the input is
//! the name of a work; each line of the output is the milliseconds that it took.

use burn::prelude::*;
use clipseg::clip::TextBatch;
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
    expected: Expected,
    trainer: DecoderTrainer,
    /// Hidden states of four pictures, so that the decoder does what the reference's does.
    hidden: ImageFeatures,
    masks: Tensor<3>,
}

impl Works {
    fn logits(&self, prompts: usize) -> Result<Tensor<3>, Box<dyn Error>> {
        let texts = self.expected.texts(prompts);
        let embedding = self.model.clip().text_embedding(&texts)?;
        let pixels = self.expected.pixel_values.clone();
        Ok(self.model.forward(pixels, embedding)?)
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
                let prompts = work.strip_suffix(" prompts").and_then(|n| n.parse().ok());
                let prompts = prompts.ok_or_else(|| format!("no such work: {work}"))?;
                self.logits(prompts)?.into_data();
                Ok(())
            }
        }
    }
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
        model,
        expected,
    };
    let difference = (works.logits(4)? - works.expected.logits.clone())
        .abs()
        .max();
    println!("{}", difference.into_scalar::<f32>());
    for line in std::io::stdin().lock().lines() {
        let start = Instant::now();
        works.run(&line?)?;
        println!("{}", start.elapsed().as_secs_f64() * 1e3);
        std::io::stdout().flush()?;
    }
    Ok(())
}
