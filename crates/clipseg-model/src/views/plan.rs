//! Which views of a photograph are encoded, at which sizes, and the memory that they need.

use super::Views;
use super::tiles::Tiles;
use crate::error::{ModelError, Result};
use crate::segmenter::Segmenter;
use clipseg_clip::TargetSize;
use std::fmt::{self, Display, Formatter};

/// The most memory that the encoded views of one photograph may take.
const MOST_BYTES: u64 = 4 << 30;
/// Number of tokens that are encoded at a time, if a view does not have more.
const BATCH_TOKENS: usize = 4096;

/// A rectangle of a photograph, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) left: u32,
    pub(crate) top: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// The views of a photograph of some size: all of it, then the tiles, then the mirror images of both.
///
/// Shown as text, it says how many views of which size are encoded, and with how much memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewPlan {
    pub(super) tiles: Option<[Tiles; 2]>,
    /// Width and height of the entire photograph.
    pub(super) size: [u32; 2],
    /// Width and height of the input for the entire photograph and for a tile; `None` is the checkpoint's
    /// preprocessing.
    pub(super) inputs: [Option<[u32; 2]>; 2],
    pub(super) flip: bool,
    /// Number of views that are encoded at a time.
    pub(super) batch: usize,
    /// Width and height of the largest input.
    shown: [u32; 2],
    bytes: u64,
}

impl ViewPlan {
    /// Number of views, those of the mirror image included.
    pub fn count(&self) -> usize {
        let tiles = self.tiles.as_ref();
        let tiles = tiles.map_or(0, |[columns, rows]| {
            columns.starts.len() * rows.starts.len()
        });
        (1 + tiles) * if self.flip { 2 } else { 1 }
    }

    /// About how many bytes of memory the encoded views, the computation of one batch of them and the masks take,
    /// beside the model and the photograph. At most 4 GiB of it are the encoded views.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The areas of the tiles, by rows of tiles.
    pub(super) fn areas(&self) -> Vec<Area> {
        let Some([columns, rows]) = &self.tiles else {
            return Vec::new();
        };
        let areas = rows.starts.iter().flat_map(|&top| {
            columns.starts.iter().map(move |&left| Area {
                left,
                top,
                width: columns.length,
                height: rows.length,
            })
        });
        areas.collect()
    }
}

impl Display for ViewPlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [width, height] = self.shown;
        let count = self.count();
        let plural = if count == 1 { "view" } else { "views" };
        write!(f, "{count} {plural} of up to {width}x{height} pixels")?;
        write!(f, ", about {} MB of memory", self.bytes.div_ceil(1_000_000))
    }
}

impl Segmenter {
    /// Plans the views of a photograph of a width and a height in pixels, without computing anything.
    ///
    /// # Errors
    ///
    /// If an option is invalid, the size is 0, or the encoded views would take more than 4 GiB.
    pub fn plan_views(&self, size: [u32; 2], views: &Views) -> Result<ViewPlan> {
        let patch = self.model().clip().vision_model().patch_size();
        views.validate(patch)?;
        let [width, height] = size;
        if width == 0 || height == 0 {
            return Err(ModelError::Input(format!(
                "a picture of {width}x{height} has no pixels"
            )));
        }
        let tiles = (views.tiles > 1).then(|| {
            let longer = f64::from(width.max(height));
            size.map(|side| {
                let count = f64::from(views.tiles) * f64::from(side) / longer;
                Tiles::new(side, (count.round() as u32).max(1))
            })
        });
        let tiles = tiles.filter(|tiles| tiles.iter().any(|axis| axis.starts.len() > 1));
        let tile = tiles
            .as_ref()
            .map_or(size, |tiles| tiles.each_ref().map(|axis| axis.length));
        let inputs = [size, tile].map(|area| self.input_size(area, views, patch));
        let shown = [size, tile].into_iter().zip(inputs).map(|(area, input)| {
            let [width, height] = input.unwrap_or_else(|| self.preprocessed_size(area));
            [width, height]
        });
        let shown = shown.max_by_key(|[w, h]| u64::from(*w) * u64::from(*h));
        let mut plan = ViewPlan {
            tiles,
            size,
            inputs,
            flip: views.flip,
            batch: 1,
            shown: shown.unwrap_or(size),
            bytes: 0,
        };
        self.count_memory(&mut plan, patch)?;
        Ok(plan)
    }

    /// Width and height of the input for an area; `None` for the checkpoint's preprocessing.
    fn input_size(&self, area: [u32; 2], views: &Views, patch: usize) -> Option<[u32; 2]> {
        if !views.keep_aspect {
            return views.size.map(|side| [side, side]);
        }
        let square = views.size.map(|side| [side, side]);
        let [width, height] = square.unwrap_or_else(|| self.preprocessed_size(area));
        let pixels = f64::from(width) * f64::from(height);
        let [across, down] = area.map(f64::from);
        let sides = [across / down, down / across].map(|ratio| {
            let patches = (pixels * ratio).sqrt() / patch as f64;
            (patches.round() as u32).max(1) * patch as u32
        });
        Some(sides)
    }

    /// Width and height of an area after the checkpoint's preprocessing.
    fn preprocessed_size(&self, [width, height]: [u32; 2]) -> [u32; 2] {
        let processor = self.processor();
        match (processor.crop, processor.size) {
            (Some([height, width]), _) | (None, Some(TargetSize::Exact { height, width })) => {
                [width, height]
            }
            (None, Some(TargetSize::ShortestEdge(edge))) => {
                let short = u64::from(width.min(height)).max(1);
                [width, height].map(|side| (u64::from(edge) * u64::from(side) / short) as u32)
            }
            _ => [width, height],
        }
    }

    /// Sets the batch and the bytes of a plan.
    fn count_memory(&self, plan: &mut ViewPlan, patch: usize) -> Result<()> {
        const FLOAT: u64 = 4;
        let config = self.model().config();
        let vision = &config.clip.vision_config;
        let [width, height] = plan.shown.map(u64::from);
        let (pixels, patch) = (width * height, patch as u64);
        let tokens = 1 + pixels / (patch * patch);
        plan.batch = (BATCH_TOKENS / tokens as usize).max(1);
        let layers = config.decoder.extract_layers().len() as u64;
        let hidden = vision.hidden_size as u64;
        let kept_pixels = if config.decoder.uses_pixels() {
            3 * pixels
        } else {
            0
        };
        let encoded = plan.count() as u64 * (layers * tokens * hidden + kept_pixels) * FLOAT;
        if encoded > MOST_BYTES {
            return Err(ModelError::Input(format!(
                "{} views of {width}x{height} pixels would take {:.1} GiB, expected at most {} GiB; choose fewer \
                 tiles or a smaller size",
                plan.count(),
                encoded as f64 / f64::from(1 << 30),
                MOST_BYTES >> 30
            )));
        }
        // In a block: the state, its norm, queries, keys, values and their mixture, then the MLP's inner values.
        let inner = vision.intermediate_size as u64;
        let block = plan.batch as u64 * tokens * (6 * hidden + inner) * FLOAT;
        // A decoder's last layers have up to some tens of channels at a quarter of the resolution.
        let decoding = 8 * pixels * FLOAT;
        let [width, height] = plan.size.map(u64::from);
        let masks = 3 * width * height * FLOAT;
        plan.bytes = encoded + block.max(decoding) + masks;
        Ok(())
    }
}
