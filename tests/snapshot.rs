//! Snapshots of the system part's cache: the same logits and tokens with and
//! without, whatever happens to their files.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use llama_agent::chat::{Cancel, Origin, Prompt, ReplyForm, Sampling, Segment};
use llama_agent::decode::snapshot::{LIMIT, Store};
use llama_agent::decode::{Session, Snapshots};
use llama_agent::llama::portable::Precision;
use llama_agent::llama::{CacheRows, CacheType, Forward, Gguf, Portable, Want};
use llama_agent::llm::local::Local;
use llama_agent::llm::{Llm, Request};
use support::{Random, Tiny};
use tempfile::TempDir;

/// Tokens of the system part; the tiny model's chunks are of 256.
const SYSTEM: usize = 530;

fn tiny() -> Tiny {
    Tiny { context: 2048, ..Tiny::default() }
}

fn session(tiny: &Tiny, precision: Precision) -> Session {
    Session::new(Box::new(engine(tiny, precision)))
}

fn engine(tiny: &Tiny, precision: Precision) -> Portable {
    let gguf = Gguf::from_bytes(tiny.bytes()).unwrap();
    Portable::with_precision(&gguf, None, precision).unwrap()
}

fn prompt(seed: u64, length: usize) -> Vec<u32> {
    let (mut system, mut rest) = (Random(7), Random(seed));
    (0..length)
        .map(|i| if i < SYSTEM { system.next() } else { rest.next() } % 512)
        .map(|id| id as u32)
        .collect()
}

fn snapshots(folder: &Path) -> Snapshots {
    Snapshots::new(Store::new(folder, LIMIT))
}

