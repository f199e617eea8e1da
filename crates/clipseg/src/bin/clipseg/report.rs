//! The findings of `clipseg segment`: a table for people, JSON lines for programs.

use clipseg::data::{BoundingBox, CocoRle, Instance, Mask};
use clipseg::model::{ModelError, SoftMask};
use serde_json::{Value, json};
use std::path::Path;

/// Figures of the mask of one prompt, or of one combination, in one photograph.
pub(crate) struct Finding {
    pub(crate) prompt: String,
    /// The mask in run lengths, which take little memory.
    pub(crate) rle: CocoRle,
    pub(crate) highest: f32,
    /// Share of the photograph's pixels in the mask, from 0 to 1.
    pub(crate) covered: f64,
    pub(crate) bounding_box: Option<BoundingBox>,
    /// The mean probability of the pixels in the mask; `None` for an empty mask.
    pub(crate) score: Option<f64>,
    /// The connected parts, if requested.
    pub(crate) parts: Option<Vec<Instance>>,
}

/// The files with the results of a finding.
pub(crate) struct Files<'a> {
    pub(crate) photo: &'a Path,
    pub(crate) heat: &'a Path,
    pub(crate) mask: &'a Path,
    pub(crate) cutout: Option<&'a Path>,
    pub(crate) probabilities: Option<&'a Path>,
}

fn corners(found: BoundingBox) -> [u32; 4] {
    [found.x, found.y, found.width, found.height]
}

impl Finding {
    pub(crate) fn new(
        prompt: &str,
        soft: &SoftMask,
        mask: &Mask,
        with_parts: bool,
    ) -> Result<Self, ModelError> {
        let pixels = f64::from(mask.width()) * f64::from(mask.height());
        Ok(Self {
            prompt: prompt.to_owned(),
            highest: soft.highest(),
            covered: mask.area() as f64 / pixels,
            bounding_box: mask.bounding_box(),
            score: soft.mean_inside(mask)?,
            parts: if with_parts {
                Some(soft.instances(mask)?)
            } else {
                None
            },
            rle: mask.to_rle(),
        })
    }

    /// One line of JSON. The fields `cutout`, `probabilities` and `instances` are left out if they were not requested.
    /// File names that are not UTF-8 are written with replacement characters.
    pub(crate) fn json(&self, files: &Files<'_>) -> Result<Value, ModelError> {
        let shown = |path: &Path| path.display().to_string();
        let mut line = json!({
            "photo": shown(files.photo),
            "prompt": self.prompt,
            "highest": self.highest,
            "covered": self.covered,
            "box": self.bounding_box.map(corners),
            "score": self.score,
            "rle": self.rle,
            "heat": shown(files.heat),
            "mask": shown(files.mask),
        });
        for (field, file) in [
            ("cutout", files.cutout),
            ("probabilities", files.probabilities),
        ] {
            if let Some(file) = file {
                line[field] = shown(file).into();
            }
        }
        if let Some(parts) = &self.parts {
            let size = [self.rle.width(), self.rle.height()];
            let part = |part: &Instance| {
                let at = [part.bounding_box.x, part.bounding_box.y];
                let rle = CocoRle::of_part(&part.shape, at, size)?;
                Ok(json!({
                    "area": part.area,
                    "box": corners(part.bounding_box),
                    "score": part.score,
                    "rle": rle,
                }))
            };
            line["instances"] = parts.iter().map(part).collect::<Result<_, ModelError>>()?;
        }
        Ok(line)
    }
}

/// The most parts of a mask that a table lists.
const PARTS: usize = 20;

