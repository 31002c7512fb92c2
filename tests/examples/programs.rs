//! The examples as programs: what they write, print and refuse. Cargo builds them before it runs this with the other
//! tests; alone it wants `cargo build --examples` before.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ALL: [&str; 12] = [
    "gmvib",
    "realnvp",
    "ffjord",
    "flow_1d",
    "vae",
    "autoencoder",
    "gan",
    "stable_nets",
    "information_bottleneck",
    "feature_selection",
    "f_divergence",
    "mi_estimators",
];
const FFJORD: &str = "--set rings --steps 1 --hidden 4 --batch 8";
const VAE: &str = "--quick --hidden 8,8 --latent 3 --batch 200 --nll-samples 20";
const AUTOENCODER: &str = "--quick --hidden 8 --code 2 --batch 200";
const GMVIB: &str = "--images 40 --epochs 2 --batch 8 --latent 4 --samples 1 --channels 4";

/// A fresh folder under the build's own scratch space.
fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("example_programs")
        .join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The example, to be run in this folder with arguments that have no spaces.
fn program(name: &str, folder: &Path, arguments: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().unwrap().parent().unwrap();
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let path = profile.join("examples").join(file);
    assert!(path.exists(), "{}: cargo build --examples", path.display());
    let mut command = Command::new(path);
    command
        .current_dir(folder)
        .args(arguments.split_whitespace())
        .stdin(Stdio::null());
    command
}

struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(name: &str, folder: &Path, arguments: &str) -> Ended {
    let output = program(name, folder, arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let ended = Ended {
        code: output.status.code(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    };
    assert!(
        !ended.err.contains("panicked"),
        "{name} {arguments}: {}",
        ended.err
    );
    ended
}

fn done(name: &str, folder: &Path, arguments: &str) -> Ended {
    let ended = run(name, folder, arguments);
    assert_eq!(ended.code, Some(0), "{name} {arguments}: {}", ended.err);
    ended
}

/// Exit code 1, nothing trained, and one line that says all of `words`.
fn refused(name: &str, folder: &Path, arguments: &str, words: &[&str]) -> String {
    let ended = run(name, folder, arguments);
    assert_eq!(ended.code, Some(1), "{name} {arguments}: {}", ended.err);
    let line = ended.err.trim_end();
    assert_eq!(line.lines().count(), 1, "{name} {arguments}: {line}");
    assert!(line.len() < 400, "{line}");
    for word in words {
        assert!(
            line.contains(word),
            "{name} {arguments}: `{word}` is not in: {line}"
        );
    }
    line.into()
}

/// IDX files of 20 training and 10 test images of 6 x 5, the first pixel given.
fn images(folder: &Path, first: u8) {
    fs::create_dir_all(folder).unwrap();
    for (part, count) in [("train", 20u32), ("t10k", 10)] {
        let words =
            |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|w| w.to_be_bytes()).collect() };
        let mut pixels = words(&[0x803, count, 6, 5]);
        pixels.extend((0..count * 30).map(|k| if k == 0 { first } else { (k % 251) as u8 }));
        let mut labels = words(&[0x801, count]);
        labels.extend((0..count).map(|k| (k % 10) as u8));
        fs::write(folder.join(format!("{part}-images-idx3-ubyte")), pixels).unwrap();
        fs::write(folder.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
    }
}

/// Those to copy: short, without flags, and the number that they end in is checked by themselves.
#[test]
fn short_examples_reach_their_numbers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let short: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .collect();
    assert!(short.len() >= 4, "{short:?}");
    for path in short {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.lines().count() <= 60, "{}", path.display());
        assert!(text.contains("assert!("), "{}", path.display());
        let name = path.file_stem().unwrap().to_str().unwrap();
        done(name, &scratch(name), "");
    }
}

