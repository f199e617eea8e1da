//! Classes of open-vocabulary segmentation.

use crate::error::{ModelError, Result};
use std::collections::HashSet;
use std::str::FromStr;

/// A class with one or several names, such as `cat` and `kitten`.
///
/// The probability of a class is the largest of those of its names, as in NACLIP. Written as text, names are
/// separated by `|`.
///
/// # Example
///
/// ```
/// use clipseg_model::DenseClass;
///
/// let class: DenseClass = "cat | kitten".parse()?;
/// assert_eq!(class.names(), ["cat", "kitten"]);
/// assert!("cat|".parse::<DenseClass>().is_err());
/// # Ok::<(), clipseg_model::ModelError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenseClass {
    names: Vec<String>,
}

impl DenseClass {
    /// A class with these names. White space around a name is removed.
    ///
    /// # Errors
    ///
    /// If there is no name or one is empty.
    pub fn new<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Result<Self> {
        let names = names.into_iter();
        let names: Vec<String> = names.map(|name| name.as_ref().trim().to_owned()).collect();
        if names.is_empty() {
            let message = "the class has no name, expected at least one";
            return Err(ModelError::Input(message.into()));
        }
        if let Some(index) = names.iter().position(String::is_empty) {
            return Err(ModelError::Input(format!(
                "name {} of the class `{}` is empty",
                index + 1,
                names.join("|")
            )));
        }
        Ok(Self { names })
    }

    /// The names, at least one.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

impl FromStr for DenseClass {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text.split('|'))
    }
}

/// Checks that the names of all classes and of the background differ, because equal names would share a
/// probability, and that there is something to choose from.
pub(crate) fn check_names(classes: &[DenseClass], background: &[String]) -> Result<()> {
    let names = classes.iter().flat_map(DenseClass::names).chain(background);
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(as_read(name)) {
            return Err(ModelError::Input(format!(
                "the name `{name}` is given twice among the classes and the background"
            )));
        }
    }
    match classes.len() + usize::from(!background.is_empty()) {
        0 => Err(ModelError::Input(
            "no class was given, expected at least one".into(),
        )),
        1 => Err(ModelError::Input(
            "there is one class and no background, so its probability would be 1 everywhere; add a background \
             or a second class"
                .into(),
        )),
        _ => Ok(()),
    }
}

/// A name as the tokenizer reads it, which ignores case and the number of spaces.
pub(super) fn as_read(name: &str) -> String {
    let words: Vec<&str> = name.split_whitespace().collect();
    words.join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_names_are_refused() {
        for (text, number) in [("", 1), ("cat||dog", 2), ("cat| ", 2)] {
            let message = text.parse::<DenseClass>().unwrap_err().to_string();
            assert!(message.starts_with(&format!("name {number} of the class")));
        }
        let none = DenseClass::new(Vec::<String>::new()).unwrap_err();
        assert!(none.to_string().contains("has no name"));
    }

    #[test]
    fn equal_names_and_a_single_class_are_refused() {
        let class = |text: &str| text.parse::<DenseClass>().unwrap();
        let background = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let message = |classes: &[DenseClass], names: &[&str]| {
            let checked = check_names(classes, &background(names));
            checked.unwrap_err().to_string()
        };
        let two = [class("cat|kitten"), class("dog")];
        check_names(&two, &[]).unwrap();
        check_names(&two[..1], &background(&["sky"])).unwrap();
        assert!(message(&two[..1], &[]).contains("its probability would be 1 everywhere"));
        assert!(message(&[], &["sky"]).contains("probability would be 1"));
        assert!(message(&[], &[]).contains("no class"));
        assert!(message(&two, &["sky", "KITTEN"]).contains("`KITTEN` is given twice"));
        assert!(message(&[class("a  cat"), class("a cat")], &[]).contains("`a cat`"));
    }
}
