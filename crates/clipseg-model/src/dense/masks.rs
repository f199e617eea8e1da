//! From similarities with names to the masks of classes.

use super::class::{as_read, check_names};
use super::{DenseClass, DenseClip, DenseImage, DenseOptions};
use crate::error::{ModelError, Result};
use crate::soft_mask::SoftMask;
use clipseg_data::resize_plane;

impl DenseClip {
    /// Computes a soft mask of the photograph's size for each class.
    ///
    /// # Errors
    ///
    /// If an option is invalid, two names are equal, there is one class and no background, a name cannot be
    /// tokenized, or a similarity is NaN or infinite.
    pub fn segment(
        &self,
        image: &DenseImage,
        classes: &[DenseClass],
        options: &DenseOptions,
    ) -> Result<Vec<SoftMask>> {
        let mut masks = Vec::with_capacity(classes.len());
        self.for_each_mask(image, classes, options, |_, mask| {
            masks.push(mask);
            Ok::<(), ModelError>(())
        })?;
        Ok(masks)
    }

    /// Computes the masks of [`segment`](Self::segment) one by one. `each` receives the index of the class and its
    /// mask.
    ///
    /// In memory are three planes of the photograph's size, and one of the resized photograph's for each name.
    ///
    /// # Errors
    ///
    /// The same as [`segment`](Self::segment), or the first error of `each`, after which no further mask is
    /// computed.
    pub fn for_each_mask<E: From<ModelError>>(
        &self,
        image: &DenseImage,
        classes: &[DenseClass],
        options: &DenseOptions,
        mut each: impl FnMut(usize, SoftMask) -> Result<(), E>,
    ) -> Result<(), E> {
        options.validate()?;
        options.check_classes(classes)?;
        let names: Vec<&String> = classes
            .iter()
            .flat_map(DenseClass::names)
            .chain(&options.background)
            .collect();
        let texts = self.encode_text(&names, &options.templates)?;
        let planes = image.similarities(&texts, options.pamr_rounds)?;
        let from = image.resized_size();
        let to = [image.width(), image.height()];
        let upsampled = |plane: &Vec<f32>| -> Result<Vec<f32>> {
            let mut logits = resize_plane(plane, from, to).map_err(ModelError::from)?;
            logits.iter_mut().for_each(|value| *value *= options.scale);
            Ok(logits)
        };
        let mut total = LogSumExp::new(to[0] as usize * to[1] as usize);
        for plane in &planes {
            total.add(&upsampled(plane)?);
        }
        let mut of_names = planes.iter();
        for (index, class) in classes.iter().enumerate() {
            let mut probabilities = vec![0f32; total.largest.len()];
            for plane in of_names.by_ref().take(class.names().len()) {
                total.raise(&mut probabilities, &upsampled(plane)?);
            }
            each(index, SoftMask::from_probabilities(probabilities, to)?)?;
        }
        Ok(())
    }

    /// The logits of phrases at the resized size: for each phrase, row by row, those of a softmax over the phrase
    /// and the background. A name of the background that equals the phrase does not take part.
    ///
    /// # Errors
    ///
    /// If an option is invalid, there is no other name in the background than the phrase, a phrase is empty or cannot
    /// be tokenized, or a similarity is NaN or infinite.
    pub fn logits_against_background<S: AsRef<str>>(
        &self,
        image: &DenseImage,
        phrases: &[S],
        options: &DenseOptions,
    ) -> Result<Vec<f32>> {
        options.validate()?;
        let scaled = |names: Result<burn::tensor::Tensor<2>>| {
            let mut planes = image.similarities(&names?, options.pamr_rounds)?;
            let values = planes.iter_mut().flatten();
            values.for_each(|value| *value *= options.scale);
            Ok::<_, ModelError>(planes)
        };
        let [width, height] = image.resized_size().map(|side| side as usize);
        let background = scaled(self.encode_text(&options.background, &options.templates))?;
        let planes = scaled(self.encode_text(phrases, &options.templates))?;
        let mut logits = Vec::with_capacity(phrases.len() * width * height);
        for (plane, phrase) in planes.iter().zip(phrases) {
            let phrase = phrase.as_ref();
            let names = options.background.iter();
            let names = names
                .filter(|name| as_read(name) != as_read(phrase))
                .cloned();
            let names: Vec<String> = names.collect();
            check_names(&[DenseClass::new([phrase])?], &names)?;
            let mut others = LogSumExp::new(width * height);
            for (plane, name) in background.iter().zip(&options.background) {
                if names.contains(name) {
                    others.add(plane);
                }
            }
            // p / (1 - p) = exp(phrase) / sum of exp(background).
            let pairs = plane.iter().zip(others.largest.iter().zip(&others.sum));
            logits.extend(pairs.map(|(value, (largest, sum))| value - largest - sum.ln()));
        }
        Ok(logits)
    }
}

/// The sum over planes of the exponential of each value, relative to the largest value so that none overflows.
struct LogSumExp {
    largest: Vec<f32>,
    sum: Vec<f32>,
}

impl LogSumExp {
    fn new(pixels: usize) -> Self {
        Self {
            largest: vec![f32::NEG_INFINITY; pixels],
            sum: vec![0.0; pixels],
        }
    }

    fn add(&mut self, plane: &[f32]) {
        let places = self.largest.iter_mut().zip(&mut self.sum);
        for ((largest, sum), &value) in places.zip(plane) {
            if value > *largest {
                *sum = *sum * (*largest - value).exp() + 1.0;
                *largest = value;
            } else {
                *sum += (value - *largest).exp();
            }
        }
    }

    /// Raises probabilities to those of a plane that was added, where they are lower.
    fn raise(&self, probabilities: &mut [f32], plane: &[f32]) {
        let places = self.largest.iter().zip(&self.sum);
        for ((probability, &value), (largest, sum)) in
            probabilities.iter_mut().zip(plane).zip(places)
        {
            *probability = probability.max((value - largest).exp() / sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_a_softmax() {
        let planes = [[1.0f32, -200.0], [3.0, 150.0], [2.0, 149.0]];
        let mut total = LogSumExp::new(2);
        for plane in &planes {
            total.add(plane);
        }
        let expected = |place: usize, plane: usize| {
            let exponents = planes.map(|plane| f64::from(plane[place]).exp());
            (exponents[plane] / exponents.iter().sum::<f64>()) as f32
        };
        for (index, plane) in planes.iter().enumerate() {
            let mut found = [0.0; 2];
            total.raise(&mut found, plane);
            for place in [0, 1] {
                assert!((found[place] - expected(place, index)).abs() < 1e-6);
            }
        }
        // Of several names, the most probable counts.
        let mut both = [0.0; 2];
        total.raise(&mut both, &planes[0]);
        total.raise(&mut both, &planes[2]);
        assert!((both[0] - expected(0, 2)).abs() < 1e-6);
    }
}
