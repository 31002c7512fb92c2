//! The examples' data readers, composer and files: what they read, and how they refuse.

use crate::common;
use crate::support::golden;
use candle_core::{DType, Device, Tensor};
use candle_prob::{Result, Rng};
use common::classify;
use common::images::{CLASSES, Images};
use common::labelled::{Header, Labelled};
use common::multi::{Config, MultiImages, Protocol, split};
use common::{idx, report};
use flate2::{Compression, write::GzEncoder};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A fresh folder under the build's own scratch space.
fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("example_data")
        .join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn header(magic: u32, dims: &[u32]) -> Vec<u8> {
    let words = std::iter::once(&magic).chain(dims);
    words.flat_map(|word| word.to_be_bytes()).collect()
}

fn image_file(count: u32, height: u32, width: u32) -> Vec<u8> {
    let mut bytes = header(0x803, &[count, height, width]);
    bytes.extend((0..count * height * width).map(|k| (k % 251) as u8));
    bytes
}

fn label_file(labels: &[u8]) -> Vec<u8> {
    let mut bytes = header(0x801, &[labels.len() as u32]);
    bytes.extend(labels);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A folder of four plain files: 20 training images and 10 test images of 6 x 5.
fn folder(name: &str) -> PathBuf {
    let folder = scratch(name);
    let labels: Vec<u8> = (0..20).map(|k| k % 10).collect();
    let files = [
        ("train-images-idx3-ubyte", image_file(20, 6, 5)),
        ("train-labels-idx1-ubyte", label_file(&labels)),
        ("t10k-images-idx3-ubyte", image_file(10, 6, 5)),
        ("t10k-labels-idx1-ubyte", label_file(&labels[..10])),
    ];
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
    folder
}

/// The one line of an error, which must name the file and say all of `words`.
fn refused<T>(result: Result<T>, file: &str, words: &[&str]) {
    let Err(error) = result else {
        panic!("{file} was accepted");
    };
    let line = error.to_string();
    assert_eq!(line.lines().count(), 1, "{line}");
    for word in words.iter().chain([&file, &"expected", &"found"]) {
        assert!(line.contains(word), "`{word}` is not in: {line}");
    }
}

#[test]
fn plain_and_gzipped_files_hold_the_same() {
    let folder = folder("formats");
    let plain = idx::images(&folder.join("train-images-idx3-ubyte")).unwrap();
    let zipped = folder.join("zipped-idx3-ubyte.gz");
    fs::write(&zipped, gzip(&image_file(20, 6, 5))).unwrap();
    let unzipped = idx::images(&zipped).unwrap();
    assert_eq!((plain.count, plain.height, plain.width), (20, 6, 5));
    assert_eq!(plain.pixels, unzipped.pixels);
    assert_eq!(plain.pixels[7], 7);
    let images = Images::load(Some(&folder)).unwrap();
    assert_eq!((images.len(), images.own_split), (30, Some(20)));
    assert_eq!(images.rows(20).next().unwrap(), &[0, 1, 2, 3, 4]);
    // Only the .gz is left: it is found by itself.
    fs::remove_file(folder.join("t10k-images-idx3-ubyte")).unwrap();
    let gz = folder.join("t10k-images-idx3-ubyte.gz");
    fs::write(gz, gzip(&image_file(10, 6, 5))).unwrap();
    assert_eq!(Images::load(Some(&folder)).unwrap().pixels, images.pixels);
}

#[test]
fn damaged_image_files_are_refused_in_one_line() {
    let folder = scratch("damaged");
    let whole = image_file(20, 6, 5);
    let packed = gzip(&whole);
    let changed = |at: usize, to: u8| {
        let mut bytes = packed.clone();
        bytes[at] ^= to;
        bytes
    };
    let join = |a: &[u8], b: &[u8]| [a, b].concat();
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("empty", vec![], &["IDX header", "end of the file"]),
        ("short-header", whole[..9].to_vec(), &["IDX header"]),
        (
            "short-body",
            whole[..100].to_vec(),
            &["20 images of 6 x 5", "after 84 of 600"],
        ),
        ("trailing", join(&whole, &[0]), &["trailing"]),
        (
            "labels-as-images",
            label_file(&[1, 2]),
            &["0x00000803", "0x00000801"],
        ),
        (
            "no-images",
            header(0x803, &[0, 6, 5]),
            &["at least one image"],
        ),
        (
            "no-pixels",
            header(0x803, &[4, 0, 5]),
            &["at least one pixel", "0 x 5"],
        ),
        ("huge", header(0x803, &[u32::MAX; 3]), &["at most"]),
        (
            "large",
            header(0x803, &[1 << 20, 32, 32]),
            &["after 0 of 1073741824"],
        ),
        ("empty.gz", vec![], &["gzip"]),
        (
            "truncated.gz",
            packed[..packed.len() / 2].to_vec(),
            &["truncated gzip"],
        ),
        (
            "no-checksum.gz",
            packed[..packed.len() - 6].to_vec(),
            &["truncated gzip"],
        ),
        (
            "bad-checksum.gz",
            changed(packed.len() - 7, 1),
            &["corrupt gzip"],
        ),
        ("not-gzip.gz", whole.clone(), &["corrupt gzip"]),
        (
            "garbage-behind.gz",
            join(&packed, b"garbage behind the end"),
            &["corrupt gzip"],
        ),
        ("trailing.gz", gzip(&join(&whole, &[1, 2])), &["trailing"]),
        (
            "huge.gz",
            gzip(&header(0x803, &[u32::MAX; 3])),
            &["at most"],
        ),
    ];
    for (name, bytes, words) in cases {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        refused(idx::images(&path), name, words);
    }
    refused(idx::images(&folder.join("absent")), "absent", &["readable"]);
    refused(idx::images(&folder), "damaged", &[]);
}

