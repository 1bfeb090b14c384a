use super::crash::Tree;
use super::disk::{Content, Disk, Filesystem, INNER, Place};
use super::interleave::{Scenario, Summary};
use super::operation::{A, FREE, Operation, PUT, Put, disk};
use crate::protocol::Existing;

/// A key in the directory whose name is that of [`FREE`].
const INSIDE: Place = Place { dir: INNER, name: super::disk::Name::Key(3) };

/// An empty directory has the name of [`FREE`].
fn emptied(filesystem: Filesystem) -> Disk {
    disk(filesystem).with_inner(FREE)
}

fn holds(disk: &Disk, operations: Vec<Operation>, fails: bool) -> Summary {
    let scenario = Scenario { fails, ..Scenario::new(disk, operations) };
    scenario.explore().unwrap_or_else(|violation| panic!("{violation}"))
}

fn puts(id: u8) -> [Operation; 3] {
    let create = Put { existing: Existing::Refuse, ..PUT };
    [Operation::put(id, FREE, PUT), Operation::put(id, FREE, create), Operation::commit(id, FREE, PUT)]
        .map(Operation::clearing)
}

fn ends(summary: &Summary, place: Place) -> bool {
    summary.trees.iter().any(|tree: &Tree| tree.keys().at(place).is_some())
}

/// A key takes the name, whichever call fails. Every cut leaves the key whole, or no key.
#[test]
fn a_key_takes_the_place_of_an_empty_directory() {
    for filesystem in Filesystem::ALL {
        for put in puts(0) {
            assert!(ends(&holds(&emptied(filesystem), vec![put.clone()], false), FREE), "{}", put.label);
            holds(&emptied(filesystem), vec![put], true);
        }
    }
    let rename = Operation::rename(A, FREE).clearing();
    assert!(ends(&holds(&emptied(Filesystem::Journaled), vec![rename], false), FREE));
}

/// Without that, the put is always refused.
#[test]
fn a_single_write_leaves_the_directory() {
    for filesystem in Filesystem::ALL {
        assert!(!ends(&holds(&emptied(filesystem), vec![Operation::put(0, FREE, PUT)], false), FREE));
    }
}

/// With a concurrent put into that directory, in every order of the calls: what is acknowledged stays, and only one of the two
/// succeeds.
#[test]
fn a_put_into_it_and_one_in_its_place_exclude_one_another() {
    for filesystem in Filesystem::ALL {
        for put in puts(0) {
            let inside = Operation::put(1, INSIDE, PUT);
            for inside in [inside.clone(), inside.clearing()] {
                let found = holds(&emptied(filesystem), vec![put.clone(), inside], false);
                assert!(ends(&found, FREE) && ends(&found, INSIDE), "{}", put.label);
            }
        }
    }
}

/// The delete that empties the directory, and the put, in every order of the calls, with a failure of each.
#[test]
fn the_last_key_goes_and_another_comes() {
    for filesystem in Filesystem::ALL {
        let disk = emptied(filesystem).with(INSIDE, 9, Content::of(b"in"));
        for put in puts(0) {
            let delete = Operation { locked: true, ..Operation::delete(INSIDE, None) };
            let found = holds(&disk, vec![delete.clone(), put.clone()], false);
            assert!(ends(&found, FREE) && ends(&found, INSIDE), "{}", put.label);
            holds(&disk, vec![delete, put], true);
        }
    }
}
