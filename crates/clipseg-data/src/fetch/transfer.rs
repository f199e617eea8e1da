//! Downloading one file, with retries after temporary failures.

use super::queue::Queue;
use std::time::{Duration, SystemTime};
use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body};

/// Maximum size of a picture in bytes. Those of Visual Genome have about 100 kB.
const MOST_BYTES: u64 = 64 << 20;

/// Why a file was not downloaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The download was stopped.
    #[error("the download was stopped")]
    Stopped,
    /// The URL is invalid, so no request was made.
    #[error("{0}")]
    NoRequest(String),
    /// A retry would fail again.
    #[error("{0}")]
    Final(String),
    /// A retry may succeed, after the time that the server requests.
    #[error("{message}")]
    Temporary {
        message: String,
        after: Option<Duration>,
    },
    /// The server requests a longer wait than is accepted.
    #[error("{0}")]
    WaitTooLong(String),
}

impl Fault {
    fn temporary(message: impl Into<String>) -> Self {
        Self::Temporary {
            message: message.into(),
            after: None,
        }
    }
}

/// Downloads files, and respects `Retry-After`.
pub(super) struct Transfer<'a> {
    agent: Agent,
    retries: u32,
    pause: Duration,
    longest_wait: Duration,
    queue: &'a Queue,
}

impl<'a> Transfer<'a> {
    pub(super) fn new(
        retries: u32,
        pause: Duration,
        longest_wait: Duration,
        queue: &'a Queue,
    ) -> Self {
        let name = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
        let config = Agent::config_builder()
            .user_agent(name)
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(30)))
            .timeout_recv_body(Some(Duration::from_secs(120)))
            // The headers of an error response may contain `Retry-After`.
            .http_status_as_error(false)
            .build();
        Self {
            agent: config.into(),
            retries,
            pause,
            longest_wait,
            queue,
        }
    }

    /// Downloads the content of a URL, with retries until `judge` accepts it.
    pub(super) fn get(
        &self,
        url: &str,
        mut judge: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<Vec<u8>, Fault> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Fault::NoRequest(format!(
                "its URL is `{url}`, expected one that begins with http:// or https://"
            )));
        }
        let mut tried = 0;
        if !self.queue.wait(Duration::ZERO) {
            return Err(Fault::Stopped);
        }
        loop {
            let result = self.ask(url).and_then(|bytes| match judge(&bytes) {
                Ok(()) => Ok(bytes),
                Err(message) => Err(Fault::temporary(message)),
            });
            let Err(Fault::Temporary { message, after }) = result else {
                return result;
            };
            if let Some(wait) = after {
                if wait > self.longest_wait {
                    let (asked, most) = (wait.as_secs(), self.longest_wait.as_secs());
                    return Err(Fault::WaitTooLong(format!(
                        "{message} and requests a wait of {asked} s, longer than the maximum of {most} s"
                    )));
                }
                self.queue.hold(wait);
            }
            let pause = match after {
                Some(_) => Duration::ZERO,
                None => self.pause.saturating_mul(1 << tried.min(6)),
            };
            if tried == self.retries || !self.queue.wait(pause) {
                return Err(Fault::Temporary { message, after });
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
        let message = format!("the server responded with {status}");
        match status.as_u16() {
            408 | 429 | 500.. => Err(Fault::Temporary {
                message,
                after: retry_after(&response, SystemTime::now()),
            }),
            _ => Err(Fault::Final(message)),
        }
    }
}

fn explain(error: ureq::Error) -> Fault {
    use ureq::Error::{ConnectProxyFailed, ConnectionFailed, HostNotFound, Io, Protocol, Timeout};
    let message = format!("the transfer was interrupted: {error}");
    match error {
        ConnectProxyFailed(_)
        | ConnectionFailed
        | HostNotFound
        | Io(_)
        | Protocol(_)
        | Timeout(_) => Fault::temporary(message),
        _ => Fault::Final(format!("it cannot be downloaded: {error}")),
    }
}

/// Parses `Retry-After` (RFC 9110, section 10.2.3): a number of seconds or a date.
fn retry_after(response: &Response<Body>, now: SystemTime) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?;
    let value = value.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}
