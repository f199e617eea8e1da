//! `clipseg segment`: photographs and prompts in, pictures and a table out.

use crate::Failure;
use crate::photos::{Photo, collect, slug};
use crate::report::{Finding, table};
use clipseg::clip::{ClipError, write_aside};
use clipseg::data::{Mask, load_rgb};
use clipseg::model::{
    Prompt, SegmentOptions, Segmenter, VisualPrompt, add_legend, heat_map, label_map, overlay,
};
use image::{DynamicImage, ImageFormat};
use indicatif::{ProgressBar, ProgressStyle};
use std::error::Error;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Photographs, or folders of them.
    #[arg(required = true, value_name = "PHOTO")]
    photos: Vec<PathBuf>,
    /// What to look for, in words; may be given several times.
    #[arg(long = "prompt", value_name = "TEXT")]
    prompts: Vec<String>,
    /// A picture of what to look for; may be given several times.
    #[arg(long = "visual-prompt", value_name = "PICTURE")]
    visual_prompts: Vec<PathBuf>,
    /// Which pixels of a visual prompt's picture are meant (white on black); one for each, in their
    /// order.
    #[arg(long = "visual-mask", value_name = "PICTURE")]
    visual_masks: Vec<PathBuf>,
    /// What is not meant, in words; may be given several times.
    #[arg(long = "negative", value_name = "TEXT")]
    negatives: Vec<String>,
    /// A sentence with {} where a prompt goes; over several of them the prompt is averaged.
    #[arg(long = "template", value_name = "SENTENCE")]
    templates: Vec<String>,
    /// Folder of a CLIPSeg checkpoint in Hugging Face's layout, or its id on the hub.
    #[arg(long, value_name = "FOLDER-OR-ID")]
    model: String,
    /// cpu, ndarray, wgpu, vulkan or cuda; cuda:1 for the second card.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Probability above which a pixel is inside.
    #[arg(long, default_value_t = 0.3, value_parser = probability)]
    threshold: f32,
    /// Folder for the results; made if there is none.
    #[arg(long, default_value = "runs/segment")]
    out: PathBuf,
    /// Also write a label map: each pixel's most probable prompt, counted from 1, 0 for none.
    #[arg(long)]
    labels: bool,
    /// Print a line of JSON for each photograph and prompt instead of tables.
    #[arg(long)]
    json: bool,
}

fn probability(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("expected a number from 0 to 1".into()),
    }
}

/// The prompts, and what they are called in files and tables.
struct Asked {
    prompts: Vec<Prompt>,
    names: Vec<String>,
    options: SegmentOptions,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let asked = prompts(arguments)?;
    let photos = collect(&arguments.photos)?;
    if photos.is_empty() {
        return Err("the folders hold no picture".into());
    }
    check_writable(&arguments.out)?;
    let device = clipseg::device(&arguments.device)?;
    let folder = clipseg::clip::resolve(&arguments.model)?;
    let segmenter = Segmenter::from_pretrained(&folder, &device)?;

