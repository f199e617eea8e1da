//! `clipseg segment`: segments photographs by prompts.

use crate::Failure;
use crate::edges::Edges;
use crate::look::{Look, Model};
use crate::output::{Output, check_writable, place, print_line, tell};
use crate::photos::{Photo, collect, slug};
use crate::progress::progress_bar;
use crate::report::{Finding, table};
use clipseg::clip::{ClipError, Precision};
use clipseg::data::{load_mask, load_rgb};
use clipseg::model::{
    LabelMapBuilder, Prompt, SCENES, SegmentOptions, VisualPrompt, add_legend, heat_map, tint,
};
use image::DynamicImage;
use indicatif::ProgressBar;
use std::collections::HashSet;
use std::error::Error;
use std::path::{Path, PathBuf};

pub(crate) const EXAMPLE: &str = "\
Examples:
  clipseg segment docs/scene.jpg --prompt \"red heart\" --prompt tree
  clipseg segment photos cat.jpg --model CIDAS/clipseg-rd64-refined \\
      --prompt \"a cat\" --prompt \"a sofa\" --negative \"a dog\" --out masks";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Photographs, or folders of photographs.
    #[arg(required = true, value_name = "PHOTO")]
    photos: Vec<PathBuf>,
    /// Phrase to segment by; repeatable.
    #[arg(long = "prompt", value_name = "TEXT")]
    prompts: Vec<String>,
    /// Picture of an object to segment by (visual prompt); repeatable.
    #[arg(long = "visual-prompt", value_name = "PICTURE")]
    visual_prompts: Vec<PathBuf>,
    /// Mask of the object in a visual prompt, such as white on black: pixels above half of the mask's
    /// largest value belong to it. One for each visual prompt, in the same order.
    #[arg(long = "visual-mask", value_name = "PICTURE")]
    visual_masks: Vec<PathBuf>,
    /// Phrase whose regions are removed from every mask; repeatable.
    #[arg(long = "negative", value_name = "TEXT")]
    negatives: Vec<String>,
    /// Sentence with {} in place of the prompt; embeddings are averaged over several; repeatable.
    #[arg(long = "template", value_name = "SENTENCE")]
    templates: Vec<String>,
    /// CLIPSeg checkpoint in Hugging Face's layout: a folder, a hub id, or scenes for the small model in
    /// this program. Default: scenes.
    #[arg(long, value_name = "FOLDER-OR-ID")]
    model: Option<String>,
    /// Device to compute on: cpu, ndarray, wgpu, vulkan or cuda; cuda:1 is the second GPU.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Precision of the vision encoder's matrix products: f32, or bf16, which is faster but needs a CPU
    /// with AVX-512 and bfloat16.
    #[arg(long, value_name = "NAME", default_value_t = Precision::F32)]
    precision: Precision,
    /// Probability above which a pixel belongs to the mask.
    #[arg(long, default_value_t = 0.3, value_parser = probability, allow_negative_numbers = true)]
    threshold: f32,
    /// Output folder, created if missing.
    #[arg(long, default_value = "runs/segment")]
    out: PathBuf,
    #[command(flatten)]
    output: Output,
    /// Also write a label map: for each pixel the number of its most probable prompt, 0 for none. Of the options
    /// for edges, only --refine changes it.
    #[arg(long)]
    labels: bool,
    /// Print one line of JSON for each photograph and prompt instead of tables.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    look: Look,
    #[command(flatten)]
    edges: Edges,
}

fn probability(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if (0.0..1.0).contains(&value) => Ok(value),
        // No probability is above 1, so a threshold of 1 would select nothing.
        _ => Err("expected a number from 0 to less than 1".into()),
    }
}

/// The prompts, and their names in files and tables.
struct Request {
    prompts: Vec<Prompt>,
    names: Vec<String>,
    /// For each prompt, the part of the result file names that identifies it.
    slugs: Vec<String>,
    options: SegmentOptions,
}

/// File names of the results of one photograph.
struct ResultNames {
    /// One for each prompt.
    heats: Vec<String>,
    /// One for each prompt.
    masks: Vec<String>,
    overlay: String,
    /// One for each prompt if requested, otherwise none.
    cutouts: Vec<String>,
    /// As prompt numbers and as colours, if requested.
    labels: Option<[String; 2]>,
}

