//! The official names and the descriptions of the subsets.

use super::subset::Subset;
use serde::{Serialize, Serializer};
use std::fmt::{self, Display, Formatter};

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
}
