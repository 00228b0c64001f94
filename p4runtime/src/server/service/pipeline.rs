//! SetForwardingPipelineConfig in all its actions, and Get.
//!
//! A saved program takes reads and writes before it runs, which is what "replaying the writes since" comes to.

use std::ops::ControlFlow;
use std::sync::Arc;

use p4runtime_proto::p4::v1 as proto;
use proto::get_forwarding_pipeline_config_request::ResponseType;
use proto::set_forwarding_pipeline_config_request::Action;
use tonic::{Code, Status};

use super::{Loaded, Pipelines, Shared, lost_thread};
use crate::schema::Schema;
use crate::server::encode;
use crate::server::events::Hub;
use crate::server::switch::{Item, Key, LoadError, Query, Select, Switch, SwitchError, Want};
use crate::server::validate::{self, Checked};
use crate::status::refused;

impl Shared {
    pub(super) async fn set_pipeline(
        &self,
        action: Action,
        config: Option<proto::ForwardingPipelineConfig>,
    ) -> Result<(), Status> {
        let mut pipelines = self.pipelines.clone().write_owned().await;
        let (switch, hub, running) = (self.switch.clone(), self.hub.clone(), self.running.clone());
        let change = move || {
            let result = apply(&mut pipelines, switch.as_ref(), &hub, action, config);
            *running.lock() = pipelines.live.clone();
            result
        };
        tokio::task::spawn_blocking(change)
            .await
            .map_err(lost_thread)?
    }

    pub(super) async fn get_pipeline(
        &self,
        parts: ResponseType,
    ) -> Option<proto::ForwardingPipelineConfig> {
        let config = self.pipelines.read().await.target()?.config.clone();
        let (p4info, device_config) = match parts {
            ResponseType::All => (true, true),
            ResponseType::CookieOnly => (false, false),
            ResponseType::P4infoAndCookie => (true, false),
            ResponseType::DeviceConfigAndCookie => (false, true),
        };
        Some(proto::ForwardingPipelineConfig {
            p4info: config.p4info.as_ref().filter(|_| p4info).cloned(),
            p4_device_config: if device_config {
                config.p4_device_config.clone()
            } else {
                Vec::new()
            },
            cookie: config.cookie,
        })
    }
}

fn apply(
    pipelines: &mut Pipelines,
    switch: &dyn Switch,
    hub: &Hub,
    action: Action,
    config: Option<proto::ForwardingPipelineConfig>,
) -> Result<(), Status> {
    match action {
        Action::Unspecified => Err(Status::invalid_argument("the action is not set")),
        Action::Verify => load(switch, config).map(drop),
        Action::VerifyAndSave => {
            pipelines.saved = Some(load(switch, config)?);
            Ok(())
        }
        Action::VerifyAndCommit => {
            let loaded = load(switch, config)?;
            activate(pipelines, hub, loaded)
        }
        Action::Commit if config.is_some() => {
            Err(Status::invalid_argument("COMMIT takes no config"))
        }
        Action::Commit => match pipelines.saved.take() {
            Some(loaded) => activate(pipelines, hub, loaded),
            None => Err(Status::not_found("no config was saved")),
        },
        Action::ReconcileAndCommit => {
            let loaded = load(switch, config)?;
            if let Some(old) = &pipelines.live {
                carry_over(old, &loaded).map_err(|reason| {
                    let reason = format!("the forwarding state cannot be kept: {reason}");
                    refused(Code::InvalidArgument, reason)
                })?;
            }
            activate(pipelines, hub, loaded)
        }
    }
}

fn load(
    switch: &dyn Switch,
    config: Option<proto::ForwardingPipelineConfig>,
) -> Result<Loaded, Status> {
    let config = config.ok_or_else(|| Status::invalid_argument("the config is not set"))?;
    let info = config
        .p4info
        .clone()
        .ok_or_else(|| Status::invalid_argument("the P4Info is not set"))?;
    let schema = Schema::new(info)
        .map_err(|error| refused(Code::InvalidArgument, format!("P4Info: {error}")))?;
    let schema = Arc::new(schema);
    let pipeline = switch.load(&config, &schema).map_err(load_status)?;
    Ok(Loaded {
        pipeline,
        schema,
        config: Arc::new(config),
    })
}

