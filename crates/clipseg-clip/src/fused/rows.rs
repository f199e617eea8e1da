//! The elements of a tensor of the `flex` backend as a slice.

use burn::backend::flex::FlexTensor;

/// The tensor with its elements row by row; a copy only if they are not yet.
pub(super) fn row_by_row(x: FlexTensor) -> FlexTensor {
    if x.as_slice::<f32>().is_some() {
        x
    } else {
        x.to_contiguous()
    }
}

/// The elements of a tensor that [`row_by_row`] returned.
pub(super) fn elements(x: &FlexTensor) -> &[f32] {
    x.as_slice::<f32>()
        .unwrap_or_else(|| unreachable!("the callers check the type and the layout"))
}