    let bar = progress(photos.len());
    let mut failed = 0;
    for photo in &photos {
        bar.set_message(photo.name.clone());
        match segment(arguments, &segmenter, &asked, photo) {
            Ok(lines) => bar.suspend(|| println!("{lines}")),
            Err(error) => {
                failed += 1;
                bar.suspend(|| eprintln!("clipseg: {}", naming(&photo.path, &*error)));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if failed > 0 {
        return Err(Failure::Files(failed));
    }
    Ok(())
}

/// The message of an error, with the photograph in front where it does not name it.
fn naming(photo: &Path, error: &dyn Error) -> String {
    let (photo, message) = (photo.display().to_string(), error.to_string());
    if message.contains(&photo) {
        message
    } else {
        format!("{photo}: {message}")
    }
}

fn prompts(arguments: &Arguments) -> Result<Asked, Box<dyn Error>> {
    let (pictures, masks) = (&arguments.visual_prompts, &arguments.visual_masks);
    if arguments.prompts.is_empty() && pictures.is_empty() {
        return Err("no prompt: pass --prompt \"a cat\", or --visual-prompt cat.jpg".into());
    }
    if let Some(index) = arguments.prompts.iter().position(|p| p.trim().is_empty()) {
        return Err(format!("prompt {} is empty", index + 1).into());
    }
    if !masks.is_empty() && masks.len() != pictures.len() {
        let (masks, pictures) = (masks.len(), pictures.len());
        return Err(format!("{masks} --visual-mask for {pictures} --visual-prompt").into());
    }
    let mut prompts: Vec<Prompt> = arguments
        .prompts
        .iter()
        .cloned()
        .map(Prompt::from)
        .collect();
    let mut names = arguments.prompts.clone();
    for (index, path) in pictures.iter().enumerate() {
        let picture = load_rgb(path)?;
        let prompt = match masks.get(index) {
            None => VisualPrompt::new(picture),
            Some(mask) => {
                let inside = DynamicImage::from(load_rgb(mask)?).into_luma8();
                VisualPrompt::with_mask(picture, Mask::from(&inside))
                    .map_err(|error| format!("{}: {error}", mask.display()))?
            }
        };
        prompts.push(prompt.into());
        let stem = path.file_stem().unwrap_or(path.as_os_str());
        names.push(format!("like {}", stem.to_string_lossy()));
    }
    let options = SegmentOptions::default()
        .with_templates(&arguments.templates)
        .with_negative_prompts(arguments.negatives.iter().cloned());
    Ok(Asked {
        prompts,
        names,
        options,
    })
}

/// Makes the folder and finds out before the work whether results can be put there.
fn check_writable(folder: &Path) -> Result<(), ClipError> {
    std::fs::create_dir_all(folder).map_err(ClipError::io("make", folder))?;
    tempfile::tempfile_in(folder).map_err(ClipError::io("write into", folder))?;
    Ok(())
}

fn progress(photos: usize) -> ProgressBar {
    if photos < 2 {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(photos as u64);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:30} {pos}/{len} photographs, {eta} left, {msg}")
    {
        bar.set_style(style);
    }
    bar
}

/// Writes the pictures of one photograph and gives what is printed about it.
fn segment(
    arguments: &Arguments,
    segmenter: &Segmenter,
    asked: &Asked,
    photo: &Photo,
) -> Result<String, Box<dyn Error>> {
    let picture = load_rgb(&photo.path)?;
    let encoded = segmenter.encode_image(&picture)?;
    let soft = segmenter.segment_with(&encoded, &asked.prompts, &asked.options)?;
    let masks: Vec<Mask> = soft
        .iter()
        .map(|mask| mask.threshold(arguments.threshold))
        .collect();

    let file = |what: &str| arguments.out.join(format!("{}-{what}.png", photo.name));
    let mut findings = Vec::with_capacity(masks.len());
    let mut lines = Vec::with_capacity(masks.len());
    for (index, (soft, mask)) in soft.iter().zip(&masks).enumerate() {
        let name = &asked.names[index];
        // The number keeps prompts apart whose letters are the same, or that have none.
        let start = format!("{}-{}", index + 1, slug(name));
        let start = start.trim_end_matches('-');
        let (heat_file, mask_file) = (
            file(&format!("{start}-heat")),
            file(&format!("{start}-mask")),
        );
        save(heat_map(soft).into(), &heat_file)?;
        save(mask.to_gray_image().into(), &mask_file)?;
        let finding = Finding::new(name, soft, mask);
        lines.push(
            finding
                .json(&photo.path, &heat_file, &mask_file)
                .to_string(),
        );
        findings.push(finding);
    }
    let page = add_legend(&overlay(&picture, &masks), &asked.names);
    save(page.into(), &file("overlay"))?;
    if arguments.labels {
        let map = label_map(&soft, arguments.threshold)?;
        save(map.to_image(), &file("labels"))?;
        save(map.to_rgb_image().into(), &file("labels-colour"))?;
    }
    Ok(if arguments.json {
        lines.join("\n")
    } else {
        table(&photo.path, &findings)
    })
}

fn save(picture: DynamicImage, path: &Path) -> Result<(), ClipError> {
    write_aside(path, |aside| {
        picture
            .save_with_format(aside, ImageFormat::Png)
            .map_err(|error| ClipError::format(path, error))
    })
}
