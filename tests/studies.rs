//! Studies: `run_study`, `write_study_report` and the command `clipseg compare`.

use crate::running::stderr;
use crate::support::device;
use clipseg::data::{ScenesConfig, generate_scenes};
use clipseg::train::{
    Alteration, End, Observer, Record, RunResult, Silent, Start, StopFlag, StudyConfig,
    StudyOutcome, TrainConfig, read_metrics, run, run_study, write_study_report,
};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A folder with scenes and a configuration file.
struct Studies {
    folder: tempfile::TempDir,
}

impl Studies {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scenes = ScenesConfig {
            images: 80,
            size: 64,
            seed: 5,
        };
        generate_scenes(&folder.path().join("scenes"), &scenes).unwrap();
        Self { folder }
    }

    fn root(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Two decoders and two losses in few steps, with these alterations.
    fn text(&self, alterations: &str) -> String {
        let scenes = self.root("scenes");
        format!(
            "seeds = [3]
             losses = [\"bce\", \"dice\"]
             sheet_phrases = 5
             [decoders.seeing]
             kind = \"conv\"
             size = \"tiny\"
             picture_branch = true
             [decoders.small]
             reduce_dim = 8
             intermediate_size = 16
             extract_layers = [1]
             [data]
             folder = {scenes:?}
             size = 32
             [schedule]
             steps = 6
             batch_size = 4
             warmup_ratio = 0.2
             [validation]
             every = 3
             phrases = 6
             test_phrases = 12
             [checkpoints]
             every = 1
             {alterations}"
        )
    }

    fn study(&self, alterations: &str) -> StudyConfig {
        StudyConfig::from_toml(&self.text(alterations), "study.toml".as_ref()).unwrap()
    }

    /// Writes the configuration file and returns the command for a study in this folder.
    fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let grid = self.root("grid.toml");
        std::fs::write(&grid, self.text("")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_clipseg"));
        command.arg("compare").arg("--grid").arg(grid);
        command.arg("--out").arg(self.root(name)).args(arguments);
        command
    }
}

/// Few runs, with one alteration of each way to change a run: the CLIP, the input, the polygons, the loss.
const ALTERATIONS: &str = "[alterations]
    kinds = [\"random_clip\", \"no_text\", \"no_features\", \"first_instance\", \"original_scale\", \
             \"token_ids\", \"sigmoid_twice\"]
    decoder = \"small\"";

fn compare(study: &StudyConfig, root: &Path, jobs: usize) -> StudyOutcome {
    let stop = StopFlag::new();
    run_study(study, &device(), root, Start::New, jobs, &stop, &mut Silent).unwrap()
}

/// The results without what is measured.
fn without_cost(results: &[RunResult]) -> Vec<RunResult> {
    let mut results = results.to_vec();
    for result in &mut results {
        result.cost = Default::default();
    }
    results
}

fn read_results(root: &Path) -> Vec<RunResult> {
    let text = std::fs::read_to_string(root.join("results.jsonl")).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The files of a study that the report is drawn from, except `results.jsonl`.
fn side_files(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = vec![root.join("phrases.jsonl"), root.join("shown.png")];
    for folder in ["phrases", "masks"] {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    files.sort();
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).unwrap();
        (path.strip_prefix(root).unwrap().to_owned(), bytes)
    };
    files.into_iter().map(read).collect()
}

#[test]
fn a_study_scores_every_run_and_each_alteration_changes_something() {
    let studies = Studies::new();
    let (study, root) = (studies.study(ALTERATIONS), studies.root("study"));
    let outcome = compare(&study, &root, 1);
    assert_eq!(outcome.end, End::Finished);
    let planned = study.runs().unwrap();
    assert_eq!(planned.len(), 4 + 7);
    let names = |results: &[RunResult]| -> Vec<String> {
        results.iter().map(|result| result.name.clone()).collect()
    };
    let expected: Vec<String> = planned.iter().map(|run| run.name.clone()).collect();
    assert_eq!(names(&outcome.results), expected);
    assert_eq!(read_results(&root), outcome.results);
    assert_eq!(side_files(&root).len(), 2 + 2 * planned.len());
    for result in &outcome.results {
        let scores = result.scores.as_ref().unwrap();
        let all = scores.subsets["all"];
        assert_eq!(all.phrases, 12, "{}", result.name);
        let parts = ["seen", "unseen"].map(|name| scores.subsets.get(name));
        let parts: usize = parts.into_iter().flatten().map(|part| part.phrases).sum();
        assert_eq!(parts, 12);
        // The chosen threshold is that of the validation phrases, so it can be worse on the test phrases.
        let at_fixed = scores.test_sweep[24];
        assert!((all.iou - at_fixed).abs() < 1e-12, "{}", result.name);
        let best = scores.validation_sweep.iter().copied().fold(0.0, f64::max);
        let chosen = (50.0 * scores.threshold).round() as usize - 1;
        assert_eq!(scores.validation_sweep[chosen], best);
        assert!((all.iou_chosen - scores.test_sweep[chosen]).abs() < 1e-12);
        let pixels: u64 = scores.reliability.iter().map(|bin| bin.pixels).sum();
        assert_eq!(pixels, 12 * 32 * 32);
        let steps: Vec<usize> = result.curve.iter().map(|point| point.step).collect();
        assert_eq!(steps, [3, 6]);
        assert!(
            result
                .cost
                .seconds_per_step
                .is_some_and(|seconds| seconds > 0.0)
        );
        assert!(result.parameters > 1_000);
    }
    let curve_of = |name: &str| {
        let found = outcome.results.iter().find(|result| result.name == name);
        found.unwrap().curve.clone()
    };
    for alteration in Alteration::ALL {
        let decoder = match alteration {
            Alteration::NoFeatures => "seeing",
            _ => "small",
        };
        let plain = curve_of(&format!("{decoder}.bce.s3"));
        let altered = curve_of(&format!("{decoder}.bce.{alteration}.s3"));
        assert_ne!(plain, altered, "{alteration}");
    }
    let twice = curve_of("small.bce.sigmoid_twice.s3");
    // The sigmoid of a probability is at least one half, so the loss of an outside pixel is at least ln 2.
    assert!(twice[0].training_loss > 0.6, "{twice:?}");
    let kept = std::fs::read_dir(root.join("runs")).unwrap().filter(|run| {
        let run = run.as_ref().unwrap().path();
        run.join("checkpoints/last.safetensors").is_file()
    });
    assert_eq!(kept.count(), planned.len(), "the scored decoders");
}

#[test]
fn a_run_of_a_study_is_the_run_of_the_command_train() {
    let studies = Studies::new();
    let (study, root) = (studies.study(""), studies.root("study"));
    compare(&study, &root, 1);
    let inside = root.join("runs/small.dice.s3");
    let config = TrainConfig::from_file(&inside.join("config.toml")).unwrap();
    let alone = studies.root("alone");
    let stop = StopFlag::new();
    run(&config, &device(), &alone, Start::New, &stop, &mut Silent).unwrap();
    // In the study both decoders share the hidden states of three layers, alone only one layer is encoded.
    let [mut inside, alone] =
        [inside, alone].map(|root| read_metrics(&root.join("metrics.jsonl")).unwrap());
    for record in &mut inside {
        if let Record::Validation {
            mean_iou,
            mean_iou_at_best,
            ..
        } = record
        {
            let at_best = mean_iou_at_best.take();
            assert!(at_best.is_some_and(|at_best| at_best >= *mean_iou));
        }
    }
    assert_eq!(inside, alone);
}

#[test]
fn several_runs_at_the_same_time_give_the_same_results() {
    let studies = Studies::new();
    let study = studies.study("");
    let [one, two] = [("one", 1), ("two", 2)].map(|(name, jobs)| {
        let root = studies.root(name);
        let results = compare(&study, &root, jobs).results;
        assert_eq!(results[0].cost.jobs, jobs);
        (without_cost(&results), side_files(&root))
    });
    assert_eq!(one.0, two.0);
    assert!(one.1 == two.1);
}

/// Raises a flag after a number of steps.
struct StopAfter {
    steps: usize,
    stop: StopFlag,
}

impl Observer for StopAfter {
    fn start(&mut self, _done: usize, _steps: usize) {}
    fn step(&mut self, _step: usize, _loss: f32, _learning_rate: f64, _samples: usize) {
        self.steps -= 1;
        if self.steps == 0 {
            self.stop.raise();
        }
    }
    fn note(&mut self, _line: &str) {}
    fn finish(&mut self) {}
}

#[test]
fn a_stopped_study_resumes_with_the_same_results() {
    let studies = Studies::new();
    let study = studies.study("");
    let straight = studies.root("straight");
    let expected = compare(&study, &straight, 1).results;
    let root = studies.root("stopped");
    let mut finished = Vec::new();
    // In the first run, in the second one, and in the third.
    for steps in [2, 7, 6] {
        let stop = StopFlag::new();
        let mut observer = StopAfter {
            steps,
            stop: stop.clone(),
        };
        let outcome = run_study(
            &study,
            &device(),
            &root,
            Start::Resume,
            1,
            &stop,
            &mut observer,
        )
        .unwrap();
        assert_eq!(outcome.end, End::Stopped);
        finished.push(outcome.results.len());
    }
    assert_eq!(finished, [0, 1, 2]);
    let stop = StopFlag::new();
    let outcome = run_study(
        &study,
        &device(),
        &root,
        Start::Resume,
        1,
        &stop,
        &mut Silent,
    );
    let outcome = outcome.unwrap();
    assert_eq!(outcome.end, End::Finished);
    assert_eq!(without_cost(&outcome.results), without_cost(&expected));
    assert!(side_files(&root) == side_files(&straight));

    let again = run_study(&study, &device(), &root, Start::New, 1, &stop, &mut Silent);
    let message = again.unwrap_err().to_string();
    assert!(message.contains("contains a run already"), "{message}");
    let mut other = study.clone();
    other.schedule.batch_size = 5;
    let resumed = run_study(
        &other,
        &device(),
        &root,
        Start::Resume,
        1,
        &stop,
        &mut Silent,
    );
    let message = resumed.unwrap_err().to_string();
    assert!(
        message.ends_with("field `schedule.batch_size` is 4 in the run and 5 now"),
        "{message}"
    );
}

#[test]
fn the_report_is_drawn_again_byte_for_byte() {
    let studies = Studies::new();
    let alterations = "[alterations]\nkinds = [\"no_text\"]\ndecoder = \"small\"";
    let (study, root) = (studies.study(alterations), studies.root("study"));
    compare(&study, &root, 1);
    let report = write_study_report(&root).unwrap();
    assert_eq!(report, root.join("report.md"));
    let drawn = || {
        let mut files = vec![report.clone()];
        let figures = std::fs::read_dir(root.join("figures")).unwrap();
        files.extend(figures.map(|figure| figure.unwrap().path()));
        files.sort();
        let read = |path: PathBuf| (path.clone(), std::fs::read(path).unwrap());
        files.into_iter().map(read).collect::<Vec<_>>()
    };
    let first = drawn();
    assert_eq!(
        first.len(),
        1 + 6,
        "the report, three figures and three sheets"
    );
    // Neither the runs nor the data are needed.
    std::fs::remove_dir_all(root.join("runs")).unwrap();
    std::fs::remove_dir_all(studies.root("scenes")).unwrap();
    for (path, _) in &first {
        std::fs::remove_file(path).unwrap();
    }
    write_study_report(&root).unwrap();
    assert!(drawn() == first);

    let text = String::from_utf8(std::fs::read(&report).unwrap()).unwrap();
    for part in [
        "Runs: 5 of 5 are finished; 0 of them failed",
        "| small | dice | – | 1 |",
        "| seeing: dice − bce | seen |",
        "no_text (small, bce)",
        "bce: seeing − small",
        "![learning](figures/learning.png)",
        "![disagreements](figures/disagreements.png)",
        "[decoders.small]",
    ] {
        assert!(text.contains(part), "`{part}` is missing:\n{text}");
    }
    for figure in text.split("](").skip(1) {
        let path = figure.split(')').next().unwrap();
        assert!(root.join(path).is_file(), "{path}");
    }

    // Damaged files are named.
    let scores = root.join("phrases/small.bce.s3.csv");
    let table = std::fs::read_to_string(&scores).unwrap();
    std::fs::write(&scores, table.lines().next().unwrap()).unwrap();
    let message = write_study_report(&root).unwrap_err().to_string();
    assert!(
        message.contains("small.bce.s3.csv: 0 lines of scores, expected 12"),
        "{message}"
    );
    std::fs::remove_file(&scores).unwrap();
    let message = write_study_report(&root).unwrap_err().to_string();
    assert!(message.starts_with("cannot read "), "{message}");
}

#[test]
fn a_study_that_cannot_start_is_refused_and_leaves_nothing() {
    let studies = Studies::new();
    let root = studies.root("study");
    let message = |study: &StudyConfig| {
        let stop = StopFlag::new();
        let outcome = run_study(study, &device(), &root, Start::New, 1, &stop, &mut Silent);
        assert!(!root.exists(), "nothing is left behind");
        outcome.unwrap_err().to_string()
    };
    let original = "[alterations]\nkinds = [\"original_scale\"]\ndecoder = \"small\"";
    let mut study = studies.study(original);
    study.data.size = Some(64);
    let found = message(&study);
    assert!(
        found.starts_with("field `alterations.kinds`: `original_scale` has no effect"),
        "{found}"
    );
    let mut study = studies.study("");
    study.data.size = Some(30);
    assert!(message(&study).starts_with("field `data.size`: 30, expected a multiple"));
    let text = studies
        .text("")
        .replace("extract_layers = [1]", "extract_layers = [9]");
    let study = StudyConfig::from_toml(&text, "study.toml".as_ref()).unwrap();
    let found = message(&study);
    assert!(found.starts_with("field `decoders.small`: "), "{found}");
    let mut study = studies.study("");
    study.data.folder = Some(studies.root("nowhere"));
    message(&study);
    let stop = StopFlag::new();
    let jobs = run_study(
        &studies.study(""),
        &device(),
        &root,
        Start::New,
        0,
        &stop,
        &mut Silent,
    );
    let found = jobs.unwrap_err().to_string();
    assert_eq!(found, "field `jobs`: 0, expected at least 1");
}

#[test]
fn a_run_that_diverges_is_recorded_and_the_study_goes_on() {
    let studies = Studies::new();
    let root = studies.root("study");
    // The loss is larger than single precision can hold.
    let text = studies.text("").replace("\"dice\"", "\"1e39*dice\"");
    let study = StudyConfig::from_toml(&text, "study.toml".as_ref()).unwrap();
    let outcome = compare(&study, &root, 1);
    assert_eq!((outcome.results.len(), outcome.end), (4, End::Finished));
    for result in &outcome.results {
        let expected = (result.loss.to_string() != "bce").then_some("the loss is inf at step 1");
        assert_eq!(result.failure.as_deref(), expected);
        assert_eq!(result.scores.is_none(), expected.is_some());
    }
    let report = write_study_report(&root).unwrap();
    let text = std::fs::read_to_string(report).unwrap();
    assert!(
        text.contains("4 of 4 are finished; 2 of them failed"),
        "{text}"
    );
    assert!(text.contains("failed: the loss is inf at step 1"), "{text}");
}

#[test]
fn the_program_is_killed_again_and_again_and_ends_with_the_same_results() {
    let studies = Studies::new();
    let began = Instant::now();
    let output = studies.command("straight", &[]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let whole = began.elapsed();
    // Another moment each time; a failing test prints them.
    let mut seed = u64::from(std::process::id());
    let mut moments = Vec::new();
    for _ in 0..6 {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let share = (seed >> 33) as f64 / f64::from(1u32 << 31);
        let mut child = studies.command("killed", &["--resume"]);
        let mut child = child.stderr(std::process::Stdio::null()).spawn().unwrap();
        let moment: Duration = whole.mul_f64(share);
        std::thread::sleep(moment);
        child.kill().unwrap();
        child.wait().unwrap();
        moments.push(moment);
    }
    let output = studies.command("killed", &["--resume"]).output().unwrap();
    assert!(output.status.success(), "{moments:?}: {}", stderr(&output));
    let [straight, killed] = ["straight", "killed"].map(|name| studies.root(name));
    let [expected, found] = [&straight, &killed].map(|root| without_cost(&read_results(root)));
    assert_eq!(expected, found, "{moments:?}");
    assert!(side_files(&straight) == side_files(&killed), "{moments:?}");
}

#[test]
fn the_program_prints_configurations_and_refuses_bad_ones() {
    let studies = Studies::new();
    let root = studies.root("study");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clipseg"));
        let output = command.arg("compare").args(arguments).output().unwrap();
        (output.status.success(), output)
    };
    let (success, output) = run(&["--quick", "--print-config"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        success && text.starts_with("# A small version of the preset"),
        "{text}"
    );
    let (success, output) = run(&["--quick", "--steps", "7", "--print-config"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(success && text.contains("steps = 7\n"), "{text}");
    StudyConfig::from_toml(&text, "printed".as_ref()).unwrap();

    let grid = studies.root("bad.toml");
    std::fs::write(
        &grid,
        "losses = [\"bce\"]\n[decoders.a]\nkind = \"conv\"\nreduce_dim = 4\n",
    )
    .unwrap();
    let out = root.to_str().unwrap();
    for (arguments, expected) in [
        (
            &["--grid", grid.to_str().unwrap(), "--out", out][..],
            "bad.toml, line 2: field `decoders.a.reduce_dim`: has no effect on `conv`",
        ),
        (
            &["--quick", "--set", "schedule.epochs=3", "--out", out],
            "field `schedule.epochs`: steps are given too",
        ),
        (
            &[
                "--quick",
                "--set",
                "decoders.deconv.refined=true",
                "--out",
                out,
            ],
            "field `decoders.deconv.refined`: has no effect on `deconv`",
        ),
        (&["--report", "--out", out], "contains no study"),
        (&["--report"], "--out"),
        (
            &["--report", "--quick", "--out", out],
            "cannot be used with",
        ),
        (&["--quick", "--jobs", "0", "--out", out], "field `jobs`: 0"),
        (
            &["--quick", "--print-config", "--jobs", "2"],
            "--jobs has no effect with --print-config",
        ),
    ] {
        let (success, output) = run(arguments);
        let message = stderr(&output);
        assert!(
            !success && message.contains(expected),
            "{arguments:?}: {message}"
        );
        assert!(!root.exists(), "{arguments:?} left a folder");
    }
}
