//! Reading and writing files, the same way in all crates of this workspace.
//!
//! Reading accepts regular files only and text in UTF-8 only. Writing is atomic: content goes to a
//! temporary file beside the target, which replaces the target once it is complete. Everything here
//! returns [`std::io::Error`], so that each crate adds the path in its own error type.

mod new_folder;
mod reading;
mod staging;

pub use new_folder::NewFolder;
pub(crate) use reading::{HEAD, is_there, kind_of, mark_length};
pub use reading::{decode_text, open, read};
pub use staging::{StagedFile, StagedFolder, Staging, write};
