//! One file from one address: what is tried again, when, and what is not.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body};

/// Most bytes of a picture. Those of Visual Genome have some 100 kB.
const MOST_BYTES: u64 = 64 << 20;

/// Why a file did not come.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// Asking again would not help.
    #[error("{0}")]
    Final(String),
    /// Asking again may help, after a time if the server named one.
    #[error("{message}")]
    Passing {
        message: String,
        after: Option<Duration>,
    },
    /// The server wants to be left alone.
    #[error("{0}")]
    TooLongAWait(String),
}

impl Fault {
    fn passing(message: impl Into<String>) -> Self {
        Self::Passing {
            message: message.into(),
            after: None,
        }
    }
}

/// Until when a server asked all connections to wait.
#[derive(Debug, Default)]
pub(super) struct Pace {
    not_before: Mutex<Option<Instant>>,
}

impl Pace {
    fn hold(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut not_before = self.lock();
        *not_before = Some(not_before.map_or(until, |earlier| earlier.max(until)));
    }

    fn wait(&self) {
        // Another connection may be told to wait longer while this one sleeps.
        loop {
            let until = *self.lock();
            let left = until.and_then(|until| until.checked_duration_since(Instant::now()));
            match left.filter(|left| !left.is_zero()) {
                Some(left) => std::thread::sleep(left),
                None => return,
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.not_before
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gets files, politely.
pub(super) struct Transfer<'a> {
    agent: Agent,
    retries: u32,
    pause: Duration,
    longest_wait: Duration,
    pace: &'a Pace,
}

impl<'a> Transfer<'a> {
    pub(super) fn new(
        retries: u32,
        pause: Duration,
        longest_wait: Duration,
        pace: &'a Pace,
    ) -> Self {
        let name = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
        let config = Agent::config_builder()
            .user_agent(name)
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(30)))
            .timeout_recv_body(Some(Duration::from_secs(120)))
            // The answer to a refusal says how long to wait.
            .http_status_as_error(false)
            .build();
        Self {
            agent: config.into(),
            retries,
            pause,
            longest_wait,
            pace,
        }
    }

    /// The bytes at an address, once `judge` finds nothing wrong with them.
    pub(super) fn get(
        &self,
        url: &str,
        mut judge: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<Vec<u8>, Fault> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Fault::Final(format!(
                "its address is `{url}`, expected one that begins with http:// or https://"
            )));
        }
        let mut tried = 0;
        loop {
            self.pace.wait();
            let result = self.ask(url).and_then(|bytes| match judge(&bytes) {
                Ok(()) => Ok(bytes),
                Err(message) => Err(Fault::passing(message)),
            });
            let Err(Fault::Passing { message, after }) = result else {
                return result;
            };
            if let Some(wait) = after {
                if wait > self.longest_wait {
                    let (asked, most) = (wait.as_secs(), self.longest_wait.as_secs());
                    return Err(Fault::TooLongAWait(format!(
                        "{message}, and asks to wait {asked} s, which is more than {most} s"
                    )));
                }
                self.pace.hold(wait);
            }
            if tried == self.retries {
                return Err(Fault::Passing { message, after });
            }
            if after.is_none() {
                std::thread::sleep(self.pause.saturating_mul(1 << tried.min(6)));
            }
            tried += 1;
        }
    }

    fn ask(&self, url: &str) -> Result<Vec<u8>, Fault> {
        let mut response = self.agent.get(url).call().map_err(explain)?;
        let status = response.status();
        if status == StatusCode::OK {
            return response
                .body_mut()
                .with_config()
                .limit(MOST_BYTES)
                .read_to_vec()
                .map_err(explain);
        }
        let message = format!("the server answers {status}");
        match status.as_u16() {
            408 | 429 | 500.. => Err(Fault::Passing {
                message,
                after: retry_after(&response, SystemTime::now()),
            }),
            _ => Err(Fault::Final(message)),
        }
    }
}

fn explain(error: ureq::Error) -> Fault {
    use ureq::Error::{ConnectProxyFailed, ConnectionFailed, HostNotFound, Io, Protocol, Timeout};
    let message = format!("the transfer broke off: {error}");
    match error {
        ConnectProxyFailed(_)
        | ConnectionFailed
        | HostNotFound
        | Io(_)
        | Protocol(_)
        | Timeout(_) => Fault::passing(message),
        _ => Fault::Final(format!("it cannot be downloaded: {error}")),
    }
}

/// How long to wait, by RFC 9110, 10.2.3: so many seconds, or until a date.
fn retry_after(response: &Response<Body>, now: SystemTime) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?;
    let value = value.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}
