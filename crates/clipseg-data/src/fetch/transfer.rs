//! One file from one address: what is tried again, when, and what is not.

use super::queue::Queue;
use std::time::{Duration, SystemTime};
use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body};

/// Most bytes of a picture. Those of Visual Genome have some 100 kB.
const MOST_BYTES: u64 = 64 << 20;

/// Why a file did not come.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// No more are asked for.
    #[error("no more pictures are asked for")]
    Stopped,
    /// There is nobody to ask.
    #[error("{0}")]
    NotAsked(String),
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

/// Gets files, politely.
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
            // The answer to a refusal says how long to wait.
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

    /// The bytes at an address, once `judge` finds nothing wrong with them.
    pub(super) fn get(
        &self,
        url: &str,
        mut judge: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<Vec<u8>, Fault> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Fault::NotAsked(format!(
                "its address is `{url}`, expected one that begins with http:// or https://"
            )));
        }
        let mut tried = 0;
        if !self.queue.wait(Duration::ZERO) {
            return Err(Fault::Stopped);
        }
        loop {
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
                self.queue.hold(wait);
            }
            let pause = match after {
                Some(_) => Duration::ZERO,
                None => self.pause.saturating_mul(1 << tried.min(6)),
            };
            if tried == self.retries || !self.queue.wait(pause) {
                return Err(Fault::Passing { message, after });
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
