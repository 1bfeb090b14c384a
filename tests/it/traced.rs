//! The `tracing` events of the crate.

use std::fmt::Write;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use ringbolt::{Barrier, Store};

use crate::help::*;

/// A subscriber that passes on every event of this crate.
struct Listener<F>(F);

impl<F: Fn(&Event<'_>) + 'static> Subscriber for Listener<F> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("ringbolt")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        (self.0)(event);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

#[test]
fn opening_and_failures_emit_events() {
    each_engine(|engine, dir| {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let listener = {
            let heard = Arc::clone(&heard);
            Listener(move |event: &Event<'_>| {
                let mut text = Text(event.metadata().level().to_string());
                event.record(&mut text);
                heard.lock().unwrap().push(text.0);
            })
        };
        tracing::subscriber::with_default(listener, || {
            let store = open(dir, engine);
            store.put("k", "1").unwrap();
            store.put_new("k", "2").unwrap_err();
        });
        let heard = heard.lock().unwrap().clone();
        let one = |words: &[&str]| {
            assert_eq!(
                heard.iter().filter(|text| words.iter().all(|word| text.contains(word))).count(),
                1,
                "{heard:?}"
            );
        };
        one(&["DEBUG", "store opened", "clean=false"]);
        one(&["DEBUG", "change failed", "File exists", "Rename"]);
    });
}

/// A caller's thread emits events when it holds no lock: a listener that commits would wait for itself.
#[test]
fn a_listener_may_use_the_store() {
    each_engine(|engine, dir| {
        let store = Store::builder(dir).create_if_missing(true).engine(engine).barrier(Barrier::IntentLogOrAuto);
        let store = store.log_bytes(1 << 20).open().unwrap();
        store.put("k", "1").unwrap();
        let held = Arc::new(Mutex::new(Some(store.clone())));
        let listener = {
            let held = Arc::clone(&held);
            Listener(move |_: &Event<'_>| {
                // At the first event.
                let store = held.lock().unwrap().take();
                if let Some(store) = store {
                    store.put("from a listener", "1").unwrap();
                    store.checkpoint().unwrap();
                }
            })
        };
        tracing::subscriber::with_default(listener, || store.put_new("k", "2").unwrap_err());
        assert!(held.lock().unwrap().is_none(), "it was called");
        assert_eq!(store.get("from a listener").unwrap(), "1");
    });
}
