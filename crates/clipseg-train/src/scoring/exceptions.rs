//! Phrases that were not scored like the others, counted by reason.

use clipseg_data::ProblemKind;
use serde::Serialize;
use std::fmt::{self, Display, Formatter};

/// Phrases that were not scored like the others, for one reason.
///
/// Displayed as one line: `2 phrases with a picture that is not listed, such as 99__1: they count as
/// phrases without a prediction`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Exception {
    /// The reason, which all of them share.
    pub reason: &'static str,
    /// The effect on the scores.
    pub effect: &'static str,
    /// The number of phrases.
    pub phrases: usize,
    /// The `task_id` of the first phrase, or the error of its picture.
    pub example: String,
}

impl Display for Exception {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            reason,
            effect,
            phrases,
            example,
        } = self;
        let many = if *phrases == 1 { "" } else { "s" };
        write!(
            f,
            "{phrases} phrase{many} with {reason}, such as {example}: {effect}"
        )
    }
}

/// The exceptions of one evaluation, in the order in which their reasons were first seen.
#[derive(Debug, Default)]
pub(crate) struct Exceptions(Vec<Exception>);

impl Exceptions {
    /// Counts one more phrase with a reason and its effect.
    pub(crate) fn add(&mut self, [reason, effect]: [&'static str; 2], example: impl Display) {
        match self.0.iter_mut().find(|known| known.reason == reason) {
            Some(known) => known.phrases += 1,
            None => self.0.push(Exception {
                reason,
                effect,
                phrases: 1,
                example: example.to_string(),
            }),
        }
    }

    pub(crate) fn into_vec(self) -> Vec<Exception> {
        self.0
    }
}

const WITHOUT: &str = "they count as phrases without a prediction";

/// The reason and the effect for a phrase with a problem, by the rules of PhraseCut's evaluator; `None` if
/// the phrase is scored like the others.
pub(crate) fn in_phrasecut(problem: ProblemKind) -> Option<[&'static str; 2]> {
    Some(match problem {
        ProblemKind::NoPolygon => [
            "no polygon that can be drawn",
            "their ground truth is empty and their IoU is 0, as in the official evaluator",
        ],
        ProblemKind::RepeatedTask => [
            "the task id of an earlier phrase",
            "the one prediction of the task is scored against the polygons of each, in the subsets of \
             the earlier phrase, as in the official evaluator",
        ],
        ProblemKind::UnknownPicture => ["a picture that is not listed", WITHOUT],
        ProblemKind::ImpossibleSize => {
            ["a picture that is listed with an impossible size", WITHOUT]
        }
        _ => return None,
    })
}
