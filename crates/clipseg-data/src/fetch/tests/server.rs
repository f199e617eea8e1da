//! A server of pictures on the loopback interface, which misbehaves as it is told to.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// No test needs more; a client that never gives up is then left without an answer.
const MOST_CONNECTIONS: usize = 200;

/// What the server does when it is asked.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// The whole of it.
    Whole(Vec<u8>),
    /// Says how much there is, sends half of it and hangs up.
    Half(Vec<u8>),
    /// Sends half of it without saying how much there is.
    QuietHalf(Vec<u8>),
    /// A status, and a header if it is not empty.
    Status(&'static str, String),
    /// The whole of it, after a time.
    Slow(Duration, Vec<u8>),
    /// Hangs up at once.
    HangUp,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) path: String,
    pub(super) user_agent: String,
    pub(super) at: Instant,
}

#[derive(Debug, Default)]
struct State {
    replies: Mutex<BTreeMap<String, VecDeque<Reply>>>,
    requests: Mutex<Vec<Request>>,
    open: AtomicUsize,
    most_open: AtomicUsize,
    stop: AtomicBool,
}

/// Serves until it is dropped.
pub(super) struct Server {
    state: Arc<State>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let mut answers = Vec::new();
            for stream in listener.incoming().take(MOST_CONNECTIONS) {
                if shared.stop.load(Ordering::SeqCst) {
                    break;
                }
                let shared = Arc::clone(&shared);
                answers.push(std::thread::spawn(move || {
                    let open = 1 + shared.open.fetch_add(1, Ordering::SeqCst);
                    shared.most_open.fetch_max(open, Ordering::SeqCst);
                    // A client may hang up whenever it likes.
                    let _ = stream.and_then(|stream| shared.answer(stream));
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                }));
            }
            for answer in answers {
                let _ = answer.join();
            }
        });
        Self {
            state,
            address,
            thread: Some(thread),
        }
    }

    /// The address of a file. Its replies come one after the other, the last again and again.
    pub(super) fn file(&self, name: &str, replies: impl IntoIterator<Item = Reply>) -> String {
        let path = format!("/{name}");
        let url = format!("http://{}{path}", self.address);
        let replies = replies.into_iter().collect();
        self.state.replies.lock().unwrap().insert(path, replies);
        url
    }

    /// The requests since the last call.
    pub(super) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut *self.state.requests.lock().unwrap())
    }

    /// The most connections that were open at a time.
    pub(super) fn most_open(&self) -> usize {
        self.state.most_open.load(Ordering::SeqCst)
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
    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        let at = Instant::now();
        let (mut path, mut user_agent) = (String::new(), String::new());
        for line in BufReader::new(stream.try_clone()?).lines() {
            let line = line?;
            if line.is_empty() {
                break;
            }
            if path.is_empty() {
                path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            }
            if line.to_ascii_lowercase().starts_with("user-agent: ") {
                user_agent = line["user-agent: ".len()..].to_owned();
            }
        }
        if path.is_empty() {
            return Ok(());
        }
        let reply = {
            let mut replies = self.replies.lock().unwrap();
            replies.get_mut(&path).and_then(|replies| {
                if replies.len() > 1 {
                    replies.pop_front()
                } else {
                    replies.front().cloned()
                }
            })
        };
        self.requests.lock().unwrap().push(Request {
            path,
            user_agent,
            at,
        });
        let mut respond = |status: &str, header: &str, body: &[u8]| {
            let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{header}\r\n");
            stream.write_all(head.as_bytes())?;
            stream.write_all(body)
        };
        let length = |bytes: &[u8]| format!("Content-Length: {}\r\n", bytes.len());
        match reply {
            Some(Reply::Whole(bytes)) => respond("200 OK", &length(&bytes), &bytes),
            Some(Reply::Slow(time, bytes)) => {
                std::thread::sleep(time);
                respond("200 OK", &length(&bytes), &bytes)
            }
            Some(Reply::Half(bytes)) => {
                respond("200 OK", &length(&bytes), &bytes[..bytes.len() / 2])
            }
            Some(Reply::QuietHalf(bytes)) => respond("200 OK", "", &bytes[..bytes.len() / 2]),
            Some(Reply::Status(status, header)) => {
                let header = if header.is_empty() {
                    String::new()
                } else {
                    format!("{header}\r\n")
                };
                respond(status, &format!("{header}Content-Length: 0\r\n"), b"")
            }
            Some(Reply::HangUp) => Ok(()),
            None => respond("404 Not Found", "Content-Length: 0\r\n", b""),
        }
    }
}
