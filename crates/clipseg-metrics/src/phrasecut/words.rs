//! The lists of words by which the official evaluator classifies categories.

/// Whether a category is exactly one of the 80 categories of COCO (Lin et al. 2014, arXiv:1405.0312).
pub fn is_coco_category(name: &str) -> bool {
    COCO.contains(&name)
}

#[rustfmt::skip]
const COCO: [&str; 80] = [
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant",
    "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
];

/// Whether the official evaluator treats a category as stuff and not as an object.
///
/// It does if the category contains one of its words for stuff, even inside another word: `seat` is stuff,
/// because it contains `sea`.
pub fn is_stuff(name: &str) -> bool {
    STUFF.iter().any(|word| name.contains(word))
}

/// The words for stuff in `utils/subset.py` of ChenyunWu/PhraseCutDataset (commit 876bcc5).
#[rustfmt::skip]
const STUFF: [&str; 84] = [
    "water", "waterdrops", "sea", "river", "fog", "ground", "field", "platform", "rail", "pavement",
    "road", "gravel", "mud", "dirt", "snow", "sand", "solid", "hill", "mountain", "stone", "rock",
    "wood", "sky", "cloud", "vegetation", "straw", "moss", "branch", "leaf", "leaves", "bush",
    "tree", "grass", "forest", "railing", "net", "cage", "fence", "building", "roof", "tent",
    "bridge", "skyscraper", "house", "food", "vegetable", "salad", "textile", "banner", "blanket",
    "curtain", "cloth", "napkin", "towel", "mat", "rug", "stairs", "light", "counter", "mirror",
    "cupboard", "cabinet", "shelf", "table", "desk", "door", "window", "floor", "carpet", "ceiling",
    "wall", "brick", "metal", "plastic", "paper", "cardboard", "street", "shadow", "sidewalk",
    "plant", "wave", "reflection", "ocean", "beach",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stuff_contains_a_word_for_stuff() {
        for name in [
            "sky",
            "trees",
            "street sign",
            "seat",
            "tomato",
            "wooden box",
        ] {
            assert!(is_stuff(name), "{name}");
        }
        // The comparison is case-sensitive.
        for name in ["man", "car", "flower", "fruit", "pillow", "Sky", ""] {
            assert!(!is_stuff(name), "{name}");
        }
    }

    #[test]
    fn coco_names_are_exact() {
        assert!(is_coco_category("dog"));
        assert!(!is_coco_category("dogs"));
    }
}