#[test]
fn any_flipped_or_missing_byte_of_a_gzip_is_noticed_or_harmless() {
    let folder = scratch("flips");
    let whole = image_file(3, 6, 5);
    let packed = gzip(&whole);
    let path = folder.join("images.gz");
    for at in 0..packed.len() {
        let mut bytes = packed.clone();
        bytes[at] ^= 0x55;
        fs::write(&path, bytes).unwrap();
        match idx::images(&path) {
            // The file time and the operating system in the gzip header change nothing.
            Ok(images) => assert_eq!(images.pixels, &whole[16..], "byte {at}"),
            Err(_) => refused(idx::images(&path), "images.gz", &[]),
        }
        fs::write(&path, &packed[..at]).unwrap();
        refused(idx::images(&path), "images.gz", &["gzip"]);
    }
}

#[test]
fn label_files_and_pairs_are_checked() {
    let spoil = |name: &str, file: &str, bytes: Vec<u8>| {
        let folder = folder(name);
        fs::write(folder.join(file), bytes).unwrap();
        Images::load(Some(&folder))
    };
    let train = "train-labels-idx1-ubyte";
    let labels: Vec<u8> = (0..20).map(|k| k % 10).collect();
    refused(
        spoil("few", train, label_file(&labels[1..])),
        train,
        &["20 labels", "train-images-idx3-ubyte", "19 labels"],
    );
    let mut wrong = labels.clone();
    wrong[13] = 10;
    refused(
        spoil("range", train, label_file(&wrong)),
        train,
        &["labels 0 to 9", "label 10 at position 13"],
    );
    refused(
        spoil("magic", train, image_file(20, 6, 5)),
        train,
        &["0x00000801", "0x00000803"],
    );
    let test = "t10k-images-idx3-ubyte";
    refused(
        spoil("sizes", test, image_file(10, 5, 6)),
        test,
        &["6 x 5", "5 x 6"],
    );
    let absent = folder("absent");
    fs::remove_file(absent.join(test)).unwrap();
    refused(Images::load(Some(&absent)), test, &["plain or .gz"]);
    let nowhere = absent.join("nowhere");
    refused(Images::load(Some(&nowhere)), "nowhere", &["no folder"]);
    let file = absent.join(train);
    refused(Images::load(Some(&file)), train, &["a folder"]);
}

#[test]
fn the_digits_shipped_are_the_uci_digits() {
    let digits = Images::digits().unwrap();
    assert_eq!((digits.len(), digits.height, digits.width), (1797, 8, 8));
    assert_eq!(digits.pixels.iter().max(), Some(&16));
    // Rows of the first image and class counts of the UCI file.
    assert_eq!(
        digits.rows(0).nth(1).unwrap(),
        &[0, 0, 13, 15, 10, 15, 5, 0]
    );
    let mut counts = [0; CLASSES];
    for &label in &digits.labels {
        counts[label as usize] += 1;
    }
    assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
}

fn digits(
    digits: usize,
    images: usize,
    protocol: Protocol,
    seed: u64,
) -> (MultiImages, MultiImages) {
    let config = Config {
        digits,
        images,
        protocol,
    };
    let parts = split(Images::digits().unwrap(), config, &Rng::new(seed)).unwrap();
    (parts.train, parts.test)
}

#[test]
fn each_source_stands_whole_in_its_own_slot() {
    let source = Images::digits().unwrap();
    for m in [1, 2, 3, 4] {
        let (train, _) = digits(m, 500, Protocol::Disjoint, 1);
        assert_eq!((train.height, train.width), (16, 12 * m));
        let sources: Vec<usize> = train.sources().collect();
        let mut canvas = vec![0.; train.height * train.width];
        for index in 0..train.len() {
            canvas.fill(0.);
            train.draw(index, &mut canvas);
            for (slot, &at) in sources[index * m..][..m].iter().enumerate() {
                // The slot's pixels, cut out of the canvas, are the source's and nothing else.
                let total: f32 = (0..train.height)
                    .flat_map(|y| &canvas[y * train.width + 12 * slot..][..12])
                    .sum();
                let expected: u32 = source.rows(at).flatten().map(|&p| u32::from(p)).sum();
                assert_eq!(total * 16., expected as f32);
            }
            let mut classes: Vec<usize> = sources[index * m..][..m]
                .iter()
                .map(|&at| source.labels[at] as usize)
                .collect();
            classes.sort();
            classes.dedup();
            assert_eq!(train.classes(index), classes);
        }
    }
}

#[test]
fn batches_are_the_images_asked_for() {
    let (train, _) = digits(2, 50, Protocol::Paper, 2);
    let (x, y) = train.batch(&[3, 0]).unwrap();
    assert_eq!((x.dims(), y.dims()), (&[2, 1, 16, 24][..], &[2, 10][..]));
    let mut canvas = vec![0.; 16 * 24];
    train.draw(3, &mut canvas);
    let first: Vec<f32> = x.get(0).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(first, canvas);
    assert!(first.iter().all(|v| (0. ..=1.).contains(v)) && first.contains(&1.));
    for (row, index) in y.to_vec2::<f32>().unwrap().iter().zip([3, 0]) {
        let present: Vec<usize> = (0..10).filter(|&k| row[k] == 1.).collect();
        assert_eq!(present, train.classes(index));
        assert_eq!(row.iter().sum::<f32>(), present.len() as f32);
    }
}

#[test]
fn every_string_is_equally_likely_and_every_place_is_used() {
    // 100 strings in 2000 images: each string 20 times, so 10 sets of one class (20 each) and 45 pairs (40 each).
    let config = Config {
        digits: 2,
        images: 2500,
        protocol: Protocol::Disjoint,
    };
    let parts = split(Images::digits().unwrap(), config, &Rng::new(3)).unwrap();
    let mut counts: BTreeMap<Vec<usize>, usize> = BTreeMap::new();
    for index in 0..parts.train.len() {
        *counts.entry(parts.train.classes(index)).or_default() += 1;
    }
    assert_eq!(counts.len(), 55);
    for (set, count) in &counts {
        assert_eq!(*count, 20 * set.len(), "{set:?}");
    }
    let entropy = 0.1 * 100f64.ln() + 0.9 * 50f64.ln();
    assert!((parts.train.label_entropy() - entropy).abs() < 1e-12);
    // With 4000 placements each of the 8 x 4 offsets of a slot is missed with probability below 1e-50.
    let column = |index: usize| {
        let mut canvas = vec![0.; 16 * 24];
        parts.train.draw(index, &mut canvas);
        let mut rows = (0..16).filter(|y| canvas[y * 24..][..12].iter().any(|&v| v > 0.));
        rows.next().unwrap()
    };
    let tops: HashSet<usize> = (0..parts.train.len()).map(column).collect();
    assert_eq!(tops, (0..8).collect());
}

