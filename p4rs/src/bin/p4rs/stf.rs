//! `p4rs stf`: tests in the simple test format, one by one or a folder of them.
//!
//! In: a program with its scripts, or a folder. Out: what did not go as the scripts say and a summary on standard
//! output; progress on standard error if that is a terminal. Tests run side by side; the output is in their order.

use std::io::{IsTerminal, Write};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use p4rs::engine::{Config, Execution};
use p4rs::stf::corpus::{Case, Judgement, Setup, Verdict, find, judge};

use crate::Outcome;
use crate::program::PreprocessArgs;

/// Options of `stf`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "p4rs stf [OPTIONS] <PROGRAM.p4> <TEST.stf>...\n       \
                            p4rs stf [OPTIONS] --corpus <DIR> [--programs <DIR>] [--filter <TEXT>]"
)]
pub struct StfArgs {
    /// The program.
    #[arg(required_unless_present = "corpus")]
    program: Option<PathBuf>,
    /// Its tests.
    #[arg(required_unless_present = "corpus")]
    tests: Vec<PathBuf>,
    /// Run every test NAME.stf of this folder with the program NAME.p4 of it.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["program", "tests"])]
    corpus: Option<PathBuf>,
    /// Where the corpus's programs are, if not beside the tests.
    #[arg(long, value_name = "DIR", requires = "corpus")]
    programs: Option<PathBuf>,
    /// Only the corpus's tests whose name contains this.
    #[arg(long, value_name = "TEXT", requires = "corpus", default_value = "")]
    filter: String,
    /// Tests at a time; as many as there are processors if not given.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    /// Name the tests that passed too, and print the values that tests read.
    #[arg(long, short)]
    verbose: bool,
    /// What runs the packets: a test has to pass on each that is named.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "ENGINE",
          default_values_t = [Execution::Native, Execution::Interpreted])]
    engine: Vec<Execution>,
    /// Start of the pseudo-random numbers.
    #[arg(long, value_name = "N", default_value_t = Config::default().seed)]
    seed: u64,
    #[command(flatten)]
    preprocessing: PreprocessArgs,
}

/// Findings shown per test unless all are asked for.
const TEXTS: usize = 5;

/// Runs `stf`.
pub fn run(args: &StfArgs) -> anyhow::Result<Outcome> {
    let cases = cases(args)?;
    let setup = Setup {
        include_dirs: args.preprocessing.include_dirs.clone(),
        defines: args.preprocessing.defines.clone(),
        config: Config {
            seed: args.seed,
            ..Config::default()
        },
        executions: args.engine.clone(),
    };
    let start = Instant::now();
    let judgements = judge_all(&cases, &setup, jobs(args, cases.len()));
    let mut out = anstream::stdout().lock();
    let mut counts = Counts::default();
    for (case, judgement) in cases.iter().zip(&judgements) {
        counts.add(judgement);
        show(&mut out, case, judgement, args.verbose)?;
    }
    counts.show(&mut out, start.elapsed())?;
    Ok(if counts.failed == 0 && counts.passed > 0 {
        Outcome::Done
    } else {
        Outcome::Faulty
    })
}

fn cases(args: &StfArgs) -> anyhow::Result<Vec<Case>> {
    if let Some(folder) = &args.corpus {
        let programs = args.programs.as_ref().unwrap_or(folder);
        std::fs::read_dir(programs)
            .with_context(|| format!("cannot read {}", programs.display()))?;
        let mut cases =
            find(folder, programs).with_context(|| format!("cannot read {}", folder.display()))?;
        cases.retain(|case| case.name.contains(&args.filter));
        anyhow::ensure!(!cases.is_empty(), "no test in {}", folder.display());
        return Ok(cases);
    }
    let readable = |path: &PathBuf| {
        std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))
    };
    args.program
        .iter()
        .try_for_each(|path| readable(path).map(drop))?;
    args.tests
        .iter()
        .map(|script| {
            readable(script)?;
            Ok(Case {
                name: script.display().to_string(),
                script: script.clone(),
                program: args.program.clone(),
            })
        })
        .collect()
}

