//! The edges of a polygon that touch a row.

/// Keeps the list of edges that touch the current row, in the order of the polygon.
pub(super) struct ActiveEdges {
    /// First and last row of each edge.
    rows: Vec<[i64; 2]>,
    /// Edges that have not begun, sorted by their first row, the next one last.
    waiting: Vec<u32>,
    active: Vec<u32>,
}

impl ActiveEdges {
    /// Creates the list from the first and last row of each edge.
    pub(super) fn new(rows: Vec<[i64; 2]>) -> Self {
        let mut waiting: Vec<u32> = (0..rows.len() as u32).collect();
        waiting.sort_unstable_by_key(|&edge| std::cmp::Reverse(rows[edge as usize][0]));
        Self {
            rows,
            waiting,
            active: Vec::new(),
        }
    }

    /// Moves to a row, which must be below the current one.
    pub(super) fn go_to(&mut self, row: i64) {
        let Self {
            rows,
            waiting,
            active,
        } = self;
        active.retain(|&edge| rows[edge as usize][1] >= row);
        while let Some(edge) = waiting.pop_if(|edge| rows[*edge as usize][0] <= row) {
            if rows[edge as usize][1] >= row {
                let place = active.partition_point(|&other| other < edge);
                active.insert(place, edge);
            }
        }
    }

    /// Indices of the edges that touch the current row.
    pub(super) fn touched(&self) -> &[u32] {
        &self.active
    }

    /// The next row on which an edge begins or ends; `None` if one does on `row`, the current row.
    pub(super) fn passing_until(&self, row: i64) -> Option<i64> {
        let next = self.waiting.last();
        let mut until = next.map_or(i64::MAX, |&edge| self.rows[edge as usize][0]);
        for &edge in &self.active {
            let [first, last] = self.rows[edge as usize];
            if first == row || last == row {
                return None;
            }
            until = until.min(last);
        }
        Some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_list_equals_that_of_an_exhaustive_search(
            edges in prop::collection::vec([-20i64..40, 0..15], 0..30), first in -5i64..10
        ) {
            let rows: Vec<[i64; 2]> = edges.iter().map(|[top, more]| [*top, top + more]).collect();
            let mut active = ActiveEdges::new(rows.clone());
            for row in first..30 {
                let each = (0..rows.len() as u32).filter(|&edge| {
                    (rows[edge as usize][0]..=rows[edge as usize][1]).contains(&row)
                });
                let each: Vec<u32> = each.collect();
                active.go_to(row);
                prop_assert_eq!(active.touched(), &each[..]);
                let quiet = |row: i64| rows.iter().all(|ends| !ends.contains(&row));
                match active.passing_until(row) {
                    None => prop_assert!(!quiet(row)),
                    Some(until) => {
                        prop_assert!((row..until.min(60)).all(quiet));
                        prop_assert!(until > 60 || !quiet(until));
                    }
                }
            }
        }
    }
}