impl ResultNames {
    fn new(start: &str, request: &Request, arguments: &Arguments) -> Self {
        let file = |what: &str| format!("{start}-{what}.png");
        let all = |what: &str| {
            let slugs = request.slugs.iter();
            slugs.map(|slug| file(&format!("{slug}-{what}"))).collect()
        };
        Self {
            heats: all("heat"),
            masks: all("mask"),
            overlay: file("overlay"),
            cutouts: if arguments.edges.cutout {
                all("cutout")
            } else {
                Vec::new()
            },
            labels: arguments
                .labels
                .then(|| ["labels", "labels-colour"].map(file)),
        }
    }

    fn into_all(self) -> Vec<String> {
        let mut all = self.heats;
        all.extend(self.masks);
        all.push(self.overlay);
        all.extend(self.cutouts);
        all.extend(self.labels.into_iter().flatten());
        all
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let request = prompts(arguments)?;
    let results = |name: &str| ResultNames::new(name, &request, arguments).into_all();
    let (photos, skipped) = collect(&arguments.photos, results)?;
    let skipped = skipped.to_string();
    if photos.is_empty() {
        return Err(format!("the folders contain no picture; {skipped}")
            .trim_end_matches("; ")
            .into());
    }
    check_results(arguments, &photos, results)?;
    std::fs::create_dir_all(&arguments.out).map_err(ClipError::io("make", &arguments.out))?;
    check_writable(&arguments.out)?;
    let model = arguments.model.as_deref().unwrap_or(SCENES);
    let templates = &request.options.templates;
    let segmenter =
        arguments
            .look
            .load(model, &arguments.device, arguments.precision, templates)?;
    if arguments.model.is_none() {
        tell(format_args!(
            "using the model `{SCENES}`, which knows generated scenes and not photographs; \
             --model CIDAS/clipseg-rd64-refined downloads one for photographs"
        ));
    }
    if !skipped.is_empty() {
        tell(&skipped);
    }

    let views = segmenter.announce(photos.iter().map(|photo| photo.path.as_path()));
    let bar = match (photos.len(), views) {
        (1, 1) => ProgressBar::hidden(),
        (1, views) => progress_bar(views, "views"),
        (count, _) => progress_bar(count, "photographs"),
    };
    let mut failed = 0;
    for photo in &photos {
        bar.set_message(photo.name.clone());
        if photo.is_shortened {
            let (path, name) = (photo.path.display(), &photo.name);
            bar.suspend(|| {
                tell(format_args!(
                    "{path}: the name is too long, so its results are named {name}-…"
                ))
            });
        }
        let on_views = |done: usize, all| {
            if photos.len() == 1 {
                bar.set_position(done as u64);
            } else if all > 1 {
                bar.set_message(format!("{}, view {done} of {all}", photo.name));
            }
        };
        match segment(arguments, &segmenter, &request, photo, on_views) {
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
        return Err(Failure::Photos(failed));
    }
    Ok(())
}

/// Refuses, before any work, results that would replace an input or another program's file.
fn check_results(
    arguments: &Arguments,
    photos: &[Photo],
    results: impl Fn(&str) -> Vec<String>,
) -> Result<(), Box<dyn Error>> {
    if !arguments.out.is_dir() {
        return Ok(());
    }
    // A result in a photograph's place would destroy the photograph, and be read in its stead.
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
                "{}: a result of this name would replace an input picture; choose another --out",
                file.display()
            );
            return Err(message.into());
        }
        Ok(arguments.output.check(&arguments.out.join(file))?)
    })
}

/// Refuses repeated phrases, and phrases that are both a prompt and a negative prompt.
fn check_repeated(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    // The tokenizer ignores case and the number of spaces.
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
            format!("--negative `{text}` is also a --prompt: its mask would always be empty");
        return Err(message.into());
    }
    Ok(())
}

