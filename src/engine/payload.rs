//! The content of a put, in one or several chunks.

use std::fmt;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

/// The content of a put: any number of chunks, written one after the other into one file.
///
/// Everything that takes content takes `impl Into<Payload>`: [`Bytes`], a `Vec<u8>`, a `String`, static text, or several
/// [`Bytes`] that were never one buffer. Chunks are not copied into one; plain calls write up to 1,024 of them with one
/// `pwritev`. A payload is immutable, and its clone shares the chunks.
///
/// A ring writes a payload of one chunk as part of a chain. Several chunks are written with plain calls.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("page");
/// use bytes::Bytes;
/// use ringbolt::Payload;
///
/// let page = Payload::from_iter([Bytes::from("header"), Bytes::new(), Bytes::from(vec![b'!'; 3])]);
/// assert_eq!((page.len(), page.chunks().len()), (9, 2)); // empty chunks are dropped
/// ringbolt::write(&path, page)?;
/// assert_eq!(std::fs::read(&path)?, b"header!!!");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Payload {
    chunks: Chunks,
}

/// No chunk is empty, unless it is the only one.
#[derive(Clone)]
enum Chunks {
    One(Bytes),
    /// Two or more, each with the offset of its end.
    Many(Arc<[Bytes]>, Arc<[usize]>),
}

impl Default for Chunks {
    fn default() -> Chunks {
        Chunks::One(Bytes::new())
    }
}

/// The most slices of one `pwritev` (`IOV_MAX`) on Linux, macOS and the BSDs.
pub(crate) const SLICES_MAX: usize = 1024;

impl Payload {
    /// No content: an empty file.
    pub fn new() -> Payload {
        Payload::default()
    }

    /// The length of all chunks together, in bytes.
    pub fn len(&self) -> usize {
        match &self.chunks {
            Chunks::One(bytes) => bytes.len(),
            Chunks::Many(_, ends) => ends.last().copied().unwrap_or(0),
        }
    }

    /// Whether the content is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The chunks in order. None is empty.
    pub fn chunks(&self) -> &[Bytes] {
        match &self.chunks {
            Chunks::One(bytes) if bytes.is_empty() => &[],
            Chunks::One(bytes) => std::slice::from_ref(bytes),
            Chunks::Many(chunks, _) => chunks,
        }
    }

    /// The whole content, if it is one chunk or empty.
    pub(crate) fn contiguous(&self) -> Option<&Bytes> {
        match &self.chunks {
            Chunks::One(bytes) => Some(bytes),
            Chunks::Many(..) => None,
        }
    }

    /// The chunks that hold `range`, at most [`SLICES_MAX`] of them, cut at its ends. `range` must be within the content and not
    /// empty.
    fn pieces(&self, range: Range<usize>) -> impl Iterator<Item = (&Bytes, Range<usize>)> {
        let first = match &self.chunks {
            Chunks::One(_) => 0,
            Chunks::Many(_, ends) => ends.partition_point(|end| *end <= range.start),
        };
        let begin = match &self.chunks {
            Chunks::Many(_, ends) if first > 0 => ends[first - 1],
            _ => 0,
        };
        self.chunks()[first..].iter().take(SLICES_MAX).scan(begin, move |begin, chunk| {
            let from = range.start.saturating_sub(*begin);
            let to = chunk.len().min(range.end.saturating_sub(*begin));
            *begin += chunk.len();
            (from < to).then_some((chunk, from..to))
        })
    }

    /// The slices for one `pwritev` of `range`, from its start.
    pub(crate) fn slices(&self, range: Range<usize>) -> Vec<IoSlice<'_>> {
        self.pieces(range).map(|(chunk, part)| IoSlice::new(&chunk[part])).collect()
    }

    /// The same as buffers that share the chunks.
    #[cfg(all(feature = "tokio-uring", target_os = "linux"))]
    pub(crate) fn buffers(&self, range: Range<usize>) -> Vec<Bytes> {
        self.pieces(range).map(|(chunk, part)| chunk.slice(part)).collect()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes in {} chunks)", self.len(), self.chunks().len())
    }
}

