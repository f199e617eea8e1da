//! The side of this project in `gpu.sh`: measures one part of the work on a device.
//!
//! `gpu_speed PART --device vulkan [--precision f16] [--seconds 2] [--small]`. Each line of the output is a
//! measurement, with tabs between its fields: who measured, the work, the precision, the number of pictures, the
//! number of prompts, the seconds until the first result, the median milliseconds of the later ones, and how
//! many these were. The first result includes compiling and tuning kernels. The lines appear one by one, so
//! that a part that is stopped has printed what it measured so far.

use burn::module::{ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::{Distribution, FloatDType};
use clap::{Parser, ValueEnum};
use clipseg::clip::{Clip, ClipConfig, Precision, TextBatch, TextConfig, VisionConfig};
use clipseg::metrics::Loss;
use clipseg::model::{ClipSeg, ClipSegConfig, ImageFeatures};
use clipseg::train::{
    AdamWOptions, CaptionTensors, ClipShape, ClipTrainer, DecoderTrainer, StepInput,
};
use std::error::Error;
use std::time::{Duration, Instant};

/// Keeps the memory of large tensors for the next ones.
#[global_allocator]
static ALLOCATOR: clipseg::Allocator = clipseg::Allocator;

/// Prompts of each picture in the part `inference`.
const PROMPTS: usize = 4;
/// Tokens of a prompt: the start, four words and the end.
const TOKENS: usize = 6;
/// OpenAI's tokens for the start and the end of a text.
const START_END: [i32; 2] = [49_406, 49_407];
/// The smallest and the largest number of timed runs of a work.
const RUNS: [usize; 2] = [3, 200];

/// Measures one part of the work on a device.
#[derive(Parser)]
struct Arguments {
    part: Part,
    /// The device, as in `clipseg --device`.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// The precision of all weights and activations of the part `inference`: f32 or f16.
    #[arg(long)]
    precision: Option<Precision>,
    /// How long each work is repeated.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// A small model, small pictures and small batches, to try this out on a slow device.
    #[arg(long)]
    small: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Part {
    /// Pictures through the vision tower; then with prompts, through the decoder too.
    Inference,
    /// Training steps of the decoder, from hidden states.
    Decoder,
    /// Training steps of the decoder, from pixels.
    Training,
    /// Steps of contrastive training of the small CLIP of `clipseg pretrain`.
    Pretraining,
}

/// The sizes of the works.
struct Sizes {
    model: ClipSegConfig,
    /// Side of a picture in pixels.
    side: usize,
    /// Pictures in a batch of inference.
    inference: &'static [usize],
    /// Pictures in a batch of the decoder's training, with one prompt each.
    decoder: &'static [usize],
    /// Pictures and prompts in a batch of training from pixels.
    training: &'static [[usize; 2]],
    /// Pictures in a batch of pre-training.
    pretraining: usize,
}

impl Sizes {
    fn new(small: bool) -> Self {
        if small {
            Self {
                model: ClipSegConfig::small(),
                side: 64,
                inference: &[1, 2],
                decoder: &[2],
                training: &[[1, 2], [2, 2]],
                pretraining: 4,
            }
        } else {
            Self {
                model: ClipSegConfig::rd64_refined(),
                side: 352,
                inference: &[1, 8, 32],
                decoder: &[4, 32],
                training: &[[1, 4], [32, 32]],
                pretraining: 256,
            }
        }
    }
}

struct Bench {
    device: Device,
    sizes: Sizes,
    precision: Precision,
    time: Duration,
}

/// What a line says about a work beside its times.
struct Work {
    name: &'static str,
    pictures: usize,
    prompts: usize,
}

type Done<T = ()> = Result<T, Box<dyn Error>>;

impl Bench {
    /// Runs a work for the first time, then repeatedly, and prints the times. The work returns one number, so
    /// that all of it is computed and NaN is noticed.
    fn measure(&self, work: &Work, mut run: impl FnMut() -> Done<Tensor<1>>) -> Done {
        let mut timed = || -> Done<f64> {
            let start = Instant::now();
            let value = run()?.try_into_scalar::<f32>()?;
            self.device.sync()?;
            if !value.is_finite() {
                return Err(format!("{}: the result is {value}", work.name).into());
            }
            Ok(start.elapsed().as_secs_f64())
        };
        let first = timed()?;
        let (began, [least, most]) = (Instant::now(), RUNS);
        let mut times = Vec::new();
        while times.len() < least || (times.len() < most && began.elapsed() < self.time) {
            times.push(timed()?);
        }
        times.sort_by(f64::total_cmp);
        println!(
            "clipseg\t{}\t{}\t{}\t{}\t{first:.2}\t{:.2}\t{}",
            work.name,
            self.precision,
            work.pictures,
            work.prompts,
            1e3 * times[times.len() / 2],
            times.len()
        );
        Ok(())
    }

    fn random<const D: usize>(&self, shape: [usize; D]) -> Tensor<D> {
        Tensor::random(shape, Distribution::Default, &self.device)
    }

    fn pixels(&self, pictures: usize) -> Tensor<4> {
        let side = self.sizes.side;
        self.random([pictures, 3, side, side])
    }

    fn masks(&self, prompts: usize) -> Tensor<3> {
        let side = self.sizes.side;
        self.random([prompts, side, side]).greater_elem(0.5).float()
    }

    /// Prompts of equal length, so that none is padded.
    fn texts(&self, prompts: usize) -> TextBatch {
        let [start, end] = START_END;
        let word = |index: usize| 1_000 + 7 * index as i32;
        let ids = (0..prompts * TOKENS).map(|index| match index % TOKENS {
            0 => start,
            last if last == TOKENS - 1 => end,
            _ => word(index),
        });
        self.text_batch(ids.collect(), [prompts, TOKENS])
    }

    fn text_batch(&self, ids: Vec<i32>, shape: [usize; 2]) -> TextBatch {
        TextBatch {
            input_ids: Tensor::from_data(TensorData::new(ids, shape), &self.device),
            attention_mask: None,
        }
    }

    fn model(&self) -> ClipSeg {
        self.device.seed(0);
        ClipSeg::init(&self.sizes.model, &self.device)
    }

    fn inference(&self) -> Done {
        let dtype = match self.precision {
            Precision::F32 => FloatDType::F32,
            Precision::F16 => FloatDType::F16,
            Precision::Bf16 => FloatDType::BF16,
        };
        if !self.device.supports_dtype(dtype) {
            return Err(format!("the device does not compute in {}", self.precision).into());
        }
        let model = self.model().map(&mut Cast(dtype));
        let texts = self.texts(PROMPTS);
        for &pictures in self.sizes.inference {
            let pixels = self.pixels(pictures).cast(dtype);
            let encode = || model.encode_image(pixels.clone());
            let largest = |tensor: Tensor<1>| tensor.cast(FloatDType::F32).max();
            let name = "encode pictures";
            let mut work = Work {
                name,
                pictures,
                prompts: 0,
            };
            self.measure(&work, || {
                let hidden = encode()?.hidden_states;
                let sums = hidden
                    .into_iter()
                    .map(|hidden| largest(hidden.flatten(0, 2)));
                Ok(Tensor::cat(sums.collect(), 0).max())
            })?;
            work.name = "encode pictures and segment by prompts";
            work.prompts = pictures * PROMPTS;
            let picture_of: Vec<usize> = (0..work.prompts).map(|prompt| prompt / PROMPTS).collect();
            self.measure(&work, || {
                let embedding = model.clip().text_embedding_unchecked(&texts);
                let embedding = embedding.repeat_dim(0, pictures);
                let decoder = model.decoder();
                let logits = decoder.forward_grouped(&encode()?, embedding, &picture_of);
                Ok(largest(logits.flatten(0, 2)))
            })?;
        }
        Ok(())
    }

    /// Measures steps of the decoder with features that `features` returns.
    fn steps(
        &self,
        work: &Work,
        model: &ClipSeg,
        features: impl Fn() -> Done<ImageFeatures>,
    ) -> Done {
        let options = AdamWOptions::default();
        let mut trainer = DecoderTrainer::new(model.decoder().clone(), &options, Loss::bce());
        let texts = self.texts(work.prompts);
        let masks = self.masks(work.prompts);
        let each = work.prompts / work.pictures;
        let picture_of: Vec<usize> = (0..work.prompts).map(|prompt| prompt / each).collect();
        self.measure(work, || {
            let input = StepInput {
                features: features()?,
                conditional_embedding: model.clip().text_embedding_unchecked(&texts),
                picture_of: picture_of.clone(),
                masks: masks.clone(),
            };
            let (loss, gradients) = trainer.gradients(&input);
            trainer.apply(gradients, 1e-3);
            Ok(loss)
        })
    }

    fn decoder(&self) -> Done {
        let model = self.model();
        for &pictures in self.sizes.decoder {
            let hidden = model.encode_image(self.pixels(pictures))?;
            let work = Work {
                name: "training step from hidden states",
                pictures,
                prompts: pictures,
            };
            self.steps(&work, &model, || Ok(hidden.clone()))?;
        }
        Ok(())
    }

    fn training(&self) -> Done {
        let model = self.model();
        for &[pictures, prompts] in self.sizes.training {
            let pixels = self.pixels(pictures);
            let work = Work {
                name: "training step from pixels",
                pictures,
                prompts,
            };
            self.steps(&work, &model, || Ok(model.encode_image(pixels.clone())?))?;
        }
        Ok(())
    }

    fn pretraining(&self) -> Done {
        let shape = ClipShape::default();
        let end = shape.vocabulary as i32 - 1;
        let config = small_clip(&shape, i64::from(end));
        self.device.seed(0);
        let clip = Clip::init(&config, &self.device);
        let mut trainer = ClipTrainer::new(clip, &AdamWOptions::clip());
        let pictures = self.sizes.pretraining;
        let ids = (0..pictures * shape.tokens).map(|index| {
            let last = (index + 1).is_multiple_of(shape.tokens);
            if last { end } else { index as i32 * 7 % end }
        });
        let side = shape.image_size;
        let input = CaptionTensors {
            pixel_values: self.random([pictures, 3, side, side]),
            regions: None,
            texts: self.text_batch(ids.collect(), [pictures, shape.tokens]),
            not_negatives: None,
        };
        let work = Work {
            name: "pre-training step",
            pictures,
            prompts: pictures,
        };
        self.measure(&work, || {
            let (loss, gradients) = trainer.gradients(&input)?;
            trainer.apply(gradients, 1e-3);
            Ok(loss)
        })
    }
}

/// The configuration of the CLIP that `clipseg pretrain` trains, whose texts end with the token `end`.
fn small_clip(shape: &ClipShape, end: i64) -> ClipConfig {
    ClipConfig {
        text_config: TextConfig {
            vocab_size: shape.vocabulary,
            hidden_size: shape.text_width,
            intermediate_size: shape.text_inner,
            num_hidden_layers: shape.text_layers,
            num_attention_heads: shape.text_heads,
            max_position_embeddings: shape.tokens,
            eos_token_id: end,
            ..TextConfig::default()
        },
        vision_config: VisionConfig {
            hidden_size: shape.vision_width,
            intermediate_size: shape.vision_inner,
            num_hidden_layers: shape.vision_layers,
            num_attention_heads: shape.vision_heads,
            image_size: shape.image_size,
            patch_size: shape.patch_size,
            ..VisionConfig::default()
        },
        projection_dim: shape.projection,
        ..ClipConfig::default()
    }
}

struct Cast(FloatDType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.cast(self.0))
    }
}

fn main() -> Done {
    let arguments = Arguments::parse();
    if arguments.precision.is_some() && arguments.part != Part::Inference {
        return Err(
            "--precision: only the part `inference` has a choice; training is in f32".into(),
        );
    }
    let bench = Bench {
        device: clipseg::device(&arguments.device)?,
        sizes: Sizes::new(arguments.small),
        precision: arguments.precision.unwrap_or_default(),
        time: Duration::try_from_secs_f64(arguments.seconds)?,
    };
    match arguments.part {
        Part::Inference => bench.inference(),
        Part::Decoder => bench.decoder(),
        Part::Training => bench.training(),
        Part::Pretraining => bench.pretraining(),
    }
}
