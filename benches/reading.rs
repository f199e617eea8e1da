//! Time and memory to read a `refer_train.json` of the published size (344 MB, 310,816 phrases).
//!
//! The file is generated on first use, with records of the published shape.
//!
//! ```text
//! cargo bench --bench reading                the rate
//! cargo bench --bench reading -- peak        the peak memory of a process that opens the data set
//! python benches/reading.py FILE             the rival; both commands above print what FILE is
//! ```
//!
//! `CLIPSEG_BENCH_DATA` names the folder; it is below the target folder otherwise.

use clipseg::data::{ImageRecord, PhraseCut, Split, read_phrases};
use criterion::{Criterion, Throughput};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::fs::File;
use std::hint::black_box;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Keeps the memory of large tensors for the next ones.
#[global_allocator]
static ALLOCATOR: clipseg::Allocator = clipseg::Allocator;

const PICTURES: u64 = 71_746;
const PHRASES: u64 = 310_816;
/// The minimum and maximum number of points of a polygon; their mean gives the published file size.
const POINTS: std::ops::RangeInclusive<usize> = 4..=18;
const WORDS: [&str; 12] = [
    "man", "tree", "building", "white", "green", "wooden", "table", "standing", "road", "small",
    "window", "shirt",
];

/// Writes a data set without pictures, in the spelling of Python's `json.dump`.
fn generate(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let images: Vec<ImageRecord> = (0..PICTURES)
        .map(|id| ImageRecord {
            image_id: 2_000_000 + id,
            coco_id: (id % 2 == 0).then_some(id),
            flickr_id: Some(5_000_000_000 + id),
            width: 500,
            height: 375,
            url: format!("https://example.invalid/VG_100K_2/{}.jpg", 2_000_000 + id),
            split: Split::Train,
        })
        .collect();
    let mut list = BufWriter::new(File::create(folder.join("image_data_split3000.json"))?);
    serde_json::to_writer(&mut list, &images)?;
    list.flush()?;

    // Renamed when complete, so that a partial file is never measured.
    let aside = folder.join("generating");
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&aside)?);
    let mut random = ChaCha8Rng::seed_from_u64(0);
    for number in 0..PHRASES {
        file.write_all(if number == 0 { b"[" } else { b", " })?;
        phrase(&mut file, &mut random, number)?;
    }
    file.write_all(b"]")?;
    file.flush()?;
    std::fs::rename(aside, folder.join("refer_train.json"))
}

fn phrase(file: &mut impl Write, random: &mut ChaCha8Rng, number: u64) -> std::io::Result<()> {
    let image = 2_000_000 + number * PICTURES / PHRASES;
    // Most phrases name one object.
    let instances = [1, 1, 1, 1, 2, 3][random.random_range(0..6)];
    let annotations: Vec<u64> = (0..instances).map(|nth| 10 * number + nth).collect();
    let names: Vec<String> = annotations.iter().map(u64::to_string).collect();
    let [first, second, third] = [(); 3].map(|()| WORDS[random.random_range(0..WORDS.len())]);
    let ids = names.join("_");
    write!(
        file,
        "{{\"task_id\": \"{image}__{ids}\", \"image_id\": {image}"
    )?;
    write!(file, ", \"ann_ids\": [{}]", names.join(", "))?;
    let mut coordinate = |most: f64| most * random.random::<f64>();
    let boxes: Vec<String> = annotations
        .iter()
        .map(|_| format!("{:?}", [500.0, 375.0, 200.0, 150.0].map(&mut coordinate)))
        .collect();
    write!(
        file,
        ", \"instance_boxes\": [{}], \"Polygons\": [",
        boxes.join(", ")
    )?;
    for nth in 0..instances {
        file.write_all(if nth == 0 { b"[[" } else { b", [[" })?;
        for point in 0..random.random_range(POINTS) {
            file.write_all(if point == 0 { b"" } else { b", " })?;
            let [x, y] = [500.0, 375.0].map(|most| most * random.random::<f64>());
            write!(file, "[{x}, {y}]")?;
        }
        file.write_all(b"]]")?;
    }
    write!(
        file,
        "], \"phrase\": \"{first} {second} on {third}\", \"phrase_structure\": {{\"name\": \"{second}\", \
         \"attributes\": [\"{first}\"], \"relation_ids\": [{number}], \
         \"relation_descriptions\": [[\"on\", \"{third}\"]], \"type\": \"verbose\"}}}}"
    )
}

/// The data set's folder, and the size of its one file of phrases.
fn data() -> (PathBuf, u64) {
    let named = std::env::var_os("CLIPSEG_BENCH_DATA").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("reading"));
    let file = folder.join("refer_train.json");
    if !file.is_file() {
        generate(&folder).expect("the folder can be written");
    }
    let size = std::fs::metadata(&file).expect("it was written").len();
    println!("{}: {:.1} MB", file.display(), size as f64 / 1e6);
    (folder, size)
}

fn rate(folder: &Path, size: u64) {
    let path = folder.join("refer_train.json");
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("reading");
    group.sample_size(10).throughput(Throughput::Bytes(size));
    group.bench_function("refer_train.json", |bencher| {
        bencher.iter(|| {
            let file = BufReader::with_capacity(4 << 20, File::open(&path).expect("it is there"));
            black_box(read_phrases(file, &path).expect("it was generated"));
        });
    });
    group.finish();
    criterion.final_summary();
}

/// Opens the data set in a fresh process and prints its peak memory.
fn peak(folder: &Path, size: u64) {
    let start = Instant::now();
    let data = PhraseCut::open(folder).expect("it was generated");
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{} phrases in {seconds:.2} s, {:.0} MB/s",
        data.phrases(Split::Train).len(),
        size as f64 / seconds / 1e6
    );
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| {
        let kilobytes = line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?;
        kilobytes.trim().parse::<f64>().ok()
    });
    match peak {
        Some(peak) => println!(
            "peak memory {:.0} MB, {:.2} times the file",
            peak * 1024.0 / 1e6,
            peak * 1024.0 / size as f64
        ),
        None => println!("this system does not tell a process its peak memory"),
    }
}

fn main() {
    let (folder, size) = data();
    if std::env::args().any(|argument| argument == "peak") {
        peak(&folder, size);
    } else {
        rate(&folder, size);
    }
}
