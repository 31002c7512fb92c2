//! The README and the crate's front page: one code. Documents name what is there, and tests are compiled.

use std::fs;
use std::path::Path;

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The blocks of Rust code.
fn code<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let (mut blocks, mut open) = (vec![], None::<String>);
    for line in lines {
        match (line.strip_prefix("```"), &mut open) {
            (Some("" | "rust"), None) => open = Some(String::new()),
            (Some(_), None) => open = Some("other".into()),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => *block += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    blocks.retain(|block| !block.starts_with("other"));
    blocks
}

#[test]
fn the_readme_shows_the_code_of_the_front_page() {
    let (readme, page) = (file("README.md"), file("src/lib.rs"));
    let page = page.lines().filter_map(|line| line.strip_prefix("//!"));
    let page = code(page.map(|line| line.strip_prefix(' ').unwrap_or(line)));
    assert!(page.len() >= 3);
    assert_eq!(code(readme.lines()), page);
}

#[test]
fn the_readme_counts_the_distributions() {
    let (readme, room) = (file("README.md"), file("src/distribution/mod.rs"));
    let rows = room.lines().filter(|line| line.starts_with("//! | [`"));
    let (before, after) = readme.split_once(" families and ").unwrap();
    let families: usize = before.rsplit(' ').next().unwrap().parse().unwrap();
    let combinators: usize = after.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(families + combinators, rows.count());
}

/// The words in backticks that look like paths of this repository.
#[test]
fn paths_that_documents_name_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in [
        "README.md",
        "CONTRIBUTING.md",
        "docs/candle-notes.md",
        "docs/performance.md",
        "src/kernels/mod.rs",
    ] {
        let text = file(name);
        for path in text.split('`').skip(1).step_by(2) {
            let path = path.split([' ', ':']).next().unwrap();
            let folder = match path.split('/').next() {
                Some("src" | "tests" | "examples" | "benches" | "docs") => "",
                Some("kernels" | "distribution" | "select") if path.ends_with(".rs") => "src",
                _ => continue,
            };
            let whole = path.contains('/') && !path.contains(['{', '*']);
            assert!(
                !whole || root.join(folder).join(path).exists(),
                "{name}: {path}"
            );
        }
    }
}

/// What no `mod` line names is not compiled, and its tests never run.
#[test]
fn every_file_of_tests_is_a_module() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs")
                && folder != root
                && !["main", "mod"].contains(&name)
            {
                let of = |parent: &Path| fs::read_to_string(parent).unwrap_or_default();
                let parents = ["main.rs", "mod.rs"].map(|file| of(&folder.join(file)));
                // Some binaries take one file of `support` alone.
                let binaries =
                    ["flow_memory.rs", "select_memory.rs"].map(|file| of(&root.join(file)));
                let own = parents
                    .iter()
                    .any(|text| text.contains(&format!("mod {name};")));
                let taken = format!("{name}.rs\"]");
                let taken = binaries.iter().any(|text| text.contains(&taken));
                assert!(own || taken, "{} is in no binary", path.display());
            }
        }
    }
}

#[test]
fn links_of_the_documents_lead_to_files() {
    for (folder, name) in [
        ("", "README.md"),
        ("docs/", "docs/performance.md"),
        ("docs/results/", "docs/results/gmvib.md"),
        ("docs/results/", "docs/results/flows.md"),
        ("docs/results/", "docs/results/feature_selection.md"),
        ("docs/", "docs/candle-notes.md"),
        ("", "CONTRIBUTING.md"),
        ("", "CHANGELOG.md"),
    ] {
        let text = file(name);
        let links = text.split("](").skip(1).filter_map(|s| s.split(')').next());
        for link in links.filter(|link| !link.starts_with("http")) {
            let path = format!("{folder}{}", link.split('#').next().unwrap_or(link));
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
            assert!(path.exists(), "{name}: {link}");
        }
    }
}
