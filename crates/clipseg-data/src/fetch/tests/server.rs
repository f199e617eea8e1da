//! A server of pictures on the loopback interface, with prescribed answers for each of them.

pub(super) use clipseg_testing::Answer;
use clipseg_testing::Request;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

type Answers = Mutex<BTreeMap<String, VecDeque<Answer>>>;

/// Serves until it is dropped.
pub(super) struct PictureServer {
    answers: Arc<Answers>,
    server: clipseg_testing::Server,
}

impl PictureServer {
    pub(super) fn start() -> Self {
        let answers = Arc::<Answers>::default();
        let shared = Arc::clone(&answers);
        let server = clipseg_testing::Server::start(move |request| {
            let mut answers = shared.lock().unwrap();
            let answers = answers.get_mut(&request.path);
            let answer = answers.and_then(|answers| match answers.len() {
                0 | 1 => answers.front().cloned(),
                _ => answers.pop_front(),
            });
            answer.unwrap_or_else(|| Answer::status("404 Not Found"))
        });
        Self { answers, server }
    }

    /// Adds a file and returns its address. Its answers are given in turn, and the last of them to all
    /// further requests.
    pub(super) fn file(&self, name: &str, answers: impl IntoIterator<Item = Answer>) -> String {
        let path = format!("/{name}");
        let url = format!("{}{path}", self.server.endpoint());
        let answers = answers.into_iter().collect();
        self.answers.lock().unwrap().insert(path, answers);
        url
    }

    /// The requests since the last call.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }

    /// The largest number of connections that were open at the same time.
    pub(super) fn most_open(&self) -> usize {
        self.server.most_open()
    }
}
