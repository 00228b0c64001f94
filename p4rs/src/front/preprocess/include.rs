//! Where included files come from.
//!
//! In: the name in an `#include`, and the file that includes. Out: the name under which it was found, and its text.
//! The order: next to the including file (for `"..."` only), then the include directories in order, then the
//! architecture descriptions that come with this crate. Each place is looked up in the bundle first and then, only if
//! [`Sources::disk`] is set, in the file system: a program that arrives over the network cannot read this machine's files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::p4include;
use crate::source::SourceBundle;

/// A program's texts and what is set from outside.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Texts in memory, and the name of the main file.
    pub bundle: SourceBundle,
    /// Directories (or prefixes of names in the bundle) where includes are looked for.
    pub include_dirs: Vec<String>,
    /// Macros set from outside: name (or `name(parameters)`) and text.
    pub defines: Vec<(String, String)>,
    /// Whether files may be read from the file system.
    pub disk: bool,
}

/// Why a file cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum IncludeError {
    /// No place has it.
    #[error("no file of this name is found")]
    NotFound,
    /// It is there but cannot be read.
    #[error("{path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
}

/// A text with the name under which it was found.
pub(super) type Found = (Arc<str>, Arc<str>);

impl Sources {
    /// A program that is all in memory.
    pub fn from_bundle(bundle: SourceBundle) -> Self {
        Self {
            bundle,
            ..Self::default()
        }
    }

    /// A program in the file system.
    pub fn from_disk(main: impl Into<String>) -> Self {
        Self {
            bundle: SourceBundle {
                main: main.into(),
                ..SourceBundle::default()
            },
            disk: true,
            ..Self::default()
        }
    }

    /// The main file.
    pub(super) fn main(&self) -> Result<Found, IncludeError> {
        self.load(&self.bundle.main)?.ok_or(IncludeError::NotFound)
    }

    /// The file that an `#include` in `includer` means.
    pub(super) fn resolve(
        &self,
        name: &str,
        quoted: bool,
        includer: &str,
    ) -> Result<Found, IncludeError> {
        if name.starts_with('/') {
            return self.load(name)?.ok_or(IncludeError::NotFound);
        }
        let own_dir = includer.rsplit_once('/').map_or("", |(dir, _)| dir);
        let dirs = quoted
            .then_some(own_dir)
            .into_iter()
            .chain(self.include_dirs.iter().map(String::as_str));
        // A bundle is a tree of its own: its root is searched after the directories that were asked for.
        for dir in dirs.chain((!self.bundle.files.is_empty()).then_some("")) {
            if let Some(found) = self.load(&join(dir, name))? {
                return Ok(found);
            }
        }
        let built_in = p4include::text(name).ok_or(IncludeError::NotFound)?;
        Ok((format!("<p4rs>/{name}").into(), built_in.into()))
    }

    fn load(&self, path: &str) -> Result<Option<Found>, IncludeError> {
        if let Some(text) = self.bundle.get(path) {
            return Ok(Some((path.into(), text.into())));
        }
        if !self.disk || !Path::new(path).is_file() {
            return Ok(None);
        }
        match std::fs::read(PathBuf::from(path)) {
            Ok(bytes) => Ok(Some((path.into(), String::from_utf8_lossy(&bytes).into()))),
            Err(source) => Err(IncludeError::Unreadable {
                path: path.into(),
                source,
            }),
        }
    }
}

/// `dir/name` with `.` and `..` resolved where they can be.
fn join(dir: &str, name: &str) -> String {
    let rooted = dir.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in dir.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    let path = parts.join("/");
    if rooted { format!("/{path}") } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_joined_as_in_a_tree() {
        assert_eq!(join("core", "../a.p4"), "a.p4");
        assert_eq!(join("", "./x/a.p4"), "x/a.p4");
        assert_eq!(join("/usr/p4", "a.p4"), "/usr/p4/a.p4");
        assert_eq!(join("..", "../a.p4"), "../../a.p4");
    }

    #[test]
    fn places_are_searched_in_order() {
        let mut bundle = SourceBundle::single("src/main.p4", "");
        for name in ["src/a.p4", "inc/a.p4", "inc/b.p4", "c.p4"] {
            bundle.insert(name, name);
        }
        let sources = Sources {
            include_dirs: vec!["inc".into()],
            ..Sources::from_bundle(bundle)
        };
        let found = |name, quoted| {
            sources
                .resolve(name, quoted, "src/main.p4")
                .map(|found| found.0.to_string())
                .ok()
        };
        assert_eq!(found("a.p4", true).as_deref(), Some("src/a.p4"));
        assert_eq!(found("a.p4", false).as_deref(), Some("inc/a.p4"));
        assert_eq!(found("b.p4", true).as_deref(), Some("inc/b.p4"));
        assert_eq!(found("c.p4", false).as_deref(), Some("c.p4"));
        assert_eq!(found("core.p4", false).as_deref(), Some("<p4rs>/core.p4"));
        assert_eq!(found("/etc/passwd", true), None);
        assert_eq!(found("../../../../etc/passwd", true), None);
    }
}