#[test]
fn a_checkpoint_of_images_knows_them() {
    let folder = scratch("images");
    images(&folder.join("m1"), 1);
    images(&folder.join("m2"), 1);
    images(&folder.join("other"), 2);
    let vib = format!("{GMVIB} --model vib --out o");
    done(
        "gmvib",
        &folder,
        &format!("{vib} --data m1 --pause-after 1"),
    );
    // Another spelling and another place are the same data; other contents in the same place are not.
    for data in ["./m1", "m2"] {
        done(
            "gmvib",
            &folder,
            &format!("{vib} --data {data} --pause-after 1 --resume"),
        );
    }
    fs::remove_dir_all(folder.join("m1")).unwrap();
    fs::rename(folder.join("other"), folder.join("m1")).unwrap();
    let line = refused(
        "gmvib",
        &folder,
        &format!("{vib} --data m1 --resume"),
        &["vib.safetensors", "data built from"],
    );
    assert!(!line.contains("latent"), "{line}");
    let line = refused(
        "gmvib",
        &folder,
        &format!("{vib} --data m2 --resume --lr 0.5"),
        &["lr built from 0.5", "found 0.003"],
    );
    assert!(!line.contains("data built"), "{line}");
    let end = done("gmvib", &folder, &format!("{vib} --data m2 --resume"));
    assert!(
        end.err.contains("VIB: epoch 2 of 2: exact match"),
        "{}",
        end.err
    );
    let text = fs::read_to_string(folder.join("o/metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(metrics["settings"]["seed"], 0);
    assert_eq!(metrics["settings"]["latent"], 4);
    // RealNVP knows them too.
    let images = "--batch-norm --channels 2 --scales 1 --epochs 2 --image-batch 8 --out r";
    let images = format!("{images} --only images");
    done(
        "realnvp",
        &folder,
        &format!("{images} --data m2 --pause-after 1"),
    );
    let other = format!("{images} --data m1 --resume");
    refused("realnvp", &folder, &other, &["image_data built from"]);
}

/// Where GMVIB's training begins decides where it ends (docs/results/gmvib.md): small scales, so that the signal of ten
/// averaged components stands out of their noise.
#[test]
fn gmvib_starts_with_a_signal_that_stands_out() {
    let folder = scratch("start");
    let start = |arguments: &str| {
        let small = "--images 640 --epochs 1 --batch 512 --samples 2 --out o";
        done("gmvib", &folder, &format!("{small} {arguments}"));
        let text = fs::read_to_string(folder.join("o/metrics.json")).unwrap();
        let metrics: serde_json::Value = serde_json::from_str(&text).unwrap();
        ["gmvib", "vib"].map(|model| {
            let metric = |name: &str| metrics[format!("{model}.start.{name}")].as_f64().unwrap();
            (metric("rate_nats"), metric("signal_to_noise"))
        })
    };
    let [gmvib, vib] = start("");
    let near = |found: f64, expected: f64| (found / expected - 1.).abs() < 0.2;
    assert!(near(gmvib.0, 11_900.) && near(gmvib.1, 0.36), "{gmvib:?}");
    assert!(near(vib.0, 1200.) && near(vib.1, 20.), "{vib:?}");
    let [gmvib, vib] = start("--scale log-variance");
    assert!(near(gmvib.0, 555.) && near(gmvib.1, 0.12), "{gmvib:?}");
    assert!(near(vib.0, 54.) && near(vib.1, 0.17), "{vib:?}");
    // Even weights do not drown the signal either.
    let [gmvib, _] = start("--concentration 10");
    assert!(near(gmvib.1, 1.16), "{gmvib:?}");
}

#[test]
fn a_checkpoint_of_points_knows_set_and_model() {
    let folder = scratch("points");
    let rings = format!("{FFJORD} --epochs 1 --out o");
    let end = done("ffjord", &folder, &rings);
    assert!(end.err.contains("Rings: epoch 1 of 1: NLL"), "{}", end.err);
    assert!(end.out.lines().all(|line| line.chars().count() <= 80));
    let file = |name: &str| folder.join("o").join(name);
    fs::copy(file("rings.safetensors"), file("moons.safetensors")).unwrap();
    let moons = rings.replace("rings", "moons");
    let words = ["moons.safetensors", "data built from moons", "found rings"];
    refused("ffjord", &folder, &format!("{moons} --resume"), &words);
    let flow = "--set rings --batch 8 --epochs 1 --hidden 4 --layers 2 --out o --resume";
    refused(
        "realnvp",
        &folder,
        flow,
        &["rings.safetensors", "found none"],
    );
    // A run without --resume says that it replaces an earlier one.
    let again = done("ffjord", &folder, &rings);
    assert!(
        again
            .err
            .contains("warning: o: holds an earlier run with seed 0"),
        "{}",
        again.err
    );
}

#[test]
fn a_folder_in_the_place_of_a_file_is_found_at_the_start() {
    let folder = scratch("places");
    for file in ["metrics.json", "uniform.safetensors"] {
        fs::create_dir_all(folder.join("o").join(file)).unwrap();
        refused("flow_1d", &folder, "--out o", &[file, "found a folder"]);
        fs::remove_dir(folder.join("o").join(file)).unwrap();
    }
    fs::create_dir_all(folder.join("s/selected.csv")).unwrap();
    let words = ["selected.csv", "found a folder"];
    refused("feature_selection", &folder, "--quick --out s", &words);
    for (name, arguments, words) in [
        ("flow_1d", "--seed x", ["0 to 18446744073709551615", "x"]),
        ("flow_1d", "--epochs 0", ["1 to 4294967295", "0"]),
        ("feature_selection", "--seed -1", ["0 to", "-1"]),
    ] {
        refused(name, &folder, arguments, &words);
    }
}

#[test]
fn what_diverges_does_not_take_the_others_with_it() {
    let folder = scratch("beta");
    let end = run("gmvib", &folder, &format!("{GMVIB} --beta 1e39 --out o"));
    assert_eq!(end.code, Some(1));
    for word in [
        "VIB: training",
        "GMVIB: training",
        "epoch 1",
        "0.003",
        "of 4 steps skipped",
    ] {
        assert!(end.err.contains(word), "`{word}` is not in: {}", end.err);
    }
    assert!(end.out.contains("Basic  "), "{}", end.out);
    let text = fs::read_to_string(folder.join("o/metrics.json")).unwrap();
    assert!(
        text.contains("basic.exact_match") && !text.contains("vib."),
        "{text}"
    );
    // A figure that cannot be written takes nothing with it either.
    let folder = scratch("figure");
    fs::create_dir_all(folder.join("o/curves.png")).unwrap();
    fs::write(folder.join("o/curves.png/file"), "").unwrap();
    let end = run("gmvib", &folder, &format!("{GMVIB} --out o"));
    assert_eq!(end.code, Some(1));
    assert!(
        end.err.contains("o/curves.png: expected a writable file"),
        "{}",
        end.err
    );
    assert!(end.out.contains("GMVIB  ") && folder.join("o/samples.png").exists());
    assert!(
        end.out.lines().all(|line| line.chars().count() <= 80),
        "{}",
        end.out
    );
}

/// The critic's estimate meets the divergence after enough steps, and where it does not the run fails after it has written
/// all it found.
#[test]
fn a_critic_estimates_its_divergence() {
    let folder = scratch("f_divergence");
    let end = done(
        "f_divergence",
        &folder,
        "--quick --divergence hellinger --out o",
    );
    let wide = |line: &str| line.chars().count() > 80;
    assert!(!end.out.lines().any(wide), "{}", end.out);
    let text = fs::read_to_string(folder.join("o/metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_str(&text).unwrap();
    let number = |name: &str| metrics[format!("hellinger.{name}")].as_f64().unwrap();
    assert!((number("gan.estimate") - number("gan.divergence")).abs() < 0.02);
    assert!(number("gan.divergence") >= number("exact.divergence") - 1e-6);
    assert!(folder.join("o/fits.png").exists());
    let short = "--rounds 2 --batch 8 --divergence kl --out s";
    let end = run("f_divergence", &folder, short);
    assert_eq!(end.code, Some(1));
    assert!(end.err.contains("f-GAN by KL"), "{}", end.err);
    assert!(folder.join("s/metrics.json").exists() && end.out.contains("KL"));
    let lost = "--rounds 3 --batch 8 --divergence kl --lr 1e30 --out l";
    let end = run("f_divergence", &folder, lost);
    assert_eq!(end.code, Some(1));
    assert!(end.err.contains("gradients finite"), "{}", end.err);
}

/// Neighbours and bounds beside the known information of normal pairs; the same numbers at any number of threads.
#[test]
fn estimators_meet_the_information() {
    let folder = scratch("mi_estimators");
    let arguments = "--family gaussian --steps 80 --trials 2 --samples 300 --hidden 16";
    let mut runs = vec![];
    for (out, threads) in [("a", "1"), ("b", "3")] {
        let output = program(
            "mi_estimators",
            &folder,
            &format!("{arguments} --out {out}"),
        )
        .env("RAYON_NUM_THREADS", threads)
        .output()
        .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let wide = |line: &str| line.chars().count() > 80;
        assert!(!printed.lines().any(wide), "{printed}");
        runs.push(fs::read_to_string(folder.join(out).join("metrics.json")).unwrap());
        assert!(folder.join(out).join("bias_and_spread.png").exists());
    }
    assert_eq!(runs[0], runs[1]);
    let metrics: serde_json::Value = serde_json::from_str(&runs[0]).unwrap();
    let number = |name: &str| metrics[name].as_f64().unwrap();
    assert!((number("gaussian_0.9.information") - 0.8304).abs() < 1e-4);
    // Without information neither neighbours nor a classifier find any; contrast has a ceiling.
    for estimator in ["ksg_1", "ksg_2", "info_nce", "smile"] {
        let bias = number(&format!("gaussian_0.{estimator}.bias"));
        assert!(bias.abs() < 0.15, "{estimator}: {bias}");
    }
    let most = 64f64.ln() - number("gaussian_0.9999.information");
    assert!(number("gaussian_0.9999.info_nce.bias") <= most + 1e-5);
    for (flags, words) in [
        ("--trials 1", ["--trials", "at least 2"]),
        ("--batch 1", ["--batch", "at least 2"]),
        ("--samples 20", ["--samples", "at least 64"]),
    ] {
        refused("mi_estimators", &folder, flags, &words);
    }
}

/// The paper's relations of what it tells, and a course that a pause does not change.
#[test]
fn bottlenecks_that_paused_become_what_they_would_have_become() {
    let folder = scratch("information_bottleneck");
    let own = "--images 200 --epochs 2 --trials 2 --hidden 16 --categories 8 --latent 4 --samples 2 --gamma 0.1,1";
    let arguments = format!("{own} --surrogate log-variance,conditional-log-variance");
    let name = "information_bottleneck";
    done(name, &folder, &format!("{arguments} --out whole"));
    let parts = format!("{arguments} --out parts");
    done(name, &folder, &format!("{parts} --pause-after 1"));
    done(name, &folder, &format!("{parts} --resume"));
    let read = |file: &str| fs::read(folder.join(file)).unwrap();
    let figures = ["diagram", "gap", "noise", "plane", "entropies"].map(|f| format!("{f}.png"));
    let files = figures
        .iter()
        .map(String::as_str)
        .chain(["metrics.json", "plane.csv"]);
    for file in files {
        let [a, b] = ["whole", "parts"].map(|part| read(&format!("{part}/{file}")));
        assert!(a == b && !a.is_empty(), "{file}");
    }
    let text = String::from_utf8(read("whole/metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_str(&text).unwrap();
    let named = |end: &str| {
        let all = metrics.as_object().unwrap().iter();
        let end = end.to_string();
        all.filter_map(move |(name, value)| Some((name.strip_suffix(&end)?, value.as_f64()?)))
    };
    let value = |name: String| {
        metrics[&name]
            .as_f64()
            .unwrap_or_else(|| panic!("no {name}"))
    };
    let mut count = 0;
    for (of, prediction) in named(".prediction_cross_entropy") {
        let decoder = value(format!("{of}.decoder_cross_entropy"));
        let uncertainty = value(format!("{of}.decoder_uncertainty"));
        assert!(
            prediction <= decoder + 1e-6 && uncertainty <= decoder + 1e-6,
            "{of}"
        );
        assert!(
            value(format!("{of}.error")) <= value(format!("{of}.error_bound")) + 1e-6
                || prediction < decoder,
            "{of}"
        );
        count += 1;
    }
    assert!(count >= 6, "{count}");
    refused(name, &folder, "--images 1", &["--images", "at least 2"]);
}

/// Files of CIFAR-10's binary version, of so many records each.
fn colours(folder: &Path, records: usize) {
    fs::create_dir_all(folder).unwrap();
    let record = |k: usize| {
        let pixels = (0..3072).map(move |i| ((i * (k + 1)) % 251) as u8);
        std::iter::once((k % 10) as u8).chain(pixels)
    };
    let bytes: Vec<u8> = (0..records).flat_map(record).collect();
    for k in 1..=5 {
        fs::write(folder.join(format!("data_batch_{k}.bin")), &bytes).unwrap();
    }
    fs::write(folder.join("test_batch.bin"), &bytes).unwrap();
}

#[test]
fn colour_images_are_read() {
    let folder = scratch("information_bottleneck_colours");
    let name = "information_bottleneck";
    colours(&folder.join("c"), 20);
    let few = "--data c --epochs 1 --images 40 --latent 3 --gamma 0.1 --surrogate squared-norm";
    for net in ["small", "resnet18"] {
        let arguments = format!("{few} --experiment surrogates --net {net} --out {net}");
        let end = done(name, &folder, &arguments);
        assert!(
            end.out.contains("CIFAR-10: 40 training and 8 test"),
            "{}",
            end.out
        );
    }
    // And by flows, whose sheets show them in colour.
    let few = "--data c --epochs 1 --most-images 16 --image-batch 8 --scales 2 --channels 2";
    for flow in [
        "real-nvp --squeeze-last --conditioner-norm batch",
        "glow --steps 1",
        "nice --couplings 2 --width 4",
    ] {
        let arguments = format!("{few} --out f --image-flow {flow}");
        let end = done("realnvp", &folder, &arguments);
        let data = "16 training and 20 test images of 3 x 32 x 32";
        assert!(
            end.out.contains(data) && end.out.contains("CIFAR-10"),
            "{}",
            end.out
        );
        let sheet = fs::File::open(folder.join("f/images_samples.png")).unwrap();
        let mut sheet = png::Decoder::new(BufReader::new(sheet))
            .read_info()
            .unwrap();
        let mut bytes = vec![0; sheet.output_buffer_size()];
        sheet.next_frame(&mut bytes).unwrap();
        let coloured = |p: &[u8]| p.iter().max().unwrap() - p.iter().min().unwrap() > 100;
        let count = bytes.chunks_exact(3).filter(|p| coloured(p)).count();
        assert!(
            count > bytes.len() / 30,
            "{flow}: {count} of {}",
            bytes.len() / 3
        );
    }
    let few = "--data c --epochs 1 --images 40 --latent 3 --gamma 0.1 --surrogate squared-norm";
    let path = folder.join("c/data_batch_3.bin");
    let whole = fs::read(&path).unwrap();
    for (bytes, words) in [
        (
            &whole[..5000],
            ["data_batch_3.bin", "1927 bytes after record 1"],
        ),
        (&whole[..3073], ["data_batch_3.bin", "20 records"]),
        (&[], ["data_batch_3.bin", "3073 bytes"]),
    ] {
        fs::write(&path, bytes).unwrap();
        refused(name, &folder, few, &words);
    }
    let mut wrong = whole.clone();
    wrong[3073] = 10;
    fs::write(&path, wrong).unwrap();
    refused(name, &folder, few, &["label 10 of record 2"]);
    fs::write(&path, whole).unwrap();
    fs::remove_file(folder.join("c/test_batch.bin")).unwrap();
    refused(name, &folder, few, &["test_batch.bin"]);
}

#[test]
fn resume_wants_a_checkpoint() {
    let folder = scratch("resume");
    fs::create_dir_all(folder.join("empty")).unwrap();
    fs::write(folder.join("file"), "").unwrap();
    for name in &ALL[..9] {
        refused(
            name,
            &folder,
            "--resume --out none",
            &["none: ", "--resume"],
        );
        refused(
            name,
            &folder,
            "--resume --out empty",
            &["empty", "--resume", "found none"],
        );
        refused(name, &folder, "--resume --out file/below", &["file/below"]);
    }
    for name in ALL {
        refused(name, &folder, "--out file/below", &["file/below", "folder"]);
    }
    for name in ["gmvib", "realnvp", "vae", "autoencoder", "gan"] {
        refused(
            name,
            &folder,
            "--data file/below --out o",
            &["file/below", "can be read"],
        );
    }
}

#[test]
fn sizes_have_upper_bounds() {
    let folder = scratch("sizes");
    for (name, sizes) in [
        ("gmvib", "--images 18446744073709551615"),
        ("gmvib", "--latent 100000000000"),
        ("gmvib", "--samples 1000000000000"),
        ("gmvib", "--batch 10000000000000 --images 10000000000000"),
        ("gmvib", "--channels 1000000000000"),
        ("realnvp", "--batch 10000000000000"),
        ("realnvp", "--layers 1000000000000"),
        ("realnvp", "--hidden 1000000000000"),
        ("realnvp", "--channels 1000000000000 --only images"),
        ("realnvp", "--blocks 1000000000000 --only images"),
        ("realnvp", "--scales 1000000000000 --only images"),
        (
            "realnvp",
            "--width 1000000000000 --only images --image-flow nice",
        ),
        (
            "realnvp",
            "--couplings 1000000000000 --only images --image-flow nice",
        ),
        (
            "realnvp",
            "--steps 1000000000000 --only images --image-flow glow",
        ),
        ("ffjord", "--batch 10000000000000"),
        ("ffjord", "--steps 1000000000000"),
        ("ffjord", "--hidden 1000000000000"),
        ("flow_1d", "--batch 10000000000000"),
        ("flow_1d", "--components 1000000000000"),
        ("vae", "--hidden 1000000000000"),
        ("vae", "--latent 1000000000000"),
        ("vae", "--samples 1000000000000 --model iwae"),
        ("vae", "--codes 1000000000000 --model vq"),
        ("autoencoder", "--hidden 1000000000000"),
        ("gan", "--hidden 1000000000000"),
        ("gan", "--latent 1000000000000"),
        ("gan", "--samples 1000000000000"),
        ("gan", "--seeds 1000000000000"),
        ("gan", "--channels 1000000000000 --data digits"),
        ("autoencoder", "--code 1000000000000"),
        ("feature_selection", "--trials 1000000000000"),
        ("stable_nets", "--levels 1099511627776"),
        ("f_divergence", "--batch 10000000000000"),
        ("f_divergence", "--hidden 1000000000000"),
        ("information_bottleneck", "--hidden 1000000000000"),
        ("information_bottleneck", "--categories 1000000000000"),
        ("information_bottleneck", "--latent 1000000000000"),
        ("mi_estimators", "--samples 1000000000000"),
        ("mi_estimators", "--hidden 1000000000000"),
    ] {
        let flag = sizes.split_whitespace().next().unwrap();
        let expected = [flag, "at most", "memory"];
        let arguments = format!("{sizes} --out o");
        let words: &[&str] = if sizes.contains("--batch") && name == "gmvib" {
            &expected[1..]
        } else {
            &expected
        };
        refused(name, &folder, &arguments, words);
    }
    // What does not fit the images is told once, before anything is trained.
    let words = ["conv_encoder", "before convolution 4"];
    let channels = "--images 60 --channels 2,2,2,2,2 --out o2";
    refused("gmvib", &folder, channels, &words);
    refused(
        "realnvp",
        &folder,
        "--scales 5 --out o3",
        &["scales", "1 to 3"],
    );
    // More than there are is all of them.
    done(
        "gmvib",
        &folder,
        &format!("{GMVIB} --model basic --out o").replace("--batch 8", "--batch 10000000000000"),
    );
}

#[test]
fn the_command_line_says_what_there_is() {
    let folder = scratch("help");
    for name in ALL {
        let help = program(name, &folder, "--help")
            .env("COLUMNS", "70")
            .output()
            .unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        assert!(
            help.lines().all(|line| line.chars().count() <= 70),
            "{help}"
        );
        assert!(help.contains(&format!("out/{name}")), "{help}");
        let reads = !["ffjord", "flow_1d", "f_divergence", "mi_estimators"].contains(&name);
        assert_eq!(help.contains("--data"), reads, "{help}");
        let version = done(name, &folder, "--version").out;
        assert_eq!(
            version.trim(),
            format!("{name} {}", env!("CARGO_PKG_VERSION"))
        );
        // Negative numbers reach the parser of each flag that has a value; another flag ends the run.
        let words: Vec<&str> = help.split_whitespace().collect();
        let wrong = match name {
            "feature_selection" => "--trials 0",
            "f_divergence" => "--rounds 0",
            "mi_estimators" => "--trials 0",
            _ => "--epochs 0",
        };
        for pair in words.windows(2) {
            let [flag, value] = pair else { continue };
            if flag.starts_with("--") && value.starts_with('<') && !wrong.starts_with(flag) {
                let line = refused(
                    name,
                    &folder,
                    &format!("{flag} -1 {wrong}"),
                    &["invalid value"],
                );
                assert!(!line.contains("unexpected"), "{line}");
            }
        }
    }
    let line = refused(
        "gmvib",
        &folder,
        &format!("--lr \u{1b}[2J{}", "9".repeat(1000)),
        &["--lr"],
    );
    assert!(!line.contains('\u{1b}'), "{line}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_standard_output_is_an_error() {
    let folder = scratch("full");
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let ffjord = format!("{FFJORD} --epochs 1 --out o");
    for (name, arguments) in [
        ("ffjord", ffjord.as_str()),
        ("gmvib", "--help"),
        ("gmvib", "--version"),
    ] {
        let mut command = program(name, &folder, arguments);
        let output = command
            .stdout(full())
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments}");
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(!err.contains("panicked"), "{err}");
        assert!(err.contains("standard output: expected"), "{err}");
        // Nor is there a place to tell it when both are full.
        let mut command = program(name, &folder, arguments);
        let status = command.stdout(full()).stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(1), "{arguments}");
    }
    // What a heading is refused for takes no results with it.
    images(&folder.join("m"), 1);
    let flow = "--only images --data m --channels 2 --scales 1 --epochs 1 --image-batch 8 --out r";
    let gmvib = format!("{GMVIB} --model basic --out g");
    for (name, arguments, out) in [("realnvp", flow, "r"), ("gmvib", &gmvib, "g")] {
        let mut command = program(name, &folder, arguments);
        let status = command.stdout(full()).stderr(Stdio::null()).status();
        assert_eq!(status.unwrap().code(), Some(1), "{arguments}");
        let text = fs::read_to_string(folder.join(out).join("metrics.json")).unwrap();
        assert!(text.contains("skipped_steps"), "{text}");
    }
    // The results are written nevertheless; a reader that has seen enough is no error.
    assert!(folder.join("o/metrics.json").exists());
    let mut command = program("ffjord", &folder, &ffjord);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
#[cfg(unix)]
fn an_interruption_says_how_to_go_on() {
    let folder = scratch("interrupt");
    let long = format!("{FFJORD} --epochs 100000 --out o");
    let mut command = program("ffjord", &folder, &long);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut err = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    // The second epoch begins when the first is saved.
    while !line.contains("epoch 2") {
        line.clear();
        assert!(err.read_line(&mut line).unwrap() > 0, "ended early");
    }
    let interrupt = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(interrupt.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut rest = String::new();
    err.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("--resume continues"), "{rest}");
    assert!(folder.join("o/rings.safetensors").exists());
    // Forgotten --resume: the checkpoint goes.
    let again = done("ffjord", &folder, &format!("{FFJORD} --epochs 1 --out o"));
    let warning = "warning: o: holds an earlier run: removes its rings.safetensors (";
    assert!(again.err.contains(warning), "{}", again.err);
}

#[test]
fn selected_features_are_those_of_the_file() {
    let folder = scratch("selection");
    // The first and the fourth column never change; the second is the label's.
    let rows = (0..24).map(|n| {
        let class = n % 2;
        format!(
            "3,{},{},7,{}\n",
            class * 2 + n / 12,
            (n * 7) % 5,
            ["no", "yes"][class]
        )
    });
    let text = format!("same,good,noise,too,kind\n{}", rows.collect::<String>());
    fs::write(folder.join("Data.CSV"), text).unwrap();
    let end = done(
        "feature_selection",
        &folder,
        "--data Data.CSV --quick --method all --out o",
    );
    assert!(
        end.err
            .contains("2 constant features are left out: same, too"),
        "{}",
        end.err
    );
    let selected = fs::read_to_string(folder.join("o/selected.csv")).unwrap();
    assert!(selected.contains(",1,good,"), "{selected}");
    for word in ["same", "too"] {
        assert!(
            !selected.contains(word) && !end.out.contains(word),
            "{selected}"
        );
    }
    let table = end.out.lines().skip_while(|line| !line.starts_with("mean"));
    assert!(table.clone().count() > 8);
    assert!(
        table
            .take_while(|line| !line.is_empty())
            .all(|line| line.chars().count() <= 80)
    );
}

/// Beside features of these sizes the linear systems of some rivals are singular.
#[test]
fn a_method_that_fails_does_not_take_the_others_with_it() {
    let folder = scratch("singular");
    let rows = (0..24).map(|n| {
        let class = n % 2;
        let (good, noise) = (
            (class * 2 + n / 12) as f64 * 1e17,
            ((n * 7) % 5) as f64 * 1e17,
        );
        format!("{},{good},{noise},{},{class}\n", good + 0.5, (n * 3) % 4)
    });
    let text = format!("a,b,c,d,y\n{}", rows.collect::<String>());
    fs::write(folder.join("d.csv"), text).unwrap();
    let arguments = "--data d.csv --quick --method all --out o";
    let end = run("feature_selection", &folder, arguments);
    assert_eq!(end.code, Some(1));
    for (file, method) in [("metrics.json", "RFS"), ("objective.png", "RPMFS")] {
        let line = format!("o/{file}: expected the results of {method}, found");
        assert!(end.err.contains(&line), "{}", end.err);
    }
    assert!(end.out.contains("\nESFS  ") && !end.out.contains("\nRFS  "));
    for file in ["metrics.json", "selected.csv", "hiht.png", "objective.png"] {
        assert!(folder.join("o").join(file).exists(), "{file}");
    }
}

#[test]
fn a_vae_that_paused_becomes_what_it_would_have_become() {
    let folder = scratch("vae");
    let both = format!("{VAE} --model vae,iwae,vq2 --codes 8 --most-images 200");
    let whole = done("vae", &folder, &format!("{both} --out whole")).out;
    assert!(
        whole.contains("NLL (20)") && whole.contains("IWAE"),
        "{whole}"
    );
    done(
        "vae",
        &folder,
        &format!("{both} --out parts --pause-after 1"),
    );
    done("vae", &folder, &format!("{both} --out parts --resume"));
    let read = |file: &str| fs::read(folder.join(file)).unwrap();
    assert_eq!(read("whole/metrics.json"), read("parts/metrics.json"));
    for model in ["vae", "iwae", "vq2"] {
        for figure in ["reconstructions", "samples"] {
            let file = format!("{model}_{figure}.png");
            assert!(
                read(&format!("whole/{file}")) == read(&format!("parts/{file}")),
                "{file}"
            );
        }
    }
}

#[test]
fn a_vae_takes_pixels_that_its_likelihood_knows() {
    let folder = scratch("likelihoods");
    let few =
        "--most-images 50 --epochs 1 --hidden 8 --latent 2 --nll-samples 5 --nll-images 20 --out o";
    for choice in [
        "--likelihood continuous-bernoulli",
        "--likelihood optimal-normal",
        "--likelihood categorical --pixels binary",
        "--likelihood logistic-mixture",
        "--prior vamp --model iwae --samples 3",
        "--prior flow",
        "--posterior iaf",
        "--posterior planar --prior mixture",
        "--model vq --codes 4 --likelihood categorical",
        // Of 50 images in sevens one is left.
        "--model dip,wae --batch 7",
        "--model beta,tc,dip,wae,score --gradients 2",
    ] {
        done("vae", &folder, &format!("{few} {choice}"));
    }
    let metrics = fs::read_to_string(folder.join("o/metrics.json")).unwrap();
    assert!(metrics.contains("score.gradient.pathwise.variance"));
    let names = ["data", "Bernoulli::soft", "ContinuousBernoulli"];
    refused("vae", &folder, &format!("{few} --pixels grey"), &names);
    for (choice, word) in [
        ("--model score --samples 1", "at least 2"),
        ("--model score --posterior iaf", "normal"),
        ("--model tc --prior flow", "standard"),
        ("--model vq --codes 1", "--codes"),
        ("--model dip --batch 1", "--batch"),
        ("--gradients 1", "--gradients"),
    ] {
        refused("vae", &folder, &format!("{few} {choice}"), &[word]);
    }
}

#[test]
fn an_autoencoder_that_paused_becomes_what_it_would_have_become() {
    let folder = scratch("autoencoder");
    let whole = done(
        "autoencoder",
        &folder,
        &format!("{AUTOENCODER} --out whole"),
    );
    for word in [
        "Denoising",
        "bits / image",
        "k-means on",
        "tells class 0 by",
    ] {
        assert!(
            whole.out.contains(word),
            "`{word}` is not in: {}",
            whole.out
        );
    }
    assert!(whole.out.lines().all(|line| line.chars().count() <= 80));
    let parts = format!("{AUTOENCODER} --out parts");
    done("autoencoder", &folder, &format!("{parts} --pause-after 1"));
    let other = format!("{parts} --resume --held-out 3");
    refused("autoencoder", &folder, &other, &["held_out built from"]);
    done("autoencoder", &folder, &format!("{parts} --resume"));
    let read = |file: &str| fs::read(folder.join(file)).unwrap();
    for file in [
        "metrics.json",
        "curves.png",
        "reconstructions.png",
        "denoised.png",
        "map.png",
        "roc.png",
    ] {
        let same = read(&format!("whole/{file}")) == read(&format!("parts/{file}"));
        assert!(same, "{file}");
    }
    // Images of a folder, and outliers of another.
    images(&folder.join("m"), 1);
    images(&folder.join("n"), 9);
    let small = format!("{AUTOENCODER} --data m --outliers n --out small");
    let end = done("autoencoder", &folder, &small);
    assert!(end.out.contains("tells n by"), "{}", end.out);
    let text = String::from_utf8(read("small/metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(metrics["anomalies.autoencoder.auc"].as_f64().unwrap() <= 1.);
    let words = ["n: ", "images of 8 x 8 up to 16", "6 x 5"];
    refused("autoencoder", &folder, "--outliers n --out o", &words);
}

#[test]
fn a_gan_that_paused_becomes_what_it_would_have_become() {
    let folder = scratch("gan");
    // Every part with a state: averages, spectral norms, both optimizers, points of earlier epochs.
    let points = "--loss non-saturating,wasserstein-sn,hinge-gp --hidden 8 --batch 16 --samples 50";
    let points = format!("{points} --epochs 6 --seeds 2 --ema 0.9 --update optimistic");
    let images = "--data digits --loss least-squares --channels 8,4 --latent 4 --samples 50";
    let images = format!("{images} --epochs 2 --most-images 100 --critic-steps 2");
    for (name, arguments, pause, figures) in [
        (
            "points",
            &points,
            3,
            vec!["curves.png", "wasserstein-sn_seed_1.png"],
        ),
        (
            "images",
            &images,
            1,
            vec!["curves.png", "least-squares_epoch_002.png"],
        ),
    ] {
        let whole = done("gan", &folder, &format!("{arguments} --out {name}_whole"));
        assert!(whole.out.contains("the data itself"), "{}", whole.out);
        assert!(whole.out.lines().all(|line| line.chars().count() <= 110));
        let parts = format!("{arguments} --out {name}_parts");
        done("gan", &folder, &format!("{parts} --pause-after {pause}"));
        let other = format!("{parts} --resume --critic-lr 0.1");
        refused("gan", &folder, &other, &["critic_lr built from 0.1"]);
        done("gan", &folder, &format!("{parts} --resume"));
        let read = |file: &str| fs::read(folder.join(file)).unwrap();
        for file in [vec!["metrics.json"], figures].concat() {
            let [a, b] = ["whole", "parts"].map(|part| read(&format!("{name}_{part}/{file}")));
            assert!(a == b, "{name} {file}");
        }
    }
    let text = fs::read_to_string(folder.join("points_whole/metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(metrics["data.end.modes"], 8.);
    assert_eq!(metrics["hinge-gp_seed_1.skipped_steps"], 0.);
    // Another seed is another training.
    let loss = |seed: u32| metrics[format!("hinge-gp_seed_{seed}.critic_loss")].clone();
    assert_ne!(loss(0), loss(1));
}

#[test]
fn a_gan_takes_losses_and_moves_that_go_together() {
    let folder = scratch("gan_losses");
    let few = "--hidden 4 --batch 8 --samples 20 --epochs 1 --out o";
    let end = done("gan", &folder, &format!("{few} --loss all --data grid"));
    for loss in ["Minimax", "Wasserstein clip", "f-GAN Jeffreys"] {
        assert!(end.out.contains(&format!("\n{loss}  ")), "{}", end.out);
    }
    for choice in [
        "--data moons --loss hinge-r1,wasserstein-project,relativistic-average-sn",
        "--loss f-gan:reverse-kl --f-gan-generator non-saturating",
        "--update simultaneous",
        "--update extragradient --ema 0.5",
        "--critic-steps 2 --critic-lr 0.001",
    ] {
        done("gan", &folder, &format!("{few} {choice}"));
    }
    let single = "--data digits --batch 1 --out o";
    refused("gan", &folder, single, &["--batch", "at least 2"]);
    images(&folder.join("m"), 1);
    for (choice, words) in [
        ("--loss wasserstein", ["--loss", "bounded"]),
        ("--loss hinges", ["--loss", "least-squares"]),
        ("--ema 1", ["--ema", "not 1"]),
        (
            "--critic-steps 2 --update simultaneous",
            ["--critic-steps", "1 with"],
        ),
        ("--data digits --channels 2,2,2,2", ["--channels", "8 x 8"]),
        ("--data m", ["--channels", "6 x 5"]),
    ] {
        refused("gan", &folder, &format!("{few} {choice}"), &words);
    }
}

#[test]
fn levels_that_paused_become_what_they_would_have_become() {
    let folder = scratch("stable_nets");
    let own = "--problem swiss-roll --net resnet,verlet --levels 2,8 --epochs 3";
    for solver in ["gauss-newton", "adam"] {
        let arguments = format!("{own} --solver {solver}");
        let whole = done(
            "stable_nets",
            &folder,
            &format!("{arguments} --out {solver}_whole"),
        );
        assert!(
            whole.out.contains("514 train, 512 validate"),
            "{}",
            whole.out
        );
        let parts = format!("{arguments} --out {solver}_parts");
        done("stable_nets", &folder, &format!("{parts} --pause-after 2"));
        let other = format!("{parts} --resume").replace("epochs 3", "epochs 4");
        let words = ["iterations built from 4", "found 3"];
        refused("stable_nets", &folder, &other, &words);
        done("stable_nets", &folder, &format!("{parts} --resume"));
        let read = |file: &str| fs::read(folder.join(file)).unwrap();
        for file in ["metrics.json", "levels.png", "resnet.png", "verlet.png"] {
            let [a, b] = ["whole", "parts"].map(|part| read(&format!("{solver}_{part}/{file}")));
            assert!(a == b, "{solver} {file}");
        }
        let text = String::from_utf8(read(&format!("{solver}_whole/metrics.json"))).unwrap();
        let metrics: serde_json::Value = serde_json::from_str(&text).unwrap();
        let value = |name: &str| metrics[name].as_f64().unwrap();
        for net in ["resnet", "verlet"] {
            let before = value(&format!("{net}_0008.reached.accuracy_before"));
            let reached = value(&format!("{net}_0008.reached.accuracy"));
            let iteration = value(&format!("{net}_0008.reached.iteration"));
            assert!(before > 0.3, "{net}: {before}");
            // Gauss-Newton's level ends at its best iterate, of equal ones at that of the lowest loss; Adam's at the last one.
            let of = |k: usize, metric: &str| value(&format!("{net}_0008.epoch_{k:03}.{metric}"));
            let own = (1..=3).map(|k| (of(k, "accuracy"), -of(k, "validation_loss")));
            let best = own.zip(1..).max_by(|a, b| a.0.partial_cmp(&b.0).unwrap());
            let ((best, _), number) = best.unwrap();
            let expected = match solver {
                "adam" => (of(3, "accuracy"), 3),
                _ if before > best => (before, 0),
                _ => (best, number),
            };
            assert_eq!(
                (reached, iteration),
                (expected.0, f64::from(expected.1)),
                "{net}"
            );
        }
    }
}

#[test]
fn nets_take_levels_that_double() {
    let folder = scratch("stable_nets_levels");
    let words = ["--levels", "4 times 2", "12"];
    refused("stable_nets", &folder, "--levels 4,12 --out o", &words);
    refused(
        "stable_nets",
        &folder,
        "--levels 8,4 --out o",
        &["--levels"],
    );
    done("stable_nets", &folder, "--problem phase-planes --out phase");
    for flag in [
        "--net resnet",
        "--levels 4",
        "--solver adam",
        "--epochs 3",
        "--resume",
    ] {
        let arguments = format!("--problem phase-planes {flag} --out phase");
        let name = flag.split(' ').next().unwrap_or(flag);
        refused("stable_nets", &folder, &arguments, &[name, "phase-planes"]);
    }
    for file in ["phase-planes.png", "long-paths.png", "metrics.json"] {
        assert!(folder.join("phase").join(file).exists(), "{file}");
    }
    images(&folder.join("m"), 1);
    let few =
        "--problem mnist --levels 2 --epochs 1 --data m --net antisymmetric,leapfrog --out m_o";
    done("stable_nets", &folder, few);
}
