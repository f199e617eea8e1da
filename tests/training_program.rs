//! `clipseg train`, run, killed and hindered as it is in life.

use crate::training_runs::{last_weights, small_run};
use clipseg::train::TrainConfig;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Steps without an end and without a validation.
const ENDLESS: [&str; 4] = [
    "--set",
    "schedule.steps=100000",
    "--set",
    "validation.every=100000",
];

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

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn leftovers(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(".writing-")
        })
        .collect()
}

/// Waits until a file is there.
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
    let output = runs.run("straight", &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let whole = began.elapsed();
    assert!(String::from_utf8_lossy(&output.stdout).contains("decoder"));

    // Another seed each time, printed where the test fails.
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
            .command("killed", &["--resume"])
            .spawn()
            .expect("it starts");
        let moment = whole.mul_f64(random());
        std::thread::sleep(moment);
        // SIGKILL on Unix.
        child.kill().unwrap();
        moments.push((moment, child.wait_with_output().unwrap().status.code()));
    }
    let output = runs.run("killed", &["--resume"]);
    assert!(output.status.success(), "{moments:?}: {}", stderr(&output));

    let [straight, killed] = ["straight", "killed"].map(|name| runs.root(name));
    let read = |root: &Path, name: &str| std::fs::read(root.join(name)).unwrap();
    for name in ["metrics.jsonl", "model/model.safetensors", "config.toml"] {
        assert!(
            read(&straight, name) == read(&killed, name),
            "{name}: {moments:?}"
        );
    }
    let config = runs.settings();
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
        message.contains("and saved; go on by `clipseg train --resume --out"),
        "{message}"
    );

    let steps = std::fs::read_to_string(root.join("metrics.jsonl"))
        .unwrap()
        .lines()
        .count();
    let done = format!("stopped after step {steps} and saved");
    assert!(message.contains(&done), "{message}");
    let changed = runs.run("run", &["--resume"]);
    assert!(stderr(&changed).contains("cannot go on with other settings: field `schedule.steps`"));
}

/// Runs a command whose files may not grow beyond so many blocks of 512 bytes, which fails as a full
/// disk does: in the middle of a write.
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
    // Room for the metrics file, but not for a checkpoint.
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
    // With room again it goes on.
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
