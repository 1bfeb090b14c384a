//! The chart of the load benchmark: it is well-formed and in proportion, and the one in `docs/` matches its data file.

use std::fs;
use std::path::Path;

use roxmltree::{Document, Node};

#[path = "../../benches/load/chart.rs"]
mod drawing;

use drawing::{Point, draw, parse};

const SERIES: [&str; 4] = ["six plain calls", "atomic-write-file 0.3.1", "ringbolt", "ringbolt, journal"];

fn point(disk: &str, writers: u64, series: &str, median: f64) -> Point {
    let (disk, series) = (disk.to_owned(), series.to_owned());
    let machine = "Linux 6.18, <2> processors & more".to_owned();
    Point { disk, machine, writers, series, rounds: 11, median, quartiles: (median * 0.9, median * 1.1) }
}

fn points() -> Vec<Point> {
    let mut points = Vec::new();
    for (disk, speed) in [("ext4", 1000.0), ("ext4, slow", 77.0)] {
        for (writers, factor) in [(1, 1.0), (8, 3.0), (64, 5.0)] {
            for (i, series) in SERIES.iter().enumerate() {
                points.push(point(disk, writers, series, speed * factor * (i + 1) as f64));
            }
        }
        points.push(point(disk, 2, SERIES[0], 1e9));
        points.push(point(disk, 64, "tempfile persist, not durable", 1e9));
    }
    points
}

fn number(node: Node<'_, '_>, name: &str) -> f64 {
    node.attribute(name).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{name} of {node:?}"))
}

fn with_class<'a>(document: &'a Document<'a>, class: &str) -> Vec<Node<'a, 'a>> {
    let has = |node: &Node<'_, '_>| node.attribute("class").is_some_and(|all| all.split(' ').any(|one| one == class));
    document.descendants().filter(has).collect()
}

#[test]
fn bars_are_in_proportion_and_nothing_is_clipped() {
    let svg = draw(&points()).unwrap();
    let document = Document::parse(&svg).unwrap();
    let root = document.root_element();
    assert_eq!(root.attribute("role"), Some("img"));
    for name in ["title", "desc"] {
        let node = root.children().find(|node| node.has_tag_name(name) || node.tag_name().name() == name).unwrap();
        assert!(node.text().is_some_and(|text| text.len() > 20));
        assert!(root.attribute("aria-labelledby").unwrap().contains(node.attribute("id").unwrap()));
    }
    let bars = with_class(&document, "bar");
    assert_eq!(bars.len(), 2 * 3 * SERIES.len());
    let scale = number(bars[0], "width") / number(bars[0], "data-files-per-s");
    let (width, height) = (number(root, "width"), number(root, "height"));
    for bar in bars {
        let wanted = number(bar, "data-files-per-s") * scale;
        assert!((number(bar, "width") - wanted).abs() < 0.02, "{bar:?}: {wanted}");
        assert!(number(bar, "x") + number(bar, "width") < width && number(bar, "y") + number(bar, "height") < height);
    }
    // The values of a panel end before the next panel begins, at about 6.5 pixels per character.
    let figures = with_class(&document, "figure");
    assert_eq!(figures.len(), 2 * 3 * SERIES.len());
    let panels: Vec<f64> = with_class(&document, "panel").into_iter().map(|panel| number(panel, "x")).collect();
    for figure in figures {
        let begin = number(figure, "x");
        let end = begin + 6.5 * figure.text().unwrap().chars().count() as f64;
        let next = panels.iter().copied().find(|panel| *panel > begin).unwrap_or(width);
        assert!(end < next, "{figure:?} ends at {end}, and something else begins at {next}");
    }
}

#[test]
fn a_peer_is_shown_with_the_threads_that_suit_it_best() {
    let mut points = points();
    points.push(point("ext4", 8, SERIES[1], 9_000.0));
    points.push(point("ext4", 64, SERIES[1], 4_000.0));
    let svg = draw(&points).unwrap();
    assert_eq!(svg.matches(">9,000 (8 threads)<").count(), 1, "{svg}");
    assert!(!svg.contains(">4,000 (64 threads)<"));
    // 64 threads of ringbolt against 8 of the peer.
    assert_eq!(svg.matches(">15,000 · 1.7×<").count(), 1, "{svg}");
}

#[test]
fn points_come_back_from_their_lines() {
    let points = points();
    let text: String = points.iter().map(|point| point.to_line() + "\n").collect();
    let read = parse(&text).unwrap();
    assert_eq!(read.len(), points.len());
    for (read, point) in read.iter().zip(&points) {
        assert!((read.median - point.median).abs() <= 0.05 && read.series == point.series);
        assert_eq!((&read.disk, read.writers, read.rounds), (&point.disk, point.writers, point.rounds));
    }
    assert_eq!(draw(&parse("").unwrap()), None);
    assert!(parse("{}").is_err() && parse("x").is_err());
}

#[test]
fn the_chart_in_the_documentation_shows_the_data_beside_it() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let data = fs::read_to_string(docs.join("throughput.jsonl")).unwrap();
    let drawn = draw(&parse(&data).unwrap()).unwrap();
    let kept = fs::read_to_string(docs.join("throughput.svg")).unwrap();
    assert!(
        kept == drawn,
        "docs/throughput.svg does not show docs/throughput.jsonl: draw it again, as docs/performance.md says"
    );
}
