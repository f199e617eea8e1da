//! Downloads from a server in this process, with and without failures.

use super::*;
use crate::problems::ProblemKind;
use crate::records::Split;
use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};
use server::{Answer, PictureServer};
use std::time::{Instant, SystemTime};

mod server;

const WIDTH: u32 = 40;
const HEIGHT: u32 = 30;

fn jpeg(width: u32, height: u32) -> Vec<u8> {
    let noise = |x: u32, y: u32| (x * x * 31 + y * y * 17 + x * y) as u8;
    let picture = RgbImage::from_fn(width, height, |x, y| Rgb([noise(x, y), noise(y, x), 9]));
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 95);
    encoder.encode_image(&picture).unwrap();
    bytes
}

fn picture() -> Vec<u8> {
    jpeg(WIDTH, HEIGHT)
}

fn record(image_id: u64, url: String) -> ImageRecord {
    ImageRecord {
        image_id,
        coco_id: None,
        flickr_id: None,
        width: WIDTH,
        height: HEIGHT,
        url,
        split: Split::Train,
    }
}

/// A server and a folder for its pictures.
struct Case {
    server: PictureServer,
    folder: tempfile::TempDir,
    pictures: Vec<ImageRecord>,
}

impl Case {
    /// A picture for each list of replies, numbered from 1.
    fn new<R: IntoIterator<Item = Answer>>(files: impl IntoIterator<Item = R>) -> Self {
        let server = PictureServer::start();
        let pictures = (1..)
            .zip(files)
            .map(|(id, replies)| record(id, server.file(&format!("{id}.jpg"), replies)))
            .collect();
        let folder = tempfile::tempdir().unwrap();
        Self {
            server,
            folder,
            pictures,
        }
    }

    fn fetcher(&self) -> Fetcher {
        Fetcher::new(self.folder.path()).with_pause(Duration::from_millis(1))
    }

    fn fetch(&self) -> FetchReport {
        self.fetcher().fetch(&self.pictures, &|_| ()).unwrap()
    }

    fn path(&self, image_id: u64) -> PathBuf {
        image_path(self.folder.path(), image_id)
    }

    fn asked_for(&self) -> Vec<String> {
        let mut paths: Vec<String> = self.server.requests().into_iter().map(|r| r.path).collect();
        paths.sort();
        paths
    }

    /// Asserts that the folder contains exactly these pictures.
    fn holds(&self, image_ids: &[u64]) {
        self.holds_beside(image_ids, &[]);
    }

