//! Phrases and polygons compared with their scenes by an independent implementation.

use super::{config, phrases_of};
use crate::mask::Mask;
use crate::raster::RasterRule;
use crate::scenes::placing::{Scene, Visible};
use crate::scenes::shapes::Shape;
use crate::scenes::writing::image_id;
use std::collections::{BTreeMap, BTreeSet};

/// A phrase parsed from its words.
#[derive(Debug, Default)]
struct Said {
    name: String,
    attributes: Vec<String>,
    relations: Vec<(String, String)>,
}

fn read(phrase: &str) -> Said {
    let mut said = Said::default();
    let mut parts = phrase.split(" and ");
    let first = parts.next().unwrap();
    let mut words = first.split(' ');
    for word in words.by_ref() {
        if Shape::ALL.iter().any(|shape| shape.name() == word) {
            said.name = word.to_owned();
            break;
        }
        said.attributes.push(word.to_owned());
    }
    let rest: Vec<&str> = words.collect();
    let relations = (!rest.is_empty())
        .then(|| rest.join(" "))
        .into_iter()
        .chain(parts.map(str::to_owned));
    for relation in relations {
        let (predicate, other) = relation.rsplit_once(' ').unwrap();
        said.relations
            .push((predicate.to_owned(), other.to_owned()));
    }
    said
}

/// First and last column and row of a mask.
fn limits(mask: &Mask) -> [i64; 4] {
    let width = mask.width() as usize;
    let inside: Vec<[i64; 2]> = mask
        .pixels()
        .enumerate()
        .filter(|(_, inside)| *inside)
        .map(|(index, _)| [(index % width) as i64, (index / width) as i64])
        .collect();
    let of = |axis: usize| {
        let values = || inside.iter().map(|pixel| pixel[axis]);
        (values().min().unwrap(), values().max().unwrap())
    };
    let ((left, right), (top, bottom)) = (of(0), of(1));
    [left, top, right, bottom]
}

/// Whether `a` possibly has the relation to `b`, and whether it certainly has.
fn may_and_must(predicate: &str, scene: &Scene, seen: &[Visible], a: usize, b: usize) -> [bool; 2] {
    let (la, lb) = (limits(&seen[a].mask), limits(&seen[b].mask));
    // Twice the centres, so that they are integers.
    let [ahead, down] = [lb[0] + lb[2] - la[0] - la[2], lb[1] + lb[3] - la[1] - la[3]];
    match predicate {
        "left of" => [
            ahead > 0,
            ahead > 0 && la[2] < lb[0] && down.abs() <= 2 * ahead,
        ],
        "right of" => [
            ahead < 0,
            ahead < 0 && lb[2] < la[0] && down.abs() <= -2 * ahead,
        ],
        "above" => [
            down > 0,
            down > 0 && la[3] < lb[1] && ahead.abs() <= 2 * down,
        ],
        "below" => [
            down < 0,
            down < 0 && lb[3] < la[1] && ahead.abs() <= -2 * down,
        ],
        "inside" => {
            let outline: BTreeSet<[i32; 2]> = scene.objects[b].silhouette.inside().collect();
            let held = |[x, y]: [i32; 2]| {
                let reach = 0..2 * scene.side as i32;
                let meets = |[dx, dy]: [i32; 2]| {
                    reach
                        .clone()
                        .any(|step| outline.contains(&[x + step * dx, y + step * dy]))
                };
                [[1, 0], [-1, 0], [0, 1], [0, -1]].into_iter().all(meets)
            };
            let pixels: Vec<[i32; 2]> = scene.objects[a].silhouette.inside().collect();
            let held = pixels.iter().filter(|pixel| held(**pixel)).count();
            let plain = ["circle", "square", "diamond", "ring", "triangle", "heart"];
            let closed = plain.contains(&scene.objects[b].look.shape.name());
            [4 * held > pixels.len(), held == pixels.len() && closed]
        }
        "on" => {
            let table = scene.objects[b].look.shape == Shape::Table;
            let above = la[0] <= lb[2] && lb[0] <= la[2];
            let near = (lb[1] - la[3] - 1) as f32 <= 0.08 * scene.side as f32 && la[1] <= lb[1];
            let touches = (lb[1] - la[3] - 1).abs() <= 2;
            let centred = la[0] + la[2] >= 2 * lb[0] && la[0] + la[2] <= 2 * lb[2];
            [table && above && near, table && touches && centred]
        }
        other => panic!("unknown word `{other}`"),
    }
}

