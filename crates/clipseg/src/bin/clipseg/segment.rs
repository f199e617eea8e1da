//! `clipseg segment`: photographs and prompts in, pictures and a table out.

use crate::Failure;
use crate::output::{Output, check_writable, place, print_line, tell};
use crate::photos::{Photo, collect, slug};
use crate::report::{Finding, table};
use clipseg::clip::ClipError;
use clipseg::data::{load_mask, load_rgb};
use clipseg::model::{
    LabelMapBuilder, Prompt, SegmentOptions, Segmenter, VisualPrompt, add_legend, heat_map, tint,
};
use image::DynamicImage;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::HashSet;
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
    /// Which pixels of a visual prompt's picture are meant: those above half of this picture's largest
    /// value, such as white on black. One for each, in their order.
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
    #[arg(long, default_value_t = 0.3, value_parser = probability, allow_negative_numbers = true)]
    threshold: f32,
    /// Folder for the results; made if there is none.
    #[arg(long, default_value = "runs/segment")]
    out: PathBuf,
    #[command(flatten)]
    output: Output,
    /// Also write a label map: each pixel's most probable prompt, counted from 1, 0 for none.
    #[arg(long)]
    labels: bool,
    /// Print a line of JSON for each photograph and prompt instead of tables.
    #[arg(long)]
    json: bool,
}

fn probability(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if (0.0..1.0).contains(&value) => Ok(value),
        // Nothing is above 1.
        _ => Err("expected a number from 0 to less than 1".into()),
    }
}

/// The prompts, and what they are called in files and tables.
struct Asked {
    prompts: Vec<Prompt>,
    names: Vec<String>,
    /// For each prompt the part of its results' names that is its own.
    slugs: Vec<String>,
    options: SegmentOptions,
}

/// The names of the results of one photograph.
struct ResultNames {
    /// Of each prompt.
    heats: Vec<String>,
    masks: Vec<String>,
    overlay: String,
    /// By numbers and by colours, if asked for.
    labels: Option<[String; 2]>,
}

impl ResultNames {
    fn new(start: &str, asked: &Asked, with_labels: bool) -> Self {
        let file = |what: &str| format!("{start}-{what}.png");
        let all = |what: &str| {
            let slugs = asked.slugs.iter();
            slugs.map(|slug| file(&format!("{slug}-{what}"))).collect()
        };
        Self {
            heats: all("heat"),
            masks: all("mask"),
            overlay: file("overlay"),
            labels: with_labels.then(|| ["labels", "labels-colour"].map(file)),
        }
    }