fn jobs(args: &StfArgs, cases: usize) -> usize {
    let jobs = args
        .jobs
        .or_else(|| std::thread::available_parallelism().ok())
        .map_or(1, NonZero::get);
    jobs.clamp(1, cases.max(1))
}

/// Judges all tests, several at a time; the result is in their order.
fn judge_all(cases: &[Case], setup: &Setup, jobs: usize) -> Vec<Judgement> {
    let next = AtomicUsize::new(0);
    let progress = Progress::new(cases.len());
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(index) else {
                return done;
            };
            progress.begin(&case.name);
            done.push((index, judge(case, setup)));
            progress.end();
        }
    };
    let mut done: Vec<(usize, Judgement)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        let joined = threads.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        joined.flatten().collect()
    });
    progress.clear();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, judgement)| judgement).collect()
}

/// A line on standard error that tells how far it is.
struct Progress {
    all: usize,
    done: AtomicUsize,
    terminal: Option<Mutex<std::io::Stderr>>,
}

impl Progress {
    fn new(all: usize) -> Self {
        let stderr = std::io::stderr();
        Self {
            all,
            done: AtomicUsize::new(0),
            terminal: stderr.is_terminal().then(|| Mutex::new(stderr)),
        }
    }

    fn write(&self, text: &str) {
        if let Some(Ok(mut terminal)) = self.terminal.as_ref().map(Mutex::lock) {
            // Back to the start of the line, clear to its end. Progress that cannot be shown is no loss.
            let _ = write!(terminal, "\r\x1b[K{text}");
            let _ = terminal.flush();
        }
    }

    fn begin(&self, name: &str) {
        let done = self.done.load(Ordering::Relaxed);
        self.write(&format!("{done}/{} {name}", self.all));
    }

    fn end(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    fn clear(&self) {
        self.write("");
    }
}

#[derive(Default)]
struct Counts {
    passed: usize,
    failed: usize,
    not_run: usize,
    packets: usize,
}

impl Counts {
    fn add(&mut self, judgement: &Judgement) {
        self.packets += judgement.packets;
        match judgement.verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed(_) => self.failed += 1,
            Verdict::NotRun(_) => self.not_run += 1,
        }
    }

    fn show(&self, out: &mut impl Write, took: Duration) -> std::io::Result<()> {
        for (name, count) in [
            ("passed", self.passed),
            ("failed", self.failed),
            ("not run", self.not_run),
        ] {
            writeln!(out, "{name:<8} {count:>5}")?;
        }
        let tests = self.passed + self.failed + self.not_run;
        writeln!(
            out,
            "{:<8} {tests:>5}   {} packets, {:.2} s",
            "tests",
            self.packets,
            took.as_secs_f64()
        )
    }
}

fn show(
    out: &mut impl Write,
    case: &Case,
    judgement: &Judgement,
    verbose: bool,
) -> std::io::Result<()> {
    let ms = judgement.took.as_millis();
    let packets = judgement.packets;
    match &judgement.verdict {
        Verdict::Passed if verbose => {
            writeln!(
                out,
                "passed   {:<50} {packets:>4} packets {ms:>6} ms",
                case.name
            )?;
        }
        Verdict::Passed => {}
        Verdict::Failed(texts) => {
            writeln!(out, "FAILED   {}", case.name)?;
            let shown = if verbose { texts.len() } else { TEXTS };
            for text in texts.iter().take(shown) {
                text.lines()
                    .try_for_each(|line| writeln!(out, "         {line}"))?;
            }
            if texts.len() > shown {
                writeln!(out, "         and {} more", texts.len() - shown)?;
            }
        }
        Verdict::NotRun(reason) => writeln!(out, "not run  {:<50} {reason}", case.name)?,
    }
    if verbose {
        judgement
            .log
            .iter()
            .try_for_each(|line| writeln!(out, "         {line}"))?;
    }
    Ok(())
}
