//! The program that the device is to run, and getting it there.
//!
//! In: where the program comes from. Out: an [`Image`]: P4Info, the device's own configuration and a cookie made of
//! both. [`ensure`] pushes it if the device has no program or another one; a device that runs it already is left alone,
//! so a restart interrupts nothing (S82).

use std::path::{Path, PathBuf};

use crc::{CRC_64_XZ, Crc};
use p4rs::front::preprocess::Sources;
use p4rs::source::SourceBundle;
use p4runtime::client::{Client, ClientError, PipelineAction, ResponseType, pipeline_config};
use p4runtime::proto::p4::config::v1::P4Info;
use prost::Message;
use softnic::ProgramError;

use crate::config::{PipelineConfig, Program};

/// Files of the bundled programs, by path below `p4/`.
const SOURCES: [(&str, &str); 20] = [
    ("nicproxy_pna.p4", include_str!("../../p4/nicproxy_pna.p4")),
    (
        "nicproxy_v1model.p4",
        include_str!("../../p4/nicproxy_v1model.p4"),
    ),
    (
        "core/classify.p4",
        include_str!("../../p4/core/classify.p4"),
    ),
    ("core/clear.p4", include_str!("../../p4/core/clear.p4")),
    (
        "core/constants.p4",
        include_str!("../../p4/core/constants.p4"),
    ),
    (
        "core/deparser.p4",
        include_str!("../../p4/core/deparser.p4"),
    ),
    ("core/flow.p4", include_str!("../../p4/core/flow.p4")),
    (
        "core/frontend.p4",
        include_str!("../../p4/core/frontend.p4"),
    ),
    ("core/headers.p4", include_str!("../../p4/core/headers.p4")),
    (
        "core/masquerade.p4",
        include_str!("../../p4/core/masquerade.p4"),
    ),
    (
        "core/metadata.p4",
        include_str!("../../p4/core/metadata.p4"),
    ),
    ("core/open.p4", include_str!("../../p4/core/open.p4")),
    ("core/parser.p4", include_str!("../../p4/core/parser.p4")),
    (
        "core/pipeline.p4",
        include_str!("../../p4/core/pipeline.p4"),
    ),
    ("core/related.p4", include_str!("../../p4/core/related.p4")),
    ("core/rewrite.p4", include_str!("../../p4/core/rewrite.p4")),
    ("core/route.p4", include_str!("../../p4/core/route.p4")),
    ("core/service.p4", include_str!("../../p4/core/service.p4")),
    (
        "core/tracking.p4",
        include_str!("../../p4/core/tracking.p4"),
    ),
    ("core/tunnel.p4", include_str!("../../p4/core/tunnel.p4")),
];

/// A program ready to be loaded.
#[derive(Clone, Debug)]
pub struct Image {
    /// For people: name or file.
    pub name: String,
    /// Its control-plane interface.
    pub p4info: P4Info,
    /// What the device loads.
    pub device_config: Vec<u8>,
    /// Tells this image from any other.
    pub cookie: u64,
}

/// Why there is no program to load.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}; check --program, --p4info and --device-config", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The program does not compile.
    #[error("the program {name} does not compile:\n{source}")]
    Compile {
        /// The program.
        name: String,
        /// The compiler's findings.
        source: ProgramError,
    },
    /// The file is no P4Info.
    #[error("{}: not a P4Info file in text or binary form: {reason}; p4c writes one with --p4runtime-files", path.display())]
    P4Info {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Why the device does not run the program.
#[derive(Debug, thiserror::Error)]
pub enum EnsureError {
    /// It runs none, and none was given to load.
    #[error(
        "the device runs no program, and there is none to load; give one with --program, or --p4info and --device-config"
    )]
    Nothing,
    /// The device refused, or could not be asked.
    #[error("cannot load the program {name}: {source}")]
    Load {
        /// The program.
        name: String,
        /// What the device said.
        source: ClientError,
    },
    /// The device does not say what it runs.
    #[error("cannot read the device's program: {0}")]
    Ask(#[source] ClientError),
}

/// What [`ensure`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ensured {
    /// The device ran it already.
    Kept,
    /// It was pushed.
    Pushed,
}

/// The sources of a bundled program.
pub fn sources(program: Program) -> Sources {
    let main = match program {
        Program::Pna => "nicproxy_pna.p4",
        Program::V1model => "nicproxy_v1model.p4",
    };
    let mut bundle = SourceBundle {
        main: main.to_owned(),
        ..SourceBundle::default()
    };
    for (name, text) in SOURCES {
        if name == main || name.starts_with("core/") {
            bundle.insert(name, text);
        }
    }
    Sources::from_bundle(bundle)
}

/// A program as its files say it, not compiled yet. Equal ones become equal images.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    name: String,
    /// Where that is not the compiler's task.
    p4info: Option<P4Info>,
    device_config: Vec<u8>,
}

