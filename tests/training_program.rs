//! The command `clipseg train`: killed, stopped, and run on full or read-only disks.

use crate::running::stderr;
use crate::training_runs::{last_weights, small_run};
use clipseg::train::{PretrainConfig, Settings, TrainConfig};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Flags for a run without an end and without validation.
const ENDLESS: [&str; 4] = [
    "--set",
    "schedule.steps=100000",
    "--set",
    "validation.every=100000",
];

/// Dropout uses the device's random numbers, which other tests in this process would change.
const DROPOUT: [&str; 2] = ["--set", "decoder.dropout=0.1"];

struct Runs {
    folder: tempfile::TempDir,
    config: PathBuf,
}

impl Runs {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("train.toml");
        std::fs::write(&config, small_run(folder.path())).unwrap();
        Self { folder, config }
    }

    fn root(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clipseg"));
        command.arg("train").arg("--config").arg(&self.config);
        command.arg("--out").arg(self.root(name)).args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, name: &str, arguments: &[&str]) -> Output {
        self.command(name, arguments).output().expect("it starts")
    }

    fn settings(&self) -> TrainConfig {
        TrainConfig::from_file(&self.config).unwrap()
    }
}

fn leftovers(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(".clipseg-")
        })
        .filter(|path| {
            // The run's marker file is kept.
            path.file_name().unwrap() != ".clipseg-run"
        })
        .collect()
}

/// Waits until a file exists.
fn wait_for(path: &Path, child: &mut Child) {
    let began = Instant::now();
    while !path.exists() {
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before {}",
            path.display()
        );
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "{}",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_bit_for_bit_the_same() {
    let runs = Runs::new();
    let began = Instant::now();
    let output = runs.run("straight", &DROPOUT);
    assert!(output.status.success(), "{}", stderr(&output));
    let whole = began.elapsed();
    assert!(String::from_utf8_lossy(&output.stdout).contains("decoder"));

    // Another seed each time; a failing test prints it.
    let mut seed = u64::from(std::process::id());
    let mut random = || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as f64 / f64::from(1u32 << 31)
    };
    let mut moments = Vec::new();
    for _ in 0..8 {
        let mut child = runs
            .command("killed", &[&DROPOUT[..], &["--resume"]].concat())
            .spawn()
            .expect("it starts");
        let moment = whole.mul_f64(random());
        std::thread::sleep(moment);
        // SIGKILL on Unix.
        child.kill().unwrap();
        moments.push((moment, child.wait_with_output().unwrap().status.code()));
    }
    // The configuration is the stored one.
    let output = runs.run("killed", &[&DROPOUT[..], &["--resume"]].concat());
    assert!(output.status.success(), "{moments:?}: {}", stderr(&output));

    let [straight, killed] = ["straight", "killed"].map(|name| runs.root(name));
    let read = |root: &Path, name: &str| std::fs::read(root.join(name)).unwrap();
    for name in ["metrics.jsonl", "model/model.safetensors", "config.toml"] {
        assert!(
            read(&straight, name) == read(&killed, name),
            "{name}: {moments:?}"
        );
    }
    let config = runs.settings().with_overrides(&[DROPOUT[1]]).unwrap();
    assert!(
        last_weights(&config, &straight) == last_weights(&config, &killed),
        "{moments:?}"
    );
    for folder in [
        killed.clone(),
        killed.join("checkpoints"),
        killed.join("examples"),
    ] {
        assert_eq!(leftovers(&folder), Vec::<PathBuf>::new());
    }
}

