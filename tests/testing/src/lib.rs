//! Tools that the tests of several crates of this workspace share. Not published.
//!
//! - [`Server`] answers HTTP requests on the loopback interface as a test prescribes, with or without
//!   TLS, and records the requests.
//! - [`warnings_of`] and [`logged`] collect what an action logs through `tracing`.

mod log;
mod server;

pub use log::{logged, warnings_of};
pub use server::{Answer, ROOT_CERTIFICATE, Request, Server};
