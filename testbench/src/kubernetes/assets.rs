//! The Kubernetes programs, and the programs that check what is deployed.
//!
//! In: `KUBEBUILDER_ASSETS`, a folder with binaries as controller-runtime's `setup-envtest` makes it; without it, and
//! for the checkers, Go and the module proxy. Out: paths. What Go builds is kept in the target folder under the checksum
//! of its `go.sum`, so that it is built once per version.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the programs are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assets {
    /// The store.
    pub etcd: PathBuf,
    /// The API server.
    pub kube_apiserver: PathBuf,
    /// The peer; `setup-envtest` does not bring it.
    pub kube_proxy: Option<PathBuf>,
}

/// Why there are no programs.
#[derive(Debug, thiserror::Error)]
pub enum AssetsError {
    /// The folder that the user names lacks one.
    #[error(
        "KUBEBUILDER_ASSETS is {folder:?}, which has no {program}; unset it to build the programs with Go"
    )]
    Missing {
        /// The folder.
        folder: PathBuf,
        /// The program.
        program: &'static str,
    },
    /// No Go.
    #[error(
        "the programs are built with Go, and `go version` does not run ({0}); install Go, or, for etcd and kube-apiserver, set KUBEBUILDER_ASSETS to a folder with the binaries"
    )]
    NoGo(#[source] std::io::Error),
    /// Go does not build them.
    #[error("`go build {package}` in {folder:?} failed:\n{output}")]
    Build {
        /// The main package.
        package: &'static str,
        /// Where the modules are pinned.
        folder: PathBuf,
        /// What Go said.
        output: String,
    },
    /// The file system.
    #[error("{path:?}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Program and main package, which `go build` names after the last part of its path unless told otherwise.
const PROGRAMS: [(&str, &str); 3] = [
    ("etcd", "go.etcd.io/etcd/server/v3"),
    ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
];

/// A program that checks what is deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checker {
    /// Renders charts.
    Helm,
    /// Checks GitHub Actions workflows.
    Actionlint,
}

/// Strips symbols.
const CHECKER_FLAGS: &str = "-s -w";

/// Strips symbols; the version is what the release would say, since clients and feature gates go by it.
const FLAGS: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 \
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36";

impl Assets {
    /// Finds the programs, or builds them: minutes the first time, nothing after that.
    ///
    /// # Errors
    /// See [`AssetsError`].
    pub fn find() -> Result<Self, AssetsError> {
        match std::env::var_os("KUBEBUILDER_ASSETS") {
            Some(folder) => Self::in_folder(Path::new(&folder)),
            None => Self::build(),
        }
    }

    fn in_folder(folder: &Path) -> Result<Self, AssetsError> {
        let required = |program: &'static str| {
            let path = folder.join(program);
            if path.is_file() {
                Ok(path)
            } else {
                Err(AssetsError::Missing {
                    folder: folder.to_owned(),
                    program,
                })
            }
        };
        Ok(Self {
            etcd: required("etcd")?,
            kube_apiserver: required("kube-apiserver")?,
            kube_proxy: required("kube-proxy").ok(),
        })
    }

    fn build() -> Result<Self, AssetsError> {
        let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("kubernetes");
        let folder = cache(&modules)?;
        for (program, package) in PROGRAMS {
            build(&modules, package, FLAGS, &folder.join(program))?;
        }
        Self::in_folder(&folder)
    }
}

impl Checker {
    /// Its path; it is built if it was not.
    ///
    /// # Errors
    /// See [`AssetsError`].
    pub fn find(self) -> Result<PathBuf, AssetsError> {
        let (program, package) = match self {
            Self::Helm => ("helm", "helm.sh/helm/v3/cmd/helm"),
            Self::Actionlint => ("actionlint", "github.com/rhysd/actionlint/cmd/actionlint"),
        };
        let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("checkers");
        let path = cache(&modules)?.join(program);
        build(&modules, package, CHECKER_FLAGS, &path)?;
        Ok(path)
    }
}

/// The folder for this version's binaries.
fn cache(modules: &Path) -> Result<PathBuf, AssetsError> {
    let file = |path: PathBuf| move |source| AssetsError::File { path, source };
    let sums = modules.join("go.sum");
    let mut hasher = DefaultHasher::new();
    std::fs::read(&sums).map_err(file(sums))?.hash(&mut hasher);
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    let folder = target.join(format!("kubernetes/{:016x}", hasher.finish()));
    std::fs::create_dir_all(&folder).map_err(file(folder.clone()))?;
    folder.canonicalize().map_err(file(folder))
}

/// Builds it unless it is there: next to the place, and moved there, so that a build cut short leaves nothing that looks
/// like a program. Who comes while another builds, in this process or in another, waits.
fn build(modules: &Path, package: &'static str, flags: &str, to: &Path) -> Result<(), AssetsError> {
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| AssetsError::File { path, source }
    };
    if to.is_file() {
        return Ok(());
    }
    let lock = to.with_extension("lock");
    // Released when it is closed, also by the end of the process.
    let held = File::create(&lock).map_err(file(&lock))?;
    held.lock().map_err(file(&lock))?;
    if to.is_file() {
        return Ok(());
    }
    let part = to.with_extension("part");
    Command::new("go")
        .arg("version")
        .stdout(Stdio::null())
        .status()
        .map_err(AssetsError::NoGo)?;
    let output = Command::new("go")
        .current_dir(modules)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly -buildvcs=false")
        .args(["build", "-trimpath", "-ldflags", flags, "-o"])
        .arg(&part)
        .arg(package)
        .output()
        .map_err(AssetsError::NoGo)?;
    if !output.status.success() {
        return Err(AssetsError::Build {
            package,
            folder: modules.to_owned(),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        });
    }
    std::fs::rename(&part, to).map_err(file(to))
}
