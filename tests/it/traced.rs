//! The `tracing` events of the crate.

use std::fmt::Write;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use ringbolt::{Barrier, Store};

use crate::help::*;

/// A subscriber that records the text of every event of this crate.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("ringbolt")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(event.metadata().level().to_string());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn opening_and_failures_emit_events() {
    each_engine(|engine, dir| {
        let listener = Recorder::default();
        tracing::subscriber::with_default(listener.clone(), || {
            let store = open(dir, engine);
            store.put("k", "1").unwrap();
            store.put_new("k", "2").unwrap_err();
        });
        let heard = listener.0.lock().unwrap().clone();
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

/// A subscriber that puts a key at the first event.
struct Puts(Arc<Mutex<Option<Store>>>);

impl Subscriber for Puts {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("ringbolt")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        let store = self.0.lock().unwrap().take();
        if let Some(store) = store {
            store.put("from a listener", "1").unwrap();
            store.checkpoint().unwrap();
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// An event is emitted when its caller holds no lock: a listener that commits would wait for itself.
#[test]
fn a_listener_may_use_the_store() {
    each_engine(|engine, dir| {
        let store = Store::builder(dir).create_if_missing(true).engine(engine).barrier(Barrier::IntentLogOrAuto);
        let store = store.log_bytes(1 << 20).open().unwrap();
        store.put("k", "1").unwrap();
        let held = Arc::new(Mutex::new(Some(store.clone())));
        tracing::subscriber::with_default(Puts(Arc::clone(&held)), || store.put_new("k", "2").unwrap_err());
        assert!(held.lock().unwrap().is_none(), "it was called");
        assert_eq!(store.get("from a listener").unwrap(), "1");
    });
}
