//! `clipseg segment`: segments photographs by prompts.

use crate::Failure;
use crate::annotations::{self, Annotations};
use crate::edges::Edges;
use crate::find::{Find, Request};
use crate::formats::Formats;
use crate::look::{Look, Model};
use crate::output::{Output, check_writable, place, print_line, tell};
use crate::photos::{Photo, collect};
use crate::progress::progress_bar;
use crate::report::{Files, Finding, table};
use crate::result_names::{Kinds, ResultNames};
use clipseg::clip::{ClipError, Precision};
use clipseg::data::{Mask, load_rgb};
use clipseg::model::{LabelMapBuilder, SCENES, SoftMask, add_legend, heat_map, tint};
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
    #[command(flatten)]
    find: Find,
    /// CLIPSeg checkpoint in Hugging Face's layout: a folder, a hub id, or scenes for the small model in
    /// this program. Default: scenes.
    #[arg(long, value_name = "FOLDER-OR-ID", help_heading = LOOK)]
    model: Option<String>,
    /// Device to compute on: cpu, ndarray, wgpu, vulkan or cuda; cuda:1 is the second GPU.
    #[arg(long, default_value = "cpu", help_heading = LOOK)]
    device: String,
    /// Precision of the vision encoder's matrix products: f32, or bf16, which is faster but needs a CPU
    /// with AVX-512 and bfloat16.
    #[arg(long, value_name = "NAME", default_value_t = Precision::F32, help_heading = LOOK)]
    precision: Precision,
    /// Probability above which a pixel belongs to the mask. Default: the threshold that is saved with the model, or
    /// 0.3 without one.
    #[arg(long, value_parser = probability, allow_negative_numbers = true, help_heading = LOOK)]
    threshold: Option<f32>,
    #[command(flatten)]
    look: Look,
    #[command(flatten)]
    edges: Edges,
    /// Output folder, created if missing.
    #[arg(long, default_value = "runs/segment", help_heading = WRITE)]
    out: PathBuf,
    #[command(flatten, next_help_heading = WRITE)]
    output: Output,
    /// Also write a label map: for each pixel the number of its most probable prompt, 0 for none. Of the options
    /// for edges, only --refine changes it.
    #[arg(long, help_heading = WRITE)]
    labels: bool,
    /// Print one line of JSON for each photograph and prompt instead of tables, with the mask as COCO's run lengths.
    #[arg(long, help_heading = WRITE)]
    json: bool,
    #[command(flatten)]
    formats: Formats,
}

/// The threshold for models that are saved without one.
const THRESHOLD: f32 = 0.3;

/// The groups of options in the help.
const LOOK: &str = "How to look";
const WRITE: &str = "What to write";

fn probability(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if (0.0..1.0).contains(&value) => Ok(value),
        // No probability is above 1, so a threshold of 1 would select nothing.
        _ => Err("expected a number from 0 to less than 1".into()),
    }
}