/// The objects that a phrase certainly describes; none may be ambiguous.
fn shown_by(said: &Said, scene: &Scene, seen: &[Visible]) -> Vec<usize> {
    let objects = || 0..scene.objects.len();
    let visible = |index: &usize| seen[*index].mask.area() > 0;
    let fits = |index: &usize| {
        let look = &scene.objects[*index].look;
        let own = [look.colour.name, look.texture.name(), look.size.name()];
        let attributes = &said.attributes;
        look.shape.name() == said.name && attributes.iter().all(|word| own.contains(&&**word))
    };
    let candidates: Vec<usize> = objects().filter(visible).filter(fits).collect();
    let judged = |index: usize| {
        let mut both = [true, seen[index].named];
        for (predicate, other) in &said.relations {
            let others = objects().filter(|other| *other != index).filter(visible);
            let others = others.filter(|&o| scene.objects[o].look.shape.name() == other);
            let mut any = [false, false];
            for other in others {
                let [may, must] = may_and_must(predicate, scene, seen, index, other);
                any = [any[0] || may, any[1] || (must && seen[other].named)];
            }
            both = [both[0] && any[0], both[1] && any[1]];
        }
        both
    };
    candidates
        .into_iter()
        .filter(|&index| {
            let [may, must] = judged(index);
            assert_eq!(may, must, "{said:?} is in doubt for {index}");
            must
        })
        .collect()
}

#[test]
fn every_phrase_is_true_of_just_the_objects_that_it_shows() {
    let (mut kinds, mut predicates) = (BTreeMap::new(), BTreeMap::new());
    let (mut several, mut total) = (0, 0);
    for (config, indices) in [(config(400, 128, 1), 0..400), (config(60, 48, 2), 0..60)] {
        for index in indices {
            let (scene, phrases) = phrases_of(&config, index);
            let seen = scene.visible();
            let mut tasks = BTreeSet::new();
            for phrase in &phrases {
                let said = read(&phrase.phrase);
                let structure = &phrase.phrase_structure;
                assert_eq!(
                    (
                        &structure.name,
                        &structure.attributes,
                        &structure.relation_descriptions
                    ),
                    (&said.name, &said.attributes, &said.relations),
                    "{phrase:?}"
                );
                assert_eq!(structure.relation_ids.len(), said.relations.len());
                let shown = shown_by(&said, &scene, &seen);
                let first = 100 * image_id(index);
                let expected: Vec<u64> = shown.iter().map(|&o| first + o as u64).collect();
                assert_eq!(phrase.ann_ids, expected, "{}", phrase.phrase);
                let ids: Vec<String> = expected.iter().map(u64::to_string).collect();
                assert_eq!(
                    phrase.task_id,
                    format!("{}__{}", image_id(index), ids.join("_"))
                );
                assert!(tasks.insert(phrase.task_id.clone()), "{}", phrase.task_id);

                *kinds.entry(structure.kind.clone()).or_insert(0) += 1;
                for (predicate, _) in &said.relations {
                    *predicates.entry(predicate.clone()).or_insert(0) += 1;
                }
                several += usize::from(shown.len() > 1);
                total += 1;
            }
        }
    }
    println!("{total} phrases, {several} of several instances, {kinds:?}, {predicates:?}");
    assert!(total > 1_500 && several > total / 12, "{total}, {several}");
    assert!(
        kinds.len() == 4 && kinds.values().all(|count| *count > total / 12),
        "{kinds:?}"
    );
    assert!(
        predicates.len() == 6 && predicates.values().all(|count| *count > 10),
        "{predicates:?}"
    );
}

#[test]
fn polygons_are_filled_to_just_what_is_seen() {
    let config = config(200, 96, 3);
    let mut hidden = 0;
    for index in 0..200 {
        let (scene, phrases) = phrases_of(&config, index);
        // Visible are the pixels that no later object covers.
        let side = scene.side as usize;
        let mut owner = vec![usize::MAX; side * side];
        for (number, object) in scene.objects.iter().enumerate() {
            for [x, y] in object.silhouette.inside() {
                if (0..side as i32).contains(&x) && (0..side as i32).contains(&y) {
                    owner[y as usize * side + x as usize] = number;
                }
            }
        }
        for phrase in &phrases {
            let boxes = phrase.instance_boxes.iter();
            let instances = phrase.ann_ids.iter().zip(phrase.polygons.by_instance());
            for ((id, polygons), found) in instances.zip(boxes) {
                let number = (id - 100 * image_id(index)) as usize;
                let seen = owner.iter().map(|&of| u8::from(of == number));
                let seen = Mask::from_vec(scene.side, scene.side, seen.collect());
                let mut filled = Mask::new(scene.side, scene.side);
                for polygon in polygons {
                    assert!(polygon.len() >= 3);
                    RasterRule::Pillow.fill(&mut filled, polygon);
                }
                assert!(filled == seen, "{}, object {number}", phrase.phrase);
                let [left, top, right, bottom] = limits(&seen).map(|value| value as f32);
                assert_eq!(*found, [left, top, right - left + 1.0, bottom - top + 1.0]);
                let whole = scene.objects[number].silhouette.area();
                assert!(
                    2 * seen.area() >= whole,
                    "{} is nearly hidden",
                    phrase.phrase
                );
                hidden += usize::from(10 * seen.area() < 9 * whole);
            }
        }
    }
    assert!(hidden > 100, "only {hidden} are partly hidden");
}