#[test]
fn disjoint_test_images_use_unseen_sources() {
    let overlap = |protocol| {
        let (train, test) = digits(2, 5000, protocol, 4);
        assert_eq!((train.len(), test.len()), (4000, 1000));
        let seen: HashSet<usize> = train.sources().collect();
        test.sources().filter(|at| seen.contains(at)).count()
    };
    assert_eq!(overlap(Protocol::Disjoint), 0);
    assert!(overlap(Protocol::Paper) > 1900);
    // A set with a test part of its own is split there.
    let config = Config {
        digits: 2,
        images: 100,
        protocol: Protocol::Disjoint,
    };
    let images = Images::load(Some(&folder("own"))).unwrap();
    let parts = split(images, config, &Rng::new(0)).unwrap();
    assert!(parts.train.sources().all(|at| at < 20));
    assert!(parts.test.sources().all(|at| at >= 20));
    let fresh = parts.train_pool.compose(100, 2, &Rng::new(9)).unwrap();
    assert!(fresh.sources().all(|at| at < 20));
}

#[test]
fn a_seed_means_the_same_images() {
    let bits = |seed| {
        let (train, test) = digits(3, 60, Protocol::Disjoint, seed);
        let all: Vec<usize> = (0..12).collect();
        let sum = |images: &MultiImages| -> Vec<f32> {
            let (x, _) = images.batch(&all).unwrap();
            x.flatten_all().unwrap().to_vec1().unwrap()
        };
        (sum(&train), sum(&test))
    };
    assert_eq!(bits(5), bits(5));
    assert_ne!(bits(5), bits(6));
}

#[test]
fn impossible_settings_are_refused() {
    let with = |digits, images| {
        let config = Config {
            digits,
            images,
            protocol: Protocol::Paper,
        };
        split(Images::digits().unwrap(), config, &Rng::new(0)).map(|_| ())
    };
    refused(with(2, 4), "images", &["at least 5", "4"]);
    refused(with(0, 100), "digits", &["1 to 4"]);
    refused(with(5, 100), "digits", &["1 to 4"]);
    let lame = folder("lame");
    let file = "train-labels-idx1-ubyte";
    fs::write(lame.join(file), label_file(&[1; 20])).unwrap();
    let config = Config {
        digits: 2,
        images: 100,
        protocol: Protocol::Disjoint,
    };
    let lame = split(Images::load(Some(&lame)).unwrap(), config, &Rng::new(0));
    refused(lame, "data", &["all ten classes", "class 0"]);
}

#[test]
fn files_are_written_whole_or_not_at_all() {
    let folder = scratch("output");
    let output = report::Output::create(folder.join("deep/er")).unwrap();
    let mut metrics = BTreeMap::from([("b".to_string(), 0.1), ("a".to_string(), 2.)]);
    let settings = BTreeMap::from([("flow", "maf".into()), ("seed", "3".into())]);
    output.metrics(&metrics, &settings).unwrap();
    let path = output.path("metrics.json");
    let text = fs::read_to_string(&path).unwrap();
    let expected = "{\n  \"a\": 2.0,\n  \"b\": 0.1,\n  \"settings\": {\n    \"flow\": \"maf\",\n    \"seed\": 3\n  }\n}\n";
    assert_eq!(text, expected);
    metrics.insert("c".into(), f64::NAN);
    let written = output.metrics(&metrics, &settings);
    refused(written, "metrics.json", &["finite c"]);
    let failed = report::write_whole(&path, |temporary| {
        fs::write(temporary, "half").unwrap();
        idx::images(&folder.join("absent")).map(|_| ())
    });
    refused(failed, "absent", &[]);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    // The metrics and the lock.
    assert_eq!(fs::read_dir(output.folder()).unwrap().count(), 2);
    refused(
        report::Output::create(path.join("below")).map(|_| ()),
        "metrics.json",
        &["a folder"],
    );
}

#[test]
fn a_folder_belongs_to_one_run_which_removes_what_dead_ones_left() {
    let folder = scratch("folder");
    let left = [".partial-1-curves.png", ".vib.safetensors.1-0.tmp"];
    let kept = [".tmp", "partial.tmp", ".notes.tmp", "vib.safetensors"];
    for name in left.iter().chain(&kept) {
        fs::write(folder.join(name), "").unwrap();
    }
    let first = report::Output::create(folder.clone()).unwrap();
    let is_there = |name: &&str| folder.join(name).exists();
    assert!(!left.iter().any(is_there) && kept.iter().all(is_there));
    // What the run itself is writing is not that of a dead one.
    fs::write(folder.join(left[0]), "").unwrap();
    let second = report::Output::create(folder.clone()).map(|_| ());
    refused(second, "folder", &["no other run"]);
    assert!(is_there(&left[0]));
    drop(first);
    report::Output::create(folder.clone()).unwrap();
    assert!(!is_there(&left[0]));
}

#[test]
fn what_comes_from_outside_is_printable_and_short() {
    let line = common::printable("a\u{1b}[31m\n\u{202e}b\u{e9}", 20);
    assert_eq!(line, "a\\u{1b}[31m\\n\\u{202e}b\u{e9}");
    assert_eq!(common::printable("abcd", 4), "abcd");
    assert_eq!(common::printable("abcde", 4), "abcd\u{2026}");
    let error = common::file_error(Path::new("a\nb"), "\u{7}", "x".repeat(1_000_000));
    let line = error.to_string();
    assert!(line.starts_with("a\\nb: expected \\u{7}, found xxx") && line.len() < 400);
    let long = format!("{}/end.csv", "d".repeat(1200));
    let line = common::file_error(Path::new(&long), "this", "that").to_string();
    assert!(line.ends_with("d/end.csv: expected this, found that") && line.len() < 300);
    let name = "n".repeat(200);
    let table = report::table(&["first", "b"], &[vec![name, "1".into()]]);
    assert!(
        table.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );
}

