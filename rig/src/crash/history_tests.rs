use super::*;

fn bytes(text: &str) -> Option<Arc<[u8]>> {
    Some(text.as_bytes().into())
}

fn op(begun: usize, acknowledged: Option<usize>, effects: &[(&str, Option<&str>)], after: Option<usize>) -> Op {
    let effects = effects.iter().map(|(key, content)| ((*key).to_owned(), content.and_then(bytes))).collect();
    Op { what: "change", begun, acknowledged, effects, after }
}

fn found(files: &[(&str, &str)]) -> Contents {
    files.iter().map(|(key, content)| ((*key).to_owned(), content.as_bytes().to_vec())).collect()
}

fn check(ops: &[Op], files: &[(&str, &str)], cut: usize) -> Vec<String> {
    let violations = History { ops: ops.to_vec() }.check(&found(files), cut);
    violations.iter().map(ToString::to_string).collect()
}

#[test]
fn what_was_acknowledged_is_there_or_something_newer() {
    let ops = [
        op(0, Some(10), &[("k", Some("one"))], None),
        op(10, Some(20), &[("k", Some("two"))], None),
        op(20, Some(30), &[("k", None)], None),
    ];
    // (cut, allowed contents)
    for (cut, allowed) in [
        (0, vec![None]),
        (5, vec![None, Some("one")]),
        (10, vec![Some("one")]),
        (15, vec![Some("one"), Some("two")]),
        (20, vec![Some("two")]),
        (29, vec![Some("two"), None]),
        (30, vec![None]),
    ] {
        for content in [None, Some("one"), Some("two"), Some(""), Some("tw"), Some("\0\0\0")] {
            let files: Vec<(&str, &str)> = content.iter().map(|content| ("k", *content)).collect();
            assert_eq!(check(&ops, &files, cut).is_empty(), allowed.contains(&content), "{cut} {content:?}");
        }
    }
}

#[test]
fn a_violation_says_what_was_found_and_what_was_allowed() {
    let ops = [op(0, Some(3), &[("k", Some("first"))], None), op(4, None, &[("k", Some("second"))], None)];
    let was = "5 bytes as of operation 0 (change, begun at 0, acknowledged at 3)";
    let allowed = format!("{was}, or 6 bytes as of operation 1 (change, begun at 4, never acknowledged)");
    for (files, wrong) in [
        (vec![], "nothing"),
        (vec![("k", "")], "an empty file"),
        (vec![("k", "\0\0")], "2 bytes, all zero"),
        (
            vec![("k", "fir")],
            "3 bytes, of which the first 3 are as of operation 0 (change, begun at 0, acknowledged at 3) (5 bytes)",
        ),
    ] {
        assert_eq!(check(&ops, &files, 9), [format!("k: found {wrong}; allowed: {allowed}")]);
    }
    assert_eq!(
        check(&ops, &[("k", "second")], 4),
        [format!("k: found 6 bytes as of operation 1 (change, begun at 4, never acknowledged); allowed: {was}")]
    );
    let stray = check(&ops, &[("k", "first"), ("stray", "x")], 9);
    assert_eq!(stray, ["stray: found 1 bytes that no operation wrote; allowed: nothing as of the beginning"]);
}

#[test]
fn nothing_of_a_group_is_seen_before_the_one_before_it_is_whole() {
    let ops = [
        op(0, Some(0), &[("m", Some("old"))], None),
        op(1, None, &[("a", Some("1")), ("b", Some("2"))], None),
        op(1, None, &[("m", Some("a b"))], Some(1)),
    ];
    assert!(check(&ops, &[("m", "old")], 9).is_empty());
    assert!(check(&ops, &[("m", "old"), ("b", "2")], 9).is_empty());
    assert!(check(&ops, &[("m", "a b"), ("a", "1"), ("b", "2")], 9).is_empty());
    let wrong = check(&ops, &[("m", "a b"), ("b", "2")], 9);
    assert_eq!(wrong.len(), 1);
    assert!(
        wrong[0].starts_with("a: found nothing; allowed: as of operation 1")
            && wrong[0].contains("since m is as of operation 2")
    );
}

#[test]
fn what_is_renamed_is_never_without_a_name() {
    let ops = [op(0, Some(0), &[("a", Some("x"))], None), op(1, None, &[("a", None), ("b", Some("x"))], None)];
    assert!(check(&ops, &[("a", "x")], 9).is_empty());
    assert!(check(&ops, &[("b", "x")], 9).is_empty());
    assert!(check(&ops, &[("a", "x"), ("b", "x")], 9).is_empty());
    let wrong = check(&ops, &[], 9);
    assert!(wrong.len() == 1 && wrong[0].ends_with("since a is gone"), "{wrong:?}");
}