#[test]
#[cfg(unix)]
fn ctrl_c_saves_and_stops() {
    let runs = Runs::new();
    let root = runs.root("run");
    let mut child = runs.command("run", &ENDLESS).spawn().expect("it starts");
    wait_for(&root.join("checkpoints/last.safetensors"), &mut child);
    let interrupt = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(interrupt.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    let message = stderr(&output);
    assert!(
        message.contains("; continue with `clipseg train --resume --out"),
        "{message}"
    );

    let steps = std::fs::read_to_string(root.join("metrics.jsonl"))
        .unwrap()
        .lines()
        .count();
    let done = format!("stopped and saved after step {steps}");
    assert!(message.contains(&done), "{message}");
    let changed = stderr(&runs.run("run", &["--resume"]));
    assert!(changed.contains("cannot resume with other settings: field `schedule.steps`"));
    let way = format!(
        "`--clip {}/model --set decoder.pretrained=true`",
        root.display()
    );
    assert!(changed.contains(&way), "{changed}");
}

/// Runs a command with a limit on the size of its files, in blocks of 512 bytes. Writing beyond it
/// fails in the middle of a write, as on a full disk.
#[cfg(unix)]
fn with_little_room(command: &Command, blocks: u32) -> Output {
    let mut shell = Command::new("sh");
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    shell
        .arg("-c")
        .arg(script)
        .arg(command.get_program())
        .args(command.get_args());
    shell.output().expect("it starts")
}

#[test]
#[cfg(unix)]
fn a_full_disk_is_told_and_the_last_checkpoint_stays_whole() {
    let runs = Runs::new();
    let root = runs.root("run");
    let mut child = runs.command("run", &ENDLESS).spawn().expect("it starts");
    let checkpoint = root.join("checkpoints/last.safetensors");
    wait_for(&checkpoint, &mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    let before = std::fs::read(&checkpoint).unwrap();
    let mut resumed = ENDLESS.to_vec();
    resumed.push("--resume");
    // The limit admits the metrics file but no checkpoint.
    let blocks = (before.len() / 2 / 512) as u32;
    let output = with_little_room(&runs.command("run", &resumed), blocks);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.contains("cannot write ") && message.contains("last.safetensors: "),
        "{message}"
    );
    assert!(
        std::fs::read(&checkpoint).unwrap() == before,
        "the old one is untouched"
    );
    assert_eq!(leftovers(&root.join("checkpoints")), Vec::<PathBuf>::new());
    let mut child = runs.command("run", &resumed).spawn().expect("it starts");
    // Without the limit the run continues.
    let began = Instant::now();
    while std::fs::read(&checkpoint).unwrap() == before {
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        assert!(began.elapsed() < Duration::from_secs(120));
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_cannot_be_done_is_said_before_the_work() {
    let runs = Runs::new();
    let fails = |arguments: &[&str], expected: &str| {
        let output = runs.run("run", arguments);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    };
    fails(
        &["--set", "schedule.stepz=1"],
        "field `schedule.stepz`: unknown field",
    );
    fails(
        &["--batch", "0"],
        "field `schedule.batch_size`: 0, expected at least 1",
    );
    fails(&["--data", "no/such"], "no/such");
    fails(&["--device", "abacus"], "device `abacus`: unknown");
    assert!(!runs.root("run").exists());
    let output = runs.run("run", &["--loss", "hinge"]);
    assert!(
        stderr(&output).contains("`hinge` is not a loss"),
        "{}",
        stderr(&output)
    );

    std::fs::write(runs.root("file"), "in the way").unwrap();
    let output = runs.run("file/run", &[]);
    assert!(
        stderr(&output).contains("cannot make "),
        "{}",
        stderr(&output)
    );

    let broken = runs.root("broken.toml");
    std::fs::write(&broken, "[schedule]\nbatch_sise = 3\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_clipseg"))
        .args(["train", "--config"])
        .arg(&broken)
        .output()
        .unwrap();
    let message = stderr(&output);
    assert!(
        message.contains("broken.toml, line 2: field `schedule.batch_sise`: unknown field"),
        "{message}"
    );
}

#[test]
fn settings_are_printed_for_a_reader_that_goes_away() {
    for command in ["train", "pretrain"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_clipseg"))
            .args([command, "--print-config"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        assert!(child.wait().unwrap().success(), "{command}");
    }
}

#[test]
fn pretraining_refuses_a_field_that_is_given_twice() {
    let pretrain = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_clipseg"))
            .args(["pretrain", "--print-config"])
            .args(arguments)
            .output()
            .unwrap();
        (output.status.code(), stderr(&output), output.stdout)
    };
    for (arguments, expected) in [
        (
            ["--steps", "3", "--set", "schedule.minutes=1"],
            "field `schedule.minutes`: `schedule.steps` is given too",
        ),
        (
            ["--minutes", "1", "--set", "schedule.steps=3"],
            "`schedule.steps` is given too, expected one of the two",
        ),
        (
            ["--batch", "8", "--set", "schedule.batch_size=16"],
            "field `schedule.batch_size`: given twice",
        ),
        (
            ["--seed", "1", "--set", "seed=2"],
            "field `seed`: given twice",
        ),
        (
            ["--data", "photos", "--set", "data.folders=[]"],
            "field `data.folders`: given twice",
        ),
    ] {
        let (code, message, _) = pretrain(&arguments);
        assert_eq!(code, Some(1), "{arguments:?}");
        assert!(message.contains(expected), "{message}");
    }
    let folders = ["--data", "a \"b\"", "c", "--minutes", "2.5", "--seed", "7"];
    let (code, message, printed) = pretrain(&folders);
    assert_eq!(code, Some(0), "{message}");
    let printed = String::from_utf8(printed).unwrap();
    let config = <PretrainConfig as Settings>::from_toml(&printed, Path::new("x")).unwrap();
    let folders: Vec<&Path> = config.data.folders.iter().map(PathBuf::as_path).collect();
    assert_eq!(folders, [Path::new("a \"b\""), Path::new("c")]);
    assert_eq!(
        (config.schedule.minutes, config.schedule.steps, config.seed),
        (Some(2.5), None, 7)
    );
}

#[test]
fn presets_can_be_printed_and_used() {
    let print = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_clipseg"))
            .arg("train")
            .args(arguments)
            .arg("--print-config")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let paper = print(&["--preset", "paper"]);
    assert!(paper.contains("# The recipe of CLIPSeg") && paper.contains("steps = 20_000"));
    let changed = print(&["--preset", "paper", "--batch", "8"]);
    let config = TrainConfig::from_toml(&changed, Path::new("printed")).unwrap();
    assert_eq!(config.schedule.batch_size, 8);
    assert_eq!(config.schedule.steps, Some(20_000));
}

/// Every file below a folder, with its content.
fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(content(&path));
        } else {
            found.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn what_the_program_has_not_written_stays() {
    let runs = Runs::new();
    let few = ["--steps", "2"];
    // Foreign files under the names of a run's files: refused, with --resume too.
    for (name, file) in [
        ("taken-1", "report.md"),
        ("taken-2", "model/notes.txt"),
        ("taken-3", "checkpoints/last.safetensors"),
        ("taken-4", "config.toml"),
    ] {
        let root = runs.root(name);
        std::fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
        std::fs::write(root.join(file), "seed = 4\n").unwrap();
        let before = content(&root);
        for resume in [&few[..], &[&few[..], &["--resume"]].concat()] {
            let output = runs.run(name, resume);
            assert_eq!(output.status.code(), Some(1), "{file}");
            let first = file.split('/').next().unwrap();
            let expected = format!("contains `{first}`, which no run has written");
            assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
            assert_eq!(content(&root), before, "{file}");
        }
    }
    // Foreign files under other names: the run is added and replaces its own files only.
    let root = runs.root("shared");
    let foreign = [
        "notes.txt",
        ".writing-abc123",
        ".lock",
        "figures/curves.png",
    ];
    std::fs::create_dir_all(root.join("figures")).unwrap();
    for name in foreign {
        std::fs::write(root.join(name), "mine").unwrap();
    }
    let output = runs.run("shared", &few);
    assert!(output.status.success(), "{}", stderr(&output));
    let later = [
        "model/notes.txt",
        "examples/step-00000099.png",
        "checkpoints/.writing-abc123",
    ];
    for name in later {
        std::fs::write(root.join(name), "mine").unwrap();
    }
    let output = runs.run("shared", &[&few[..], &["--resume"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    for name in foreign.iter().chain(&later) {
        assert_eq!(
            std::fs::read_to_string(root.join(name)).unwrap(),
            "mine",
            "{name}"
        );
    }
    // The cache only removes files of its own folder, however small its limit is.
    let cache = runs.root("cache");
    for folder in ["thesis", "0123456789abcdef0123456789abcdef"] {
        std::fs::create_dir_all(cache.join(folder)).unwrap();
        std::fs::write(cache.join(folder).join("chapter.txt"), vec![b'x'; 1 << 20]).unwrap();
    }
    let before = content(&cache);
    let folder = format!("cache.folder={cache:?}");
    let limited = ["--set", &folder, "--set", "cache.folder_limit=100 kB"];
    let output = runs.run("cached", &[&few[..], &limited].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let mut after = content(&cache);
    after.retain(|(path, _)| !path.starts_with(cache.join("clipseg-hidden-states")));
    assert_eq!(after, before);
    let own: usize = content(&cache.join("clipseg-hidden-states"))
        .iter()
        .filter(|(path, _)| {
            path.extension()
                .is_some_and(|ending| ending == "safetensors")
        })
        .map(|(_, bytes)| bytes.len())
        .sum();
    assert!(own > 0 && own <= 100_000, "{own}");
}

#[test]
fn settings_and_flags_without_an_effect_are_refused() {
    let runs = Runs::new();
    for (arguments, expected) in [
        (
            &["--decoder", "conv", "--set", "decoder.reduce_dim=128"][..],
            "field `decoder.reduce_dim`: has no effect on `conv`",
        ),
        (
            &["--steps", "3", "--set", "schedule.epochs=1"],
            "field `schedule.epochs`",
        ),
        (
            &["--batch", "3", "--set", "schedule.batch_size=4"],
            "field `schedule.batch_size`",
        ),
        (
            &["--seed", "3", "--set", "seed=4"],
            "field `seed`: given twice",
        ),
        (
            &["--set", "data.scenes=5"],
            "field `data.scenes`: has no effect",
        ),
        (
            &["--set", "cache.folder_limit=1 GiB"],
            "field `cache.folder_limit`: has no effect",
        ),
        (
            &[
                "--set",
                "decoder.pretrained=true",
                "--set",
                "decoder.refined=true",
            ],
            "field `decoder.refined`: has no effect on the decoder of a checkpoint",
        ),
        (
            &[
                "--set",
                "decoder.pretrained=true",
                "--set",
                "decoder.extract_layers=[1]",
            ],
            "field `decoder.extract_layers`: has no effect",
        ),
        (
            &["--print-config"],
            "--out has no effect with --print-config",
        ),
    ] {
        let output = runs.run("run", arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
        assert!(!runs.root("run").exists(), "nothing was begun");
    }
    // Another kind of decoder starts from its defaults, which is reported.
    let output = Command::new(env!("CARGO_BIN_EXE_clipseg"))
        .args([
            "train",
            "--preset",
            "paper",
            "--decoder",
            "conv",
            "--print-config",
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("--decoder differs from the configured kind"),
        "{}",
        stderr(&output)
    );
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        printed.contains("kind = \"conv\"") && !printed.contains("reduce_dim"),
        "{printed}"
    );
}

#[test]
fn what_is_dropped_follows_from_the_seed() {
    let runs = Runs::new();
    let steps = |name: &str, arguments: &[&str]| {
        let output = runs.run(name, &[&["--steps", "3"], arguments].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        std::fs::read_to_string(runs.root(name).join("metrics.jsonl")).unwrap()
    };
    let (plain, dropped) = (steps("plain", &[]), steps("dropped", &DROPOUT));
    assert_ne!(plain, dropped);
    assert_eq!(dropped, steps("again", &DROPOUT));
    // With a learning rate of nearly zero, dropout changes the training loss of each step but no
    // validation loss.
    let still = [
        "--learning-rate",
        "1e-12",
        "--set",
        "schedule.final_learning_rate=1e-12",
        "--set",
        "schedule.warmup_steps=0",
        "--set",
        "validation.every=1",
    ];
    let validations = |text: String| -> Vec<String> {
        let of = |line: &&str| line.contains("validation");
        let figures = text.lines().filter(of).map(|line| {
            let (_, figures) = line.split_once("\"loss\"").expect("it has a loss");
            figures
                .split("\"best\"")
                .next()
                .unwrap_or_default()
                .to_owned()
        });
        figures.collect()
    };
    let plain = validations(steps("still", &still));
    assert_eq!(plain.len(), 3);
    assert_eq!(
        plain,
        validations(steps("still-dropped", &[&still[..], &DROPOUT].concat()))
    );
}