#[test]
fn sizes_that_memory_cannot_hold_name_the_flag() {
    use common::cli::{Size, check_all, check_memory};
    let most = usize::MAX;
    check_memory(4., &[Size("--batch", 64, 32), Size("--latent", 256, 256)]).unwrap();
    for (sizes, flag) in [
        (vec![Size("--images", most, 20_000)], "--images"),
        (
            vec![Size("--batch", 64, 32), Size("--latent", most, 256)],
            "--latent",
        ),
        (
            vec![Size("--batch", most, 32), Size("--latent", most, 256)],
            "--batch",
        ),
    ] {
        let words = ["at most", "memory", &most.to_string()];
        refused(check_memory(4., &sizes), flag, &words);
    }
    // Of two bounds the smaller one is told: what it allows passes both.
    let latent = [Size("--latent", most, 256)];
    let checks: [(f64, &[Size]); 2] = [(4., &latent), (4e6, &latent)];
    let error = check_all(&checks).unwrap_err().to_string();
    let told = error.split("at most ").nth(1).unwrap();
    let bound: usize = told.split(',').next().unwrap().parse().unwrap();
    assert!(bound < 1_000_000_000, "{error}");
    check_memory(4e6, &[Size("--latent", bound / 2, 256)]).unwrap();
}

#[test]
fn images_are_known_by_what_they_hold() {
    let (one, other) = (folder("hash"), folder("hash-moved"));
    let load = |folder: &Path| Images::load(Some(folder)).unwrap();
    assert_eq!(load(&one).hash(), load(&other).hash());
    assert_eq!(load(&one).hash().len(), 16);
    assert_eq!(
        load(&other.join("..").join("hash-moved").join(".")).name,
        "hash-moved"
    );
    let mut images = image_file(10, 6, 5);
    images[16] ^= 1;
    fs::write(other.join("t10k-images-idx3-ubyte"), images).unwrap();
    assert_ne!(load(&one).hash(), load(&other).hash());
    let data = Labelled::load(None, None, None).unwrap();
    let mut changed = Labelled::load(None, None, None).unwrap();
    changed.labels.swap(0, 37);
    assert_ne!(data.hash().unwrap(), changed.hash().unwrap());
}

#[test]
fn figures_are_written_without_any_installed_font() {
    use common::plot;
    let folder = scratch("figures");
    let path = folder.join("curves.png");
    let points = vec![(1., f64::NAN), (2., 3.), (3., f64::INFINITY), (4., 5.)];
    let panel = plot::Panel {
        x_label: "epoch".into(),
        y_label: "loss (nats)".into(),
        logarithmic: true,
        curves: vec![plot::Curve {
            name: "one".into(),
            colour: 0,
            dashed: true,
            points: points.clone(),
        }],
    };
    plot::curves(&path, "Curves", &[panel]).unwrap();
    assert_eq!(&fs::read(&path).unwrap()[1..4], b"PNG");
    let way = plot::Path {
        name: "one".into(),
        colour: 1,
        points,
    };
    let plane = folder.join("plane.png");
    plot::information_plane(&plane, "Plane", 3.9, &[way]).unwrap();
    // Nothing to show is no reason to fail.
    plot::information_plane(&plane, "Plane", 3.9, &[]).unwrap();
    plot::curves(&path, "Curves", &[]).unwrap();
    plot::samples(&folder.join("samples.png"), "None", (8, 8), 4, &[]).unwrap();
    // An image in colour has its channels one after the other: its left column is red, its right one half blue.
    let pixels = vec![1., 0., 1., 0., 0., 0., 0., 0., 0., 0.5, 0., 0.5];
    let captions = vec![];
    let image = plot::Sample { pixels, captions };
    let path_of = folder.join("colour.png");
    plot::samples(&path_of, "", (2, 2), 1, &[image]).unwrap();
    let file = std::io::BufReader::new(fs::File::open(&path_of).unwrap());
    let mut sheet = png::Decoder::new(file).read_info().unwrap();
    let mut bytes = vec![0; sheet.output_buffer_size()];
    sheet.next_frame(&mut bytes).unwrap();
    let count = |colour: [u8; 3]| bytes.chunks_exact(3).filter(|p| **p == colour).count();
    assert_eq!(count([255, 0, 0]), count([0, 0, 128]));
    assert!(count([255, 0, 0]) >= 2 * 75 * 75);
    let times = [
        ("one".into(), 0.),
        ("two".into(), f64::NAN),
        ("three".into(), 3e-3),
    ];
    plot::bars(&folder.join("bars.png"), "Bars", "s", &times).unwrap();
    plot::bars(&folder.join("bars.png"), "Bars", "s", &[]).unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 5);
    // A figure no memory holds, and a place where none can be written.
    let huge = plot::samples(&folder.join("huge.png"), "Huge", (1, 1 << 31), 4, &[]);
    refused(huge, "huge.png", &["pixels"]);
    let nowhere = plot::bars(&path.join("bars.png"), "Bars", "s", &times);
    refused(nowhere, "bars.png", &["a writable file"]);
}

/// An AHIHT selection's 5-NN predictions, made by scikit-learn.
#[test]
fn nearest_neighbours_are_those_of_the_reference() {
    let file = golden::file(include_str!("../golden/feature_selection.json"));
    let cases = file["cases"].as_array().unwrap();
    let case = cases
        .iter()
        .find(|case| case["kind"] == "knn_after_selection" && case["dataset"] == "leukemia")
        .unwrap();
    let numbers = |v: &Value| -> Vec<u32> {
        let list = golden::list(v).into_iter();
        list.map(|v| v.unwrap() as u32).collect()
    };
    let data = Labelled::load(None, None, None).unwrap();
    assert_eq!((data.x.dims(), data.classes), (&[38, 3051][..], 2));
    let [train, test, top] = ["train", "test", "top_100"].map(|key| numbers(&case[key]));
    let labels =
        |rows: &[u32]| -> Vec<u32> { rows.iter().map(|n| data.labels[*n as usize]).collect() };
    for result in case["results"].as_array().unwrap() {
        let k = result["features"].as_u64().unwrap() as usize;
        let part = |rows: &[u32]| {
            let rows = data
                .x
                .index_select(&Tensor::new(rows, &Device::Cpu).unwrap(), 0);
            let columns = Tensor::new(&top[..k], &Device::Cpu).unwrap();
            rows.unwrap().index_select(&columns, 1).unwrap()
        };
        let found = classify::nearest(&part(&train), &labels(&train), &part(&test), 5).unwrap();
        assert_eq!(found, numbers(&result["predictions"]), "{k} features");
        let accuracy = classify::accuracy(&found, &labels(&test));
        assert_eq!(accuracy, result["accuracy"].as_f64().unwrap());
    }
}