fn activate(pipelines: &mut Pipelines, hub: &Hub, loaded: Loaded) -> Result<(), Status> {
    loaded.pipeline.activate().map_err(load_status)?;
    hub.set_schema(loaded.schema.clone());
    *pipelines = Pipelines {
        live: Some(loaded),
        saved: None,
    };
    Ok(())
}

fn load_status(error: LoadError) -> Status {
    refused(error.code(), error.to_string())
}

/// Writes the state of one program into another, by id.
fn carry_over(old: &Loaded, new: &Loaded) -> Result<(), String> {
    let schema = &old.schema;
    let mut queries: Vec<Query<'_>> = Vec::new();
    queries.extend(
        schema
            .action_profiles
            .iter()
            .map(|profile| Query::Members(profile, None)),
    );
    let selectors = schema
        .action_profiles
        .iter()
        .filter(|profile| profile.with_selector);
    queries.extend(selectors.map(|profile| Query::Groups(profile, None)));
    let want = Want {
        counter: true,
        meter: true,
        idle: false,
    };
    for table in &schema.tables {
        queries.push(Query::Entries {
            table,
            select: Select::All,
            want,
        });
        if table.const_default_action.is_none() && table.action_profile.is_none() {
            queries.push(Query::Entries {
                table,
                select: Select::One(Key::Default),
                want,
            });
        }
    }
    queries.extend([Query::MulticastGroups(None), Query::CloneSessions(None)]);
    queries.extend(schema.value_sets.iter().map(Query::ValueSet));
    queries.extend(
        schema
            .counters
            .iter()
            .map(|counter| Query::Counter(counter, None)),
    );
    queries.extend(schema.meters.iter().map(|meter| Query::Meter(meter, None)));
    queries.extend(
        schema
            .registers
            .iter()
            .map(|register| Query::Register(register, None)),
    );
    queries
        .iter()
        .try_for_each(|query| carry_query(old, new, query))
}

fn carry_query(old: &Loaded, new: &Loaded, query: &Query<'_>) -> Result<(), String> {
    let mut writer = new.pipeline.writer();
    let mut failure = None;
    let mut sink = |item: Item<'_>| {
        if matches!(&item, Item::Entry(entry) if entry.is_const) {
            return ControlFlow::Continue(());
        }
        match carry(new, writer.as_mut(), &item) {
            Ok(()) => ControlFlow::Continue(()),
            Err(reason) => {
                failure = Some(reason);
                ControlFlow::Break(())
            }
        }
    };
    match old.pipeline.read(query, &mut sink) {
        Ok(()) | Err(SwitchError::Unsupported(_)) => failure.map_or(Ok(()), Err),
        Err(error) => Err(error.to_string()),
    }
}

fn carry(
    new: &Loaded,
    writer: &mut (dyn crate::server::switch::Writer + '_),
    item: &Item<'_>,
) -> Result<(), String> {
    use proto::update::Type;
    let keyed = match item {
        Item::Entry(entry) => entry.key != Key::Default,
        Item::Member(_) | Item::Group(_) | Item::MulticastGroup(_) | Item::CloneSession(_) => true,
        _ => false,
    };
    let want = Want {
        counter: true,
        meter: true,
        idle: false,
    };
    let kind = if keyed { Type::Insert } else { Type::Modify };
    let mut update = proto::Update {
        r#type: kind as i32,
        entity: Some(encode::entity(item, want)),
    };
    match write(new, writer, &update) {
        // An entry that the new program begins with.
        Err(Carry::Switch(SwitchError::AlreadyExists(_))) => {
            update.r#type = Type::Modify as i32;
            write(new, writer, &update).map_err(|error| error.to_string())
        }
        result => result.map_err(|error| error.to_string()),
    }
}

#[derive(Debug, thiserror::Error)]
enum Carry {
    #[error(transparent)]
    Invalid(#[from] validate::Invalid),
    #[error(transparent)]
    Switch(#[from] SwitchError),
}

fn write(
    new: &Loaded,
    writer: &mut (dyn crate::server::switch::Writer + '_),
    update: &proto::Update,
) -> Result<(), Carry> {
    if let Checked::Switch(update) = validate::update(&new.schema, update)? {
        writer.apply(&update)?;
    }
    Ok(())
}
