use super::*;

macro_rules! data {
    ($name:literal) => {
        include_bytes!(concat!("../../tests/data/sidecar/", $name, ".json"))
    };
}

fn id(id: u32) -> KeyId {
    KeyId::new(id).unwrap()
}

fn key(purpose: Purpose, wrapped: &[u8], created: &str, local_epoch: u16) -> SidecarKey {
    SidecarKey { purpose, wrapped: wrapped.into(), created: created.into(), local_epoch }
}

/// The value of the fixture of version 1.
fn fixture() -> Sidecar {
    let created = "2026-04-29T10:00:00Z";
    Sidecar {
        raft_applied_index: 184_273,
        storage_envelope_active: true,
        storage_envelope_cutover_index: None,
        raft_envelope_cutover_index: 184_201,
        active: ActiveKeys { storage: Some(id(305_419_896)), raft: Some(id(2_596_069_104)) },
        keys: BTreeMap::from([
            (id(2_596_069_104), key(Purpose::Raft, &[5, 6, 7, 8], created, 7)),
            (id(305_419_896), key(Purpose::Storage, &[1, 2, 3, 4], created, 7)),
        ]),
    }
}

#[test]
fn the_bytes_are_those_of_the_go_program() {
    let ramp = |len: usize| (0..len).map(|i| i as u8).collect::<Vec<_>>();
    let day = "2026-04-29T10:00:00Z";
    let odd = "<b>&amp;</b> \u{2028} \u{2029} \"\\/ \n\r\t \0\x1f\x7f ä 😀";
    let mut version_2 = fixture();
    version_2.upgrade(0);
    let empty = Sidecar::default;
    let storage = |wrapped: usize| key(Purpose::Storage, &ramp(wrapped), day, 0);
    let raft = |wrapped: usize| key(Purpose::Raft, &ramp(wrapped), day, 0);
    let order = Sidecar {
        active: ActiveKeys { storage: Some(id(2)), raft: Some(id(10)) },
        keys: [(id(1), raft(4)), (id(2), storage(4)), (id(9), raft(4)), (id(10), raft(4))].into(),
        ..empty()
    };
    let escapes = Sidecar { keys: [(id(1), key(Purpose::Storage, &ramp(4), odd, 0))].into(), ..empty() };
    let largest = Sidecar {
        raft_applied_index: u64::MAX,
        storage_envelope_active: true,
        storage_envelope_cutover_index: Some(u64::MAX),
        raft_envelope_cutover_index: u64::MAX,
        active: ActiveKeys { storage: Some(id(u32::MAX)), raft: None },
        keys: [(id(u32::MAX), key(Purpose::Storage, &ramp(4), "", u16::MAX))].into(),
    };
    let wrapped = Sidecar { keys: [(id(1), storage(0)), (id(2), storage(60)), (id(3), raft(4096))].into(), ..empty() };
    let golden: [(Sidecar, &[u8]); 7] = [
        (fixture(), data!("v1_fixture")),
        (version_2, data!("v2_fixture")),
        (empty(), data!("empty_map")),
        (order, data!("key_order")),
        (escapes, data!("escapes")),
        (largest, data!("largest")),
        (wrapped, data!("wrapped")),
    ];
    for (sidecar, bytes) in golden {
        assert_eq!(String::from_utf8_lossy(&sidecar.to_json().unwrap()), String::from_utf8_lossy(bytes));
        assert_eq!(Sidecar::from_json(bytes).unwrap(), sidecar);
    }
    assert_eq!(Sidecar::from_json(data!("v1_nil_map")).unwrap(), empty());
}