/// The bits of the rows after the prompt and after each of a few more tokens,
/// and how many tokens were not processed.
fn rows(session: Session, snapshots: Option<Snapshots>, ids: &[u32]) -> (Vec<u32>, usize) {
    let cancel = Cancel::new();
    let mut session = match snapshots {
        Some(snapshots) => session.with_snapshots(snapshots),
        None => session,
    };
    session.set_system(SYSTEM);
    let kept = session.fill(ids, &[], &cancel);
    let mut rows = session.row(ids.len()).unwrap().to_vec();
    let mut text = ids.to_vec();
    for id in [3, 400, 31] {
        text.push(id);
        session.fill(&text, &[], &cancel).unwrap().unwrap();
        rows.extend_from_slice(session.row(text.len()).unwrap());
    }
    (rows.into_iter().map(f32::to_bits).collect(), kept.unwrap().unwrap())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_logit_is_the_same_bit_for_bit() {
    let engines = [
        (Precision::Float, CacheType::F32),
        (Precision::Stored, CacheType::F16),
        (Precision::Float, CacheType::Q8_0),
    ];
    for (precision, cache) in engines {
        for kind in [Tiny::default().kind, Tiny::box_shape().kind] {
            let folder = tempfile::tempdir().unwrap();
            let tiny = Tiny { kind, ..tiny() };
            let session = || Session::new(Box::new(engine(&tiny, precision).with_cache(cache)));
            // Even one with nothing after the system part, and less than it.
            for (seed, length) in [(1, 600), (2, 531), (3, 530), (4, 1100), (5, 513), (6, 512)] {
                let ids = prompt(seed, length);
                let (expected, none) = rows(session(), None, &ids);
                let store = Some(snapshots(folder.path()));
                let (found, kept) = rows(session(), store, &ids);
                assert_eq!(none, 0);
                let first = seed == 1;
                // The row after the last token has to be computed.
                let held = !first && length > SYSTEM;
                assert_eq!(kept, if held { SYSTEM } else { 0 }, "{length}");
                assert!(expected == found, "{precision:?} {cache} {kind:?} {length}");
            }
            assert_eq!(files(folder.path()).len(), 1);
        }
    }
}

#[test]
fn an_export_is_the_cache_and_an_import_of_another_shape_is_refused() {
    let cancel = Cancel::new();
    let engine = |layers| {
        let tiny = Tiny { layers, ..tiny() };
        Portable::new(&Gguf::from_bytes(tiny.bytes()).unwrap(), Some(1500)).unwrap()
    };
    let (mut a, mut b) = (engine(2), engine(2));
    // Past the room that is made at first.
    let ids = prompt(1, 1200);
    a.forward(&ids, Want::Nothing, &cancel).unwrap();
    let all = a.export(1200).unwrap();
    b.forward(&[1, 2, 3], Want::Nothing, &cancel).unwrap();
    b.import(&all).unwrap();
    assert_eq!(b.len(), 1200);
    assert!(b.export(1200).unwrap() == all);
    let last = |engine: &mut Portable| engine.forward(&[9], Want::Last, &cancel).unwrap();
    assert_eq!(last(&mut a), last(&mut b));
    assert!(a.export(1300).is_err());
    assert!(engine(3).import(&all).is_err());
    let CacheRows { tokens, bytes } = all;
    for (tokens, bytes) in
        [(1199, bytes.clone()), (tokens, bytes[4..].to_vec()), (1501, vec![0; bytes.len()])]
    {
        assert!(b.import(&CacheRows { tokens, bytes }).is_err());
    }
    for tokens in [usize::MAX, usize::MAX / 2 + 1, 1 << 62] {
        assert!(b.import(&CacheRows { tokens, bytes: Vec::new() }).is_err());
    }
    b.import(&CacheRows { tokens: 0, bytes: Vec::new() }).unwrap();
    assert!(b.is_empty());
}

/// A folder with one snapshot, the file, and its bytes.
fn one() -> (TempDir, PathBuf, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Some(snapshots(folder.path()));
    rows(session(&tiny(), Precision::Float), store, &prompt(1, 600));
    let [file] = &files(folder.path())[..] else { panic!("not one file") };
    let bytes = fs::read(file).unwrap();
    (folder, file.clone(), bytes)
}

#[test]
fn damaged_files_are_ignored_and_replaced() {
    let (folder, file, good) = one();
    let ids = prompt(2, 560);
    let (expected, _) = rows(session(&tiny(), Precision::Float), None, &ids);
    let mut damaged: Vec<Vec<u8>> = Vec::new();
    for length in [0, 1, 63, 64, 65, good.len() / 2, good.len() - 1] {
        damaged.push(good[..length].to_vec());
    }
    damaged.push([&good[..], b"x"].concat());
    damaged.push(vec![0; good.len()]);
    damaged.push(b"a letter to a friend".repeat(100));
    let mut random = Random(3);
    for at in (0..64).step_by(5).chain([64, good.len() - 1]) {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (random.next() % 8);
        damaged.push(bytes);
    }
    for (i, bytes) in damaged.into_iter().enumerate() {
        fs::write(&file, bytes).unwrap();
        let store = Some(snapshots(folder.path()));
        let (found, kept) = rows(session(&tiny(), Precision::Float), store, &ids);
        assert!(kept == 0 && found == expected, "damage {i}");
        assert!(fs::read(&file).unwrap() == good, "damage {i} stayed");
    }
    let store = Some(snapshots(folder.path()));
    assert_eq!(rows(session(&tiny(), Precision::Float), store, &ids), (expected, SYSTEM));
}

#[test]
fn what_cannot_be_read_or_written_is_no_error() {
    let ids = prompt(2, 560);
    let (expected, _) = rows(session(&tiny(), Precision::Float), None, &ids);
    let (folder, file, good) = one();
    // A folder where the snapshot should be, and one full of what is not ours.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    let below_a_file = folder.path().join("notes.txt").join("snapshots");
    let read_only = folder.path().join("read-only");
    fs::create_dir(&read_only).unwrap();
    fs::write(read_only.join(file.file_name().unwrap()), &good).unwrap();
    for path in
        fs::read_dir(&read_only).unwrap().map(|e| e.unwrap().path()).chain([read_only.clone()])
    {
        let mut rights = fs::metadata(&path).unwrap().permissions();
        rights.set_readonly(true);
        fs::set_permissions(&path, rights).unwrap();
    }
    for (place, held) in [
        (folder.path(), 0),
        (&below_a_file, 0),
        (Path::new("/proc/self/nothing"), 0),
        (&read_only, SYSTEM),
    ] {
        let session = session(&tiny(), Precision::Float);
        let (found, kept) = rows(session, Some(snapshots(place)), &ids);
        assert!(kept == held && found == expected, "{}: {kept}", place.display());
    }
    let store = Store::new(folder.path(), LIMIT);
    assert!(store.list().unwrap().is_empty());
    assert_eq!(store.clear().unwrap(), (0, 0));
    assert_eq!(fs::read_to_string(folder.path().join("notes.txt")).unwrap(), "mine");
}

#[test]
fn another_model_engine_or_prompt_has_a_snapshot_of_its_own() {
    let (folder, file, good) = one();
    let gguf = |tiny: &Tiny| Gguf::from_bytes(tiny.bytes()).unwrap();
    let print = |gguf: &Gguf| Portable::new(gguf, None).unwrap().fingerprint().unwrap();
    let own = print(&gguf(&tiny()));
    assert_eq!(own, print(&gguf(&tiny())));
    for other in [
        Tiny { seed: 2, ..tiny() },
        Tiny { rope_base: 1e5, ..tiny() },
        Tiny { kind: Tiny::box_shape().kind, ..tiny() },
    ] {
        assert_ne!(own, print(&gguf(&other)));
    }
    for cache in [CacheType::F16, CacheType::Q8_0] {
        let engine = Portable::new(&gguf(&tiny()), None).unwrap().with_cache(cache);
        assert_ne!(Some(&own), engine.fingerprint().as_ref());
    }
    // The same bytes in a file that was written at another time.
    let path = folder.path().join("model.gguf");
    fs::write(&path, tiny().bytes()).unwrap();
    let first = print(&Gguf::open(&path).unwrap());
    let later = SystemTime::now() + Duration::from_secs(5);
    fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
    assert_ne!(first, print(&Gguf::open(&path).unwrap()));
    // A whole snapshot of something else under this name is foreign.
    let ids = prompt(2, 560);
    let (expected, _) = rows(session(&tiny(), Precision::Float), None, &ids);
    let other = tempfile::tempdir().unwrap();
    let store = Some(snapshots(other.path()));
    rows(session(&Tiny { seed: 2, ..tiny() }, Precision::Float), store, &ids);
    fs::copy(&files(other.path())[0], &file).unwrap();
    let store = Some(snapshots(folder.path()));
    let (found, kept) = rows(session(&tiny(), Precision::Float), store, &ids);
    assert!(kept == 0 && found == expected && fs::read(&file).unwrap() == good);
}

#[test]
fn a_stopped_prefill_saves_only_what_it_did() {
    let folder = tempfile::tempdir().unwrap();
    let (ids, stopped) = (prompt(1, 600), Cancel::new());
    stopped.ask();
    let mut session = session(&tiny(), Precision::Float).with_snapshots(snapshots(folder.path()));
    session.set_system(SYSTEM);
    assert!(session.fill(&ids, &[], &stopped).unwrap().is_none());
    assert!(files(folder.path()).is_empty());
    assert!(session.fill(&ids, &[], &Cancel::new()).unwrap().is_some());
    drop(session);
    assert_eq!(files(folder.path()).len(), 1);
}

#[test]
fn replies_are_the_same_and_the_system_part_is_not_processed_again() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = tiny();
    let system = format!("<s>{}\n\n", "the action is the action. ".repeat(60));
    let mut prompt = Prompt::from_iter([
        Segment::new(Origin::Frame, system),
        Segment::new(Origin::Frame, "User:"),
        Segment::new(Origin::Person, " what is 1+1"),
        Segment::new(Origin::Frame, "\nAssistant:"),
    ]);
    prompt.system = 1;
    let form = ReplyForm { lead: " ", tools: Vec::new(), stop_lines: Vec::new() };
    let mut reused = Vec::new();
    for temperature in [0.0, 1.0] {
        let sampling = Sampling { temperature, ..Sampling::default() };
        let mut replies = Vec::new();
        for kept in [false, true, true] {
            let mut local = Local::from_bytes(tiny.bytes(), None).unwrap();
            if kept {
                local = local.with_snapshots(snapshots(folder.path()));
            }
            let cancel = Cancel::new();
            let (max_new_tokens, sampling) = (60, &sampling);
            let request =
                Request { prompt: &prompt, form: &form, sampling, max_new_tokens, cancel: &cancel };
            let reply = local.complete(&request, &mut |_| {}).unwrap();
            reused.push(reply.stats.reused);
            replies.push(reply.reply);
        }
        assert!(replies[0] == replies[1] && replies[0] == replies[2]);
    }
    let held = reused[2];
    assert!(held >= 256);
    assert_eq!(reused, [0, 0, held, 0, held, held]);
}

#[test]
fn the_system_part_alone_is_kept_and_restored_ahead_of_a_question() {
    let folder = tempfile::tempdir().unwrap();
    let ids = prompt(1, 600);
    let (expected, _) = rows(session(&tiny(), Precision::Float), None, &ids);
    for kept in [0, SYSTEM] {
        let mut session =
            session(&tiny(), Precision::Float).with_snapshots(snapshots(folder.path()));
        session.set_system(SYSTEM);
        assert!(session.prepare(&ids[..SYSTEM], &Cancel::new()).unwrap());
        assert_eq!(session.passes() == 0, kept == SYSTEM);
        assert_eq!(session.notice(), None);
        assert_eq!(files(folder.path()).len(), 1);
        let (found, held) = rows(session, None, &ids);
        assert!(held == SYSTEM && found == expected);
    }
}
