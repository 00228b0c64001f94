//! The device configuration of `SetForwardingPipelineConfig`: a P4 program's sources in one string of bytes.
//!
//! In: the path of a program. Out: bytes that hold the main file and every file that it includes, and back. The
//! architecture descriptions (`core.p4`, `v1model.p4`, `pna.p4`) are not carried: the switch has its own.
//!
//! ```text
//! magic "P4SB" │ version 1 │ main │ n include dirs … │ n (macro, text) … │ n (file name, text) …
//! ```
//!
//! Every string is its length in bytes and then UTF-8; lengths and counts are LEB128 (seven bits per byte, least first).
//! File names are relative to the deepest directory that holds all files, so that the bytes do not depend on where the
//! program lies. Invariant: decoding reads no file, and what was encoded compiles to the same program.

use std::path::{Path, PathBuf};

use p4rs::diag::Diagnostics;
use p4rs::front::preprocess::{Sources, preprocess};
use p4rs::source::{SourceBundle, SourceMap};

use crate::program::{Program, ProgramError};

const MAGIC: &[u8; 4] = b"P4SB";
const VERSION: u8 = 1;

/// Why bytes are not a device configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Something else, for example another switch's binary.
    #[error(
        "the device config is not a P4 source bundle (it must begin with \"P4SB\"); \
         make one with softnic::device_config::bundle, or `softnic bundle PROGRAM.p4`"
    )]
    NotABundle,
    /// Made by a newer version.
    #[error("the source bundle has version {0}; this softnic reads version 1")]
    Version(u8),
    /// It ends in the middle.
    #[error("the source bundle is cut short at byte {0}")]
    Short(usize),
    /// A text that is not UTF-8.
    #[error("the source bundle holds text that is not UTF-8 at byte {0}")]
    NotText(usize),
    /// Something behind the end.
    #[error("{0} bytes stand behind the source bundle's end")]
    Trailing(usize),
    /// The main file is not among the files.
    #[error("the source bundle lacks its main file {0:?}")]
    NoMain(String),
}

/// Reads a program and what it includes into a device configuration.
///
/// # Errors
/// [`ProgramError::Source`] when a file is missing or the preprocessor finds an error; nothing more is checked here.
pub fn bundle(main: &Path, include_dirs: &[PathBuf]) -> Result<Vec<u8>, ProgramError> {
    bundle_with(main, include_dirs, &[])
}

/// As [`bundle`], with macros that are set from outside.
///
/// # Errors
/// As [`bundle`].
pub fn bundle_with(
    main: &Path,
    include_dirs: &[PathBuf],
    defines: &[(String, String)],
) -> Result<Vec<u8>, ProgramError> {
    let mut sources = Sources::from_disk(main.to_string_lossy());
    sources.include_dirs = include_dirs
        .iter()
        .map(|dir| dir.to_string_lossy().into_owned())
        .collect();
    sources.defines = defines.to_vec();
    let mut map = SourceMap::new();
    let mut diagnostics = Diagnostics::new();
    preprocess(&sources, &mut map, &mut diagnostics);
    if diagnostics.has_errors() {
        return Err(Program::diagnosed(&map, &diagnostics.into_list()));
    }
    Ok(encode(&relative(&sources, &map)))
}

/// The files that were read, under names relative to the directory that holds them all.
fn relative(sources: &Sources, map: &SourceMap) -> Sources {
    let main = plain(&sources.bundle.main);
    let files: Vec<(String, &str)> = map
        .files()
        .iter()
        .filter(|file| file.name.as_ref() == sources.bundle.main || !file.name.starts_with('<'))
        .map(|file| (plain(&file.name), file.text.as_ref()))
        .collect();
    let root = common_directory(files.iter().map(|(name, _)| name.as_str()));
    let strip = |name: &str| {
        name.strip_prefix(&root)
            .map_or(name, |rest| rest.trim_start_matches('/'))
            .to_owned()
    };
    let mut bundle = SourceBundle {
        main: strip(&main),
        ..SourceBundle::default()
    };
    for (name, text) in files {
        bundle.insert(strip(&name), text);
    }
    let used = |dir: &&String| plain(dir).starts_with(&root);
    Sources {
        bundle,
        include_dirs: sources
            .include_dirs
            .iter()
            .filter(used)
            .map(|dir| strip(&plain(dir)))
            .collect(),
        defines: sources.defines.clone(),
        disk: false,
    }
}

/// A path without `.` and empty parts, and without `..` where it can be.
fn plain(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    if path.starts_with('/') {
        format!("/{joined}")
    } else {
        joined
    }
}

/// The deepest directory that holds all files, with the slash behind it; empty for none.
fn common_directory<'a>(mut names: impl Iterator<Item = &'a str>) -> String {
    let directory = |name: &str| name.rfind('/').map_or(0, |slash| slash + 1);
    let Some(first) = names.next() else {
        return String::new();
    };
    let mut root = first[..directory(first)].to_owned();
    for name in names {
        while !name.starts_with(&root) {
            let shorter = root.trim_end_matches('/');
            let length = directory(shorter);
            root.truncate(length);
        }
    }
    root
}