#[test]
fn of_equally_common_neighbours_the_smallest_class_wins() {
    let train = Tensor::new(&[[0f32], [1.], [2.], [3.], [100.]], &Device::Cpu).unwrap();
    let test = Tensor::new(&[[1.6f32]], &Device::Cpu).unwrap();
    let found = |labels: [u32; 5], k| classify::nearest(&train, &labels, &test, k).unwrap()[0];
    assert_eq!(found([2, 1, 1, 2, 0], 4), 1);
    assert_eq!(found([1, 2, 2, 1, 0], 4), 1);
    assert_eq!(found([1, 2, 3, 1, 0], 1), 3);
    assert_eq!(found([2, 1, 1, 2, 2], 5), 2);
}

#[test]
fn softmax_regression_learns_its_own_model() {
    // Three classes by linear scores; the last feature is constant. Chance is about a third.
    let mut rng = Rng::new(3);
    let x = rng.normal((600, 4), DType::F32, &Device::Cpu).unwrap();
    let weights = Tensor::new(
        &[[3f32, -2., 0.], [0., 3., -3.], [-2., 0., 3.], [0., 0., 0.]],
        &Device::Cpu,
    )
    .unwrap();
    let scores = x.matmul(&weights).unwrap();
    let labels: Vec<u32> = scores.argmax(1).unwrap().to_vec1().unwrap();
    // Scales and shifts change nothing.
    let scales = Tensor::new(&[1f32, 100., 0.01, 0.], &Device::Cpu).unwrap();
    let x = x.broadcast_mul(&scales).unwrap();
    let x = (x + 7.).unwrap();
    let (train, test) = (x.narrow(0, 0, 400).unwrap(), x.narrow(0, 400, 200).unwrap());
    let found = classify::softmax(&train, &labels[..400], &test).unwrap();
    let accuracy = classify::accuracy(&found, &labels[400..]);
    assert!(accuracy > 0.95, "{accuracy}");
}

/// Eleven samples of one class and four of the other: a penalized bias gets two of them wrong with all features.
#[test]
fn softmax_regression_is_that_of_the_reference() {
    let selection = golden::file(include_str!("../golden/feature_selection.json"));
    let cases = selection["cases"].as_array().unwrap();
    let case = cases
        .iter()
        .find(|case| case["kind"] == "knn_after_selection")
        .unwrap();
    let numbers = |v: &Value| -> Vec<u32> {
        let list = golden::list(v).into_iter();
        list.map(|v| v.unwrap() as u32).collect()
    };
    let [train, test, top] = ["train", "test", "top_100"].map(|key| numbers(&case[key]));
    let data = Labelled::load(None, None, None).unwrap();
    let labels: Vec<u32> = train.iter().map(|n| data.labels[*n as usize]).collect();
    let file = golden::file(include_str!("../golden/softmax.json"));
    for result in file["results"].as_array().unwrap() {
        let k = result["features"].as_u64().unwrap() as usize;
        let columns = match k {
            k if k <= top.len() => top[..k].to_vec(),
            all => (0..all as u32).collect(),
        };
        let columns = Tensor::new(columns, &Device::Cpu).unwrap();
        let part = |rows: &[u32]| {
            let rows = Tensor::new(rows, &Device::Cpu).unwrap();
            let x = data.x.index_select(&rows, 0).unwrap();
            x.index_select(&columns, 1).unwrap()
        };
        let found = classify::softmax(&part(&train), &labels, &part(&test)).unwrap();
        assert_eq!(found, numbers(&result["predictions"]), "{k} features");
    }
}

#[test]
fn a_third_of_each_class_tests() {
    let data = Labelled::load(None, None, None).unwrap();
    let (train, test) = data.split(&Rng::new(5)).unwrap();
    let of = |rows: &[u32], class| {
        let own = rows.iter().filter(|n| data.labels[**n as usize] == class);
        own.count()
    };
    assert_eq!((of(&train, 0), of(&train, 1)), (18, 8));
    assert_eq!((of(&test, 0), of(&test, 1)), (9, 3));
    let mut all = [train.clone(), test].concat();
    all.sort();
    assert_eq!(all, (0..38).collect::<Vec<u32>>());
    assert_eq!(data.split(&Rng::new(5)).unwrap().0, train);
    assert_ne!(data.split(&Rng::new(6)).unwrap().0, train);
}

