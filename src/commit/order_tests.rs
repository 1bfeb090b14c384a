use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::*;

/// A group is durable before any change of the next group becomes visible. If a change in it fails, the next group is not
/// attempted.
#[test]
fn groups_are_ordered() {
    let groups = || {
        let group = |keys: [&str; 2]| keys.iter().map(|key| put(key, PutOptions::new())).collect();
        ChangeGroups::of(vec![group(["a/k0", "a/k1"]), group(["b/k0", "b/k1"])])
    };
    for case in everywhere() {
        let rig = self::rig(case.clone(), Box::new(|_, _| None));
        assert_eq!(outcomes(&rig.committer.commit(groups())), [None; 4]);
        let ran = rig.engine.ran();
        let order: Vec<bool> =
            ran.iter().filter(|call| is_publish(call) || **call == Call::SyncDir).map(is_publish).collect();
        assert_eq!(order, [true, true, false, true, true, false]);

        for (fault, first) in [
            (fail(is_publish, 1, 2, Errno::ENOSPC), UNCHANGED),
            (fail(|call| matches!(call, Call::Write { .. }), 1, 2, Errno::ENOSPC), UNCHANGED),
        ] {
            let rig = self::rig(case.clone(), fault);
            let answers = rig.committer.commit(groups());
            assert_eq!(outcomes(&answers), [None, first, UNCHANGED, UNCHANGED]);
            assert!(answers[2..].iter().all(|answer| answer.as_ref().unwrap_err().is_not_attempted()));
            assert_eq!(
                (rig.contents(), rig.temporaries()),
                (vec![NEW.to_vec(), OLD.into(), OLD.into(), OLD.into()], 0)
            );
        }

        // The directory of the first group cannot be synced: the group is `Unknown`, and the second is not attempted.
        let rig = self::rig(case.clone(), fail(|call| *call == Call::SyncDir, 0, 1, Errno::EIO));
        assert_eq!(outcomes(&rig.committer.commit(groups())), [UNKNOWN, UNKNOWN, UNCHANGED, UNCHANGED]);
        assert_eq!((rig.contents(), rig.temporaries()), (vec![NEW.to_vec(), NEW.into(), OLD.into(), OLD.into()], 0));
        // A failure in the second group does not affect the first.
        let rig = self::rig(case.clone(), fail(is_publish, 2, 3, Errno::ENOSPC));
        assert_eq!(outcomes(&rig.committer.commit(groups())), [None, None, UNCHANGED, None]);
    }
}

#[test]
fn a_batch_of_every_kind_of_change() {
    let rig = rig(BarrierKind::PerFile, Box::new(|_, _| None));
    let version = Version::of(&nix::sys::stat::stat(&rig.path("a/k1")).unwrap());
    let unit = ChangeGroups::of(vec![vec![
        put("fresh/dir/k", PutOptions::new()),
        Change::delete("a/k0", None),
        put("a/k1", PutOptions::new().expect_version(version)),
        put("a/k1", PutOptions::new().expect_version(version)),
        Change::rename("b/k0", "a/moved"),
        Change::rename("b/k1", "b/k2"),
        Change::delete("b/k9", None),
        put("../k", PutOptions::new()),
        Change::delete("a/moved", Some(Version::MIN)),
        put("b/k2", PutOptions::new()),
    ]]);
    let answers = rig.committer.commit(unit);
    let failed: Vec<usize> = (0..10).filter(|i| answers[*i].is_err()).collect();
    assert_eq!(failed, [3, 6, 7, 8], "{answers:?}");
    assert!(answers[3].as_ref().unwrap_err().is_version_mismatch());
    assert!(answers[6].as_ref().unwrap_err().is_not_found());
    assert!(answers[7].as_ref().unwrap_err().is_invalid_key());
    assert!(answers[8].as_ref().unwrap_err().is_version_mismatch());
    let there = |key: &str| fs::read(rig.path(key)).ok();
    assert_eq!(there("fresh/dir/k").unwrap(), NEW);
    assert_eq!((there("a/k0"), there("b/k0"), there("b/k1")), (None, None, None));
    assert_eq!(
        (there("a/k1").unwrap(), there("a/moved").unwrap(), there("b/k2").unwrap()),
        (NEW.into(), OLD.into(), NEW.into())
    );
    assert_eq!(rig.temporaries(), 0);
}

/// The second group of one caller and a later caller change the same key: the later change wins.
#[test]
fn callers_in_one_batch_keep_their_order() {
    for case in everywhere() {
        let rig = rig(case, Box::new(|_, _| None));
        let core = &rig.committer.core;
        let value = |bytes: &'static [u8]| Change::put("b/k1", Bytes::from_static(bytes), PutOptions::new());
        let units = [
            ChangeGroups::of(vec![vec![put("a/k0", PutOptions::new())], vec![value(b"first")]]),
            ChangeGroups::of(vec![vec![value(b"second")]]),
            ChangeGroups::of(vec![vec![put("a/k1", PutOptions::new())], vec![Change::delete("b/k0", None)]]),
        ];
        let submit = |unit: ChangeGroups| {
            let load = unit.load();
            Submission::new(&core.queue, unit, load)
        };
        let mut waiting = units.map(submit);
        let mut poll = |i: usize| Pin::new(&mut waiting[i]).poll(&mut Context::from_waker(Waker::noop()));
        assert!((0..3).all(|i| poll(i).is_pending()));
        round::run(core, core.queue.take_batch(round::ROUND_MAX).unwrap());
        for i in 0..3 {
            let Poll::Ready(Some(answers)) = poll(i) else { panic!("{i} was not answered") };
            assert!(answers.iter().all(Result::is_ok));
        }
        assert_eq!(rig.contents(), [NEW, NEW, b"", b"second"]);
        assert_eq!(rig.committer.stats().batches, 1);
    }
}