/// A table with one line for each prompt, and for each part below. Boxes are left, top, width and height in pixels.
pub(crate) fn table(photo: &Path, findings: &[Finding]) -> String {
    const WIDEST: usize = 40;
    let prompts: Vec<String> = findings
        .iter()
        .map(|finding| {
            // A line break would break the table.
            let prompt = finding.prompt.replace(char::is_control, " ");
            match prompt.char_indices().nth(WIDEST) {
                Some((end, _)) => format!("{}…", &prompt[..end]),
                None => prompt,
            }
        })
        .collect();
    let widest = prompts.iter().map(|p| p.chars().count()).max();
    let width = widest.unwrap_or(0).max("prompt".len());
    let mut lines = vec![
        photo.display().to_string(),
        format!("  {:<width$}  highest  covered  box", "prompt"),
    ];
    let place = |b: BoundingBox| format!("{} {} {}×{}", b.x, b.y, b.width, b.height);
    for (finding, prompt) in findings.iter().zip(prompts) {
        let place_of_all = finding.bounding_box.map_or("–".to_owned(), place);
        lines.push(format!(
            "  {prompt:<width$}  {:>7.3}  {:>5.1} %  {place_of_all}",
            finding.highest,
            100.0 * finding.covered
        ));
        let parts = finding.parts.as_deref().unwrap_or_default();
        for (part, number) in parts.iter().take(PARTS).zip(1..) {
            lines.push(format!(
                "    {number}: score {:.3}, {} pixels, {}",
                part.score,
                part.area,
                place(part.bounding_box)
            ));
        }
        if parts.len() > PARTS {
            let more = parts.len() - PARTS;
            lines.push(format!("    and {more} smaller parts; --json lists all"));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soft(logits: &[f32]) -> SoftMask {
        let size = [2, logits.len() as u32 / 2];
        SoftMask::from_logits(logits, size, size).unwrap()
    }

    fn found(prompt: &str, threshold: f32, with_parts: bool) -> Finding {
        let soft = soft(&[3.0, -3.0, 3.0, -3.0]);
        Finding::new(prompt, &soft, &soft.threshold(threshold), with_parts).unwrap()
    }

    fn files(path: &Path, more: bool) -> Files<'_> {
        Files {
            photo: path,
            heat: path,
            mask: path,
            cutout: more.then_some(path),
            probabilities: more.then_some(path),
        }
    }

    #[test]
    fn a_table_and_a_line_of_json() {
        let both = [
            found("a cat", 0.5, false),
            found(&"a\nb".repeat(50), 0.99, false),
        ];
        let table = table(Path::new("cat.jpg"), &both);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "cat.jpg");
        assert!(lines[2].starts_with("  a cat  "), "{table}");
        assert!(lines[2].ends_with("0.953   50.0 %  0 0 1×2"), "{table}");
        assert!(lines[3].ends_with("0.953    0.0 %  –"), "{table}");
        assert!(
            lines[3].starts_with("  a ba ba b") && lines.len() == 4,
            "{table}"
        );

        let json = both[0].json(&files(Path::new("p"), false)).unwrap();
        for field in ["cutout", "probabilities", "instances"] {
            assert_eq!(json.get(field), None);
        }
        assert_eq!(json["box"], json!([0, 0, 1, 2]));
        assert_eq!(json["covered"], json!(0.5));
        assert_eq!(json["rle"], json!({"size": [2, 2], "counts": "022"}));
        assert!((json["score"].as_f64().unwrap() - 0.9526).abs() < 1e-4);
        let none = both[1].json(&files(Path::new("p"), false)).unwrap();
        assert_eq!((&none["box"], &none["score"]), (&Value::Null, &Value::Null));
    }

    #[test]
    fn parts_are_listed_below_their_prompt() {
        let of = |rows: usize| {
            // Every second row is inside.
            let logits: Vec<f32> = (0..2 * rows)
                .map(|at| if at / 2 % 2 == 0 { 3.0 } else { -3.0 })
                .collect();
            let soft = soft(&logits);
            Finding::new("bars", &soft, &soft.threshold(0.5), true).unwrap()
        };
        let two = of(4);
        let table_of_two = table(Path::new("p"), std::slice::from_ref(&two));
        let lines: Vec<&str> = table_of_two.lines().skip(3).collect();
        assert_eq!(
            lines,
            [
                "    1: score 0.953, 2 pixels, 0 0 2×1",
                "    2: score 0.953, 2 pixels, 0 2 2×1"
            ]
        );
        let json = two.json(&files(Path::new("p"), false)).unwrap();
        assert_eq!(json["instances"][1]["box"], json!([0, 2, 2, 1]));
        assert_eq!(json["instances"][1]["area"], json!(2));
        let rle = json!({"size": [4, 2], "counts": Mask::from_vec(2, 4, vec![0, 0, 0, 0, 1, 1, 0, 0]).to_rle().text()});
        assert_eq!(json["instances"][1]["rle"], rle);
        let many = table(Path::new("p"), &[of(50)]);
        assert!(
            many.ends_with("    and 5 smaller parts; --json lists all"),
            "{many}"
        );
        assert_eq!(many.lines().count(), 3 + 20 + 1);
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_not_utf_8_are_shown() {
        use std::os::unix::ffi::OsStrExt;
        let odd = Path::new(std::ffi::OsStr::from_bytes(b"caf\xe9.jpg"));
        let json = found("a cat", 0.5, false).json(&files(odd, true)).unwrap();
        for field in ["photo", "heat", "mask", "cutout", "probabilities"] {
            assert_eq!(json[field], "caf\u{fffd}.jpg");
        }
        assert!(table(odd, &[found("a cat", 0.5, false)]).starts_with("caf\u{fffd}.jpg\n"));
    }
}
