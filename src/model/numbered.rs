//! Interned values: each is stored once and has a number.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::rc::Rc;

pub(super) type Number = u32;

#[derive(Debug)]
pub(super) struct Numbered<T> {
    values: Vec<Rc<T>>,
    numbers: HashMap<Rc<T>, Number, BuildHasherDefault<Quick>>,
}

impl<T: Eq + Hash> Numbered<T> {
    pub(super) fn new() -> Numbered<T> {
        Numbered { values: Vec::new(), numbers: HashMap::default() }
    }

    pub(super) fn number(&mut self, value: T) -> Number {
        let value = Rc::new(value);
        let next = Number::try_from(self.values.len()).expect("not so many");
        let values = &mut self.values;
        *self.numbers.entry(value).or_insert_with_key(|value| {
            values.push(Rc::clone(value));
            next
        })
    }

    pub(super) fn value(&self, number: Number) -> Rc<T> {
        Rc::clone(&self.values[number as usize])
    }
}

/// A fast hash for trusted input: the standard one takes most of the time of an unoptimised build.
#[derive(Debug, Default)]
pub(super) struct Quick(u64);

impl Hasher for Quick {
    fn finish(&self) -> u64 {
        // The table uses the upper bits for tags and the lower ones for slots.
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u8(&mut self, n: u8) {
        self.write_u64(u64::from(n));
    }

    fn write_u16(&mut self, n: u16) {
        self.write_u64(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }
}

pub(super) type QuickMap<K, V> = HashMap<K, V, BuildHasherDefault<Quick>>;
pub(super) type QuickSet<K> = std::collections::HashSet<K, BuildHasherDefault<Quick>>;
