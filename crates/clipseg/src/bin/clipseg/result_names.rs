//! File names of the results of one photograph.

use crate::formats::Formats;

/// What the names depend on.
pub(crate) struct Kinds<'a> {
    /// For each prompt and then for each combination, the part of the file names that identifies it.
    pub(crate) slugs: &'a [String],
    pub(crate) cutouts: bool,
    pub(crate) labels: bool,
    pub(crate) formats: &'a Formats,
}

/// File names of the results of one photograph. A list that was not requested is empty.
pub(crate) struct ResultNames {
    pub(crate) heats: Vec<String>,
    pub(crate) masks: Vec<String>,
    pub(crate) overlay: String,
    pub(crate) cutouts: Vec<String>,
    pub(crate) probabilities: Vec<String>,
    /// As prompt numbers and as colours, if requested.
    pub(crate) labels: Option<[String; 2]>,
}

impl ResultNames {
    pub(crate) fn new(start: &str, kinds: &Kinds<'_>) -> Self {
        let all = |end: &str| {
            let slugs = kinds.slugs.iter();
            slugs.map(|slug| format!("{start}-{slug}-{end}")).collect()
        };
        let file = |end: &str| format!("{start}-{end}.png");
        let probabilities = kinds.formats.probabilities_end();
        Self {
            heats: all("heat.png"),
            masks: all("mask.png"),
            overlay: file("overlay"),
            cutouts: if kinds.cutouts {
                all("cutout.png")
            } else {
                Vec::new()
            },
            probabilities: probabilities.map_or_else(Vec::new, all),
            labels: kinds.labels.then(|| ["labels", "labels-colour"].map(file)),
        }
    }

    pub(crate) fn into_all(self) -> Vec<String> {
        let mut all = self.heats;
        all.extend(self.masks);
        all.push(self.overlay);
        all.extend(self.cutouts);
        all.extend(self.probabilities);
        all.extend(self.labels.into_iter().flatten());
        all
    }
}