/// The file names of a photograph's results.
fn result_names(request: &Request, photo: &str, arguments: &Arguments) -> ResultNames {
    let kinds = Kinds {
        slugs: &request.slugs,
        cutouts: arguments.edges.cutout,
        labels: arguments.labels,
        formats: &arguments.formats,
    };
    ResultNames::new(photo, &kinds)
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let request = arguments
        .find
        .request(&arguments.look, &arguments.formats)?;
    let results = |name: &str| result_names(&request, name, arguments).into_all();
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
    annotations::make_folders(&arguments.formats, arguments.output)?;
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

    let threshold = arguments.threshold.or(segmenter.threshold());
    let threshold = threshold.unwrap_or(THRESHOLD);
    let (formats, output) = (&arguments.formats, arguments.output);
    let mut annotations = Annotations::new(formats, output, &photos, &request.names)?;
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
        let found = segment(
            arguments,
            &segmenter,
            threshold,
            &request,
            photo,
            on_views,
            &mut annotations,
        );
        match found {
            Ok(lines) => bar.suspend(|| print_line(&lines))?,
            Err(error) => {
                failed += 1;
                bar.suspend(|| tell(format_args!("{}", naming(&photo.path, &*error))));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if let Some(line) = annotations.finish()? {
        tell(line);
    }
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
    // A result in a photograph's place would destroy the photograph, and be read in its stead.
    let pictures = photos.iter().map(|photo| &photo.path);
    let pictures = pictures.chain(&arguments.find.visual_prompts);
    let inputs: HashSet<PathBuf> = pictures
        .chain(&arguments.find.visual_masks)
        .flat_map(|path| [path.canonicalize().ok(), place(path)])
        .flatten()
        .collect();
    let files = photos.iter().flat_map(|photo| results(&photo.name));
    let files = files.map(|file| ("--out", arguments.out.join(file)));
    let annotations = annotations::files(&arguments.formats, photos);
    let mut files = files.chain(
        annotations
            .into_iter()
            .map(|file| ("--coco or --yolo", file)),
    );
    let mut taken = HashSet::new();
    files.try_for_each(|(flag, file)| {
        let Some(place) = place(&file) else {
            // Its folder does not exist yet.
            return Ok(());
        };
        let other = match (inputs.contains(&place), taken.insert(place)) {
            (true, _) => "would replace an input picture",
            (_, false) => "would replace another result",
            _ => return Ok(arguments.output.check(&file)?),
        };
        let file = file.display();
        Err(format!("{file}: a result of this name {other}; choose another {flag}").into())
    })
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

/// Segments one photograph, writes its results and returns the text to print.
///
/// Each mask is written as soon as it is decoded and then dropped, so memory does not grow with the number of
/// prompts. Only combinations need all masks.
fn segment(
    arguments: &Arguments,
    segmenter: &Model,
    threshold: f32,
    request: &Request,
    photo: &Photo,
    on_views: impl FnMut(usize, usize),
    annotations: &mut Annotations<'_>,
) -> Result<String, Box<dyn Error>> {
    let files = result_names(request, &photo.name, arguments);
    let (edges, formats) = (&arguments.edges, &arguments.formats);
    let path = |file: &String| arguments.out.join(file);
    let save = |picture: DynamicImage, file: &String| arguments.output.png(&path(file), &picture);
    let picture = load_rgb(&photo.path)?;
    let write = |index: usize, soft: &SoftMask, mask: &Mask| {
        save(heat_map(soft).into(), &files.heats[index])?;
        save(edges.picture(mask)?.into(), &files.masks[index])?;
        if let Some(file) = files.cutouts.get(index) {
            save(edges.cut_out(&picture, soft, mask)?.into(), file)?;
        }
        if let Some(file) = files.probabilities.get(index) {
            formats.write_probabilities(soft, &path(file), arguments.output)?;
        }
        let name = &request.names[index];
        Ok::<_, Box<dyn Error>>(Finding::new(name, soft, mask, formats.instances)?)
    };
    let mut overlay = picture.clone();
    let mut labels = LabelMapBuilder::new(threshold);
    let mut findings = Vec::with_capacity(request.names.len());
    // What combinations are made of.
    let (mut soft_masks, mut masks) = (Vec::new(), Vec::new());
    segmenter.for_each_mask(
        &picture,
        &request.prompts,
        &request.options,
        on_views,
        |index, soft| {
            let soft = edges.refine(soft, &picture)?;
            let mask = edges.reshape(soft.threshold(threshold))?;
            tint(&mut overlay, &mask, index);
            if files.labels.is_some() {
                labels.add(&soft)?;
            }
            findings.push(write(index, &soft, &mask)?);
            if !formats.combinations.is_empty() {
                soft_masks.push(soft);
                masks.push(mask);
            }
            Ok::<(), Box<dyn Error>>(())
        },
    )?;
    let prompts = request.prompts.len();
    for (index, expression) in (prompts..).zip(&formats.combinations) {
        let soft = expression.combine_soft(&soft_masks)?;
        findings.push(write(index, &soft, &expression.combine(&masks)?)?);
    }
    let legend = add_legend(&overlay, &request.names[..prompts]);
    save(legend.into(), &files.overlay)?;
    if let Some([by_number, by_colour]) = &files.labels {
        let map = labels.finish()?;
        save(map.to_image(), by_number)?;
        save(map.to_rgb_image().into(), by_colour)?;
    }
    annotations.add(photo, [picture.width(), picture.height()], &findings)?;
    if !arguments.json {
        return Ok(table(&photo.path, &findings));
    }
    let lines = findings.iter().enumerate().map(|(index, finding)| {
        let [cutout, probabilities] =
            [&files.cutouts, &files.probabilities].map(|names| names.get(index).map(path));
        let line = finding.json(&Files {
            photo: &photo.path,
            heat: &path(&files.heats[index]),
            mask: &path(&files.masks[index]),
            cutout: cutout.as_deref(),
            probabilities: probabilities.as_deref(),
        });
        Ok(line?.to_string())
    });
    Ok(lines
        .collect::<Result<Vec<_>, Box<dyn Error>>>()?
        .join("\n"))
}
