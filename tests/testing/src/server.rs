//! An HTTP server on the loopback interface.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The PEM file of the authority that signed the certificate of [`Server::start_with_tls`].
pub const ROOT_CERTIFICATE: &[u8] = include_bytes!("certificates/root.pem");

/// More connections than any test needs. A client that repeats a request forever gets no answer to
/// the next one, so that its test ends.
const MOST_CONNECTIONS: usize = 200;
/// For a client to send or to take something.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A request as the server received it.
#[derive(Debug, Clone)]
pub struct Request {
    /// The path, without the query.
    pub path: String,
    /// When its head was complete.
    pub at: Instant,
    headers: BTreeMap<String, String>,
}

impl Request {
    /// The value of a header, whose name is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// The answer to a request.
#[derive(Debug, Clone)]
pub struct Answer {
    status: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    delivery: Delivery,
    delay: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    Complete,
    Half,
    HalfWithoutLength,
    Nothing,
}

impl Answer {
    /// A status such as `404 Not Found`, without a body.
    pub fn status(status: impl Into<String>) -> Self {
        Self {
            status: status.into(),
            headers: Vec::new(),
            body: Vec::new(),
            delivery: Delivery::Complete,
            delay: Duration::ZERO,
        }
    }

    /// `200 OK` with a body.
    pub fn body(body: impl Into<Vec<u8>>) -> Self {
        Self::status("200 OK").with_body(body)
    }

    /// Closes the connection without an answer.
    pub fn hang_up() -> Self {
        Self {
            delivery: Delivery::Nothing,
            ..Self::status("")
        }
    }

    /// The same with a body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The same with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same, but the connection is closed after half of the body; the header gives the length of
    /// all of it.
    #[must_use]
    pub fn cut_off(mut self) -> Self {
        self.delivery = Delivery::Half;
        self
    }

    /// The same, but the connection is closed after half of the body, and no header gives a length.
    #[must_use]
    pub fn cut_off_without_length(mut self) -> Self {
        self.delivery = Delivery::HalfWithoutLength;
        self
    }

    /// The same after some time.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    fn send(&self, stream: &mut impl Write) -> std::io::Result<()> {
        std::thread::sleep(self.delay);
        if self.delivery == Delivery::Nothing {
            return Ok(());
        }
        let mut head = format!("HTTP/1.1 {}\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.delivery != Delivery::HalfWithoutLength {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        let sent = match self.delivery {
            Delivery::Complete => self.body.len(),
            _ => self.body.len() / 2,
        };
        stream.write_all(&self.body[..sent])
    }
}

/// The shared state of the threads that answer.
struct State {
    handler: Box<dyn Fn(&Request) -> Answer + Send + Sync>,
    tls: Option<Arc<ServerConfig>>,
    requests: Mutex<Vec<Request>>,
    open: AtomicUsize,
    most_open: AtomicUsize,
    stop: AtomicBool,
}

/// A server that runs until it is dropped. It handles each connection in a thread.
pub struct Server {
    state: Arc<State>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("endpoint", &self.endpoint())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Starts a server whose answers `handler` gives.
    pub fn start(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_as(Box::new(handler), None)
    }

    /// Starts a server with HTTPS, whose certificate [`ROOT_CERTIFICATE`] vouches for.
    pub fn start_with_tls(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let pem = include_bytes!("certificates/server.pem");
        let chain = vec![CertificateDer::from_pem_slice(pem).unwrap()];
        let key = include_bytes!("certificates/server.key");
        let key = PrivateKeyDer::from_pem_slice(key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Self::start_as(Box::new(handler), Some(Arc::new(config)))
    }

    fn start_as(
        handler: Box<dyn Fn(&Request) -> Answer + Send + Sync>,
        tls: Option<Arc<ServerConfig>>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            handler,
            tls,
            requests: Mutex::default(),
            open: AtomicUsize::new(0),
            most_open: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let mut connections = Vec::new();
            for stream in listener.incoming().take(MOST_CONNECTIONS) {
                if shared.stop.load(Ordering::SeqCst) {
                    break;
                }
                let shared = Arc::clone(&shared);
                connections.push(std::thread::spawn(move || {
                    let open = 1 + shared.open.fetch_add(1, Ordering::SeqCst);
                    shared.most_open.fetch_max(open, Ordering::SeqCst);
                    // A client may close its connection at any time.
                    let _ = stream.and_then(|stream| shared.accept(stream));
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                }));
            }
            for connection in connections {
                let _ = connection.join();
            }
        });
        Self {
            state,
            address,
            thread: Some(thread),
        }
    }

    /// The address of the server, such as `http://127.0.0.1:4321`.
    pub fn endpoint(&self) -> String {
        let scheme = match self.state.tls {
            Some(_) => "https",
            None => "http",
        };
        format!("{scheme}://{}", self.address)
    }

    /// The requests since the last call.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut *self.state.requests.lock().unwrap())
    }

    /// The largest number of connections that were open at the same time.
    pub fn most_open(&self) -> usize {
        self.state.most_open.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        // Wakes the thread; nobody answers if it has ended already.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    fn accept(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
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
        let head = String::from_utf8_lossy(&head);
        let mut lines = head.lines();
        let target = lines.next().and_then(|line| line.split(' ').nth(1));
        let Some(target) = target else {
            return Ok(());
        };
        let headers = lines.filter_map(|line| line.split_once(": "));
        let request = Request {
            path: target.split('?').next().unwrap_or_default().to_owned(),
            at: Instant::now(),
            headers: headers
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect(),
        };
        self.requests.lock().unwrap().push(request.clone());
        (self.handler)(&request).send(stream)
    }
}
