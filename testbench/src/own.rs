//! Our own programs, built as the test or benchmark that asks is built.
//!
//! In: the name of a program. Out: its path, built if it was not. Tests that measure run in release, and so do then the
//! programs.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Why there is no program.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// Cargo does not run, or the path of this process is not known.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Cargo refused.
    #[error("nicproxy and softnic do not build: {0}")]
    Build(std::process::ExitStatus),
    /// This process is none that cargo built.
    #[error("{0} is not in a target folder")]
    Elsewhere(PathBuf),
}

/// The path of `nicproxy` or `softnic`.
///
/// # Errors
/// See [`OwnError`].
pub fn program(name: &str) -> Result<PathBuf, OwnError> {
    static BUILT: OnceLock<()> = OnceLock::new();
    if BUILT.get().is_none() {
        let mut build = Command::new(env!("CARGO"));
        // With this package: features, and so what is compiled already, are the same.
        build.args(["build", "--quiet", "--bins"]);
        build.args(["-p", "nicproxy", "-p", "softnic", "-p", "testbench"]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        // What cargo says of this package to its tests would be news to build scripts of dependencies, and make them
        // and all that depends on them be built again, now and when cargo comes from outside the next time.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["CARGO_PKG_", "CARGO_MANIFEST_"]
                .iter()
                .any(|own| text.starts_with(own))
            {
                build.env_remove(name);
            }
        }
        let status = build.status()?;
        if !status.success() {
            return Err(OwnError::Build(status));
        }
        let _ = BUILT.set(());
    }
    // target/PROFILE/deps/this: the programs are one up.
    let here = std::env::current_exe()?;
    let profile = here.ancestors().nth(2);
    let profile = profile.ok_or_else(|| OwnError::Elsewhere(here.clone()))?;
    Ok(profile.join(name))
}
