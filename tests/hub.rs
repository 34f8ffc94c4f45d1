//! Downloads from a hub that behaves: what comes, who is told what, and what
//! refusals say.

mod loopback;

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use llama_agent::hub::{Hub, Patience, RemoteFile};
use loopback::client::{NAME, PATH, Place, fetch, repo};
use loopback::{COMMIT, Loopback, etag, noise};

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

#[cfg(unix)]
#[test]
fn what_is_removed_is_what_nobody_else_has() {
    let loopback = Loopback::start();
    loopback.file(NAME, &noise(5000));
    let place = Place::new(&loopback, &[]);
    let path = place.fetch().expect("a file");
    let cache = place.hub.cache();
    let blob = place.repo().join("blobs").join(etag(&noise(5000)));
    // Another commit has the same bytes, by another name.
    let other = place.repo().join("snapshots/other/again.gguf");
    fs::create_dir_all(other.parent().expect("a folder")).expect("a folder");
    std::os::unix::fs::symlink(&blob, &other).expect("a link");
    assert_eq!(cache.remove(&repo(), PATH).expect("removed"), 0);
    assert!(!path.exists() && other.is_file());
    assert_eq!(cache.remove(&repo(), PATH).expect("nothing"), 0);
    // What lies here without the cache's doing stays.
    let own = place.repo().join("snapshots/other/own.gguf");
    fs::write(&own, "mine").expect("written");
    assert_eq!(cache.remove(&repo(), "own.gguf").expect("nothing"), 0);
    assert!(own.is_file() && blob.is_file());
    assert_eq!(cache.remove(&repo(), "again.gguf").expect("removed"), 5000);
    assert!(!other.exists() && !blob.exists());
    assert_eq!(fs::read(place.fetch().expect("a file")).expect("bytes"), noise(5000));
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