#[test]
fn csv_files_are_read_and_refused_by_line() {
    let folder = scratch("csv");
    let load = |name: &str, text: &str, label: Option<&str>| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        Labelled::load(Some(&path), label, None)
    };
    let text = "a, kind, b\n1, up, 2\n3, down, 4\n5, up, -6e-1\n";
    let data = load("good.csv", text, Some("kind")).unwrap();
    let x = data.x.to_vec2::<f32>().unwrap();
    assert_eq!(x, [[1., 2.], [3., 4.], [5., -0.6]]);
    assert_eq!((data.labels, data.classes), (vec![1, 0, 1], 2));
    assert_eq!(data.names.unwrap(), ["a", "b"]);
    let data = load("last.csv", "a,y\n1,0\n2,1\n", None).unwrap();
    assert_eq!(data.labels, [0, 1]);
    refused(data.split(&Rng::new(0)), "last.csv", &["three samples"]);
    // Labels that are numbers are compared as numbers, and in their order.
    let text = "a,y\n1,10\n2,2.0\n3,2\n4,1e1\n5,02\n6,-0\n7,0\n8,x\n";
    let data = load("NUMBERS.CSV", text, None).unwrap();
    assert_eq!(
        (data.classes, data.labels),
        (4, vec![2, 1, 1, 2, 1, 0, 0, 3])
    );
    // f32 has no 16777217; features that never change are left out and their numbers kept.
    let text = "id,same,b,y\n16777217,7,2,0\n3,7,1,1\n16777219,7,5,1\n";
    let data = load("odd.csv", text, None).unwrap();
    assert_eq!((data.numbers, data.x.dims()), (vec![0, 2], &[3, 2][..]));
    assert_eq!(data.names.unwrap(), ["id", "b"]);
    let [rounded, constant] = &data.warnings[..] else {
        panic!("{:?}", data.warnings)
    };
    assert!(
        rounded.contains("16777217") && rounded.contains("line 2, column id"),
        "{rounded}"
    );
    assert!(
        constant.contains("1 constant") && constant.ends_with("same"),
        "{constant}"
    );
    // Names that are numbers are names when they are said to be, and samples when they are said to be.
    let path = folder.join("bands.csv");
    fs::write(&path, "400,500,600\n1,2,0\n3,5,1\n").unwrap();
    let with = |label: Option<&str>, header| Labelled::load(Some(&path), label, Some(header));
    let data = with(None, Header::Yes).unwrap();
    assert_eq!(
        (data.labels, data.names.unwrap()),
        (vec![0, 1], vec!["400".into(), "500".into()])
    );
    let data = with(Some("1"), Header::No).unwrap();
    assert_eq!(
        (data.labels, data.names.unwrap()),
        (vec![2, 0, 1], vec!["2".into(), "3".into()])
    );
    refused(
        with(Some("4"), Header::No),
        "bands.csv",
        &["a column 4", "found 1, 2, 3"],
    );
    fs::write(&path, b"a,b,y\n1,2,0\n3,\xff,1\n").unwrap();
    let bytes = Labelled::load(Some(&path), None, None);
    refused(bytes, "bands.csv", &["UTF-8 in line 3, column 2"]);
    let long = format!("a,b,y\n1,{},0\n", "z".repeat(1_000_000));
    let line = load("long.csv", &long, None).unwrap_err().to_string();
    assert!(
        line.len() < 400 && line.contains("line 2, column b"),
        "{line}"
    );
    for (name, text, label, words) in [
        (
            "ragged.csv",
            "a,b,y\n1,2,0\n1,0\n",
            None,
            vec!["3 fields in line 3", "found 2"],
        ),
        (
            "text.csv",
            "a,b,y\n1,2,0\n1,x,0\n",
            None,
            vec!["line 3, column b", "`x`"],
        ),
        (
            "nan.csv",
            "a,b,y\nNaN,2,0\n1,2,1\n",
            None,
            vec!["line 2, column a", "`NaN`"],
        ),
        (
            "missing.csv",
            "a,b,y\n1,,0\n1,2,1\n",
            None,
            vec!["line 2, column b", "``"],
        ),
        (
            "one.csv",
            "a,b,y\n1,2,0\n1,2,0\n",
            None,
            vec!["two classes"],
        ),
        (
            "bare.csv",
            "1,2,0\n1,2,1\n",
            None,
            vec!["first line that names", "--header no", "1,2,0"],
        ),
        (
            "number.csv",
            "a,0.64042,y\n1,2,0\n1,3,1\n",
            None,
            vec!["first line that names", "--header yes", "0.64042"],
        ),
        (
            "index.csv",
            ",a,y\n0,2,0\n1,3,1\n",
            None,
            vec!["line 1", "index", "none for column 1"],
        ),
        (
            "twice.csv",
            "a,b,a,y\n0,2,1,0\n1,3,1,1\n",
            None,
            vec!["distinct names", "`a` for columns 1 and 3"],
        ),
        (
            "unlabelled.csv",
            "a,y\n0,1\n1,\n2,0\n",
            None,
            vec!["a label in line 3, column y", "``"],
        ),
        (
            "nan-label.csv",
            "a,y\n0,1\n1,NaN\n2,0\n",
            None,
            vec!["a label in line 3, column y", "`NaN`"],
        ),
        (
            "quote.csv",
            "a,b,y\n1,2,0\n1,\"2,0\n3,4,1\n5,6,0\n",
            None,
            vec!["no line break within quotes in line 3", "`2,0\\n3,4,1"],
        ),
        (
            "quotes.csv",
            "a,y\n1,0\n2,\"1\n3,0\n4,1\"\n5,0\n",
            None,
            vec!["no line break within quotes in line 3"],
        ),
        (
            "last-quote.csv",
            "a,y\n1,0\n2,\"\"\"1\"\"\"\n3,\"0",
            None,
            vec!["a closing quote in line 4", "found the end of the file"],
        ),
        (
            "pandas.csv",
            "Unnamed: 0,a,y\n0,2,0\n1,3,1\n",
            None,
            vec!["line 1", "index", "`Unnamed: 0` for column 1"],
        ),
        (
            "constant.csv",
            "a,b,y\n1,2,0\n1,2,1\n",
            None,
            vec!["a feature that varies", "2 constant"],
        ),
        (
            "large.csv",
            "a,b,y\n1,1e39,0\n1,2,1\n",
            None,
            vec!["line 2, column b", "`1e39`"],
        ),
        (
            "control.csv",
            "a,b,y\n1,\u{1b}[2J,0\n1,2,1\n",
            None,
            vec!["\\u{1b}[2J"],
        ),
        ("empty.csv", "", None, vec!["first line that names"]),
        (
            "label.csv",
            "a,b,y\n1,2,0\n1,3,1\n",
            Some("z"),
            vec!["column z", "found a, b, y"],
        ),
        ("kind.txt", "a,y\n1,0\n", None, vec![".safetensors or .csv"]),
        (
            "label.safetensors",
            "",
            Some("y"),
            vec![".csv file where --label"],
        ),
        (
            "broken.safetensors",
            "a,y",
            None,
            vec!["readable safetensors"],
        ),
    ] {
        refused(load(name, text, label), name, &words);
    }
    for missing in [
        "-nan", "+NaN", "<NA>", "#N/A", "?", ".", "-", "None", "N/A", "NULL",
    ] {
        let text = format!("a,y\n0,1\n1,{missing}\n2,0\n");
        let words = ["a label in line 3, column y", missing];
        refused(load("missing.csv", &text, None), "missing.csv", &words);
    }
    // Quotes that are closed, doubled, or within a field that none opens.
    let text = "a,y\n1,\"x \"\"y\"\"\"\n2,6\"\n3,\"\"\"\"\n4,\"z\"";
    assert_eq!(load("quoted.csv", text, None).unwrap().classes, 4);
    let names: Vec<String> = (0..8).map(|k| format!("c{k}")).collect();
    let row = |first| [first; 8].join(",");
    let names = names.join(",");
    let text = format!("{names},y\n{},0\n{},1\n", row("16777217"), row("3"));
    let warnings = load("many.csv", &text, None).unwrap().warnings;
    assert_eq!(warnings.len(), 6);
    assert!(warnings[0].contains("is read as 16777216:"), "{warnings:?}");
    assert!(warnings[5].contains("and 3 more"), "{warnings:?}");
    refused(
        Labelled::load(Some(&folder.join("absent.csv")), None, None),
        "absent.csv",
        &[],
    );
}

