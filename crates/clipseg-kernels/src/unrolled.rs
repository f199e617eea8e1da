//! Loops that are unrolled before the compiler sees them.

/// Repeats a body with each constant index below a constant, at most 12.
///
/// The compiler keeps an array in registers only if all its indices are constants, and it does not
/// unroll a loop of this size by itself.
macro_rules! unrolled {
    ($count:expr, $index:ident => $body:expr) => {
        unrolled!($count, $index => $body, 0 1 2 3 4 5 6 7 8 9 10 11)
    };
    ($count:expr, $index:ident => $body:expr, $($value:literal)*) => {
        {
            $(if $count > $value {
                let $index: usize = $value;
                $body
            })*
        }
    };
}

pub(crate) use unrolled;
