//! Downloads: from a hub that behaves, and from one that does not.

mod loopback;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use llama_agent::hub::{Event, Hub, HubError, Patience, RemoteFile, Repo, Settings};
use loopback::{COMMIT, Loopback, etag, noise};
use proptest::prelude::*;
use tempfile::TempDir;

const NAME: &str = "owner/repo/folder/model.gguf";
const PATH: &str = "folder/model.gguf";

/// What asks, with a cache of its own.
struct Place {
    home: TempDir,
    hub: Hub,
}

impl Place {
    fn new(loopback: &Loopback, more: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let hub = open(home.path(), loopback, more);
        Self { home, hub }
    }

    /// Another process with the same cache.
    fn again(&self, loopback: &Loopback) -> Hub {
        open(self.home.path(), loopback, &[])
    }

    fn fetch(&self) -> Result<PathBuf, HubError> {
        fetch(&self.hub, &mut |_| {})
    }

    fn repo(&self) -> PathBuf {
        self.home.path().join("hub/models--owner--repo")
    }
}

fn open(home: &Path, loopback: &Loopback, more: &[(&str, &str)]) -> Hub {
    let (home, endpoint) = (home.display().to_string(), loopback.endpoint());
    let settings = Settings::from(|name| match name {
        "HF_HOME" => Some(home.clone()),
        "HF_ENDPOINT" => Some(endpoint.clone()),
        _ => more.iter().find(|known| known.0 == name).map(|known| known.1.to_string()),
    });
    Hub::new(settings.expect("settings"), Patience { tries: 4, first: Duration::ZERO })
}

fn repo() -> Repo {
    Repo::parse("owner/repo").expect("a repository")
}

fn fetch(hub: &Hub, watch: &mut dyn FnMut(Event)) -> Result<PathBuf, HubError> {
    hub.fetch(&hub.look(&repo(), PATH)?, watch)
}

#[test]
fn a_file_comes_into_the_shared_cache() {
    for (redirects, xet, length) in [
        (true, true, 100_000),
        (true, false, 5_000),
        (false, true, 3_000),
        (false, false, 7),
        (true, true, 0),
    ] {
        let loopback = Loopback::start();
        loopback.file(NAME, &noise(length));
        loopback.ways(|ways| (ways.redirects, ways.xet) = (redirects, xet));
        let place = Place::new(&loopback, &[]);
        let path = place.fetch().expect("a file");
        assert_eq!(fs::read(&path).expect("bytes"), noise(length));
        assert_eq!(path, place.repo().join("snapshots").join(COMMIT).join(PATH));
        assert_eq!(fs::read_to_string(place.repo().join("refs/main")).expect("a commit"), COMMIT);
        let blobs: Vec<_> = fs::read_dir(place.repo().join("blobs")).expect("blobs").collect();
        assert_eq!(blobs.len(), 1, "{blobs:?}");
        assert!(place.repo().join("blobs").join(etag(&noise(length))).is_file());
        assert_eq!(place.hub.cache().find(&repo(), PATH), Some(path.clone()));
        assert_eq!(place.hub.cache().files(&repo()), [PATH]);
        assert_eq!(place.hub.cache().repos(), [repo()]);
        // What is here is not asked for again.
        loopback.seen();
        assert_eq!(place.fetch().expect("a file"), path);
        assert!(loopback.seen().iter().all(|seen| seen.method == "HEAD"));
    }
}

#[test]
fn the_token_goes_to_the_hub_alone() {
    let loopback = Loopback::start();
    loopback.file(NAME, &noise(5000));
    let place = Place::new(&loopback, &[("HF_TOKEN", "hf_secret")]);
    place.fetch().expect("a file");
    place.hub.list(&repo()).expect("a list");
    let (mut hub, mut other) = (0, 0);
    for seen in loopback.seen() {
        let sent = seen.headers.get("authorization").map(String::as_str);
        if seen.headers["host"].starts_with("127.0.0.1") {
            assert_eq!(sent, Some("Bearer hf_secret"), "{seen:?}");
            hub += 1;
        } else {
            assert_eq!(sent, None, "{seen:?}");
            other += 1;
        }
    }
    assert_eq!((hub, other), (3, 1));
}

