//! The folder of snapshots: what it holds, what leaves it, and what is noticed
//! of damage.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use llama_agent::decode::snapshot::{Key, LIMIT, Store};
use llama_agent::llama::CacheRows;
use proptest::prelude::*;
use support::Random;

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_flipped_bits_are_noticed(flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8u8), 1..4)) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path(), LIMIT);
        let key: Key = [7; 32];
        let bytes = (0..1021u32).map(|i| (i * i) as u8).collect();
        let rows = CacheRows { tokens: 3, bytes };
        store.save(&key, &rows).unwrap();
        let file = files(folder.path()).remove(0);
        let good = fs::read(&file).unwrap();
        let mut bad = good.clone();
        for (at, bit) in flips {
            let at = at.index(bad.len());
            bad[at] ^= 1 << bit;
        }
        fs::write(&file, &bad).unwrap();
        prop_assert_eq!(store.load(&key).is_some(), bad == good);
    }
}

#[test]
fn the_least_recently_used_leave_first() {
    let folder = tempfile::tempdir().unwrap();
    let rows = |bytes| CacheRows { tokens: 1, bytes: vec![5; bytes] };
    let store = Store::new(folder.path(), 10_000);
    let key = |i: u8| -> Key { [i; 32] };
    let held = || (0..10).filter(|&i| store.load(&key(i)).is_some()).collect::<Vec<_>>();
    // Files count their head of 64 bytes too.
    for i in 0..4 {
        store.save(&key(i), &rows(2436)).unwrap();
        let path = files(folder.path()).into_iter().find(|path| {
            path.file_name().unwrap().to_string_lossy().starts_with(&format!("{i:02x}"))
        });
        let past = SystemTime::now() - Duration::from_secs(100 - u64::from(i));
        fs::File::open(path.unwrap()).unwrap().set_modified(past).unwrap();
    }
    // Reading one makes it the last used.
    assert!(store.load(&key(0)).is_some());
    store.save(&key(4), &rows(2437)).unwrap();
    assert_eq!(store.list().unwrap().len(), 3);
    assert_eq!(held(), [0, 3, 4]);
    // Replacing needs no room of others, and what is too large is not saved.
    store.save(&key(4), &rows(3000)).unwrap();
    store.save(&key(5), &rows(10_000)).unwrap();
    assert_eq!(held(), [0, 3, 4]);
    store.save(&key(6), &rows(9_936)).unwrap();
    assert_eq!(held(), [6]);
    let listed = store.list().unwrap();
    assert_eq!((listed[0].bytes, listed[0].tokens), (10_000, Some(1)));
    // What a killed process left goes; what is being written stays.
    let part = |name: &str| folder.path().join("ab".repeat(32)).with_extension(name);
    fs::write(part("1-1.part"), "half").unwrap();
    let writing = fs::File::create(part("2-2.part")).unwrap();
    writing.lock().unwrap();
    store.save(&key(7), &rows(1)).unwrap();
    assert!(!part("1-1.part").exists() && part("2-2.part").exists());
    assert_eq!(store.clear().unwrap().0, 2);
    assert!(files(folder.path()).is_empty());
}

#[test]
fn threads_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let limit = 40_000;
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let store = Store::new(folder.path(), limit);
            scope.spawn(move || {
                let mut random = Random(thread.into());
                for _ in 0..300 {
                    let i = (random.next() % 6) as u8;
                    let rows = CacheRows { tokens: i.into(), bytes: vec![i; 9_000] };
                    match store.load(&[i; 32]) {
                        Some(found) => assert!(found == rows),
                        // Others may have removed what is being written.
                        None => drop(store.save(&[i; 32], &rows)),
                    }
                }
            });
        }
    });
    let store = Store::new(folder.path(), limit);
    store.save(&[9; 32], &CacheRows { tokens: 1, bytes: Vec::new() }).unwrap();
    assert!(store.list().unwrap().iter().map(|entry| entry.bytes).sum::<u64>() <= limit);
}
