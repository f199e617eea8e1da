//! The subsets of tasks that the official evaluator scores separately.

use super::task::{PhraseCutTask, PhraseType};
use serde::{Serialize, Serializer};
use std::fmt::{self, Display, Formatter};

/// A subset of the tasks with its own scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is described by `Subset::describe`")]
pub enum Subset {
    All,
    CocoCategory,
    Category20,
    Category100,
    Category500,
    Category21To100,
    Category101To500,
    CategoryOver500,
    SingleInstance,
    MultipleInstances,
    ManyInstances,
    Name,
    Attribute,
    AttributeNeeded,
    Relation,
    RelationNeeded,
    Verbose,
    MultipleAttributes,
    MultipleRelations,
    Stuff,
    Object,
    Small,
    Middle,
    Large,
    Attribute20,
    Attribute100,
    Attribute200,
    Attribute21To100,
    Attribute101To200,
    AttributeOver200,
    AttributeAndRelation,
    CocoPicture,
    NotCocoPicture,
}

/// The official names and the descriptions of the subsets, in the official order.
const SUBSETS: [(Subset, &str, &str); 33] = [
    (Subset::All, "all", "all tasks"),
    (
        Subset::CocoCategory,
        "c_coco",
        "the category is one of COCO's 80 categories",
    ),
    (
        Subset::Category20,
        "c20",
        "the category is among the 20 most frequent",
    ),
    (
        Subset::Category100,
        "c100",
        "the category is among the 100 most frequent",
    ),
    (
        Subset::Category500,
        "c500",
        "the category is among the 500 most frequent",
    ),
    (
        Subset::Category21To100,
        "c21-100",
        "the category has rank 21 to 100",
    ),
    (
        Subset::Category101To500,
        "c101-500",
        "the category has rank 101 to 500",
    ),
    (
        Subset::CategoryOver500,
        "c500+",
        "the category is less frequent or not listed",
    ),
    (Subset::SingleInstance, "i_single", "one instance"),
    (
        Subset::MultipleInstances,
        "i_multi",
        "two to four instances",
    ),
    (Subset::ManyInstances, "i_many", "five or more instances"),
    (Subset::Name, "p_name", "the category identifies the object"),
    (Subset::Attribute, "p_att", "the phrase has an attribute"),
    (
        Subset::AttributeNeeded,
        "p_att+",
        "an attribute is needed to identify the object",
    ),
    (Subset::Relation, "p_rel", "the phrase has a relation"),
    (
        Subset::RelationNeeded,
        "p_rel+",
        "a relation is needed to identify the object",
    ),
    (
        Subset::Verbose,
        "p_verbose",
        "no part of the phrase identifies the object",
    ),
    (
        Subset::MultipleAttributes,
        "p_attm",
        "the phrase has several attributes",
    ),
    (
        Subset::MultipleRelations,
        "p_relm",
        "the phrase has several relations",
    ),
    (
        Subset::Stuff,
        "t_stuff",
        "the category contains a word for stuff",
    ),
    (
        Subset::Object,
        "t_obj",
        "the category contains no word for stuff",
    ),
    (
        Subset::Small,
        "s_small",
        "the mask covers less than 2 % of the picture",
    ),
    (
        Subset::Middle,
        "s_mid",
        "the mask covers 2 % to 20 % of the picture",
    ),
    (
        Subset::Large,
        "s_large",
        "the mask covers more than 20 % of the picture",
    ),
    (
        Subset::Attribute20,
        "a20",
        "an attribute is among the 20 most frequent",
    ),
    (
        Subset::Attribute100,
        "a100",
        "an attribute is among the 100 most frequent",
    ),
    (
        Subset::Attribute200,
        "a200",
        "an attribute is among the 200 most frequent",
    ),
    (
        Subset::Attribute21To100,
        "a21-100",
        "the most frequent attribute has rank 21 to 100",
    ),
    (
        Subset::Attribute101To200,
        "a101-200",
        "the most frequent attribute has rank 101 to 200",
    ),
    (
        Subset::AttributeOver200,
        "a200+",
        "the attributes are less frequent, or there is none",
    ),
    (
        Subset::AttributeAndRelation,
        "p_att_rel",
        "the phrase has attributes and relations",
    ),
    (Subset::CocoPicture, "d_cocotv", "the picture is in COCO"),
    (
        Subset::NotCocoPicture,
        "d_notcocotv",
        "the picture is not in COCO",
    ),
];

