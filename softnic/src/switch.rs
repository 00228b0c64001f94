//! The switch as the P4Runtime service sees it: something that programs can be loaded into.
//!
//! In: forwarding pipeline configurations. Out: loaded programs. The device configuration is a source bundle (see
//! [`crate::device_config`]); an empty one means the program that the switch was started with.
//! Invariant: the schema by which controllers write and the program that runs come from the same P4Info.

use std::sync::Arc;

use p4rs::engine::Config;
use p4runtime::schema::Schema;
use p4runtime::server::events::Events;
use p4runtime::server::switch::{LoadError, Pipeline as RunningPipeline, Switch};
use p4runtime_proto::p4::config::v1::P4Info;
use p4runtime_proto::p4::config::v1::p4_new_type_spec::Representation;
use p4runtime_proto::p4::config::v1::p4_new_type_translation::SdnType;
use p4runtime_proto::p4::v1 as pb;

use crate::data_plane::DataPlane;
use crate::difference::difference;
use crate::pipeline::{Loaded, Pipeline};
use crate::program::Program;

/// A switch that compiles what it is given.
pub(crate) struct SoftSwitch {
    plane: Arc<DataPlane>,
    program: Option<Program>,
    config: Config,
}

impl SoftSwitch {
    pub fn new(plane: Arc<DataPlane>, program: Option<Program>, config: Config) -> Self {
        Self {
            plane,
            program,
            config,
        }
    }

    fn program(&self, device_config: &[u8]) -> Result<Program, LoadError> {
        let invalid = |reason: String| LoadError::Invalid { reason };
        if !device_config.is_empty() {
            return Program::from_device_config(device_config)
                .map_err(|error| invalid(error.to_string()));
        }
        self.program.clone().ok_or_else(|| {
            invalid(
                "the device config is empty and the switch was started without a program; \
                 push a source bundle, or start softnic with --program"
                    .to_owned(),
            )
        })
    }
}

impl Switch for SoftSwitch {
    fn load(
        &self,
        config: &pb::ForwardingPipelineConfig,
        schema: &Arc<Schema>,
    ) -> Result<Arc<dyn RunningPipeline>, LoadError> {
        let program = self.program(&config.p4_device_config)?;
        let differences = difference(schema.p4info(), &program.info.message);
        if !differences.is_empty() {
            let reason = format!(
                "the pushed P4Info is not the program's:\n  {}",
                differences.join("\n  ")
            );
            return Err(LoadError::Invalid { reason });
        }
        if let Some(name) = string_type(&program.info.message) {
            let reason = format!(
                "type {name} is translated to strings (@p4runtime_translation); this switch takes numbers only"
            );
            return Err(LoadError::Invalid { reason });
        }
        let loaded = Loaded::new(&program, schema, self.config.clone()).map_err(|error| {
            LoadError::Invalid {
                reason: format!("the program cannot be run here: {error}"),
            }
        })?;
        Ok(Arc::new(Pipeline::new(
            Arc::new(loaded),
            Arc::clone(&self.plane),
        )))
    }

    fn attach(&self, events: Events) {
        self.plane.attach(events);
    }
}

/// A type that controllers would write as strings: nothing here says what such a string means to the data plane.
fn string_type(info: &P4Info) -> Option<&str> {
    let types = info.type_info.as_ref()?.new_types.iter();
    types
        .into_iter()
        .find_map(|(name, spec)| match &spec.representation {
            Some(Representation::TranslatedType(translation))
                if matches!(translation.sdn_type, Some(SdnType::SdnString(_))) =>
            {
                Some(name.as_str())
            }
            _ => None,
        })
}