/// The bytes of sources that are all in memory.
pub fn encode(sources: &Sources) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.push(VERSION);
    put_text(&mut out, &sources.bundle.main);
    put_number(&mut out, sources.include_dirs.len());
    sources
        .include_dirs
        .iter()
        .for_each(|dir| put_text(&mut out, dir));
    put_number(&mut out, sources.defines.len());
    for (name, text) in &sources.defines {
        put_text(&mut out, name);
        put_text(&mut out, text);
    }
    put_number(&mut out, sources.bundle.files.len());
    for (name, text) in &sources.bundle.files {
        put_text(&mut out, name);
        put_text(&mut out, text);
    }
    out
}

/// The sources that bytes hold.
///
/// # Errors
/// [`DecodeError`]; any bytes are safe to give.
pub fn decode(bytes: &[u8]) -> Result<Sources, DecodeError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(DecodeError::NotABundle)?;
    match rest.first() {
        Some(&VERSION) => {}
        Some(&other) => return Err(DecodeError::Version(other)),
        None => return Err(DecodeError::Short(bytes.len())),
    }
    let mut reader = Reader {
        bytes,
        at: MAGIC.len() + 1,
    };
    let mut sources = Sources::from_bundle(SourceBundle {
        main: reader.text()?,
        ..SourceBundle::default()
    });
    for _ in 0..reader.number()? {
        sources.include_dirs.push(reader.text()?);
    }
    for _ in 0..reader.number()? {
        sources.defines.push((reader.text()?, reader.text()?));
    }
    for _ in 0..reader.number()? {
        let name = reader.text()?;
        sources.bundle.insert(name, reader.text()?);
    }
    match bytes.len() - reader.at {
        0 if sources.bundle.get(&sources.bundle.main).is_none() => {
            Err(DecodeError::NoMain(sources.bundle.main))
        }
        0 => Ok(sources),
        more => Err(DecodeError::Trailing(more)),
    }
}

fn put_number(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn number(&mut self) -> Result<usize, DecodeError> {
        let mut number = 0usize;
        for shift in (0..usize::BITS).step_by(7) {
            let &byte = self.bytes.get(self.at).ok_or(DecodeError::Short(self.at))?;
            self.at += 1;
            number |= usize::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(DecodeError::Short(self.at))
    }

    fn text(&mut self) -> Result<String, DecodeError> {
        let length = self.number()?;
        let start = self.at;
        let end = start.checked_add(length).ok_or(DecodeError::Short(start))?;
        let bytes = self
            .bytes
            .get(start..end)
            .ok_or(DecodeError::Short(start))?;
        self.at = end;
        String::from_utf8(bytes.to_vec()).map_err(|_| DecodeError::NotText(start))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sources() -> Sources {
        let mut bundle = SourceBundle::single("main.p4", "#include \"core/a.p4\"\n");
        bundle.insert("core/a.p4", "x".repeat(300));
        Sources {
            include_dirs: vec!["core".into()],
            defines: vec![("TARGET".into(), "1".into())],
            ..Sources::from_bundle(bundle)
        }
    }

    #[test]
    fn sources_survive() {
        let decoded = decode(&encode(&sources())).unwrap();
        assert_eq!(decoded.bundle, sources().bundle);
        assert_eq!(decoded.include_dirs, sources().include_dirs);
        assert_eq!(decoded.defines, sources().defines);
        assert!(!decoded.disk);
    }

    #[test]
    fn anything_cut_or_altered_is_refused_with_a_reason() {
        let whole = encode(&sources());
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_err(), "{length}");
        }
        assert_eq!(
            decode(b"{\"bmv2\": 1}").unwrap_err(),
            DecodeError::NotABundle
        );
        assert_eq!(decode(b"P4SB\x02").unwrap_err(), DecodeError::Version(2));
        let mut longer = whole.clone();
        longer.push(0);
        assert_eq!(decode(&longer).unwrap_err(), DecodeError::Trailing(1));
    }

    #[test]
    fn a_bundle_of_files_does_not_depend_on_where_they_lie() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut bundles = Vec::new();
        for root in [a.path(), b.path()] {
            std::fs::create_dir_all(root.join("deep/core")).unwrap();
            std::fs::write(
                root.join("deep/main.p4"),
                "#include <core.p4>\n#include \"core/x.p4\"\n",
            )
            .unwrap();
            std::fs::write(root.join("deep/core/x.p4"), "#include <y.p4>\n").unwrap();
            std::fs::create_dir_all(root.join("include")).unwrap();
            std::fs::write(root.join("include/y.p4"), "const bit<8> Y = 1;\n").unwrap();
            bundles.push(bundle(&root.join("deep/main.p4"), &[root.join("include")]).unwrap());
        }
        assert_eq!(bundles[0], bundles[1]);
        let decoded = decode(&bundles[0]).unwrap();
        assert_eq!(decoded.bundle.main, "deep/main.p4");
        assert_eq!(decoded.include_dirs, ["include"]);
        let names: Vec<_> = decoded.bundle.files.keys().collect();
        assert_eq!(names, ["deep/core/x.p4", "deep/main.p4", "include/y.p4"]);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = bundle(Path::new("/no/such/program.p4"), &[]).unwrap_err();
        assert!(error.to_string().contains("program.p4"), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
            let _ = decode(&[&b"P4SB\x01"[..], &bytes].concat());
        }
    }
}
