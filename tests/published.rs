//! The published weights of `CIDAS/clipseg-rd64-refined` against the values that transformers publishes for
//! them: `cargo test -p clipseg --test workspace -- --ignored published` downloads 600 MB into the user's
//! Hugging Face cache.
//!
//! Both sets of values are for the picture 39769 of COCO and come from transformers' sources. Those of
//! `convert_clipseg_original_pytorch_to_hf.py` were computed with `ViTImageProcessor(size=352)`, whose mean
//! and standard deviation are 0.5. Those of `test_modeling_clipseg.py` were computed with the preprocessing
//! that is published with the weights.

use crate::support::device;
use clipseg::clip::{ImageProcessor, resolve};
use clipseg::data::{Fetcher, ImageRecord, Split, load_rgb};
use clipseg::model::Segmenter;

/// The first values of the outputs for a list of prompts.
struct Published {
    prompts: &'static [&'static str],
    /// The embedding of the first prompt.
    conditional: [f32; 3],
    /// The embedding of the picture.
    pooled: [f32; 3],
    /// The upper left corner of the first prompt's logits.
    logits: [f32; 9],
}

const WITH_MEAN_HALF: Published = Published {
    prompts: &["a glass", "something to fill", "wood", "a jar"],
    conditional: [0.1110, -0.1882, 0.1645],
    pooled: [0.2692, -0.7197, -0.1328],
    logits: [
        -10.0407, -9.9431, -10.2646, -9.9751, -9.7064, -9.9586, -9.6891, -9.5645, -9.9618,
    ],
};

const WITH_OWN_PREPROCESSING: Published = Published {
    prompts: &["a cat", "a remote", "a blanket"],
    conditional: [0.5601, -0.0314, 0.1980],
    pooled: [0.5036, -0.2681, -0.2644],
    logits: [
        -7.4613, -7.4785, -7.3628, -7.3268, -7.0899, -7.1333, -6.9838, -6.7900, -6.8913,
    ],
};

/// The tolerance of transformers' own tests.
const EXACT: f32 = 1e-3;
/// JPEG decoders differ by a level in some pixels. The tolerance is that of the test `full_size` for
/// photographs.
const FROM_JPEG: f32 = 2e-2;

fn check(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    let largest = differences.fold(0f32, f32::max);
    println!("{what}: largest difference {largest:.1e}");
    assert!(
        found.len() == expected.len() && largest <= tolerance,
        "{what}: {found:?}, published {expected:?}"
    );
}

#[test]
#[ignore = "needs the network"]
fn published_weights_give_the_published_values() {
    let folder = tempfile::tempdir().unwrap();
    let picture = ImageRecord {
        image_id: 39_769,
        coco_id: Some(39_769),
        flickr_id: None,
        width: 640,
        height: 480,
        url: "http://images.cocodataset.org/val2017/000000039769.jpg".into(),
        split: Split::Val,
    };
    let report = Fetcher::new(folder.path()).fetch(&[picture], &|_| ());
    assert_eq!(report.unwrap().failed, []);
    let photo = load_rgb(&folder.path().join("images/39769.jpg")).unwrap();
    let checkpoint = resolve("CIDAS/clipseg-rd64-refined").unwrap();
    let segmenter = Segmenter::from_pretrained(&checkpoint, &device()).unwrap();
    let own = segmenter.processor().clone();
    let mut half = ImageProcessor::clipseg(352);
    (half.mean, half.std) = ([0.5; 3], [0.5; 3]);

    for (processor, published) in [(half, WITH_MEAN_HALF), (own, WITH_OWN_PREPROCESSING)] {
        let model = segmenter.model();
        let pixels = processor.pixel_values(std::slice::from_ref(&photo), &device());
        let pixels = pixels.unwrap();
        let pooled = model.clip().image_embedding(pixels.clone()).unwrap();
        let conditional = segmenter.encode_text(published.prompts).unwrap();
        let features = model.encode_image(pixels).unwrap();
        let logits = model.decode(&features, conditional.clone());
        let first = |tensor: burn::tensor::Tensor<2>| {
            let values: Vec<f32> = tensor.into_data().try_to_vec().expect("floats");
            values[..3].to_vec()
        };
        check("text", &first(conditional), &published.conditional, EXACT);
        check("picture", &first(pooled), &published.pooled, FROM_JPEG);
        let corner = logits.slice(burn::tensor::s![0..1, 0..3, 0..3]);
        let corner: Vec<f32> = corner.into_data().try_to_vec().expect("floats");
        check("logits", &corner, &published.logits, FROM_JPEG);
    }
}
