//! The import tables: which room may open which door, in the crate and in `kernels`. Lower rooms never import higher ones,
//! siblings do not import siblings, and only `kernels` touches threads, custom operations, storages and `unsafe`.

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms from the bottom up; a room may import from every lower level and from itself.
const LEVELS: &[&[&str]] = &[
    &["error", "check", "shape"],
    &["kernels"],
    &["rng", "special", "neighbours"],
    &["conditional", "detach", "init", "dual"],
    &["bijector", "distribution"],
    &["divergence", "dynamics"],
    &["information"],
    &["select"],
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
    ("Detach", "detach"),
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

/// A source without its comments and the text of its strings, in as many lines.
fn code(source: &str) -> String {
    let (mut code, mut rest) = (String::new(), source);
    while let Some(c) = rest.chars().next() {
        let end = |mark: &str| rest.find(mark).unwrap_or(rest.len());
        let left_out = if rest.starts_with("//") {
            end("\n")
        } else if rest.starts_with("/*") {
            end("*/")
        } else if c == '"' {
            let mut escaped = false;
            let closes = |c: char| {
                let closes = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                closes
            };
            rest[1..].find(closes).map_or(rest.len(), |n| n + 2)
        } else if ["'\"'", "'{'", "'}'"].iter().any(|c| rest.starts_with(c)) {
            3
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        code.extend(rest[..left_out].matches('\n'));
        rest = &rest[left_out..];
    }
    code
}

/// Names and signs, each with its line.
fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut tokens = vec![];
    for (number, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(c) = rest.chars().next() {
            let name = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
            let length = match name.unwrap_or(rest.len()) {
                0 if rest.starts_with("::") => 2,
                0 => c.len_utf8(),
                name => name,
            };
            tokens.push((number + 1, &rest[..length]));
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

type Found<'a> = Vec<(usize, Vec<&'a str>)>;

/// Follows one path, and each element of a list in braces. What is renamed ends with `as`.
fn follow<'a>(
    tokens: &[(usize, &'a str)],
    i: &mut usize,
    mut path: Vec<&'a str>,
    found: &mut Found<'a>,
) {
    let at = |i: usize| tokens.get(i).map(|token| token.1);
    while let Some(&(line, token)) = tokens.get(*i) {
        *i += 1;
        match token {
            "{" => {
                while at(*i).is_some_and(|token| token != "}") {
                    follow(tokens, i, path.clone(), found);
                    *i += usize::from(at(*i) == Some(","));
                }
                *i += 1;
                return;
            }
            "crate" => path.clear(),
            "super" => drop(path.pop()),
            "self" => {}
            name => path.push(name),
        }
        if at(*i) == Some("::") {
            *i += 1;
            continue;
        }
        if at(*i) == Some("as") {
            *i += 2;
            path.push("as");
        }
        found.push((line, path));
        return;
    }
}

/// The paths by `crate`, `super` and `self` in the code of a module, from the root of the crate, with their lines.
fn paths<'a>(module: &[&'a str], code: &'a str) -> Found<'a> {
    let tokens = tokens(code);
    let at = |i: usize| tokens.get(i).map_or("", |token| token.1);
    let (mut module, mut found) = (module.to_vec(), vec![]);
    // How deep in braces we are, and where the modules within the file began.
    let (mut depth, mut within, mut i) = (0, vec![], 0);
    while i < tokens.len() {
        match at(i) {
            "crate" | "super" => {
                follow(&tokens, &mut i, module.clone(), &mut found);
                continue;
            }
            "self" if at(i + 1) == "::" => {
                follow(&tokens, &mut i, module.clone(), &mut found);
                continue;
            }
            // `pub(crate)` names no door.
            "pub" if at(i + 1) == "(" => {
                while i < tokens.len() && at(i) != ")" {
                    i += 1;
                }
            }
            "mod" if at(i + 2) == "{" => {
                within.push(depth);
                module.push(at(i + 1));
            }
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if within.last() == Some(&depth) {
                    within.pop();
                    module.pop();
                }
            }
            _ => {}
        }
        i += 1;
    }
    assert_eq!(depth, 0, "braces of {module:?}");
    found
}

fn allowed(room: &str, target: &str) -> bool {
    let target = ROOT
        .iter()
        .find(|(name, _)| *name == target)
        .map_or(target, |(_, room)| *room);
    SIBLINGS.contains(&(room, target)) || lower(LEVELS, room, target)
}

/// What a file of `src` names and may not.
fn faults(file: &str, source: &str) -> Vec<String> {
    let code = code(source);
    let module = file.trim_end_matches(".rs").split('/');
    let module: Vec<&str> = module.filter(|name| *name != "mod").collect();
    let (room, own) = (module[0], module.get(1));
    assert!(
        level(LEVELS, room).is_some(),
        "room `{room}` is not in the table"
    );
    let kernels = room == "kernels";
    if let (true, Some(own)) = (kernels, own) {
        assert!(
            level(KERNELS, own).is_some(),
            "room `{own}` of kernels is not in the table"
        );
    }
    let mut wrong = vec![];
    for (line, path) in paths(&module, &code) {
        let fine = match path[..] {
            [] => true,
            // All of `kernels` by one name would hide which room of it is meant.
            ["kernels"] if kernels => own.is_none(),
            ["kernels", target, ..] if kernels => own.is_none_or(|own| lower(KERNELS, own, target)),
            [target, ..] => allowed(room, target),
        };
        if !fine {
            wrong.push(format!("{file}:{line} must not see {}", path.join("::")));
        }
    }
    for (number, line) in code.lines().enumerate() {
        if !kernels && ENGINE_ONLY.iter().any(|word| line.contains(word)) {
            wrong.push(format!("{file}:{}: only kernels may: {line}", number + 1));
        }
    }
    wrong
}

#[test]
fn rooms_import_only_what_the_tables_allow() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![];
    sources(&root, &mut files);
    files.retain(|file| !file.ends_with("lib.rs"));
    assert!(files.len() > 10);
    let mut wrong = vec![];
    for file in files {
        let relative = file.strip_prefix(&root).unwrap().components();
        let relative: Vec<_> = relative.map(|c| c.as_os_str().to_str().unwrap()).collect();
        let source = fs::read_to_string(&file).unwrap();
        wrong.extend(faults(&relative.join("/"), &source));
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
        let code = code(&fs::read_to_string(&file).unwrap());
        for (number, line) in code.lines().enumerate() {
            if let Some(trap) = traps.iter().find(|trap| line.contains(*trap)) {
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
    assert!(!allowed("divergence", "information") && !allowed("information", "select"));
    assert!(allowed("distribution", "Rng"));
    assert!(lower(KERNELS, "family", "elementwise"));
    assert!(!lower(KERNELS, "family", "network"));
    assert!(!lower(KERNELS, "machine", "graph"));
    for (file, source) in [
        (
            "rng.rs",
            "use crate::{\n    error::Error,\n    net::Mlp,\n};",
        ),
        ("rng.rs", "use super::net::Mlp;"),
        ("special/incomplete.rs", "use super::super::{self as all};"),
        ("special/mod.rs", "use {super::rng::Rng, std::fmt};"),
        ("rng.rs", "use crate as all;"),
        ("rng.rs", "use crate::*;"),
        ("rng.rs", "mod tests {\n    use super::super::net;\n}"),
        ("rng.rs", "let url = \"https://\"; crate::net::f();"),
        ("net/mlp.rs", "fn f() {\n    rayon::join(a, b);\n}"),
        (
            "kernels/machine/simd.rs",
            "use crate::kernels::{\n    machine,\n    family::{gamma},\n};",
        ),
        (
            "kernels/machine/simd.rs",
            "use crate::{\n    kernels::family::gamma,\n    error::Error,\n};",
        ),
        (
            "kernels/machine/simd.rs",
            "use crate::kernels;\nkernels::family::x();",
        ),
        ("kernels/machine/simd.rs", "use crate::kernels as k;"),
        ("kernels/machine/simd.rs", "use super::super as k;"),
        (
            "kernels/machine/simd.rs",
            "use super::super::family::gamma; // super::super::super::",
        ),
        (
            "kernels/machine/simd.rs",
            "use super::super::super::net::Mlp;",
        ),
        ("kernels/machine/mod.rs", "use super::family;"),
        (
            "kernels/family/gamma/element.rs",
            "use super::super::super::network;",
        ),
        (
            "kernels/family/gamma/element.rs",
            "use self::super::super::super::network::dense;",
        ),
    ] {
        assert_eq!(faults(file, source).len(), 1, "{file}: {source}");
    }
    for (file, source) in [
        (
            "conditional.rs",
            "use crate::{error::{Error, Result}, rng::Rng}; // crate::net",
        ),
        (
            "rng.rs",
            "/// crate::net\nconst A: &str = \"crate::net \\\" rayon\";",
        ),
        (
            "rng.rs",
            "pub(crate) mod tests {\n    use super::*;\n}\npub(super) fn f() {}",
        ),
        ("net/mlp.rs", "use crate::kernels as k;\nk::family::f();"),
        ("kernels/mod.rs", "pub use self::family::gamma;"),
        (
            "kernels/family/gamma/mod.rs",
            "mod tests {\n    use super::super::super::super::error;\n}",
        ),
        (
            "kernels/family/gamma/element.rs",
            "use super::super::super::{number::Real, graph};",
        ),
    ] {
        assert_eq!(faults(file, source), [""; 0], "{file}: {source}");
    }
}
