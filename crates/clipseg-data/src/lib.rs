//! PhraseCut: phrases, polygons, masks, samples and generated scenes.

#![deny(missing_docs)]
