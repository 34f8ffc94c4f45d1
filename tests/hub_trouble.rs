//! Downloads from a hub that misbehaves, over connections that break off.

mod loopback;

use std::fs;

use llama_agent::hub::{Event, HubError};
use loopback::client::{NAME, PATH, Place, fetch, repo};
use loopback::{Loopback, etag, noise};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    /// Wherever connections break off and processes end: the same file.
    #[test]
    fn any_drops_give_the_same_file(
        drops in prop::collection::vec(0usize..6000, 0..12),
        length in 0usize..6000,
        ranges in any::<bool>(),
        redirects in any::<bool>(),
    ) {
        let loopback = Loopback::start();
        loopback.file(NAME, &noise(length));
        loopback.ways(|ways| {
            (ways.ranges, ways.redirects) = (ranges, redirects);
            ways.drops = drops.into();
        });
        let place = Place::new(&loopback, &[]);
        // Each of these is a process that gave up and is started again.
        let path = (0..5).find_map(|_| match fetch(&place.again(&loopback), &mut |_| {}) {
            Ok(path) => Some(path),
            Err(HubError::Unfinished { .. }) => None,
            Err(error) => panic!("{error}"),
        });
        prop_assert_eq!(fs::read(path.expect("a file")).expect("bytes"), noise(length));
        prop_assert_eq!(fs::read_dir(place.repo().join("blobs")).expect("blobs").count(), 1);
    }
}

#[test]
fn a_download_goes_on_where_it_stopped() {
    let loopback = Loopback::start();
    loopback.file(NAME, &noise(50_000));
    loopback.ways(|ways| ways.drops = [20_000, 0, 0, 0].into());
    let place = Place::new(&loopback, &[]);
    let error = place.fetch().expect_err("stopped");
    let HubError::Unfinished { have, size, .. } = &error else { panic!("{error}") };
    assert_eq!((*have, *size), (20_000, 50_000));
    assert!(error.to_string().contains("the same command goes on"), "{error}");
    let again = place.again(&loopback);
    let file = again.look(&repo(), PATH).expect("a file");
    assert_eq!(again.here(&file), 20_000);
    loopback.seen();
    let mut first = None;
    let path = again.fetch(&file, &mut |event| {
        if let Event::Bytes(have) = event {
            first.get_or_insert(have);
        }
    });
    assert_eq!(fs::read(path.expect("a file")).expect("bytes"), noise(50_000));
    assert_eq!((first, again.here(&file)), (Some(20_000), 50_000));
    let asked = loopback.seen();
    let asked = asked.iter().find(|seen| seen.path.starts_with("/bytes/")).expect("a request");
    assert_eq!(
        (&*asked.headers["range"], &*asked.headers["if-range"]),
        ("bytes=20000-", "\"first\"")
    );
}

/// Whatever the server makes of the rest, the file is whole or not there.
#[test]
fn a_server_that_changed_its_mind_is_noticed() {
    for change in ["etag", "no ranges", "shifted", "left by others", "too long", "no etag kept"] {
        let loopback = Loopback::start();
        loopback.file(NAME, &noise(50_000));
        loopback.ways(|ways| ways.drops = [20_000, 0, 0, 0].into());
        let place = Place::new(&loopback, &[]);
        place.fetch().expect_err("stopped");
        let part = place.repo().join("blobs").join(format!("{}.incomplete", etag(&noise(50_000))));
        loopback.ways(|ways| match change {
            "etag" => ways.tag = "\"second\"".into(),
            "no ranges" => ways.ranges = false,
            "shifted" => ways.shifts = true,
            "left by others" => fs::write(&part, [0; 30_000]).expect("written"),
            "too long" => fs::write(&part, [0; 60_000]).expect("written"),
            _ => fs::remove_file(part.with_extension("incomplete.etag")).expect("removed"),
        });
        let mut anew = 0;
        let path = fetch(&place.again(&loopback), &mut |event| {
            anew += usize::from(matches!(event, Event::Anew { .. }));
        });
        assert_eq!(fs::read(path.expect(change)).expect("bytes"), noise(50_000), "{change}");
        assert_eq!(anew, usize::from(change == "left by others"), "{change}");
    }
}

#[test]
fn a_damaged_file_is_removed_and_named() {
    for length in [100, 50_000] {
        let loopback = Loopback::start();
        loopback.file(NAME, &noise(length));
        loopback.ways(|ways| ways.damages = true);
        let place = Place::new(&loopback, &[]);
        let error = place.fetch().expect_err("damaged").to_string();
        let kind = if length < 1024 { "git SHA-1" } else { "SHA-256" };
        for part in [PATH, "damaged and was removed", kind, &etag(&noise(length))] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert_eq!(fs::read_dir(place.repo().join("blobs")).expect("blobs").count(), 0);
        loopback.ways(|ways| ways.damages = false);
        assert_eq!(fs::read(place.fetch().expect("a file")).expect("bytes"), noise(length));
    }
}

#[test]
fn a_hub_that_lies_about_a_length_is_not_believed() {
    for (claims, lies, redirects) in [
        (-1, 0, true),
        (1, 0, true),
        (-49_999, 0, false),
        (1 << 40, 0, true),
        (0, 1, true),
        (0, 1_000_000, false),
        (0, -1000, false),
    ] {
        let loopback = Loopback::start();
        loopback.file(NAME, &noise(50_000));
        loopback.ways(|ways| (ways.claims, ways.lies, ways.redirects) = (claims, lies, redirects));
        let place = Place::new(&loopback, &[]);
        match place.fetch() {
            // Bodies that are too short are pieced together all the same.
            Ok(path) => {
                assert!(lies < 0, "{claims} {lies}");
                assert_eq!(fs::read(path).expect("bytes"), noise(50_000));
            }
            Err(HubError::Damaged { .. } | HubError::Unfinished { .. }) => {
                assert!(place.hub.cache().files(&repo()).is_empty());
            }
            Err(error) => panic!("{error}"),
        }
    }
}
