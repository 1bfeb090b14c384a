use super::*;

/// A directory exists at one lookup and not at the next, or cannot be opened because no descriptor is left: each caller gets the
/// result of its own change.
#[test]
fn a_directory_that_comes_and_goes_mixes_up_no_answers() {
    for errno in [Errno::ENOENT, Errno::EMFILE] {
        // The numbers of the opens of that directory that fail.
        for failing in 0..16_u32 {
            let rig = rig(BarrierKind::PerFile, Box::new(|_, _| None));
            fs::create_dir(rig.path("d")).unwrap();
            fs::write(rig.path("d/k"), OLD).unwrap();
            let version = Version::of(&nix::sys::stat::stat(&rig.path("d/k")).unwrap());
            let mut opens = 0;
            rig.engine.set_opening(move |_, path| {
                let hit = path == "d" && failing >> opens & 1 == 1;
                opens += u32::from(path == "d");
                hit.then_some(errno)
            });
            let expecting = || put("d/k", PutOptions::new().expect_version(version));
            let changes = vec![
                put("a/k0", PutOptions::new()),
                expecting(),
                put("b/k0", PutOptions::new()),
                Change::delete("a/k1", None),
                put("a/n0", PutOptions::new()),
                put("a/n1", PutOptions::new()),
                Change::delete("b/missing", None),
                put("a/n2", PutOptions::new()),
                put("a/n3", PutOptions::new()),
            ];
            let answers = rig.committer.commit(ChangeGroups::of(vec![changes]));
            let what = format!("{errno}, {failing:04b}: {answers:?}");
            assert_eq!(answers.len(), 9, "{what}");
            for at in [0, 2, 4, 5, 7, 8] {
                assert!(matches!(answers[at], Ok(Applied::Put(_))), "{at} of {what}");
            }
            assert!(matches!(answers[3], Ok(Applied::Deleted)), "{what}");
            assert!(answers[6].as_ref().is_err_and(Error::is_not_found), "{what}");
            for (at, key) in [(0, "a/k0"), (2, "b/k0"), (4, "a/n0"), (5, "a/n1"), (7, "a/n2"), (8, "a/n3")] {
                let found = Version::of(&nix::sys::stat::stat(&rig.path(key)).unwrap());
                assert_eq!(answers[at].as_ref().unwrap().version(), Some(found), "{key} of {what}");
            }
            let replaced = fs::read(rig.path("d/k")).unwrap() == NEW;
            assert_eq!(replaced, answers[1].is_ok(), "{what}");
            assert_eq!(rig.temporaries(), 0, "{what}");
        }
    }
}

/// A put from a destructor during an unrelated panic is an ordinary put. A panic within a change poisons the store.
#[test]
fn only_a_panic_within_a_change_closes_the_store() {
    struct PutAtTheEnd<'a>(&'a Rig);
    impl Drop for PutAtTheEnd<'_> {
        fn drop(&mut self) {
            self.0.committer.make(put("a/k0", PutOptions::new())).unwrap();
        }
    }
    let unrelated = |rig: &Rig| {
        let _guard = PutAtTheEnd(rig);
        panic!("on purpose");
    };
    let rig = self::rig(BarrierKind::PerFile, Box::new(|_, _| None));
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| unrelated(&rig)));
    assert!(unwound.is_err() && !rig.is_poisoned());
    rig.committer.make(put("a/k1", PutOptions::new())).unwrap();

    let rig =
        self::rig(BarrierKind::PerFile, Box::new(|_, call| if is_publish(call) { panic!("on purpose") } else { None }));
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        rig.committer.make(put("a/k0", PutOptions::new())).map(drop)
    }));
    assert!(unwound.is_err() && rig.is_poisoned());
}

/// A delete whose directory gives way to a key of the same batch reports that the key does not exist.
#[test]
fn a_delete_in_a_directory_that_gives_way_finds_nothing() {
    let rig = rig(BarrierKind::PerFile, Box::new(|_, _| None));
    fs::create_dir(rig.path("d")).unwrap();
    let answers =
        rig.committer.commit(ChangeGroups::of(vec![vec![put("d", PutOptions::new()), Change::delete("d/k", None)]]));
    assert!(matches!(answers[0], Ok(Applied::Put(_))), "{answers:?}");
    assert!(answers[1].as_ref().is_err_and(Error::is_not_found), "{answers:?}");
    assert_eq!(fs::read(rig.path("d")).unwrap(), NEW);
}

/// As for a solo caller: a sync proves nothing in a directory where another sync failed, in either of the two.
#[test]
fn a_rename_between_directories_in_a_batch_asks_both() {
    for distrusted in ["a/k0", "b/k0"] {
        let rig = rig(BarrierKind::PerFile, Box::new(|_, _| None));
        rig.committer.core().find(&Key::parse(distrusted).unwrap()).unwrap().distrust();
        let answers = rig.committer.commit(ChangeGroups::of(vec![vec![Change::rename("a/k0", "b/new")]]));
        assert_eq!(outcomes(&answers), [UNKNOWN], "{distrusted}: {answers:?}");
    }
}

/// The ceiling of versions may be on the disk or not; the key of the put was never touched.
#[test]
fn a_ceiling_of_unknown_fate_leaves_the_key_unchanged() {
    for company in [false, true] {
        let rig = rig(BarrierKind::PerFile, Box::new(|_, _| None));
        let engine = crate::engine::Selected::for_test(Arc::<Faulty>::clone(&rig.engine), EngineKind::Portable);
        let raise = |writer: &crate::file::Writer, _| {
            writer.poison();
            let path = Path::new("format");
            Err(Error::from_errno(Errno::EIO, Step::SyncDir, path).with_outcome(Outcome::Unknown))
        };
        let versions = Versions::new(crate::protocol::Clock::above(Version::MIN), true, raise);
        let setup = Setup { versions, ..Setup::for_test(rig.at.path(), engine, BarrierKind::PerFile) };
        let committer = Committer::new(setup);
        let put = put("a/k0", PutOptions::new());
        let answer = if company { committer.commit(ChangeGroups::one(put)).remove(0) } else { committer.make(put) };
        assert_eq!(outcome(&answer), UNCHANGED);
        assert_eq!(rig.contents()[0], OLD);
    }
}
