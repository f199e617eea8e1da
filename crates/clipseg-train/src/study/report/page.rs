//! The report of a study as Markdown.

use crate::config::settings::Settings;
use crate::error::Result;
use crate::study::folder::StudyFolder;
use crate::study::phrase_scores::{SEEN, SUBSETS, UNSEEN, describe};
use crate::study::report::costs::costs;
use crate::study::report::loaded::Loaded;
use crate::study::report::sheets::write_sheets;
use crate::study::report::tables;
use clipseg_metrics::{Bootstrap, Subset};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Draws the report of the study in a folder again, from its result files only: `report.md`, and figures and contact
/// sheets in `figures/`. The same files give the same report. Returns the path of the report.
///
/// Without the feature `plots` the curves are left out, and the report says so.
///
/// # Errors
///
/// If the folder contains no study or no finished run, another process uses it, a file is missing or invalid, or the
/// report cannot be written.
pub fn write_study_report(root: &Path) -> Result<PathBuf> {
    let (folder, study) = StudyFolder::existing(root)?;
    let loaded = Loaded::read(&folder, study)?;
    let text = page(&loaded, &folder)?;
    let path = folder.report();
    folder.write(&path, text.as_bytes())?;
    Ok(path)
}

fn page(loaded: &Loaded, folder: &StudyFolder) -> Result<String> {
    let cells = loaded.cells();
    let mut text = head(loaded);
    let _ = write!(
        text,
        "\n## Scores\n\n\
         Mean IoU over the phrases, at the threshold 0.5 and at the threshold that is best on the validation phrases \
         (*chosen*; the column *Threshold* has its mean over the seeds). AP is the average precision of all pixels.\n\n\
         {}\n",
        tables::scores(loaded, &cells)?
    );
    text += "## Comparisons\n\n\
             Differences of mean IoU. The p-value is that of a permutation test with 10,000 random permutations, each of \
             which swaps the two results of every picture with probability ½; the result of a picture is the mean over \
             the seeds. So the p-value says whether the difference holds on other pictures, and the interval also \
             whether it holds with other seeds. Holm's correction is over all rows of a table.\n\n";
    for family in loaded.families(&cells)? {
        let _ = write!(
            text,
            "### {}\n\n{}\n",
            family.question,
            tables::family(&family)
        );
    }
    let _ = write!(
        text,
        "## Size and kind\n\n\
         Scores at the chosen threshold. Boundary F has a tolerance of 2 pixels at the resolution of the model.\n\n\
         {}\n{}\n",
        tables::by_size(loaded, &cells)?,
        tables::by_kind(loaded, &cells)?
    );
    let _ = write!(
        text,
        "## Cost\n\n\
         Measured on the machine of the study{}. The time of a step is the median over a run. The peak memory is that \
         of the process, with the cached hidden states. The mean IoU at equal steps is that of the last validation at its \
         best threshold. At equal time it is interpolated linearly between the validations, at the time at which the fastest decoder with \
         the same loss ends; the learning rate follows the schedule of all steps. A decoder without a validation by \
         then has none.\n\n\
         {}\n",
        jobs(loaded),
        tables::costs(&costs(&cells))
    );
    #[cfg(feature = "plots")]
    {
        text += &crate::study::report::figures::write_figures(loaded, &cells, folder)?;
    }
    #[cfg(not(feature = "plots"))]
    {
        text += "## Curves\n\nNo curves are drawn: built without the feature `plots`.\n\n";
    }
    text += &write_sheets(loaded, folder)?;
    let _ = write!(
        text,
        "## Settings\n\n```toml\n{}```\n",
        Settings::to_toml(&loaded.study)?
    );
    Ok(text)
}

/// What was run, and how the intervals are computed.
fn head(loaded: &Loaded) -> String {
    let study = &loaded.study;
    let steps = study.schedule.total_steps(|_| 0);
    let finished = loaded.runs.len() + loaded.failed.len();
    let mut text = format!(
        "# Study of decoders and losses\n\n\
         - Runs: {finished} of {} are finished; {} of them failed\n\
         - Seeds: {}; {steps} steps of {} phrases in each run\n\
         - The decoder after the last step is scored\n\
         - Test phrases: {}, of which {} are unseen\n\
         - Intervals: {:.0} % percentile intervals of a bootstrap over seeds and pictures. Each of {} resamples draws \
         seeds with replacement and, independently, pictures with replacement, and takes the mean over the phrases of \
         the drawn pictures in the runs of the drawn seeds. With few seeds such an interval is slightly too narrow.\n",
        loaded.planned.len(),
        loaded.failed.len(),
        study.seeds.len(),
        study.schedule.batch_size,
        loaded.phrases.len(),
        loaded
            .phrases
            .iter()
            .filter(|phrase| phrase.is_in(UNSEEN))
            .count(),
        100.0 * Bootstrap::default().level,
        Bootstrap::default().resamples,
    );
    for name in [SEEN, UNSEEN] {
        let _ = writeln!(text, "- *{name}*: {}", describe(name));
    }
    for subset in SUBSETS.into_iter().filter(|subset| *subset != Subset::All) {
        let count = loaded
            .phrases
            .iter()
            .filter(|phrase| phrase.is_in(subset.name()));
        let _ = writeln!(
            text,
            "- `{subset}`: {} ({} phrases)",
            subset.describe(),
            count.count()
        );
    }
    for alteration in &study.alterations.kinds {
        let _ = writeln!(text, "- `{alteration}`: {}", alteration.describe());
    }
    for failed in &loaded.failed {
        let reason = failed.failure.as_deref().unwrap_or("unknown");
        let _ = writeln!(text, "- The run `{}` failed: {reason}", failed.name);
    }
    text
}

fn jobs(loaded: &Loaded) -> String {
    let jobs = loaded.runs.iter().map(|run| run.result.cost.jobs);
    match jobs.max().unwrap_or(1) {
        0 | 1 => String::new(),
        jobs => format!(", with up to {jobs} runs at the same time"),
    }
}