impl Subset {
    /// All subsets in the order of the official evaluator.
    pub const ALL: [Self; 33] = {
        let mut all = [Self::All; 33];
        let mut index = 0;
        while index < all.len() {
            all[index] = SUBSETS[index].0;
            index += 1;
        }
        all
    };

    /// The name in the official evaluator, such as `i_single`.
    pub fn name(self) -> &'static str {
        SUBSETS[self as usize].1
    }

    /// A description, such as `one instance`.
    pub fn describe(self) -> &'static str {
        SUBSETS[self as usize].2
    }

    /// The subset with a name of the official evaluator.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|subset| subset.name() == name)
    }

    /// The subsets of a task whose ground-truth mask has `area` pixels, in the order of [`Self::ALL`].
    pub fn of(task: &PhraseCutTask, area: u64) -> Vec<Self> {
        let pixels = f64::from(task.width) * f64::from(task.height);
        Self::ALL
            .into_iter()
            .filter(|subset| subset.contains(task, area as f64 / pixels))
            .collect()
    }

    /// Whether a task is in the subset; `size` is the fraction of the picture that its mask covers.
    fn contains(self, task: &PhraseCutTask, size: f64) -> bool {
        // A task without ranks is in no subset by frequency. A category or attribute that is not in the
        // lists ranks behind all that are.
        let category = task.ranks.map(|ranks| ranks.category.unwrap_or(usize::MAX));
        let attribute = task
            .ranks
            .map(|ranks| ranks.attribute.unwrap_or(usize::MAX));
        let within = |rank: Option<usize>, ranks: std::ops::Range<usize>| {
            rank.is_some_and(|rank| ranks.contains(&rank))
        };
        let beyond = |rank: Option<usize>, first| rank.is_some_and(|rank| rank >= first);
        match self {
            Self::All => true,
            Self::CocoCategory => task.coco_category,
            Self::Category20 => within(category, 0..20),
            Self::Category100 => within(category, 0..100),
            Self::Category500 => within(category, 0..500),
            Self::Category21To100 => within(category, 20..100),
            Self::Category101To500 => within(category, 100..500),
            Self::CategoryOver500 => beyond(category, 500),
            Self::SingleInstance => task.instances == 1,
            Self::MultipleInstances => (2..5).contains(&task.instances),
            Self::ManyInstances => task.instances >= 5,
            Self::Name => task.phrase_type == Some(PhraseType::Name),
            Self::Attribute => task.attributes > 0,
            Self::AttributeNeeded => task.phrase_type == Some(PhraseType::Attribute),
            Self::Relation => task.relations > 0,
            Self::RelationNeeded => task.phrase_type == Some(PhraseType::Relation),
            Self::Verbose => task.phrase_type == Some(PhraseType::Verbose),
            Self::MultipleAttributes => task.attributes > 1,
            Self::MultipleRelations => task.relations > 1,
            Self::Stuff => task.stuff,
            Self::Object => !task.stuff,
            Self::Small => size < 0.02,
            Self::Middle => (0.02..=0.2).contains(&size),
            Self::Large => size > 0.2,
            Self::Attribute20 => within(attribute, 0..20),
            Self::Attribute100 => within(attribute, 0..100),
            Self::Attribute200 => within(attribute, 0..200),
            Self::Attribute21To100 => within(attribute, 20..100),
            Self::Attribute101To200 => within(attribute, 100..200),
            Self::AttributeOver200 => beyond(attribute, 200),
            Self::AttributeAndRelation => task.attributes > 0 && task.relations > 0,
            Self::CocoPicture => task.coco_picture,
            Self::NotCocoPicture => !task.coco_picture,
        }
    }
}

impl Display for Subset {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Subset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phrasecut::task::FrequencyRanks;

