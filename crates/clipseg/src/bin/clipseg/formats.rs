//! Options of `clipseg segment` for objects, combinations of prompts and the formats of other tools.

use crate::output::Output;
use clipseg::data::npy;
use clipseg::model::{MaskExpression, SoftMask};
use std::error::Error;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "What to write")]
pub(crate) struct Formats {
    /// Treat each connected part of a mask as an object, with its area, box and score: the mean probability of its
    /// pixels. Changes the tables, --json and --coco; pixels are connected to eight neighbours.
    #[arg(long)]
    pub(crate) instances: bool,
    /// Combine the masks of prompts by their numbers, such as "1 & !2 | 3": ! is not, & is and, | is or, in this order
    /// of precedence, and parentheses group. The combination is written like a prompt; repeatable.
    #[arg(long = "combine", value_name = "EXPRESSION", value_parser = expression)]
    pub(crate) combinations: Vec<MaskExpression>,
    /// Also write the probabilities: `png16` is a grey picture with 65,535 for 1, `npy` is a NumPy array of 32-bit
    /// floats.
    #[arg(long, value_enum, value_name = "FORMAT")]
    probabilities: Option<Probabilities>,
    /// Also write one COCO file with the masks of all photographs; each prompt is a category.
    #[arg(long, value_name = "FILE")]
    pub(crate) coco: Option<PathBuf>,
    /// Form of the masks in the COCO file: `rle` is compressed run lengths. Default: rle.
    #[arg(long, value_enum, value_name = "FORM", requires = "coco")]
    coco_masks: Option<CocoMasks>,
    /// Also write YOLO's segmentation labels: `labels/PHOTO.txt` with a polygon for each connected part, and the
    /// names of the prompts in `classes.txt`.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) yolo: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Probabilities {
    Png16,
    Npy,
}

/// Forms of the masks in a COCO file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CocoMasks {
    #[default]
    Rle,
    Polygons,
}

fn expression(text: &str) -> Result<MaskExpression, String> {
    text.parse()
        .map_err(|error: clipseg::model::ModelError| error.to_string())
}

impl Formats {
    /// Checks combinations against the number of prompts.
    pub(crate) fn check(&self, prompts: usize) -> Result<(), Box<dyn Error>> {
        for (index, expression) in self.combinations.iter().enumerate() {
            expression
                .check(prompts)
                .map_err(|error| format!("--combine: {error}"))?;
            let text = expression.to_string();
            let mut others = self.combinations[..index].iter();
            if others.any(|other| other.to_string() == text) {
                return Err(format!("--combine `{text}` is given twice").into());
            }
        }
        Ok(())
    }

    pub(crate) fn coco_masks(&self) -> CocoMasks {
        self.coco_masks.unwrap_or_default()
    }

    /// The end of the names of files with probabilities, if they are requested.
    pub(crate) fn probabilities_end(&self) -> Option<&'static str> {
        Some(match self.probabilities? {
            Probabilities::Png16 => "probabilities.png",
            Probabilities::Npy => "probabilities.npy",
        })
    }

    /// Writes the probabilities of a soft mask.
    pub(crate) fn write_probabilities(
        &self,
        soft: &SoftMask,
        path: &Path,
        output: Output,
    ) -> Result<(), Box<dyn Error>> {
        match self.probabilities {
            None => {}
            Some(Probabilities::Png16) => output.png(path, &soft.to_gray16_image().into())?,
            Some(Probabilities::Npy) => {
                let bytes = npy(soft.probabilities(), soft.width(), soft.height())?;
                output.write(path, &bytes)?;
            }
        }
        Ok(())
    }
}

/// The part of result file names that identifies a combination, such as `c1-1-and-not-2`.
pub(crate) fn combination_slug(number: usize, expression: &MaskExpression) -> String {
    let mut slug = format!("c{number}");
    for letter in expression.to_string().chars() {
        match letter {
            '&' => slug.push_str("-and"),
            '|' => slug.push_str("-or"),
            '!' => slug.push_str("-not"),
            digit if digit.is_ascii_digit() => {
                if !slug.ends_with(|c: char| c.is_ascii_digit()) || slug == format!("c{number}") {
                    slug.push('-');
                }
                slug.push(digit);
            }
            // Parentheses have no place in a name; the number distinguishes what differs in them only.
            _ => {}
        }
        if slug.len() > 60 {
            break;
        }
    }
    slug
}