/// The message of an error, prefixed with the photograph's path unless it contains that already.
fn naming(photo: &Path, error: &dyn Error) -> String {
    let (photo, message) = (photo.display().to_string(), error.to_string());
    if message.contains(&photo) {
        message
    } else {
        format!("{photo}: {message}")
    }
}

fn prompts(arguments: &Arguments) -> Result<Request, Box<dyn Error>> {
    let (pictures, masks) = (&arguments.visual_prompts, &arguments.visual_masks);
    if arguments.prompts.is_empty() && pictures.is_empty() {
        return Err("no prompt: pass --prompt \"a cat\" or --visual-prompt cat.jpg".into());
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
    arguments.look.check()?;
    let mut templates = arguments.templates.clone();
    templates.extend(arguments.look.templates()?);
    let options = SegmentOptions::default()
        .with_templates(templates)
        .with_negative_prompts(arguments.negatives.iter().cloned());
    options.validate()?;
    check_repeated(arguments)?;
    let has_words = !arguments.prompts.is_empty() || !arguments.negatives.is_empty();
    if !has_words && !options.templates.is_empty() {
        let flag = match arguments.templates.is_empty() {
            true => "--template-file",
            false => "--template",
        };
        return Err(format!("{flag} has no effect without --prompt or --negative").into());
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
    arguments.look.check_prompts(&prompts, &options)?;
    // The number distinguishes prompts whose slugs are equal or empty.
    let slugs = names.iter().zip(1..).map(|(name, number)| {
        let slug = format!("{number}-{}", slug(name));
        slug.trim_end_matches('-').to_owned()
    });
    Ok(Request {
        slugs: slugs.collect(),
        prompts,
        names,
        options,
    })
}

/// Segments one photograph, writes its results and returns the text to print.
///
/// Each mask is written as soon as it is decoded and then dropped, so memory does not grow with the
/// number of prompts.
fn segment(
    arguments: &Arguments,
    segmenter: &Model,
    request: &Request,
    photo: &Photo,
    on_views: impl FnMut(usize, usize),
) -> Result<String, Box<dyn Error>> {
    let files = ResultNames::new(&photo.name, request, arguments);
    let save = |picture: DynamicImage, file: &str| {
        let path = arguments.out.join(file);
        arguments.output.png(&path, &picture)
    };
    let edges = &arguments.edges;
    let picture = load_rgb(&photo.path)?;
    let mut overlay = picture.clone();
    let mut labels = LabelMapBuilder::new(arguments.threshold);
    let mut findings = Vec::with_capacity(request.prompts.len());
    segmenter.for_each_mask(
        &picture,
        &request.prompts,
        &request.options,
        on_views,
        |index, soft| {
            let soft = edges.refine(soft, &picture)?;
            let mask = edges.reshape(soft.threshold(arguments.threshold))?;
            save(heat_map(&soft).into(), &files.heats[index])?;
            save(edges.picture(&mask)?.into(), &files.masks[index])?;
            if let Some(file) = files.cutouts.get(index) {
                save(edges.cut_out(&picture, &soft, &mask)?.into(), file)?;
            }
            tint(&mut overlay, &mask, index);
            if files.labels.is_some() {
                labels.add(&soft)?;
            }
            findings.push(Finding::new(&request.names[index], &soft, &mask));
            Ok::<(), Box<dyn Error>>(())
        },
    )?;
    save(add_legend(&overlay, &request.names).into(), &files.overlay)?;
    if let Some([by_number, by_colour]) = &files.labels {
        let map = labels.finish()?;
        save(map.to_image(), by_number)?;
        save(map.to_rgb_image().into(), by_colour)?;
    }
    if !arguments.json {
        return Ok(table(&photo.path, &findings));
    }
    let names = files.heats.iter().zip(&files.masks);
    let lines = findings.iter().zip(names).enumerate();
    let lines = lines.map(|(index, (finding, (heat, mask)))| {
        let [heat, mask] = [heat, mask].map(|file| arguments.out.join(file));
        let cutout = files.cutouts.get(index);
        let cutout = cutout.map(|file| arguments.out.join(file));
        let line = finding.json(&photo.path, &heat, &mask, cutout.as_deref());
        line.to_string()
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}
