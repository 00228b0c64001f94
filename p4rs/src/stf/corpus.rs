//! Folders of scripts with their programs.
//!
//! In: a folder. Out: its tests, and what became of each.
//! Invariant: every script of the folder is a test, and every test has a verdict.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::parse::parse;
use super::run::{Report, run};
use crate::diag::render::{Style, render};
use crate::diag::{Diagnostic, Severity};
use crate::engine::{Architecture, Config, Engine, Execution};
use crate::front::{self, Sources};
use crate::source::SourceMap;
use crate::valid::Checked;

/// A script and its program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The script's name without `.stf`.
    pub name: String,
    /// Path of the script.
    pub script: PathBuf,
    /// Path of the program, if there is one.
    pub program: Option<PathBuf>,
}

/// What became of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything went as the script says.
    Passed,
    /// Something did not: one text each, the first line of each begins with file and line where there is one.
    Failed(Vec<String>),
    /// The program is for an architecture that the engine does not run, or there is none.
    NotRun(String),
}

/// A verdict and how it was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// Packets sent into the program.
    pub packets: usize,
    /// Values that the script asked for.
    pub log: Vec<String>,
    /// Time for everything.
    pub took: Duration,
}

/// How programs are compiled and run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Folders of included files.
    pub include_dirs: Vec<String>,
    /// Macros.
    pub defines: Vec<(String, String)>,
    /// The engine's choices; what runs the packets is said by `executions`.
    pub config: Config,
    /// A test has to pass on each of these.
    pub executions: Vec<Execution>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            include_dirs: Vec::new(),
            defines: Vec::new(),
            config: Config::default(),
            executions: vec![Execution::Native, Execution::Interpreted],
        }
    }
}

/// The tests of a folder and the folders in it, by name. The program of `NAME.stf` is `NAME.p4` at the same place in
/// `programs`, or that of the name's beginning up to a `_` or `-`.
///
/// # Errors
/// When a folder cannot be read.
pub fn find(folder: &Path, programs: &Path) -> std::io::Result<Vec<Case>> {
    let mut cases = Vec::new();
    let mut open = vec![(folder.to_owned(), programs.to_owned(), String::new())];
    while let Some((folder, programs, prefix)) = open.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            // Links are not followed: they may lead back.
            if entry.file_type()?.is_dir() {
                let name = entry.file_name();
                let prefix = format!("{prefix}{}/", name.to_string_lossy());
                open.push((path, programs.join(name), prefix));
                continue;
            }
            let Some(stem) = path
                .file_stem()
                .filter(|_| path.extension() == Some(OsStr::new("stf")))
            else {
                continue;
            };
            let stem = stem.to_string_lossy();
            cases.push(Case {
                name: format!("{prefix}{stem}"),
                program: program_of(&stem, &programs),
                script: path,
            });
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cases)
}

fn program_of(name: &str, programs: &Path) -> Option<PathBuf> {
    let mut stem = name;
    loop {
        let path = programs.join(format!("{stem}.p4"));
        if path.is_file() {
            return Some(path);
        }
        (stem, _) = stem.rsplit_once(['_', '-'])?;
    }
}

/// Compiles the program, carries the script out on each engine.
pub fn judge(case: &Case, setup: &Setup) -> Judgement {
    let start = Instant::now();
    let (reports, verdict) = match attempt(case, setup) {
        Ok(reports) => {
            let texts = texts(case, &reports);
            let verdict = match texts.is_empty() {
                true => Verdict::Passed,
                false => Verdict::Failed(texts),
            };
            (reports, verdict)
        }
        Err(verdict) => (Vec::new(), verdict),
    };
    let first = reports.into_iter().next().map(|(_, report)| report);
    let report = first.unwrap_or_default();
    Judgement {
        verdict,
        packets: report.packets,
        log: report.log,
        took: start.elapsed(),
    }
}

/// What went wrong; the engine is named where the engines do not agree.
fn texts(case: &Case, reports: &[(Execution, Report)]) -> Vec<String> {
    let path = case.script.display();
    let agree = reports.windows(2).all(|pair| pair[0].1 == pair[1].1);
    let shown = if agree { 1 } else { reports.len() };
    let mut texts = Vec::new();
    for (execution, report) in reports.iter().take(shown) {
        let engine = match execution {
            _ if agree => "",
            Execution::Native => " (machine code)",
            Execution::Interpreted => " (interpreter)",
        };
        texts.extend(report.findings.iter().map(|finding| match finding.line {
            Some(line) => format!("{path}:{line}: {}{engine}", finding.problem),
            None => format!("{path}: {}{engine}", finding.problem),
        }));
    }
    if !agree && texts.is_empty() {
        texts.push(format!("{path}: the engines read different values"));
    }
    texts
}

fn failed(text: String) -> Verdict {
    Verdict::Failed(vec![text])
}

/// One report per engine.
fn attempt(case: &Case, setup: &Setup) -> Result<Vec<(Execution, Report)>, Verdict> {
    let path = &case.script;
    let text = std::fs::read_to_string(path)
        .map_err(|error| failed(format!("{}: {error}", path.display())))?;
    let script = parse(&text).map_err(|error| {
        failed(format!(
            "{}:{}: {}",
            path.display(),
            error.line,
            error.fault
        ))
    })?;
    let Some(program) = &case.program else {
        return Err(Verdict::NotRun("no program of this name".to_owned()));
    };
    let checked = Arc::new(compile(program, setup)?);
    let on = |&execution: &Execution| {
        let config = Config {
            execution,
            ..setup.config.clone()
        };
        let engine = Engine::new(Arc::clone(&checked), config)
            .map_err(|error| failed(format!("{}: {error}", program.display())))?;
        Ok((execution, run(&engine, &script)))
    };
    setup.executions.iter().map(on).collect()
}

fn compile(program: &Path, setup: &Setup) -> Result<Checked, Verdict> {
    let sources = Sources {
        include_dirs: setup.include_dirs.clone(),
        defines: setup.defines.clone(),
        ..Sources::from_disk(program.to_string_lossy().into_owned())
    };
    let parsed = front::parse(&sources);
    if parsed.diagnostics.has_errors() {
        return Err(refused(parsed.diagnostics.list(), &parsed.map));
    }
    let lowered = crate::sema::lower(&parsed.program, &parsed.map)
        .map_err(|found| refused(&found, &parsed.map))?;
    match &lowered.package {
        None => return Err(Verdict::NotRun("the program has no `main`".to_owned())),
        Some(package) if Architecture::of(&package.name).is_none() => {
            return Err(Verdict::NotRun(format!("architecture {}", package.name)));
        }
        Some(_) => {}
    }
    crate::valid::validate(lowered).map_err(|found| {
        // A package of a known name with other blocks is another architecture.
        match found
            .iter()
            .find(|one| one.code == crate::valid::code::BLOCK)
        {
            Some(other) => Verdict::NotRun(other.message.clone()),
            None => refused(&found, &parsed.map),
        }
    })
}

/// The first error of a program that is not good.
fn refused(found: &[Diagnostic], map: &SourceMap) -> Verdict {
    let first = found.iter().find(|one| one.severity == Severity::Error);
    failed(first.map_or("the program is refused".to_owned(), |one| {
        render(one, map, Style::Plain)
    }))
}
