//! A hub of one repository on the loopback interface, for tests of downloads that go wrong.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

pub(super) const ID: &str = "owner/name";
pub(super) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// No test needs more; a client that never gives up is then left without an answer.
const MOST_CONNECTIONS: usize = 80;

#[derive(Debug, Default)]
struct State {
    address: String,
    files: BTreeMap<String, Vec<u8>>,
    requests: Mutex<Vec<String>>,
    cuts: AtomicUsize,
    deaf: AtomicBool,
    refusal: AtomicU16,
    tls: Option<Arc<ServerConfig>>,
    token: Option<String>,
    stop: AtomicBool,
}

/// Serves until it is dropped.
pub(super) struct Server {
    state: Arc<State>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(files: &[(&str, Vec<u8>)], token: Option<&str>) -> Self {
        Self::start_as(files, token, None)
    }

    /// One with a certificate that `root.pem` has signed.
    pub(super) fn start_secure(files: &[(&str, Vec<u8>)]) -> Self {
        let pem = include_bytes!("server.pem");
        let chain = vec![CertificateDer::from_pem_slice(pem).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Self::start_as(files, None, Some(Arc::new(config)))
    }

    fn start_as(
        files: &[(&str, Vec<u8>)],
        token: Option<&str>,
        tls: Option<Arc<ServerConfig>>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            address: format!("http{}://{address}", if tls.is_some() { "s" } else { "" }),
            tls,
            files: files
                .iter()
                .map(|(name, bytes)| ((*name).to_owned(), bytes.clone()))
                .collect(),
            token: token.map(|token| format!("bearer {token}")),
            ..State::default()
        });
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().take(MOST_CONNECTIONS) {
                if shared.stop.load(Ordering::SeqCst) {
                    break;
                }
                // A client may hang up whenever it likes.
                let _ = stream.and_then(|stream| shared.accept(stream));
            }
        });
        Self {
            state,
            address,
            thread: Some(thread),
        }
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.state.address
    }

    /// The next transfers of weights, so many of them, stop half-way.
    pub(super) fn cut(&self, times: usize) {
        self.state.cuts.store(times, Ordering::SeqCst);
    }

    /// Requests to go on from the middle are answered with the whole file.
    pub(super) fn be_deaf(&self) {
        self.state.deaf.store(true, Ordering::SeqCst);
    }

    /// Every request is answered with this status; 0 for what the request deserves.
    pub(super) fn refuse(&self, status: u16) {
        self.state.refusal.store(status, Ordering::SeqCst);
    }

    /// Paths asked for since the last call, with the range if there was one.
    pub(super) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.state.requests.lock().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        // Wakes the thread up; refused if it has ended on its own.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    fn accept(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        let Some(config) = &self.tls else {
            return self.answer(&mut stream);
        };
        let connection =
            ServerConnection::new(Arc::clone(config)).map_err(std::io::Error::other)?;
        let mut secure = StreamOwned::new(connection, stream);
        self.answer(&mut secure)?;
        secure.conn.send_close_notify();
        secure.flush()
    }

    fn answer(&self, stream: &mut (impl Read + Write)) -> std::io::Result<()> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let lines: Vec<&str> = head.lines().collect();
        let header = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name));
        let range = header("range: ");
        let target = lines.first().and_then(|line| line.split(' ').nth(1));
        let target = target.unwrap_or_default().split('?').next().unwrap_or("");
        self.requests.lock().unwrap().push(
            format!("{target} {}", range.unwrap_or(""))
                .trim()
                .to_owned(),
        );
        match self.refusal.load(Ordering::SeqCst) {
            0 => {}
            status => return respond(stream, &format!("{status} No"), &[], b""),
        }
        if self.token.is_some() && header("authorization: ") != self.token.as_deref() {
            return respond(stream, "401 Unauthorized", &[], b"");
        }
        let list = [
            format!("/api/models/{ID}/revision/main"),
            format!("/api/models/{ID}/revision/{COMMIT}"),
        ];
        let files = format!("/{ID}/resolve/{COMMIT}/");
        if list.iter().any(|path| path == target) {
            respond(stream, "200 OK", &[], self.list().as_bytes())
        } else if let Some(name) = target.strip_prefix(&files) {
            self.resolve(stream, name, range)
        } else if let Some(name) = target.strip_prefix("/store/") {
            self.file(stream, name, range)
        } else {
            respond(stream, "404 Not Found", &[], b"")
        }
    }

    fn list(&self) -> String {
        let siblings: Vec<_> = self
            .files
            .iter()
            .map(|(name, bytes)| serde_json::json!({ "rfilename": name, "size": bytes.len() }))
            .collect();
        serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string()
    }

    /// The hub keeps weights elsewhere and says so.
    fn resolve(
        &self,
        stream: &mut impl Write,
        name: &str,
        range: Option<&str>,
    ) -> std::io::Result<()> {
        if name.ends_with(".json") || name.ends_with(".txt") {
            return self.file(stream, name, range);
        }
        let headers = [
            ("Location", format!("{}/store/{name}", self.address)),
            ("X-Linked-Etag", format!("\"{}\"", etag(name))),
            ("X-Repo-Commit", COMMIT.to_owned()),
        ];
        respond(stream, "302 Found", &headers, b"")
    }

    fn file(
        &self,
        stream: &mut impl Write,
        name: &str,
        range: Option<&str>,
    ) -> std::io::Result<()> {
        let Some(bytes) = self.files.get(name) else {
            return respond(stream, "404 Not Found", &[], b"");
        };
        let mut headers = vec![
            ("ETag", format!("\"{}\"", etag(name))),
            ("X-Repo-Commit", COMMIT.to_owned()),
        ];
        let (start, end) = match range.and_then(|range| range.strip_prefix("bytes=")) {
            None => (0, bytes.len()),
            Some(range) => {
                let (start, end) = range.split_once('-').unwrap();
                let end = end.parse().map_or(bytes.len(), |last: usize| last + 1);
                (start.parse().unwrap(), end)
            }
        };
        if start > 0 && self.deaf.load(Ordering::SeqCst) {
            return respond(stream, "200 OK", &headers, bytes);
        }
        if start >= bytes.len() {
            return respond(stream, "416 Range Not Satisfiable", &[], b"");
        }
        let span = format!("bytes {start}-{}/{}", end - 1, bytes.len());
        headers.push(("Content-Range", span));
        let part = &bytes[start..end];
        let cut = name.ends_with(".safetensors") && part.len() > 1 && {
            let count = |cuts: usize| cuts.checked_sub(1);
            let order = Ordering::SeqCst;
            self.cuts.fetch_update(order, order, count).is_ok()
        };
        let sent = if cut { &part[..part.len() / 2] } else { part };
        begin(stream, "206 Partial Content", &headers, part.len())?;
        stream.write_all(sent)
    }
}

/// The name under which the content of a file is kept.
pub(super) fn etag(name: &str) -> String {
    name.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn begin(
    stream: &mut impl Write,
    status: &str,
    headers: &[(&str, String)],
    length: usize,
) -> std::io::Result<()> {
    let mut head =
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())
}

fn respond(
    stream: &mut impl Write,
    status: &str,
    headers: &[(&str, String)],
    body: &[u8],
) -> std::io::Result<()> {
    begin(stream, status, headers, body.len())?;
    stream.write_all(body)
}
