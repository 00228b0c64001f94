//! A compiled P4 program with its control-plane interface.
//!
//! In: sources, from disk or out of a device configuration. Out: the checked program, its P4Info and the ids, ready to be
//! loaded into an engine any number of times.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use p4rs::diag::Diagnostic;
use p4rs::diag::render::{Style, render};
use p4rs::front::preprocess::Sources;
use p4rs::p4info::P4Info;
use p4rs::source::SourceMap;
use p4rs::valid::Checked;

use crate::device_config::{self, DecodeError};

/// A program that can be run.
#[derive(Clone)]
pub struct Program {
    /// The validated program.
    pub checked: Arc<Checked>,
    /// Its P4Info and ids.
    pub info: Arc<P4Info>,
}

/// Why a program cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The compiler's findings, as text with file, line and caret.
    #[error("{0}")]
    Source(String),
    /// Not a device configuration.
    #[error(transparent)]
    Config(#[from] DecodeError),
    /// Good P4, but P4Runtime cannot name its parts.
    #[error("no P4Info for this program: {0}")]
    P4Info(#[from] p4rs::p4info::Error),
}

impl Program {
    /// Compiles a file.
    ///
    /// # Errors
    /// [`ProgramError`] with everything that the compiler found.
    pub fn open(
        path: &Path,
        include_dirs: &[PathBuf],
        defines: &[(String, String)],
    ) -> Result<Self, ProgramError> {
        let mut sources = Sources::from_disk(path.to_string_lossy());
        sources.include_dirs = include_dirs
            .iter()
            .map(|dir| dir.to_string_lossy().into_owned())
            .collect();
        sources.defines = defines.to_vec();
        Self::compile(&sources)
    }

    /// Compiles one text.
    ///
    /// # Errors
    /// As [`Program::open`].
    pub fn from_text(name: &str, text: &str) -> Result<Self, ProgramError> {
        Self::compile(&Sources::from_bundle(p4rs::source::SourceBundle::single(
            name, text,
        )))
    }

    /// Compiles what a device configuration holds.
    ///
    /// # Errors
    /// As [`Program::open`], or when the bytes are no device configuration.
    pub fn from_device_config(bytes: &[u8]) -> Result<Self, ProgramError> {
        Self::compile(&device_config::decode(bytes)?)
    }

    /// Compiles sources.
    ///
    /// # Errors
    /// As [`Program::open`].
    pub fn compile(sources: &Sources) -> Result<Self, ProgramError> {
        let compiled = p4rs::compile(sources)
            .map_err(|failed| Self::diagnosed(&failed.map, &failed.diagnostics))?;
        let info = p4rs::p4info::build(compiled.checked.program())?;
        Ok(Self {
            checked: Arc::new(compiled.checked),
            info: Arc::new(info),
        })
    }

    /// Findings as an error.
    pub(crate) fn diagnosed(map: &SourceMap, diagnostics: &[Diagnostic]) -> ProgramError {
        let mut text = String::new();
        for diagnostic in diagnostics {
            text.push_str(&render(diagnostic, map, Style::Plain));
        }
        ProgramError::Source(text)
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("tables", &self.info.message.tables.len())
            .finish_non_exhaustive()
    }
}
