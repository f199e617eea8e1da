//! The findings of `clipseg segment`: a table for people, JSON lines for programs.

use clipseg::data::{BoundingBox, Mask};
use clipseg::model::SoftMask;
use serde_json::{Value, json};
use std::path::Path;

/// Figures of one prompt's mask in one photograph.
pub(crate) struct Finding<'a> {
    pub(crate) prompt: &'a str,
    pub(crate) highest: f32,
    /// Share of the photograph's pixels in the mask, from 0 to 1.
    pub(crate) covered: f64,
    pub(crate) bounding_box: Option<BoundingBox>,
}

impl<'a> Finding<'a> {
    pub(crate) fn new(prompt: &'a str, soft: &SoftMask, mask: &Mask) -> Self {
        let pixels = f64::from(mask.width()) * f64::from(mask.height());
        Self {
            prompt,
            highest: soft.highest(),
            covered: mask.area() as f64 / pixels,
            bounding_box: mask.bounding_box(),
        }
    }

    /// One line of JSON; the field `cutout` is left out if there is none. File names that are not UTF-8 are
    /// written with replacement characters.
    pub(crate) fn json(
        &self,
        photo: &Path,
        heat: &Path,
        mask: &Path,
        cutout: Option<&Path>,
    ) -> Value {
        let shown = |path: &Path| path.display().to_string();
        let corners = |b: BoundingBox| json!([b.x, b.y, b.width, b.height]);
        let mut line = json!({
            "photo": shown(photo),
            "prompt": self.prompt,
            "highest": self.highest,
            "covered": self.covered,
            "box": self.bounding_box.map(corners),
            "heat": shown(heat),
            "mask": shown(mask),
        });
        if let Some(cutout) = cutout {
            line["cutout"] = shown(cutout).into();
        }
        line
    }
}

/// A table with one line for each prompt. Boxes are left, top, width and height in pixels.
pub(crate) fn table(photo: &Path, findings: &[Finding<'_>]) -> String {
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
    for (finding, prompt) in findings.iter().zip(prompts) {
        let place = finding.bounding_box.map_or("–".to_owned(), |b| {
            format!("{} {} {}×{}", b.x, b.y, b.width, b.height)
        });
        lines.push(format!(
            "  {prompt:<width$}  {:>7.3}  {:>5.1} %  {place}",
            finding.highest,
            100.0 * finding.covered
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_and_a_line_of_json() {
        let soft = SoftMask::from_logits(&[3.0, -3.0, 3.0, -3.0], [2, 2], [2, 2]).unwrap();
        let found = Finding::new("a cat", &soft, &soft.threshold(0.5));
        let none = Finding::new("a\nb".repeat(50).leak(), &soft, &soft.threshold(0.99));
        let table = table(Path::new("cat.jpg"), &[found, none]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "cat.jpg");
        assert!(lines[2].starts_with("  a cat  "), "{table}");
        assert!(lines[2].ends_with("0.953   50.0 %  0 0 1×2"), "{table}");
        assert!(lines[3].ends_with("0.953    0.0 %  –"), "{table}");
        assert!(
            lines[3].starts_with("  a ba ba b") && lines.len() == 4,
            "{table}"
        );

        let found = Finding::new("a cat", &soft, &soft.threshold(0.5));
        let json = found.json(Path::new("p"), Path::new("h"), Path::new("m"), None);
        assert_eq!(json.get("cutout"), None);
        assert_eq!(json["box"], json!([0, 0, 1, 2]));
        assert_eq!(json["covered"], json!(0.5));
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_not_utf_8_are_shown() {
        use std::os::unix::ffi::OsStrExt;
        let soft = SoftMask::from_logits(&[3.0], [1, 1], [1, 1]).unwrap();
        let found = Finding::new("a cat", &soft, &soft.threshold(0.5));
        let odd = Path::new(std::ffi::OsStr::from_bytes(b"caf\xe9.jpg"));
        let json = found.json(odd, odd, odd, Some(odd));
        for field in ["photo", "heat", "mask", "cutout"] {
            assert_eq!(json[field], "caf\u{fffd}.jpg");
        }
        assert!(table(odd, &[found]).starts_with("caf\u{fffd}.jpg\n"));
    }
}