#[test]
fn tensors_of_samples_are_checked() {
    let folder = scratch("tensors");
    let load = |name: &str, x: Tensor, y: Tensor| {
        let path = folder.join(name);
        let tensors = HashMap::from([("x", x), ("y", y)]);
        candle_core::safetensors::save(&tensors, &path).unwrap();
        Labelled::load(Some(&path), None, None)
    };
    let x = |values: [[f64; 2]; 3]| Tensor::new(&values, &Device::Cpu).unwrap();
    let y = |labels: &[i64]| Tensor::new(labels, &Device::Cpu).unwrap();
    let good = [[1., 2.], [3., 4.], [5., 6.]];
    let data = load("good.safetensors", x(good), y(&[1, 0, 1])).unwrap();
    assert_eq!((data.labels, data.x.dtype()), (vec![1, 0, 1], DType::F32));
    // Whole numbers of every width are labels, and those of f64 that f32 cannot hold are told.
    for dtype in [DType::U8, DType::I16, DType::I32, DType::U32, DType::I64] {
        let y = y(&[1, 0, 1]).to_dtype(dtype).unwrap();
        let data = load("width.safetensors", x(good), y).unwrap();
        assert_eq!(data.labels, [1, 0, 1], "{dtype:?}");
    }
    let mut large = good;
    large[1][0] = 16777217.;
    let data = load("large.safetensors", x(large), y(&[1, 0, 1])).unwrap();
    assert!(
        data.warnings[0].contains("16777217 in row 1, column 0"),
        "{:?}",
        data.warnings
    );
    let mut infinite = good;
    infinite[2][1] = f64::INFINITY;
    let float = y(&[1, 0, 1]).to_dtype(DType::F32).unwrap();
    for (name, x, y, words) in [
        (
            "infinite",
            x(infinite),
            y(&[1, 0, 1]),
            vec!["finite number", "row 2, column 1", "found inf"],
        ),
        ("few", x(good), y(&[1, 0]), vec!["3 x 2 and 2 labels"]),
        (
            "gap",
            x(good),
            y(&[2, 0, 2]),
            vec!["labels 0 to 1", "found 2 in row 0"],
        ),
        (
            "huge",
            x(good),
            y(&[1, 0, 4_000_000_000]),
            vec![
                "labels 0 to 2 in y, for its 3 classes",
                "4000000000 in row 2",
            ],
        ),
        (
            "huger",
            x(good),
            y(&[1, 0, 5_000_000_000]),
            vec!["labels 0 to 2", "5000000000 in row 2"],
        ),
        ("negative", x(good), y(&[-1, 0, 1]), vec!["found -1"]),
        ("float", x(good), float, vec!["whole numbers", "f32"]),
        ("rank", x(good), x(good), vec!["y of 1 dims", "[3, 2]"]),
    ] {
        let name = format!("{name}.safetensors");
        refused(load(&name, x, y), &name, &words);
    }
}

#[test]
fn labels_of_a_dtype_that_is_not_read_name_it() {
    let folder = scratch("dtype");
    let header = r#"{"x":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"y":{"dtype":"BOOL","shape":[2],"data_offsets":[8,10]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend([0, 0, 0, 0, 0, 0, 128, 63, 0, 1]);
    let path = folder.join("bool.safetensors");
    fs::write(&path, bytes).unwrap();
    refused(
        Labelled::load(Some(&path), None, None),
        "bool.safetensors",
        &["BOOL"],
    );
}

#[test]
fn parts_of_points_are_all_of_them() {
    let x = Tensor::arange(0f32, 2500., &Device::Cpu).unwrap();
    let found = common::fit::in_parts(&x, |x| Ok((x + 1.)?)).unwrap();
    let expected: Vec<f32> = (1..=2500).map(|k| k as f32).collect();
    assert_eq!(found.to_vec1::<f32>().unwrap(), expected);
}

/// Four steps an epoch down the square of a number, and what the gradients of a step are multiplied by.
mod training {
    use super::common::report::Output;
    use super::common::train::{History, Metrics, Settings, Training, begin, check_resume};
    use super::{refused, scratch};
    use candle_core::{DType, Device, Tensor};
    use candle_nn::{Init, VarMap};
    use candle_prob::Result;
    use std::fs;

    const STEPS: usize = 4;

