//! The choice of the weights of CLIP that are trained together with the decoder.

use crate::error::{Result, TrainError};
use clipseg_clip::TunedPart;
use clipseg_model::ClipSegConfig;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The weights of CLIP that are trained together with the decoder. In a file: `clip`, or `vision-last-` and
/// a number.
///
/// # Example
///
/// ```
/// use clipseg_train::{TrainConfig, Unfreeze};
///
/// let config = TrainConfig::default().with_overrides(&["clip.unfreeze=vision-last-2"])?;
/// assert_eq!(config.clip.unfreeze, Some(Unfreeze::VisionLast(2)));
/// # Ok::<(), clipseg_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Unfreeze {
    /// Both towers: everything that the decoder reads directly or indirectly.
    Clip,
    /// So many blocks of the vision tower, at least one: the last ones up to the deepest layer that the
    /// decoder reads. With visual prompts, which are the output of the entire tower, everything above these
    /// blocks is trained too.
    VisionLast(usize),
}

const CLIP: &str = "clip";
const VISION_LAST: &str = "vision-last-";

impl fmt::Display for Unfreeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clip => f.write_str(CLIP),
            Self::VisionLast(blocks) => write!(f, "{VISION_LAST}{blocks}"),
        }
    }
}

impl FromStr for Unfreeze {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == CLIP {
            return Ok(Self::Clip);
        }
        let blocks = text.strip_prefix(VISION_LAST).map(str::parse);
        match blocks {
            Some(Ok(0)) => Err(format!("`{text}`, expected at least one block")),
            Some(Ok(blocks)) => Ok(Self::VisionLast(blocks)),
            _ => Err(format!(
                "`{text}`, expected `{CLIP}`, or `{VISION_LAST}` and a number of blocks, such as \
                 `{VISION_LAST}1`"
            )),
        }
    }
}

impl TryFrom<String> for Unfreeze {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Unfreeze> for String {
    fn from(unfreeze: Unfreeze) -> Self {
        unfreeze.to_string()
    }
}

impl Unfreeze {
    /// The trained weights of a model. With `visual` prompts the decoder reads the final output of the
    /// vision tower too.
    ///
    /// # Errors
    ///
    /// If the decoder does not read so many blocks.
    pub(crate) fn part(self, model: &ClipSegConfig, visual: bool) -> Result<TunedPart> {
        let layers = model.decoder.extract_layers();
        let read = layers.iter().max().map_or(0, |last| last + 1);
        let end = if visual {
            model.clip.vision_config.num_hidden_layers
        } else {
            read
        };
        let (text, first) = match self {
            Self::Clip => (true, 0),
            Self::VisionLast(blocks) if (1..=read).contains(&blocks) => (false, read - blocks),
            Self::VisionLast(_) => {
                let message = format!(
                    "`{self}`, expected 1 to {read} blocks, because the deepest layer that the decoder \
                     reads is the output of block {read} of the vision tower"
                );
                return Err(TrainError::field("clip.unfreeze", message));
            }
        };
        Ok(TunedPart {
            text,
            vision_embeddings: text,
            vision_blocks: first..end,
            vision_output: visual,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_is_read_back() {
        for unfreeze in [Unfreeze::Clip, Unfreeze::VisionLast(12)] {
            assert_eq!(unfreeze.to_string().parse(), Ok(unfreeze));
        }
        for text in [
            "",
            "vision",
            "vision-last-",
            "vision-last--1",
            "vision-last-1.5",
            "vision-last-99999999999999999999",
            "Clip",
        ] {
            let message = text.parse::<Unfreeze>().unwrap_err();
            let expected = format!("`{text}`, expected `clip`, or `vision-last-` and a number");
            assert!(message.starts_with(&expected), "{message}");
        }
        assert_eq!(
            "vision-last-0".parse::<Unfreeze>().unwrap_err(),
            "`vision-last-0`, expected at least one block"
        );
    }

    #[test]
    fn blocks_are_counted_from_the_deepest_layer_that_the_decoder_reads() {
        let model = ClipSegConfig::rd64();
        assert_eq!(model.decoder.extract_layers(), [3, 6, 9]);
        let part = |unfreeze: Unfreeze, visual| unfreeze.part(&model, visual);
        let vision = |vision_blocks, vision_output| TunedPart {
            text: false,
            vision_embeddings: false,
            vision_blocks,
            vision_output,
        };
        let last = Unfreeze::VisionLast;
        assert_eq!(part(last(1), false).unwrap(), vision(9..10, false));
        assert_eq!(part(last(10), false).unwrap(), vision(0..10, false));
        // Visual prompts are the output of all twelve blocks.
        assert_eq!(part(last(1), true).unwrap(), vision(9..12, true));
        let both = part(Unfreeze::Clip, false).unwrap();
        assert!(both.text && both.vision_embeddings && !both.vision_output);
        assert_eq!(both.vision_blocks, 0..10);
        assert!(part(Unfreeze::Clip, true).unwrap().vision_output);
        for visual in [false, true] {
            let message = part(last(11), visual).unwrap_err().to_string();
            assert!(
                message.starts_with("field `clip.unfreeze`: `vision-last-11`, expected 1 to 10"),
                "{message}"
            );
        }
    }
}
