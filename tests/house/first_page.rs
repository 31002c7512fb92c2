//! The README and the crate's front page: one code, and links that lead somewhere.

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

#[test]
fn links_of_the_documents_lead_to_files() {
    for (folder, name) in [
        ("", "README.md"),
        ("docs/", "docs/performance.md"),
        ("docs/results/", "docs/results/gmvib.md"),
        ("docs/results/", "docs/results/flows.md"),
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