    fn training(epochs: usize, data: &str) -> Training<'static> {
        Training {
            name: "model",
            title: "Model",
            settings: Settings::from([("data", data.into()), ("width", "3".into())]),
            epochs,
            pause_after: None,
            steps: STEPS,
            lr: 0.25,
            warm_up: 0,
            max_norm: 1.,
            shown: ("loss", "loss"),
        }
    }

    fn run(
        training: &Training,
        resume: bool,
        output: &Output,
        scale: &dyn Fn(usize, usize) -> f64,
    ) -> (Result<History>, Vec<f32>) {
        let vars = VarMap::new();
        let p = vars.get(3, "p", Init::Const(2.), DType::F32, &Device::Cpu);
        let p: Tensor = p.unwrap();
        let history = training.run(&vars, resume, output, |epoch, steps| {
            let mut last = 0.;
            for k in 0..STEPS {
                let loss = (p.sqr()?.sum_all()? * scale(epoch, k))?;
                if steps.step(&loss)? {
                    last = f64::from(loss.to_scalar::<f32>()?);
                }
            }
            // An epoch that is said to be bad though its gradients are not.
            let bad = if scale(epoch, STEPS) == 0. {
                f64::NAN
            } else {
                0.
            };
            Ok(Metrics::from([("loss".into(), last + bad)]))
        });
        (history, p.to_vec1().unwrap())
    }

    #[test]
    fn a_paused_run_goes_on_bit_for_bit() {
        let whole = Output::create(scratch("training-whole")).unwrap();
        let parts = Output::create(scratch("training-parts")).unwrap();
        let one = |_, _| 1.;
        let (history, expected) = run(&training(4, "a"), false, &whole, &one);
        let paused = Training {
            pause_after: Some(1),
            ..training(4, "a")
        };
        assert_eq!(run(&paused, false, &parts, &one).0.unwrap().len(), 1);
        let (resumed, found) = run(&training(4, "a"), true, &parts, &one);
        assert_eq!((resumed.unwrap(), found), (history.unwrap(), expected));
    }

    #[test]
    fn skipped_steps_are_counted_and_end_a_run_when_they_are_most() {
        let output = Output::create(scratch("training-skipped")).unwrap();
        // Of the second epoch two of four, of the third three.
        let scale = |epoch, k| match (epoch, k) {
            (1, 0 | 2) | (2, 0..=2) => f64::INFINITY,
            _ => 1.,
        };
        let (history, _) = run(&training(2, "a"), false, &output, &scale);
        let history = history.unwrap();
        assert_eq!(history[0]["skipped_steps"], 0.);
        assert_eq!(history[1]["skipped_steps"], 2.);
        let (history, _) = run(&training(3, "a"), false, &output, &scale);
        let words = [
            "training",
            "epoch 3",
            "rate of 0.25",
            "3 of 4 steps skipped",
        ];
        refused(history, "Model", &words);
    }

    #[test]
    fn a_lost_epoch_ends_the_run_and_leaves_the_good_checkpoint() {
        let output = Output::create(scratch("training-lost")).unwrap();
        let good = Training {
            pause_after: Some(1),
            ..training(3, "a")
        };
        run(&good, false, &output, &|_, _| 1.).0.unwrap();
        let path = output.path("model.safetensors");
        let before = fs::read(&path).unwrap();
        let lost = |_, k| if k == STEPS { 0. } else { 1. };
        let (history, _) = run(&training(3, "a"), true, &output, &lost);
        refused(history, "Model", &["epoch 2", "rate of 0.25", "loss NaN"]);
        assert_eq!(fs::read(&path).unwrap(), before);
        // What refuses numbers that are not finite says where; the epoch and the rate are told too.
        let vars = VarMap::new();
        vars.get(1, "p", Init::Const(2.), DType::F32, &Device::Cpu)
            .unwrap();
        let failed = training(1, "a").run(&vars, false, &output, |_, _| {
            let nan = Tensor::new(f32::NAN, &Device::Cpu)?;
            candle_prob::distribution::Normal::new(&nan, &nan)?;
            Ok(Metrics::new())
        });
        refused(failed, "Model", &["epoch 1", "rate of 0.25", "NaN"]);
        assert_eq!(fs::read(&path).unwrap(), before);
        // Other errors are told as what they are.
        let failed = training(1, "a").run(&vars, false, &output, |_, _| {
            let [two, three] = [2, 3].map(|n| Tensor::zeros(n, DType::F32, &Device::Cpu));
            candle_prob::distribution::Normal::new(&two?, &three?)?;
            Ok(Metrics::new())
        });
        let line = failed.as_ref().unwrap_err().to_string();
        assert!(!line.contains("rate"), "{line}");
        refused(failed, "Model", &["epoch 1 without errors"]);
    }

    #[test]
    fn a_new_run_removes_its_own_files_of_an_earlier_one_and_no_others() {
        let output = Output::create(scratch("training-begin")).unwrap();
        let own = ["metrics.json", "model.safetensors", "model.png"];
        let others = ["other.safetensors", "other.png", "notes"];
        for name in own.iter().chain(&others) {
            fs::write(output.path(name), "").unwrap();
        }
        let begin = |resume| begin(&[training(1, "a")], &["model.png".into()], resume, &output);
        let is_there = |name: &&str| output.path(name).exists();
        // A refused run removes nothing.
        begin(true).unwrap_err();
        assert!(own.iter().all(is_there));
        begin(false).unwrap();
        assert!(!own.iter().any(is_there) && others.iter().all(is_there));
        fs::create_dir(output.path("metrics.json")).unwrap();
        for resume in [false, true] {
            refused(begin(resume), "metrics.json", &["found a folder"]);
        }
    }

    #[test]
    fn a_checkpoint_of_other_settings_is_refused_by_what_differs() {
        let output = Output::create(scratch("training-settings")).unwrap();
        let check = |training| check_resume(&[training], true, &output);
        let file = "model.safetensors";
        refused(check(training(1, "a")), file, &["--resume", "found none"]);
        run(&training(1, "a"), false, &output, &|_, _| 1.)
            .0
            .unwrap();
        check(training(1, "a")).unwrap();
        for refusal in [
            check(training(1, "b")),
            run(&training(1, "b"), true, &output, &|_, _| 1.)
                .0
                .map(|_| ()),
        ] {
            let line = refusal.as_ref().unwrap_err().to_string();
            assert!(!line.contains("width"), "{line}");
            refused(refusal, file, &["data built from b", "found a"]);
        }
        // One of two has a checkpoint: the other starts anew, with a warning.
        let other = Training {
            name: "other",
            ..training(1, "a")
        };
        check_resume(&[other, training(1, "a")], true, &output).unwrap();
    }
}