impl Draft {
    /// Reads a program's files.
    ///
    /// # Errors
    /// When a file is missing or makes no sense.
    pub fn read(from: &PipelineConfig) -> Result<Self, ImageError> {
        match from {
            PipelineConfig::Bundled(program) => Ok(Self {
                name: format!("nicproxy_{program}"),
                p4info: None,
                device_config: softnic::device_config::encode(&sources(*program)),
            }),
            PipelineConfig::Source(path) => {
                let name = path.display().to_string();
                let bundle = softnic::device_config::bundle(path, &[]);
                let device_config = bundle.map_err(|source| ImageError::Compile {
                    name: name.clone(),
                    source,
                })?;
                Ok(Self {
                    name,
                    p4info: None,
                    device_config,
                })
            }
            PipelineConfig::Compiled {
                p4info,
                device_config,
            } => Ok(Self {
                name: device_config.display().to_string(),
                p4info: Some(read_p4info(p4info)?),
                device_config: read(device_config)?,
            }),
        }
    }

    /// For people: name or file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Compiles it, where that is to be done here.
    ///
    /// # Errors
    /// When it does not compile.
    pub fn compile(self) -> Result<Image, ImageError> {
        let Self {
            name,
            p4info,
            device_config,
        } = self;
        let p4info = match p4info {
            Some(p4info) => p4info,
            None => match softnic::Program::from_device_config(&device_config) {
                Ok(compiled) => compiled.info.message.clone(),
                Err(source) => return Err(ImageError::Compile { name, source }),
            },
        };
        Ok(Image::new(name, p4info, device_config))
    }
}

impl Image {
    /// Reads, and where that is wanted compiles, a program.
    ///
    /// # Errors
    /// When a file is missing or makes no sense.
    pub fn load(from: &PipelineConfig) -> Result<Self, ImageError> {
        Draft::read(from)?.compile()
    }

    fn new(name: String, p4info: P4Info, device_config: Vec<u8>) -> Self {
        let crc = Crc::<u64>::new(&CRC_64_XZ);
        let mut digest = crc.digest();
        digest.update(&p4info.encode_to_vec());
        digest.update(&device_config);
        // 0 is what a device says that was given no cookie.
        Self {
            name,
            p4info,
            device_config,
            cookie: digest.finalize().max(1),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ImageError> {
    std::fs::read(path).map_err(|source| ImageError::Read {
        path: path.to_owned(),
        source,
    })
}

fn read_p4info(path: &Path) -> Result<P4Info, ImageError> {
    let bytes = read(path)?;
    let error = |reason: String| ImageError::P4Info {
        path: path.to_owned(),
        reason,
    };
    match std::str::from_utf8(&bytes) {
        Ok(text) => p4runtime::proto::text::from_text::<P4Info>(text)
            .map_err(|reason| error(reason.to_string())),
        Err(_) => P4Info::decode(bytes.as_slice()).map_err(|reason| error(reason.to_string())),
    }
}

/// Makes the device run the image, unless it does already. Without an image, only checks that it runs something.
///
/// # Errors
/// When the device refuses, or nothing runs and there is nothing to load.
pub async fn ensure(client: &Client, image: Option<&Image>) -> Result<Ensured, EnsureError> {
    let running = client
        .get_pipeline(ResponseType::P4infoAndCookie)
        .await
        .map_err(EnsureError::Ask)?;
    let running = running.filter(|config| config.p4info.is_some());
    let Some(image) = image else {
        return if running.is_some() {
            Ok(Ensured::Kept)
        } else {
            Err(EnsureError::Nothing)
        };
    };
    if let Some(config) = &running {
        let same_cookie = config
            .cookie
            .as_ref()
            .is_some_and(|cookie| cookie.cookie == image.cookie);
        let no_cookie = config
            .cookie
            .as_ref()
            .is_none_or(|cookie| cookie.cookie == 0);
        // A device that was started with the program, or keeps no cookies, is known by its interface.
        if same_cookie || (no_cookie && config.p4info.as_ref() == Some(&image.p4info)) {
            return Ok(Ensured::Kept);
        }
    }
    let config = pipeline_config(
        image.p4info.clone(),
        image.device_config.clone(),
        Some(image.cookie),
    );
    client
        .set_pipeline(PipelineAction::VerifyAndCommit, Some(config))
        .await
        .map_err(|source| EnsureError::Load {
            name: image.name.clone(),
            source,
        })?;
    Ok(Ensured::Pushed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_file_is_bundled() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../p4");
        let mut files: Vec<String> = Vec::new();
        for (folder, prefix) in [(root.clone(), ""), (root.join("core"), "core/")] {
            for entry in std::fs::read_dir(folder).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                if name.ends_with(".p4") {
                    files.push(format!("{prefix}{name}"));
                }
            }
        }
        files.sort();
        let mut bundled: Vec<&str> = SOURCES.iter().map(|(name, _)| *name).collect();
        bundled.sort_unstable();
        assert_eq!(files, bundled);
    }

    #[test]
    fn both_programs_compile_and_have_all_tables() {
        for program in [Program::Pna, Program::V1model] {
            let image = Image::load(&PipelineConfig::Bundled(program)).unwrap();
            let schema = p4runtime::schema::Schema::new(image.p4info).unwrap();
            crate::tables::Tables::resolve(&schema).unwrap();
        }
    }

    #[test]
    fn missing_files_say_what_to_check() {
        let compiled = PipelineConfig::Compiled {
            p4info: "/no/p4info".into(),
            device_config: "/no/json".into(),
        };
        let error = Image::load(&compiled).unwrap_err();
        assert!(
            error.to_string().contains("/no/p4info") && error.to_string().contains("--p4info"),
            "{error}"
        );
        assert!(Image::load(&PipelineConfig::Source("/no/program.p4".into())).is_err());
    }
}
