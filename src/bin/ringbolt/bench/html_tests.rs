//! Checks that the report is well-formed, complete and safe.

use ringbolt::bench::{Method, NotMeasured, Results, SCHEMA, Series};
use ringbolt::environment::{Device, Environment, Filesystem, Warning};

use super::html::page;

const HOSTILE: &str = "<script>alert('1')</script>\"'><img src=x onerror=y>&amp;";

fn series(name: &str, p50: f64) -> Series {
    Series {
        name: name.to_owned(),
        n: 12_345,
        p50_us: p50,
        p90_us: p50 * 1.5,
        p99_us: p50 * 4.0,
        p999_us: Some(p50 * 9.0),
        max_us: p50 * 20.0,
        p50_interval_us: Some((p50 * 0.97, p50 * 1.04)),
        ops_per_s: 1e6 / p50.max(1e-3),
        flushes_per_op: Some(2.0),
        writes_per_op: Some(3.1),
        kib_per_op: Some(16.4),
        cpu_us_per_op: Some(80.0),
        ctx_switches_per_op: Some(8.0),
        rounds_p50_us: vec![p50, p50 * 1.1, p50 * 0.9],
        quantiles_us: vec![(0.0, p50 / 2.0), (0.5, p50), (0.99, p50 * 4.0), (1.0, p50 * 20.0)],
    }
}

/// A series without any optional figure.
fn bare(name: &str, p50: f64) -> Series {
    Series {
        p999_us: None,
        p50_interval_us: None,
        flushes_per_op: None,
        writes_per_op: None,
        kib_per_op: None,
        cpu_us_per_op: None,
        ctx_switches_per_op: None,
        rounds_p50_us: vec![p50],
        quantiles_us: vec![(1.0, p50)],
        ..series(name, p50)
    }
}

fn results(series: Vec<Series>) -> Results {
    Results {
        schema: SCHEMA.to_owned(),
        version: "0.1.0".to_owned(),
        began: "2026-03-01T12:00:00Z".to_owned(),
        took_s: 20.4,
        partial: false,
        method: Method { mode: "default".to_owned(), rounds: 3, turn_ms: 120, size_bytes: 4096, rate_per_s: None },
        environment: Environment::default(),
        summary: None,
        warnings: Vec::new(),
        results: series,
        not_measured: Vec::new(),
    }
}

fn rich() -> Results {
    let steps = ["openat", "write", "fsync", "close", "renameat", "fsync-dir"];
    let mut all: Vec<_> = steps.iter().map(|step| series(&format!("step/{step}"), 50.0)).collect();
    let others = [
        "replace/plain-calls",
        "replace/portable",
        "replace/uring-chain",
        "store/1xportable",
        "store/64xportable",
        "store/64xuring",
        "batch/1/journal",
        "batch/64/journal",
        "size/512",
        "size/1048576",
        "floor/clean-fsync",
        "method/unlink",
        "unheard-of",
    ];
    all.extend(others.iter().map(|name| series(name, 300.0)));
    Results { summary: Some("A durable replace costs 5 ms, 40 % of it: the write.".to_owned()), ..results(all) }
}

/// Parses the page strictly, as XML, after closing the elements that HTML leaves open. Returns its text.
fn check(page: &str) -> String {
    let body = page.strip_prefix("<!DOCTYPE html>").expect("a doctype");
    let closed: String = body
        .split_inclusive('>')
        .map(|part| if part.starts_with("<meta ") { part.replace('>', "/>") } else { part.to_owned() })
        .collect();
    let tree = roxmltree::Document::parse(&closed).unwrap_or_else(|error| panic!("{error}\n{closed}"));
    for node in tree.descendants().filter(roxmltree::Node::is_element) {
        let name = node.tag_name().name();
        assert!(!["script", "img", "link", "iframe", "object", "image", "use"].contains(&name), "{name}");
        assert!(name != "th" || node.attribute("scope").is_some(), "a header of nothing");
        for attribute in node.attributes() {
            let (name, value) = (attribute.name(), attribute.value());
            assert!(!name.starts_with("on") && name != "style" && name != "src", "{name}={value}");
            assert!(name != "href" || value.starts_with('#'), "{value}");
            assert!(!value.contains("NaN") && !value.contains("inf%"), "{name}={value}");
        }
        if node.attribute("role") == Some("img") {
            assert!(node.attribute("aria-label").is_some_and(|label| !label.is_empty()));
        }
    }
    assert!(!page.contains("<script") && !page.contains("url(") && !page.contains("@import"));
    assert!(!page.contains("http:") && !page.contains("https:"));
    tree.root().descendants().filter(roxmltree::Node::is_text).filter_map(|node| node.text()).collect()
}

