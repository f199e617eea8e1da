//! What `clip.checkpoint` names.

use clipseg_model::SCENES;
use std::path::Path;

/// The name of the small CLIP with random weights. A folder of this name is named by `./random`.
pub(crate) const RANDOM: &str = "random";

/// Makes the folder of a checkpoint absolute. A name that is not a folder's stays as it is.
pub(crate) fn make_absolute(checkpoint: &mut Option<String>) {
    if let Some(name) = checkpoint
        && ![RANDOM, SCENES].contains(&name.as_str())
        && Path::new(&name).is_dir()
        && let Ok(found) = std::path::absolute(&name)
        && let Some(found) = found.to_str()
    {
        *name = found.to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_become_absolute_and_other_names_stay() {
        let absolute = |name: &str| {
            let mut checkpoint = Some(name.to_owned());
            make_absolute(&mut checkpoint);
            checkpoint.unwrap()
        };
        assert!(Path::new(&absolute("src")).is_absolute());
        for name in [RANDOM, SCENES, "openai/clip-vit-base-patch16"] {
            assert_eq!(absolute(name), name);
        }
    }
}