    /// Asserts that the folder contains exactly these pictures and these other files.
    fn holds_beside(&self, image_ids: &[u64], others: &[&str]) {
        let mut expected: Vec<String> = image_ids.iter().map(|id| format!("{id}.jpg")).collect();
        expected.extend(others.iter().map(|&name| name.to_owned()));
        let mut found: Vec<String> = std::fs::read_dir(self.folder.path().join("images"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
        for &id in image_ids {
            assert!(std::fs::read(self.path(id)).unwrap() == picture(), "{id}");
        }
    }
}

#[test]
fn existing_pictures_are_kept_and_the_others_downloaded() {
    let case = Case::new((0..9).map(|_| [Answer::body(picture())]));
    let calls = Mutex::new(Vec::new());
    let progress = |progress: FetchProgress| calls.lock().unwrap().push(progress);
    let report = case.fetcher().fetch(&case.pictures, &progress).unwrap();
    assert_eq!((report.kept, report.downloaded), (0, 9));
    assert_eq!(report.bytes, 9 * picture().len());
    case.holds(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let mut calls = calls.into_inner().unwrap();
    calls.sort_by_key(|progress| progress.done);
    let done: Vec<usize> = calls.iter().map(|progress| progress.done).collect();
    assert_eq!(done, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert!(calls.iter().all(|progress| progress.all == 9));
    assert!(case.server.most_open() <= 4, "{}", case.server.most_open());
    let requests = case.server.requests();
    let name = "clipseg-data/";
    assert!(
        requests
            .iter()
            .all(|r| r.header("user-agent").unwrap().starts_with(name))
    );

    // Another program left a truncated picture and a web page.
    std::fs::write(case.path(3), &picture()[..picture().len() - 40]).unwrap();
    std::fs::write(case.path(5), "<html>Sign in</html>").unwrap();
    std::fs::remove_file(case.path(8)).unwrap();
    let report = case.fetch();
    assert_eq!((report.kept, report.downloaded), (6, 3));
    assert_eq!(case.asked_for(), ["/3.jpg", "/5.jpg", "/8.jpg"]);
    // The truncated picture is replaced; the page is moved aside.
    case.holds_beside(&[1, 2, 3, 4, 5, 6, 7, 8, 9], &["5.jpg.broken"]);
    let page = case.folder.path().join("images/5.jpg.broken");
    assert_eq!(std::fs::read(&page).unwrap(), b"<html>Sign in</html>");
    assert_eq!(report.set_aside, [page]);
    assert_eq!(report.stopped, None);
}

#[test]
fn interrupted_transfers_are_retried() {
    let broken = [
        Answer::body(picture()).cut_off(),
        Answer::hang_up(),
        Answer::body(picture()).cut_off_without_length(),
        Answer::body("<html>Sign in</html>"),
        Answer::body(picture()),
    ];
    let case = Case::new([broken]);
    let report = case.fetch();
    assert_eq!((report.downloaded, report.failed.len()), (1, 0));
    assert_eq!(case.server.requests().len(), 5);
    case.holds(&[1]);
}

#[test]
fn permanent_failures_are_reported_and_leave_no_files() {
    let case = Case::new([
        vec![Answer::body(picture()).cut_off()],
        vec![Answer::body("<html>Sign in</html>")],
        vec![Answer::body(picture()).cut_off_without_length()],
        vec![Answer::status("404 Not Found")],
        vec![Answer::body(picture())],
    ]);
    let mut pictures = case.pictures.clone();
    pictures.push(record(6, String::new()));
    let fetcher = case.fetcher().with_retries(2);
    let report = fetcher.fetch(&pictures, &|_| ()).unwrap();
    assert_eq!((report.downloaded, report.untried), (1, 0));
    case.holds(&[5]);
    let failed: Vec<u64> = report.failed.iter().map(|failed| failed.image_id).collect();
    assert_eq!(failed, [1, 2, 3, 4, 6]);
    for (failed, expected) in report.failed.iter().zip([
        "the transfer was interrupted: ",
        "2.jpg: not a readable picture: it is a web page (HTML)",
        "3.jpg: the picture file is truncated",
        "the server responded with 404 Not Found",
        "its URL is ``, expected one that begins with http:// or https://",
    ]) {
        assert!(failed.reason.contains(expected), "{}", failed.reason);
    }
    // A missing picture is not retried; the others are requested three times.
    let asked = case.asked_for();
    let times = |path: &str| asked.iter().filter(|asked| *asked == path).count();
    let counts = ["/1.jpg", "/2.jpg", "/3.jpg", "/4.jpg", "/5.jpg"].map(times);
    assert_eq!(counts, [3, 3, 3, 1, 1]);
}

#[test]
fn a_failed_download_does_not_replace_a_file() {
    let case = Case::new([[Answer::body("garbage")]]);
    std::fs::create_dir(case.folder.path().join("images")).unwrap();
    let cut = &picture()[..picture().len() - 40];
    std::fs::write(case.path(1), cut).unwrap();
    let report = case.fetch();
    assert_eq!(report.failed.len(), 1);
    assert!(std::fs::read(case.path(1)).unwrap() == cut);
}

#[test]
fn retry_after_is_respected() {
    let busy = || Answer::status("429 Too Many Requests").with_header("Retry-After", "1");
    let case = Case::new([
        vec![busy(), Answer::body(picture())],
        vec![Answer::body(picture())],
        vec![Answer::body(picture())],
    ]);
    let fetcher = case.fetcher().with_connections(1);
    let report = fetcher.fetch(&case.pictures, &|_| ()).unwrap();
    assert_eq!((report.downloaded, report.failed.len()), (3, 0));
    let requests = case.server.requests();
    assert_eq!(requests.len(), 4);
    assert!(requests[1].at - requests[0].at >= Duration::from_secs(1));

    // All connections wait, not only the one that received the response.
    let busy = [busy(), Answer::body(picture())];
    let slow = (0..6).map(|_| vec![Answer::body(picture())]);
    let case = Case::new(std::iter::once(busy.to_vec()).chain(slow));
    assert_eq!(case.fetch().downloaded, 7);
    let requests = case.server.requests();
    let told = requests.iter().find(|request| request.path == "/1.jpg");
    let told = told.unwrap().at;
    // Requests that were already sent cannot be withdrawn.
    let soon = Duration::from_millis(500)..Duration::from_millis(950);
    let within = |request: &clipseg_testing::Request| {
        soon.contains(&(request.at.saturating_duration_since(told)))
    };
    assert!(!requests.iter().any(within), "{requests:?}");
}

#[test]
fn retry_after_can_be_a_date() {
    let date = |seconds| {
        let then = SystemTime::now() + Duration::from_secs(seconds);
        httpdate::fmt_http_date(then)
    };
    let wait = |header: String| {
        let status = Answer::status("503 Service Unavailable").with_header("Retry-After", header);
        let case = Case::new([[status, Answer::body(picture())]]);
        let start = Instant::now();
        assert_eq!(case.fetch().downloaded, 1);
        start.elapsed()
    };
    // Dates have a resolution of one second.
    assert!(wait(date(2)) >= Duration::from_secs(1));
    assert!(wait("Sun, 06 Nov 1994 08:49:37 GMT".into()) < Duration::from_secs(1));
}

#[test]
fn too_long_a_wait_stops_the_download() {
    let busy = || [Answer::status("429 Too Many Requests").with_header("Retry-After", "3600")];
    let case = Case::new((0..50).map(|_| busy()));
    let report = case.fetch();
    assert!(case.server.requests().len() <= 4);
    assert_eq!(report.failed.len() + report.untried, 50);
    assert!(report.untried >= 46);
    let reason = "the server responded with 429 Too Many Requests and requests a wait of 3600 s, longer than the maximum of 120 s";
    assert_eq!(report.failed[0].reason, reason);
    assert_eq!(report.stopped.as_deref(), Some(reason));
}

#[test]
fn a_success_does_not_undo_a_stop() {
    // The second connection must have begun before the first one is refused, which may fail on a busy
    // machine.
    for _ in 0..50 {
        let alone = Answer::status("429 Too Many Requests").with_header("Retry-After", "3600");
        let slow = Answer::body(picture()).after(Duration::from_millis(400));
        let rest = (0..40).map(|_| Answer::body(picture()));
        let case = Case::new([alone, slow].into_iter().chain(rest).map(|reply| [reply]));
        let fetcher = case.fetcher().with_connections(2);
        let report = fetcher.fetch(&case.pictures, &|_| ()).unwrap();
        let asked_for = case.asked_for();
        if asked_for == ["/1.jpg"] {
            assert_eq!((report.downloaded, report.untried), (0, 41));
            continue;
        }
        assert_eq!(asked_for, ["/1.jpg", "/2.jpg"]);
        assert_eq!((report.downloaded, report.failed.len()), (1, 1));
        assert_eq!(report.untried, 40);
        case.holds(&[2]);
        return;
    }
    panic!("the second connection never began in time");
}

#[test]
fn a_server_that_refuses_everything_stops_the_download() {
    for status in [
        "401 Unauthorized",
        "403 Forbidden",
        "404 Not Found",
        "429 Too Many Requests",
    ] {
        let refused = || [Answer::status(status)];
        let case = Case::new((0..500).map(|_| refused()));
        let fetcher = case.fetcher().with_retries(0);
        let report = fetcher.fetch(&case.pictures, &|_| ()).unwrap();
        let asked = case.server.requests().len();
        assert!((20..=23).contains(&asked), "{status}: {asked}");
        assert_eq!(report.failed.len(), asked);
        assert_eq!(report.untried, 500 - asked);
        let expected = format!(
            "pictures in a row failed, the last because the server responded with {status}"
        );
        let stopped = report.stopped.unwrap();
        assert!(stopped.ends_with(&expected), "{stopped}");
        // Pictures from the end of the list were requested, too.
        assert!(report.failed.iter().any(|failed| failed.image_id == 500));
    }
}

#[test]
fn missing_pictures_do_not_prevent_later_ones() {
    let gone = (0..60).map(|_| Answer::status("403 Forbidden"));
    let rest = (0..20).map(|_| Answer::body(picture()));
    let case = Case::new(gone.chain(rest).map(|reply| [reply]));
    let report = case.fetch();
    assert_eq!((report.downloaded, report.failed.len()), (20, 60));
    assert_eq!((report.untried, report.stopped), (0, None));
}

#[test]
fn a_write_error_stops_the_download_and_is_reported() {
    let case = Case::new((0..40).map(|_| [Answer::body(picture())]));
    let images = case.folder.path().join("images");
    let progress = |progress: FetchProgress| {
        if progress.done == 5 {
            std::fs::rename(&images, case.folder.path().join("elsewhere")).unwrap();
        }
    };
    let report = case.fetcher().fetch(&case.pictures, &progress).unwrap();
    assert!(report.stopped.unwrap().starts_with("cannot write "));
    assert!(
        (5..=8).contains(&report.downloaded),
        "{}",
        report.downloaded
    );
    assert!((1..=4).contains(&report.failed.len()));
    assert!(report.failed[0].reason.starts_with("cannot write "));
    assert_eq!(report.downloaded + report.failed.len() + report.untried, 40);
    assert!(case.server.requests().len() <= 12);
}

#[test]
fn a_picture_without_its_end_marker_is_complete() {
    let picture = picture();
    let case = Case::new([[Answer::body(picture[..picture.len() - 2].to_vec())]]);
    for (downloaded, kept) in [(1, 0), (0, 1)] {
        let report = case.fetch();
        assert_eq!((report.downloaded, report.kept), (downloaded, kept));
        assert_eq!(case.server.requests().len(), downloaded);
    }
}

#[test]
fn existing_files_with_the_name_of_a_picture_are_never_lost() {
    let case = Case::new((0..4).map(|_| [Answer::body(picture())]));
    let images = case.folder.path().join("images");
    std::fs::create_dir_all(images.join("1.jpg")).unwrap();
    std::fs::write(images.join("1.jpg/notes.txt"), "mine").unwrap();
    std::fs::write(case.path(2), "a letter").unwrap();
    std::fs::write(images.join("2.jpg.broken"), "an older letter").unwrap();
    std::fs::write(case.path(3), "").unwrap();
    let report = case.fetch();
    assert_eq!((report.downloaded, report.failed.len()), (3, 1));
    let reason = &report.failed[0].reason;
    assert!(
        reason.starts_with("the file with its name cannot be read: cannot read "),
        "{reason}"
    );
    assert_eq!(report.set_aside, [images.join("2.jpg.broken-2")]);
    let content = |name: &str| std::fs::read_to_string(images.join(name)).unwrap();
    assert_eq!(content("1.jpg/notes.txt"), "mine");
    assert_eq!(content("2.jpg.broken"), "an older letter");
    assert_eq!(content("2.jpg.broken-2"), "a letter");
    assert_eq!(std::fs::read(case.path(3)).unwrap(), picture());
}

#[cfg(unix)]
#[test]
fn a_dangling_link_is_left_alone() {
    let case = Case::new([[Answer::body(picture())]]);
    std::fs::create_dir(case.folder.path().join("images")).unwrap();
    std::os::unix::fs::symlink("not-mounted/1.jpg", case.path(1)).unwrap();
    assert_eq!(case.fetch().failed.len(), 1);
    assert!(std::fs::read_link(case.path(1)).is_ok());
    assert!(case.server.requests().is_empty());
}

#[test]
fn a_picture_that_is_listed_twice_is_downloaded_or_kept() {
    let case = Case::new([[Answer::body(picture())]]);
    let twice = [case.pictures.clone(), case.pictures.clone()].concat();
    let report = case.fetcher().fetch(&twice, &|_| ()).unwrap();
    assert_eq!(report.downloaded + report.kept, 2);
    assert_eq!((report.failed.len(), report.stopped), (0, None));
    case.holds(&[1]);
}

#[test]
fn the_download_stops_without_a_network() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("http://{}/1.jpg", listener.local_addr().unwrap());
    drop(listener);
    let folder = tempfile::tempdir().unwrap();
    let pictures: Vec<_> = (1..=1_000).map(|id| record(id, nowhere.clone())).collect();
    let fetcher = Fetcher::new(folder.path())
        .with_pause(Duration::ZERO)
        .with_retries(1);
    let report = fetcher.fetch(&pictures, &|_| ()).unwrap();
    assert!((20..=23).contains(&report.failed.len()));
    assert_eq!(report.failed.len() + report.untried, 1_000);
    let stopped = report.stopped.unwrap();
    assert!(stopped.contains("in a row failed, the last because the transfer was interrupted"));
}

#[test]
fn another_size_is_kept_and_reported() {
    let case = Case::new([[Answer::body(jpeg(WIDTH + 7, HEIGHT))]]);
    for downloaded in [1, 0] {
        let report = case.fetch();
        assert_eq!(
            (report.downloaded, report.kept),
            (downloaded, 1 - downloaded)
        );
        let problem = &report.other_size[0];
        assert_eq!(problem.kind, ProblemKind::OtherSize);
        assert_eq!(problem.detail, "recorded as 40x30, the file has 47x30");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error() {
    let case = Case::new([[Answer::body(picture())]]);
    std::fs::write(case.folder.path().join("images"), "in the way").unwrap();
    let error = case.fetcher().fetch(&case.pictures, &|_| ()).unwrap_err();
    assert!(error.to_string().starts_with("cannot make "), "{error}");
    assert!(case.server.requests().is_empty());
}