#[test]
fn every_series_is_in_it() {
    let results = rich();
    let text = check(&page(&results, &[]));
    for series in &results.results {
        assert!(text.contains(&series.name), "{}", series.name);
    }
    assert!(
        text.contains("A durable replace costs 5\u{a0}ms, 40\u{a0}% of it: the write.")
            && text.contains("1 March 2026, 12:00 UTC")
    );
    assert!(text.contains("closed loop: each operation starts when the previous one ends"));
    assert!(text.contains("Only a power cut proves that a disk is honest"));
    assert!(text.contains("Throughput by batch size") && text.contains("1 MiB"));
    assert!(!text.contains("Partial") && !text.contains("Demands") && !text.contains("Nothing is durable"));
}

#[test]
fn what_is_not_there_is_not_shown() {
    let text = check(&page(&results(Vec::new()), &[]));
    assert!(text.contains("Nothing was measured") && text.contains("The steps were not measured"), "{text}");
    check(&page(&results(vec![bare("replace/portable", 12.0)]), &[]));
    check(&page(
        &results(vec![Series { rounds_p50_us: vec![], quantiles_us: vec![], ..bare("store/1xuring", 9.0) }]),
        &[],
    ));
    let text = check(&page(&results(vec![bare("step/write", 5.0), bare("step/fsync", 0.0)]), &[]));
    assert!(text.contains("Some of the steps were not measured") && text.contains('–'));
    let odd = ["store/manyxuring", "store/", "batch/x", "batch/1", "size/", "size/big", "step/", "", "/"];
    check(&page(&results(odd.map(|name| bare(name, 1.0)).to_vec()), &[]));
}

#[test]
fn the_fastest_and_the_slowest_have_their_places() {
    for us in [0.0, 0.004, 0.4, 9e7, f64::NAN, f64::INFINITY] {
        let mut run = rich();
        for (i, series) in run.results.iter_mut().enumerate().filter(|(i, _)| i % 2 == 0) {
            *series = self::series(&series.name, us * (1 + i) as f64);
        }
        let page = page(&run, &[]);
        if us.is_finite() {
            check(&page);
        }
    }
}

#[test]
fn what_is_wrong_is_loud() {
    let mut run = rich();
    run.partial = true;
    run.warnings.push("others use this disk".to_owned());
    run.environment.filesystem = Filesystem { kind: "tmpfs".to_owned(), volatile: true, ..Filesystem::default() };
    run.environment.warnings.push(Warning { what: "no barriers.".to_owned(), advice: "Mount with them.".to_owned() });
    run.not_measured.push(NotMeasured { name: "replace/uring".to_owned(), reason: "seccomp forbids it".to_owned() });
    run.method.rate_per_s = Some(200.0);
    let verdicts = [
        ("replace.p99<5ms".to_owned(), true, "1.2 ms".to_owned()),
        ("replace.p50<1us".to_owned(), false, "300 µs".to_owned()),
    ];
    let text = check(&page(&run, &verdicts));
    for part in [
        "Partial: What durability costs",
        "The run ended early",
        "Nothing is durable here",
        "others use this disk",
        "no barriers. Mount with them.",
        "seccomp forbids it",
        "200 operations per second and writer",
        "1 of 2 demands met",
        "✓ metreplace.p99<5ms1.2 ms",
        "✗ not metreplace.p50<1us300 µs",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn no_text_becomes_markup() {
    let hostile = || HOSTILE.to_owned();
    let mut run = rich();
    run.results
        .extend(["step/", "replace/", "store/3x", "batch/7/", ""].map(|kind| series(&format!("{kind}{HOSTILE}"), 3.0)));
    (run.version, run.began, run.schema, run.summary) = (hostile(), hostile(), hostile(), Some(hostile()));
    (run.warnings, run.method.mode) = (vec![hostile()], hostile());
    run.not_measured.push(NotMeasured { name: hostile(), reason: hostile() });
    let environment = &mut run.environment;
    environment.directory = hostile().into();
    (environment.kernel, environment.engine, environment.engine_reason) = (hostile(), hostile(), hostile());
    (environment.barriers, environment.barriers_refused) = (vec![hostile()], vec![hostile()]);
    environment.io_uring.reason = hostile();
    environment.io_uring.missing_operations = vec![hostile()];
    environment.filesystem.kind = hostile();
    environment.filesystem.options = vec![hostile()];
    environment.filesystem.source = Some(hostile());
    environment.directory_fsync.error = Some(hostile());
    environment.warnings.push(Warning { what: hostile(), advice: hostile() });
    environment.device.push(Device { name: hostile(), model: Some(hostile()), ..Device::default() });
    let text = check(&page(&run, &[(hostile(), false, hostile())]));
    assert!(text.matches(HOSTILE).count() > 20, "{text}");
}