    fn into_all(self) -> Vec<String> {
        let mut all = self.heats;
        all.extend(self.masks);
        all.push(self.overlay);
        all.extend(self.labels.into_iter().flatten());
        all
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let asked = prompts(arguments)?;
    let results = |name: &str| ResultNames::new(name, &asked, arguments.labels).into_all();
    let (photos, passed_over) = collect(&arguments.photos, results)?;
    let passed_over = passed_over.to_string();
    if photos.is_empty() {
        return Err(format!("the folders hold no picture; {passed_over}")
            .trim_end_matches("; ")
            .into());
    }
    check_results(arguments, &photos, results)?;
    std::fs::create_dir_all(&arguments.out).map_err(ClipError::io("make", &arguments.out))?;
    check_writable(&arguments.out)?;
    let device = clipseg::device(&arguments.device)?;
    let folder = clipseg::clip::resolve(&arguments.model)?;
    let segmenter = Segmenter::from_pretrained(&folder, &device)?;
    if !passed_over.is_empty() {
        tell(format_args!("{passed_over}"));
    }

    let bar = progress(photos.len());
    let mut failed = 0;
    for photo in &photos {
        bar.set_message(photo.name.clone());
        if photo.is_shortened {
            let (path, name) = (photo.path.display(), &photo.name);
            bar.suspend(|| {
                tell(format_args!(
                    "{path}: a long name, so its results are called {name}-…"
                ))
            });
        }
        match segment(arguments, &segmenter, &asked, photo) {
            Ok(lines) => bar.suspend(|| print_line(&lines))?,
            Err(error) => {
                failed += 1;
                bar.suspend(|| tell(format_args!("{}", naming(&photo.path, &*error))));
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

/// Finds out before the work whether a result would replace something that is not ours.
fn check_results(
    arguments: &Arguments,
    photos: &[Photo],
    results: impl Fn(&str) -> Vec<String>,
) -> Result<(), Box<dyn Error>> {
    if !arguments.out.is_dir() {
        return Ok(());
    }
    // A photograph that is replaced by a result is lost, and what is read later is the result.
    let pictures = photos.iter().map(|photo| &photo.path);
    let pictures = pictures.chain(&arguments.visual_prompts);
    let inputs: HashSet<PathBuf> = pictures
        .chain(&arguments.visual_masks)
        .flat_map(|path| [path.canonicalize().ok(), place(path)])
        .flatten()
        .collect();
    let out = arguments.out.canonicalize()?;
    let mut files = photos.iter().flat_map(|photo| results(&photo.name));
    files.try_for_each(|file| {
        if inputs.contains(&out.join(&file)) {
            let file = arguments.out.join(&file);
            let message = format!(
                "{}: is a picture to read, and a result of that name would replace it; choose another --out",
                file.display()
            );
            return Err(message.into());
        }
        Ok(arguments.output.check(&arguments.out.join(file))?)
    })
}

/// Refuses what is asked for twice, and what is asked for and taken away.
fn check_repeated(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    // The tokenizer takes no notice of case and of the number of spaces.
    let read = |text: &String| {
        let words: Vec<&str> = text.split_whitespace().collect();
        words.join(" ").to_lowercase()
    };
    for (flag, texts) in [
        ("--prompt", &arguments.prompts),
        ("--negative", &arguments.negatives),
        ("--template", &arguments.templates),
    ] {
        let mut seen = HashSet::new();
        if let Some(text) = texts.iter().find(|text| !seen.insert(read(text))) {
            return Err(format!("{flag} `{text}` is given twice").into());
        }
    }
    let prompts: HashSet<String> = arguments.prompts.iter().map(read).collect();
    let mut negatives = arguments.negatives.iter();
    if let Some(text) = negatives.find(|text| prompts.contains(&read(text))) {
        let message =
            format!("--negative `{text}` is a --prompt too: it takes away all that is found");
        return Err(message.into());
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
        let message = format!(
            "{masks} --visual-mask for {pictures} --visual-prompt, expected one for each or none"
        );
        return Err(message.into());
    }
    let options = SegmentOptions::default()
        .with_templates(&arguments.templates)
        .with_negative_prompts(arguments.negatives.iter().cloned());
    options.validate()?;
    check_repeated(arguments)?;
    let has_words = !arguments.prompts.is_empty() || !arguments.negatives.is_empty();
    if !has_words && !arguments.templates.is_empty() {
        return Err("--template has no effect: there is no --prompt and no --negative".into());
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
            Some(mask) => VisualPrompt::with_mask(picture, load_mask(mask)?)
                .map_err(|error| format!("{}: {error}", mask.display()))?,
        };
        prompts.push(prompt.into());
        let stem = path.file_stem().unwrap_or(path.as_os_str());
        names.push(format!("like {}", stem.to_string_lossy()));
    }
    // The number keeps prompts apart whose letters are the same, or that have none.
    let slugs = names.iter().zip(1..).map(|(name, number)| {
        let slug = format!("{number}-{}", slug(name));
        slug.trim_end_matches('-').to_owned()
    });
    Ok(Asked {
        slugs: slugs.collect(),
        prompts,
        names,
        options,
    })
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
///
/// Each mask is written as soon as it is decoded and then let go, so that memory does not depend on
/// the number of prompts.
fn segment(
    arguments: &Arguments,
    segmenter: &Segmenter,
    asked: &Asked,
    photo: &Photo,
) -> Result<String, Box<dyn Error>> {
    let files = ResultNames::new(&photo.name, asked, arguments.labels);
    let save = |picture: DynamicImage, file: &str| {
        let path = arguments.out.join(file);
        arguments.output.png(&path, &picture)
    };
    let mut overlay = load_rgb(&photo.path)?;
    let encoded = segmenter.encode_image(&overlay)?;
    let mut labels = LabelMapBuilder::new(arguments.threshold);
    let mut findings = Vec::with_capacity(asked.prompts.len());
    segmenter.for_each_mask(&encoded, &asked.prompts, &asked.options, |index, soft| {
        let mask = soft.threshold(arguments.threshold);
        save(heat_map(&soft).into(), &files.heats[index])?;
        save(mask.to_gray_image().into(), &files.masks[index])?;
        tint(&mut overlay, &mask, index);
        if files.labels.is_some() {
            labels.add(&soft)?;
        }
        findings.push(Finding::new(&asked.names[index], &soft, &mask));
        Ok::<(), Box<dyn Error>>(())
    })?;
    save(add_legend(&overlay, &asked.names).into(), &files.overlay)?;
    if let Some([by_number, by_colour]) = &files.labels {
        let map = labels.finish()?;
        save(map.to_image(), by_number)?;
        save(map.to_rgb_image().into(), by_colour)?;
    }
    if !arguments.json {
        return Ok(table(&photo.path, &findings));
    }
    let names = files.heats.iter().zip(&files.masks);
    let lines = findings.iter().zip(names).map(|(finding, (heat, mask))| {
        let [heat, mask] = [heat, mask].map(|file| arguments.out.join(file));
        finding.json(&photo.path, &heat, &mask).to_string()
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}
