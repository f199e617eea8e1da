//! Operations on masks.

use super::*;
use proptest::prelude::*;

/// A mask from rows of `#` inside and `.` outside.
pub(crate) fn mask(rows: &[&str]) -> Mask {
    let values = rows.iter().flat_map(|row| row.bytes());
    let values = values.map(|letter| u8::from(letter == b'#')).collect();
    Mask::from_vec(rows[0].len() as u32, rows.len() as u32, values)
}

#[test]
fn the_box_is_tight() {
    let found = mask(&["......", "..#...", "...##.", "......"]).bounding_box();
    let expected = BoundingBox {
        x: 2,
        y: 1,
        width: 3,
        height: 2,
    };
    assert_eq!(found, Some(expected));
    assert_eq!(Mask::new(3, 2).bounding_box(), None);
    assert_eq!(Mask::new(0, 2).bounding_box(), None);
}

proptest! {
    #[test]
    fn masks_equal_their_values(
        (width, values) in (1u32..150).prop_flat_map(|width| {
            (Just(width), prop::collection::vec(0u8..2, 4 * width as usize))
        }),
        x in 0u32..160, y in 0u32..5, columns in 0u32..160, rows in 0u32..5,
    ) {
        let whole = Mask::from_vec(width, 4, values.clone());
        prop_assert_eq!(whole.to_vec(), &values[..]);
        prop_assert_eq!(whole.area(), values.iter().filter(|&&value| value == 1).count());
        let window = BoundingBox { x, y, width: columns, height: rows };
        let part = whole.crop(window);
        let seen = (0..4 * width).filter(|i| {
            let (column, row) = (i % width, i / width);
            values[*i as usize] == 1 && (x..x + columns).contains(&column) && (y..y + rows).contains(&row)
        });
        let count = seen.count();
        prop_assert_eq!((part.area(), whole.area_in(window)), (count, count));
        let mirrored = whole.flip_horizontal();
        for i in 0..4 * width {
            prop_assert_eq!(mirrored.contains(width - 1 - i % width, i / width), values[i as usize] == 1);
        }
        let end = x.min(width);
        let mut filled = Mask::new(width, 4);
        filled.fill_runs(2, [((end / 2) as i32, end as i32 - 1)]);
        let row: Vec<u8> = (0..width).map(|x| u8::from((end / 2..end).contains(&x))).collect();
        prop_assert_eq!(&filled.to_vec()[2 * width as usize..3 * width as usize], &row[..]);
        prop_assert_eq!(filled.area(), (end - end / 2) as usize);
    }
}

#[test]
fn windows() {
    let whole = mask(&["#..#..", "..##..", ".....#"]);
    let window = |x, y, width, height| BoundingBox {
        x,
        y,
        width,
        height,
    };
    assert_eq!(whole.crop(window(2, 0, 3, 2)), mask(&[".#.", "##."]));
    assert_eq!(whole.area_in(window(2, 0, 3, 2)), 3);
    assert_eq!(whole.crop(whole.frame()), whole);
    assert_eq!(whole.crop(window(5, 1, 9, 9)), mask(&[".", "#"]));
    assert_eq!(whole.area_in(window(7, 1, 9, 9)), 0);
    assert_eq!(
        whole.flip_horizontal(),
        mask(&["..#..#", "..##..", "#....."])
    );
}

#[test]
fn set_operations() {
    let (a, b) = (mask(&["##..", "##.."]), mask(&[".##.", "...."]));
    assert_eq!(a.union(&b).unwrap(), mask(&["###.", "##.."]));
    assert_eq!(a.intersection(&b).unwrap(), mask(&[".#..", "...."]));
    assert_eq!(a.difference(&b).unwrap(), mask(&["#...", "##.."]));
    assert_eq!(
        a.union(&Mask::new(4, 3)).unwrap_err().to_string(),
        "a mask of 4x2 cannot be combined with one of 4x3"
    );
}

#[test]
fn growing_and_shrinking() {
    let dot = mask(&[".....", ".....", "..#..", ".....", "....."]);
    let block = mask(&[".....", ".###.", ".###.", ".###.", "....."]);
    assert_eq!(dot.dilate(1), block);
    assert_eq!(block.erode(1), dot);
    assert_eq!(dot.dilate(0), dot);
    assert_eq!(Mask::new(3, 3).dilate(200), Mask::new(3, 3));
    let full = mask(&["##", "##"]);
    assert_eq!(full.erode(9), full);
}

proptest! {
    #[test]
    fn areas_of_sets_add_up(a in prop::collection::vec(0u8..2, 35), b in prop::collection::vec(0u8..2, 35)) {
        let (a, b) = (Mask::from_vec(7, 5, a), Mask::from_vec(7, 5, b));
        let both = a.intersection(&b).unwrap().area();
        prop_assert_eq!(a.union(&b).unwrap().area() + both, a.area() + b.area());
        prop_assert_eq!(a.difference(&b).unwrap().area() + both, a.area());
        prop_assert!(a.erode(1).area() <= a.area() && a.area() <= a.dilate(1).area());
    }
}
