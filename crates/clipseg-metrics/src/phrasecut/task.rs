//! The tasks of PhraseCut: a phrase in a picture, with the properties that determine its subsets.

/// A phrase in a picture, as the evaluator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhraseCutTask {
    /// Id of the task: `<image_id>__<ann_id>_<ann_id>…`.
    pub task_id: String,
    /// Id of the picture.
    pub image_id: u64,
    /// Width of the picture in pixels, as recorded in the data set.
    pub width: u32,
    /// Height of the picture in pixels, as recorded in the data set.
    pub height: u32,
    /// Number of instances that the phrase refers to.
    pub instances: usize,
    /// Number of attributes in the phrase.
    pub attributes: usize,
    /// Number of relations in the phrase.
    pub relations: usize,
    /// The part of the phrase that distinguishes the object from others, if the data set has it.
    pub phrase_type: Option<PhraseType>,
    /// Frequency ranks of the phrase's words. Without them, the task is in no subset by frequency.
    pub ranks: Option<FrequencyRanks>,
    /// Whether the category is one of COCO's, see [`is_coco_category`](crate::is_coco_category).
    pub coco_category: bool,
    /// Whether the category is stuff and not an object, see [`is_stuff`](crate::is_stuff).
    pub stuff: bool,
    /// Whether the picture is in COCO.
    pub coco_picture: bool,
}

impl PhraseCutTask {
    /// A task whose phrase refers to one instance and has no attributes, relations or other properties.
    ///
    /// ```
    /// use clipseg_metrics::{PhraseCutTask, Subset};
    ///
    /// let mut task = PhraseCutTask::new("2300042__7", 2300042, 640, 480);
    /// task.attributes = 1;
    /// assert!(Subset::of(&task, 1_000).contains(&Subset::Attribute));
    /// ```
    pub fn new(task_id: impl Into<String>, image_id: u64, width: u32, height: u32) -> Self {
        Self {
            task_id: task_id.into(),
            image_id,
            width,
            height,
            instances: 1,
            attributes: 0,
            relations: 0,
            phrase_type: None,
            ranks: None,
            coco_category: false,
            stuff: false,
            coco_picture: false,
        }
    }
}

/// The part of a phrase that distinguishes the object from others in the picture: the field `type` of a
/// phrase's structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PhraseType {
    /// The category.
    Name,
    /// An attribute.
    Attribute,
    /// A relation.
    Relation,
    /// No single part. The phrase contains everything that the data set knows about the object.
    Verbose,
}

impl PhraseType {
    /// The type with this name in the data set's files.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "name" => Some(Self::Name),
            "attribute" => Some(Self::Attribute),
            "relation" => Some(Self::Relation),
            "verbose" => Some(Self::Verbose),
            _ => None,
        }
    }
}

/// Ranks in the lists of `name_att_rel_count.json`; 0 is the most frequent word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrequencyRanks {
    /// Rank of the category. A category that is not in the list counts as rare.
    pub category: Option<usize>,
    /// Best rank of any attribute. A phrase without a listed attribute counts as rare.
    pub attribute: Option<usize>,
}