#[test]
fn refusals_say_what_to_do() {
    let loopback = Loopback::start();
    loopback.file(NAME, &noise(5000));
    let page = format!("{}/owner/repo", loopback.endpoint());
    let said = |refuses, token: &[(&str, &str)]| {
        loopback.ways(|ways| ways.refuses = Some(refuses));
        let place = Place::new(&loopback, token);
        let error = place.fetch().expect_err("refused").to_string();
        assert!(!error.contains("hf_secret"), "{error}");
        (error, place.home.path().join("token").display().to_string())
    };
    for status in [401, 403] {
        let (error, token) = said((status, "GatedRepo"), &[]);
        for part in ["is gated", "no token was sent", &page, "/settings/tokens", "HF_TOKEN", &token]
        {
            assert!(error.contains(part), "{part}: {error}");
        }
        let (error, _) = said((status, "GatedRepo"), &[("HF_TOKEN", "hf_secret")]);
        assert!(error.contains("does not open it"), "{error}");
    }
    let (error, _) = said((401, "RepoNotFound"), &[]);
    assert!(error.contains("there is no repository owner/repo"), "{error}");
    let (error, _) = said((404, "EntryNotFound"), &[]);
    assert!(error.contains("owner/repo has no file folder/model.gguf"), "{error}");
    let (error, _) = said((418, ""), &[]);
    assert!(error.contains("answered 418"), "{error}");
    loopback.seen();
    let (error, _) = said((503, ""), &[]);
    assert!(error.contains("answered 503"), "{error}");
    assert_eq!(loopback.seen().len(), 4);
}

#[test]
fn without_a_network_it_says_so() {
    let loopback = Loopback::start();
    loopback.file(NAME, &noise(5000));
    let place = Place::new(&loopback, &[("HF_HUB_OFFLINE", "1")]);
    assert!(place.fetch().expect_err("offline").to_string().contains("HF_HUB_OFFLINE"));
    assert!(place.hub.list(&repo()).is_err());
    assert!(loopback.seen().is_empty());
    // Nobody listens where a listener was closed.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr();
    let endpoint = format!("http://{}", port.expect("an address"));
    let nobody = Place::new(&loopback, &[]);
    let mut settings = nobody.hub.settings().clone();
    settings.endpoint = endpoint;
    let hub = Hub::new(settings, Patience { tries: 4, first: Duration::from_secs(3600) });
    let error = fetch(&hub, &mut |_| {}).expect_err("nobody").to_string();
    assert!(error.contains("cannot be reached"), "{error}");
}

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

#[test]
fn two_at_once_wait_for_each_other() {
    let loopback = Loopback::start();
    loopback.file(NAME, &noise(200_000));
    // No byte before both have asked what the file is.
    loopback.ways(|ways| ways.holds_until = 2);
    let place = Place::new(&loopback, &[]);
    let events = Mutex::new(Vec::new());
    let paths: Vec<PathBuf> = std::thread::scope(|scope| {
        let pull = || {
            let hub = place.again(&loopback);
            let watch = &mut |event| events.lock().expect("events").push(event);
            fetch(&hub, watch).expect("a file")
        };
        let both = [scope.spawn(pull), scope.spawn(pull)];
        both.map(|one| one.join().expect("an end")).into()
    });
    assert_eq!(paths[0], paths[1]);
    assert_eq!(fs::read(&paths[0]).expect("bytes"), noise(200_000));
    let bodies = loopback.seen();
    let bodies = bodies.iter().filter(|seen| seen.path.starts_with("/bytes/")).count();
    assert_eq!(bodies, 1, "{:?}", events.lock());
}

#[test]
fn what_the_hub_answers_never_leaves_the_cache() {
    let loopback = Loopback::start();
    loopback.file(NAME, &noise(5000));
    loopback.file("owner/repo/../../out.gguf", &noise(10));
    let place = Place::new(&loopback, &[]);
    let listed = place.hub.list(&repo()).expect("a list");
    assert_eq!(listed.files, [(PATH.to_string(), Some(5000))]);
    let RemoteFile { commit, etag: tag, size, .. } = place.hub.look(&repo(), PATH).expect("a file");
    assert_eq!((commit.as_str(), tag, size), (COMMIT, etag(&noise(5000)), 5000));
}