impl FromIterator<Bytes> for Payload {
    /// # Panics
    ///
    /// If the total length overflows `usize`.
    fn from_iter<I: IntoIterator<Item = Bytes>>(chunks: I) -> Payload {
        let mut chunks: Vec<Bytes> = chunks.into_iter().filter(|chunk| !chunk.is_empty()).collect();
        if chunks.len() < 2 {
            return Payload::from(chunks.pop().unwrap_or_default());
        }
        let ends = chunks.iter().scan(0_usize, |end, chunk| {
            *end = end.checked_add(chunk.len()).expect("the length of a payload fits a usize");
            Some(*end)
        });
        let ends = ends.collect();
        Payload { chunks: Chunks::Many(chunks.into(), ends) }
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Payload {
        Payload { chunks: Chunks::One(bytes) }
    }
}

impl From<Vec<Bytes>> for Payload {
    fn from(chunks: Vec<Bytes>) -> Payload {
        chunks.into_iter().collect()
    }
}

/// As for [`Bytes`], none of these conversions copies the content.
macro_rules! from {
    ($($type:ty),*) => {
        $(impl From<$type> for Payload {
            fn from(bytes: $type) -> Payload {
                Payload::from(Bytes::from(bytes))
            }
        })*
    };
}

from!(BytesMut, Vec<u8>, Box<[u8]>, String, &'static [u8], &'static str);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Successive writes of any length, over any chunks, add up to the content.
    #[test]
    fn calls_of_any_length_write_the_whole_content() {
        proptest!(|(lens in prop::collection::vec(0_usize..5, 0..3000), takes in prop::collection::vec(1_usize..4000, 1..20))| {
            let mut next = 0_u8;
            let chunks = lens.iter().map(|len| {
                (0..*len).map(|_| { next = next.wrapping_add(1); next }).collect::<Bytes>()
            });
            let chunks: Vec<Bytes> = chunks.collect();
            let whole = chunks.concat();
            let payload = Payload::from(chunks);
            prop_assert_eq!(payload.len(), whole.len());
            prop_assert!(payload.chunks().iter().all(|chunk| !chunk.is_empty()));
            prop_assert_eq!(payload.chunks().concat(), &whole[..]);
            let (mut written, mut takes) = (Vec::<u8>::new(), takes.iter().cycle());
            while written.len() < whole.len() {
                let end = whole.len().min(written.len() + 5000);
                let slices = payload.slices(written.len()..end);
                prop_assert!(slices.len() <= SLICES_MAX);
                let given: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
                prop_assert!(!given.is_empty() && written.len() + given.len() <= end);
                written.extend(given.iter().take(*takes.next().unwrap()));
            }
            prop_assert_eq!(written, whole);
        });
    }

    #[test]
    fn everything_that_can_be_bytes_can_be_a_payload() {
        let all: [Payload; 7] = [
            Bytes::from_static(b"abc").into(),
            BytesMut::from(&b"abc"[..]).into(),
            b"abc".to_vec().into(),
            Box::<[u8]>::from(*b"abc").into(),
            "abc".to_owned().into(),
            (&b"abc"[..]).into(),
            vec![Bytes::new(), Bytes::from_static(b"abc"), Bytes::new()].into(),
        ];
        assert!(all.iter().all(|payload| payload.contiguous().is_some_and(|bytes| bytes == "abc")));
        assert_eq!(Payload::from("abc").chunks(), ["abc"]);
        assert_eq!(format!("{:?}", all[6]), "Payload(3 bytes in 1 chunks)");
        let vec = vec![0; 100];
        let at = vec.as_ptr();
        assert_eq!(Payload::from(vec).chunks()[0].as_ptr(), at);
        assert!(Payload::new().is_empty() && Payload::new().chunks().is_empty());
    }
}
