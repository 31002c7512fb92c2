//! The import tables: which room may open which door, in the crate and in `kernels`. Lower rooms never import higher ones,
//! siblings do not import siblings, and only `kernels` touches threads, custom operations, storages and `unsafe`.

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms from the bottom up; a room may import from every lower level and from itself.
const LEVELS: &[&[&str]] = &[
    &["error", "check", "shape"],
    &["kernels"],
    &["rng", "special", "neighbours"],
    &["conditional", "init", "dual"],
    &["bijector", "distribution"],
    &["divergence", "dynamics", "select"],
    &["information"],
    &["objective"],
    &["net", "optim"],
    &["flow"],
    &["testing"],
];

/// Pairs on one level that may see each other: `check` and `shape` build errors, `Transformed` holds a bijector.
const SIBLINGS: &[(&str, &str)] = &[
    ("check", "error"),
    ("shape", "error"),
    ("distribution", "bijector"),
];

/// The rooms of `kernels`, by the same rule.
const KERNELS: &[&[&str]] = &[
    &["machine"],
    &["number"],
    &["graph", "random"],
    &["elementwise"],
    &["reduce"],
    &["network", "family", "linear", "step"],
];

/// What the crate root re-exports, and the room it comes from.
const ROOT: &[(&str, &str)] = &[
    ("Error", "error"),
    ("Result", "error"),
    ("Rng", "rng"),
    ("Conditional", "conditional"),
];

const ENGINE_ONLY: &[&str] = &[
    "CustomOp",
    "InplaceOp",
    "CpuStorage",
    "rayon",
    "unsafe ",
    "target_feature",
    "core::arch",
    "std::arch",
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn level(levels: &[&[&str]], room: &str) -> Option<usize> {
    levels.iter().position(|rooms| rooms.contains(&room))
}

/// Whether a room may see another: itself and what lies lower.
fn lower(levels: &[&[&str]], room: &str, target: &str) -> bool {
    match (level(levels, room), level(levels, target)) {
        (Some(from), Some(to)) => room == target || to < from,
        _ => false,
    }
}

/// Rooms named by paths under `door` (`crate::`, `crate::kernels::`) in a line, outside comments.
fn imports(door: &str, line: &str) -> Vec<String> {
    let code = line.split("//").next().unwrap_or_default();
    let name = |s: &str| -> String {
        s.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let mut found = vec![];
    for part in code.split(door).skip(1) {
        if let Some(list) = part.strip_prefix('{') {
            // Only the first name of each element counts: `{error::{A, B}, rng::Rng}`.
            let mut depth = 0;
            let mut start = true;
            for (i, c) in list.char_indices() {
                if start && !c.is_whitespace() {
                    found.push(name(&list[i..]));
                    start = false;
                }
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => start = true,
                    _ => {}
                }
            }
        } else {
            found.push(name(part));
        }
    }
    found.retain(|n| !n.is_empty());
    found
}

fn allowed(room: &str, target: &str) -> bool {
    let target = ROOT
        .iter()
        .find(|(name, _)| *name == target)
        .map_or(target, |(_, room)| *room);
    SIBLINGS.contains(&(room, target)) || lower(LEVELS, room, target)
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![];
    sources(&root, &mut files);
    assert!(files.len() > 10);
    let mut wrong = vec![];
    for file in files {
        let relative = file.strip_prefix(&root).unwrap();
        let room = relative.components().next().unwrap();
        let room = room.as_os_str().to_str().unwrap().trim_end_matches(".rs");
        if room == "lib" {
            continue;
        }
        assert!(
            level(LEVELS, room).is_some(),
            "room `{room}` is not in the table"
        );
        for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            let at = format!("{}:{}: {}", relative.display(), number + 1, line.trim());
            for target in imports("crate::", line) {
                if !allowed(room, &target) {
                    wrong.push(format!("{room} must not see {target}: {at}"));
                }
            }
            let code = line.split("//").next().unwrap_or_default();
            if room != "kernels" && ENGINE_ONLY.iter().any(|word| code.contains(word)) {
                wrong.push(format!("only kernels may: {at}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rooms_of_kernels_import_only_lower_ones() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kernels");
    let mut files = vec![];
    sources(&root, &mut files);
    let mut wrong = vec![];
    for file in files {
        let relative = file.strip_prefix(&root).unwrap();
        let room = relative.components().next().unwrap();
        let room = room.as_os_str().to_str().unwrap().trim_end_matches(".rs");
        if room == "mod" {
            continue;
        }
        assert!(
            level(KERNELS, room).is_some(),
            "room `{room}` is not in the table"
        );
        // From a file `room/name.rs` two `super` lead out of the room, one from `room/mod.rs` or `room.rs`.
        let depth = relative.components().count() - usize::from(relative.ends_with("mod.rs"));
        let out = "super::".repeat(depth);
        for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            let mut targets = imports("crate::kernels::", line);
            if !line.contains(&format!("super::{out}")) {
                targets.extend(imports(&out, line));
            }
            for target in targets {
                if level(KERNELS, &target).is_some() && !lower(KERNELS, room, &target) {
                    wrong.push(format!(
                        "{room} must not see {target}: {}:{}: {}",
                        relative.display(),
                        number + 1,
                        line.trim()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Candle operations whose gradient is lost without a word, or that draw from a generator without a seed.
#[test]
fn traps_of_the_tensor_library_are_not_used() {
    let traps = [
        "softmax_last_dim",
        "ops::layer_norm",
        "ops::rms_norm",
        "rms_norm(",
        "binary_cross_entropy_with_logit",
        "Tensor::rand",
        "randn(",
        "rand_like(",
        "thread_rng",
        ".cumsum(",
        ".log_sum_exp(",
        "max_pool2d",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![];
    sources(&root, &mut files);
    let mut wrong = vec![];
    for file in files {
        for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if let Some(trap) = traps.iter().find(|trap| code.contains(*trap)) {
                wrong.push(format!("{}:{}: {trap}", file.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_catches_a_planted_import() {
    assert!(!allowed("kernels", "rng"));
    assert!(!allowed("bijector", "distribution"));
    assert!(!allowed("distribution", "net"));
    assert!(allowed("information", "divergence") && allowed("objective", "information"));
    assert!(!allowed("divergence", "information"));
    assert!(allowed("distribution", "Rng"));
    assert!(lower(KERNELS, "family", "elementwise"));
    assert!(!lower(KERNELS, "family", "network"));
    assert!(!lower(KERNELS, "machine", "graph"));
    let line = "use crate::{error::{Error, Result}, rng::Rng}; // crate::net";
    assert_eq!(imports("crate::", line), ["error", "rng"]);
    let line = "let x = crate::kernels::graph::fused(&[a]);";
    assert_eq!(imports("crate::", line), ["kernels"]);
    assert_eq!(imports("crate::kernels::", line), ["graph"]);
}
