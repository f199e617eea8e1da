//! The subsets of tasks that the official evaluator scores separately.

use super::task::{PhraseCutTask, PhraseType};

/// A subset of the tasks with its own scores. The documentation of each variant starts with its official
/// name. Ranks are frequency ranks, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subset {
    /// `all`: all tasks.
    All,
    /// `c_coco`: the category is one of COCO's 80 categories.
    CocoCategory,
    /// `c20`: the category is among the 20 most frequent.
    Category20,
    /// `c100`: the category is among the 100 most frequent.
    Category100,
    /// `c500`: the category is among the 500 most frequent.
    Category500,
    /// `c21-100`: the category has rank 21 to 100.
    Category21To100,
    /// `c101-500`: the category has rank 101 to 500.
    Category101To500,
    /// `c500+`: the category is less frequent or not listed.
    CategoryOver500,
    /// `i_single`: one instance.
    SingleInstance,
    /// `i_multi`: two to four instances.
    MultipleInstances,
    /// `i_many`: five or more instances.
    ManyInstances,
    /// `p_name`: the category identifies the object.
    Name,
    /// `p_att`: the phrase has an attribute.
    Attribute,
    /// `p_att+`: an attribute is needed to identify the object.
    AttributeNeeded,
    /// `p_rel`: the phrase has a relation.
    Relation,
    /// `p_rel+`: a relation is needed to identify the object.
    RelationNeeded,
    /// `p_verbose`: no part of the phrase identifies the object.
    Verbose,
    /// `p_attm`: the phrase has several attributes.
    MultipleAttributes,
    /// `p_relm`: the phrase has several relations.
    MultipleRelations,
    /// `t_stuff`: the category contains a word for stuff.
    Stuff,
    /// `t_obj`: the category contains no word for stuff.
    Object,
    /// `s_small`: the mask covers less than 2 % of the picture.
    Small,
    /// `s_mid`: the mask covers 2 % to 20 % of the picture.
    Middle,
    /// `s_large`: the mask covers more than 20 % of the picture.
    Large,
    /// `a20`: an attribute is among the 20 most frequent.
    Attribute20,
    /// `a100`: an attribute is among the 100 most frequent.
    Attribute100,
    /// `a200`: an attribute is among the 200 most frequent.
    Attribute200,
    /// `a21-100`: the most frequent attribute has rank 21 to 100.
    Attribute21To100,
    /// `a101-200`: the most frequent attribute has rank 101 to 200.
    Attribute101To200,
    /// `a200+`: the attributes are less frequent, or there is none.
    AttributeOver200,
    /// `p_att_rel`: the phrase has attributes and relations.
    AttributeAndRelation,
    /// `d_cocotv`: the picture is in COCO.
    CocoPicture,
    /// `d_notcocotv`: the picture is not in COCO.
    NotCocoPicture,
}

impl Subset {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phrasecut::task::FrequencyRanks;

    fn task() -> PhraseCutTask {
        PhraseCutTask {
            ranks: Some(FrequencyRanks::default()),
            ..PhraseCutTask::new("1__2", 1, 10, 100)
        }
    }

    fn names(task: &PhraseCutTask, area: u64) -> Vec<&'static str> {
        Subset::of(task, area)
            .into_iter()
            .map(Subset::name)
            .collect()
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
