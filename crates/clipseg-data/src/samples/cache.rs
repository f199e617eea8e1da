//! A cache of decoded pictures and drawn masks, bounded in bytes.

use super::picture::SamplePicture;
use crate::mask::Mask;
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Picture(u64),
    Mask(u32),
}

#[derive(Debug, Clone)]
enum Entry {
    Picture(Arc<SamplePicture>),
    Mask(Arc<Mask>),
}

#[derive(Debug, Clone)]
struct Bytes;

/// Size of an entry in bytes, besides its pixels.
const OVERHEAD: u64 = 128;

impl Weighter<Key, Entry> for Bytes {
    fn weight(&self, _: &Key, entry: &Entry) -> u64 {
        let pixels = match entry {
            Entry::Picture(picture) => picture.bytes(),
            Entry::Mask(mask) => mask.bytes(),
        };
        pixels as u64 + OVERHEAD
    }
}

/// A cache with one limit for pictures and masks together.
#[derive(Debug)]
pub(super) struct SampleCache(Option<Cache<Key, Entry, Bytes>>);

impl SampleCache {
    /// Creates a cache of at most `bytes` bytes; with 0 nothing is cached.
    pub(super) fn new(bytes: u64) -> Self {
        if bytes == 0 {
            return Self(None);
        }
        // Few shards, because one that is smaller than a picture could not hold any.
        let shards = (bytes >> 26).clamp(1, 64) as usize;
        let options = OptionsBuilder::new()
            .estimated_items_capacity((bytes >> 17).clamp(16, 1 << 20) as usize)
            .weight_capacity(bytes)
            .shards(shards)
            .build();
        Self(options.ok().map(|options| {
            Cache::with_options(
                options,
                Bytes,
                DefaultHashBuilder::default(),
                Default::default(),
            )
        }))
    }

    pub(super) fn picture<E>(
        &self,
        image_id: u64,
        load: impl FnOnce() -> Result<SamplePicture, E>,
    ) -> Result<Arc<SamplePicture>, E> {
        let key = Key::Picture(image_id);
        if let Some(Entry::Picture(picture)) = self.0.as_ref().and_then(|cache| cache.get(&key)) {
            return Ok(picture);
        }
        let picture = Arc::new(load()?);
        if let Some(cache) = &self.0 {
            cache.insert(key, Entry::Picture(picture.clone()));
        }
        Ok(picture)
    }

    pub(super) fn mask<E>(
        &self,
        phrase: u32,
        draw: impl FnOnce() -> Result<Mask, E>,
    ) -> Result<Arc<Mask>, E> {
        let key = Key::Mask(phrase);
        if let Some(Entry::Mask(mask)) = self.0.as_ref().and_then(|cache| cache.get(&key)) {
            return Ok(mask);
        }
        let mask = Arc::new(draw()?);
        if let Some(cache) = &self.0 {
            cache.insert(key, Entry::Mask(mask.clone()));
        }
        Ok(mask)
    }

    #[cfg(test)]
    fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, Cache::weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb32FImage, RgbImage};
    use std::convert::Infallible;

    fn picture(side: u32) -> SamplePicture {
        SamplePicture::Rounded(RgbImage::new(side, side))
    }

    #[test]
    fn the_cache_stays_below_its_limit() {
        let cache = SampleCache::new(1_000_000);
        for image_id in 0..200 {
            cache
                .picture::<Infallible>(image_id, || Ok(picture(100)))
                .unwrap();
            cache
                .mask::<Infallible>(image_id as u32, || Ok(Mask::new(100, 100)))
                .unwrap();
            assert!(cache.bytes() <= 1_000_000);
        }
        assert!(cache.bytes() > 800_000, "{}", cache.bytes());
    }

    #[test]
    fn cached_entries_are_not_loaded_again() {
        let cache = SampleCache::new(1_000_000);
        cache.picture::<Infallible>(1, || Ok(picture(10))).unwrap();
        cache
            .picture::<Infallible>(1, || panic!("it is there"))
            .unwrap();
        assert_eq!(
            cache.picture(2, || Err("unreadable")).unwrap_err(),
            "unreadable"
        );

        let nothing = SampleCache::new(0);
        nothing
            .mask::<Infallible>(1, || Ok(Mask::new(10, 10)))
            .unwrap();
        assert!(nothing.mask(1, || Err("drawn again")).is_err());
    }

    #[test]
    fn a_picture_above_the_limit_is_returned_but_not_cached() {
        let cache = SampleCache::new(10_000);
        let picture = cache.picture::<Infallible>(1, || Ok(picture(100))).unwrap();
        assert_eq!((picture.dimensions(), cache.bytes()), ((100, 100), 0));
    }

    #[test]
    fn unrounded_pictures_are_counted_with_four_bytes_per_channel() {
        let cache = SampleCache::new(1_000_000);
        let exact = SamplePicture::Exact(Rgb32FImage::new(100, 100));
        cache.picture::<Infallible>(1, || Ok(exact)).unwrap();
        assert_eq!(cache.bytes(), 4 * 3 * 100 * 100 + OVERHEAD);
    }
}