    fn task() -> PhraseCutTask {
        PhraseCutTask {
            task_id: "1__2".into(),
            image_id: 1,
            width: 10,
            height: 100,
            instances: 1,
            attributes: 0,
            relations: 0,
            phrase_type: None,
            ranks: Some(FrequencyRanks::default()),
            coco_category: false,
            stuff: false,
            coco_picture: false,
        }
    }

    fn names(task: &PhraseCutTask, area: u64) -> Vec<&'static str> {
        Subset::of(task, area)
            .into_iter()
            .map(Subset::name)
            .collect()
    }

    #[test]
    fn names_and_descriptions_are_in_the_order_of_the_enum() {
        for (index, (subset, name, meaning)) in SUBSETS.into_iter().enumerate() {
            assert_eq!(subset as usize, index, "{name}");
            assert_eq!(Subset::from_name(name), Some(subset));
            assert_eq!(
                (subset.to_string().as_str(), subset.describe()),
                (name, meaning)
            );
        }
        assert_eq!(Subset::from_name("a_color"), None);
    }

    #[test]
    fn a_task_without_special_properties() {
        let expected = [
            "all",
            "c500+",
            "i_single",
            "t_obj",
            "s_mid",
            "a200+",
            "d_notcocotv",
        ];
        assert_eq!(names(&task(), 50), expected);
        let unknown = PhraseCutTask {
            ranks: None,
            ..task()
        };
        assert_eq!(
            names(&unknown, 50),
            ["all", "i_single", "t_obj", "s_mid", "d_notcocotv"]
        );
    }

    #[test]
    fn rank_boundaries_are_those_of_the_official_evaluator() {
        let with = |category, attribute| {
            let ranks = Some(FrequencyRanks {
                category,
                attribute,
            });
            names(&PhraseCutTask { ranks, ..task() }, 50)
                .into_iter()
                .filter(|name| name.starts_with(['c', 'a']) && *name != "all")
                .collect::<Vec<_>>()
        };
        let common = ["c20", "c100", "c500", "a20", "a100", "a200"];
        assert_eq!(with(Some(0), Some(0)), common);
        assert_eq!(with(Some(19), Some(19)), common);
        let middle = ["c100", "c500", "c21-100", "a100", "a200", "a21-100"];
        assert_eq!(with(Some(20), Some(20)), middle);
        assert_eq!(with(Some(99), Some(99)), middle);
        let rare = ["c500", "c101-500", "a200", "a101-200"];
        assert_eq!(with(Some(100), Some(100)), rare);
        assert_eq!(with(Some(499), Some(199)), rare);
        assert_eq!(with(Some(500), Some(200)), ["c500+", "a200+"]);
        assert_eq!(with(None, None), ["c500+", "a200+"]);
    }

    #[test]
    fn size_instances_and_phrase_determine_subsets() {
        let size = |area| names(&task(), area)[4];
        assert_eq!(
            [19, 20, 200, 201].map(size),
            ["s_small", "s_mid", "s_mid", "s_large"]
        );
        let instances = |instances| {
            names(
                &PhraseCutTask {
                    instances,
                    ..task()
                },
                50,
            )[2]
        };
        assert_eq!(
            [1, 2, 4, 5, 9].map(instances),
            ["i_single", "i_multi", "i_multi", "i_many", "i_many"]
        );
        let full = PhraseCutTask {
            attributes: 2,
            relations: 2,
            phrase_type: Some(PhraseType::Verbose),
            coco_category: true,
            stuff: true,
            coco_picture: true,
            ranks: None,
            ..task()
        };
        let expected = [
            "all",
            "c_coco",
            "i_single",
            "p_att",
            "p_rel",
            "p_verbose",
            "p_attm",
            "p_relm",
            "t_stuff",
            "s_mid",
            "p_att_rel",
            "d_cocotv",
        ];
        assert_eq!(names(&full, 50), expected);
        for (name, subset) in [
            ("name", "p_name"),
            ("attribute", "p_att+"),
            ("relation", "p_rel+"),
            ("verbose", "p_verbose"),
        ] {
            let phrase_type = PhraseType::from_name(name);
            let found = names(
                &PhraseCutTask {
                    phrase_type,
                    ..task()
                },
                50,
            );
            assert!(found.contains(&subset), "{found:?}");
        }
        assert_eq!(PhraseType::from_name("location"), None);
    }
}
