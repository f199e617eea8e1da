//! Correction of p-values for many comparisons.

/// The p-values adjusted by Holm's method (Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure"), in
/// the order in which they were given.
///
/// If all comparisons with an adjusted p-value of at most α are called significant, the probability that any of them
/// is a false discovery is at most α, whatever the dependence between the comparisons. The i-th smallest of m
/// p-values becomes the largest of `(m - j + 1) · p_j` for `j ≤ i`, and at most 1.
///
/// ```
/// use clipseg_metrics::holm;
///
/// let adjusted = holm(&[0.04, 0.01, 0.03]);
/// assert_eq!(adjusted, [0.06, 0.03, 0.06]);
/// ```
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut highest = 0f64;
    for (rank, index) in order.into_iter().enumerate() {
        let factor = (p_values.len() - rank) as f64;
        highest = highest.max((factor * p_values[index]).min(1.0));
        adjusted[index] = highest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_values_are_adjusted_as_by_r() {
        // `p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.5), "holm")` of R.
        let adjusted = holm(&[0.5, 0.03, 0.01, 0.04, 0.02]);
        let expected = [0.5, 0.09, 0.05, 0.09, 0.08];
        for (found, expected) in adjusted.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{adjusted:?}");
        }
        assert_eq!(holm(&[]), [0.0; 0]);
        assert_eq!(holm(&[0.7, 0.8]), [1.0, 1.0]);
    }
}
