//! A switch that somebody else runs: reached over P4Runtime, with its ports on network interfaces.
//!
//! In: environment variables, because only who started the switch knows where it is. Out: a target.
//!
//! | variable | example |
//! |---|---|
//! | `NICPROXY_TEST_SWITCH` | `127.0.0.1:9559` |
//! | `NICPROXY_TEST_PORTS` | `1=veth1,2=veth2`: the switch's port, the interface at the other end of its wire |
//! | `NICPROXY_TEST_P4INFO` | what p4c wrote with `--p4runtime-files` |
//! | `NICPROXY_TEST_DEVICE_CONFIG` | p4c's JSON |
//! | `NICPROXY_TEST_DEVICE_ID` | 1 unless given |
//! | `NICPROXY_TEST_PROGRAM` | `v1model` unless given |

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use nicproxy::config::{PipelineConfig, Program};
use softnic::port::Port;
use softnic::port::packet::PacketPort;

use super::{Pipeline, Target, TargetError, Wire};

/// A switch in another process or machine.
pub struct External {
    name: String,
    address: String,
    device_id: u64,
    program: Program,
    p4info: PathBuf,
    device_config: PathBuf,
    pipeline: PipelineConfig,
    wire: Wire,
}

fn variable(variable: &'static str) -> Result<String, TargetError> {
    std::env::var(variable).map_err(|_| TargetError::Environment {
        variable,
        problem: "not set; `bmv2-docker/run` starts a switch and sets it".to_owned(),
    })
}

impl External {
    /// The switch that the environment names.
    ///
    /// # Errors
    /// [`TargetError::Environment`] says which variable is missing or wrong; [`TargetError::Port`] which interface.
    pub fn from_environment() -> Result<Self, TargetError> {
        let address = variable("NICPROXY_TEST_SWITCH")?;
        let ports = parse_ports(&variable("NICPROXY_TEST_PORTS")?)?;
        let p4info = PathBuf::from(variable("NICPROXY_TEST_P4INFO")?);
        let device_config = PathBuf::from(variable("NICPROXY_TEST_DEVICE_CONFIG")?);
        let mut far: BTreeMap<u32, Arc<dyn Port>> = BTreeMap::new();
        for (id, interface) in ports {
            far.insert(id, Arc::new(PacketPort::open(&interface)?));
        }
        Ok(Self {
            name: format!("switch {address}"),
            address,
            device_id: number("NICPROXY_TEST_DEVICE_ID", 1)?,
            program: program()?,
            pipeline: PipelineConfig::Compiled {
                p4info: p4info.clone(),
                device_config: device_config.clone(),
            },
            p4info,
            device_config,
            wire: Wire::new(far)?,
        })
    }
}

fn number(variable: &'static str, default: u64) -> Result<u64, TargetError> {
    let Ok(text) = std::env::var(variable) else {
        return Ok(default);
    };
    text.parse().map_err(|_| TargetError::Environment {
        variable,
        problem: format!("{text:?} is not a number"),
    })
}

fn program() -> Result<Program, TargetError> {
    const VARIABLE: &str = "NICPROXY_TEST_PROGRAM";
    match std::env::var(VARIABLE).as_deref() {
        Err(_) | Ok("v1model") => Ok(Program::V1model),
        Ok("pna") => Ok(Program::Pna),
        Ok(other) => Err(TargetError::Environment {
            variable: VARIABLE,
            problem: format!("{other:?} is neither pna nor v1model"),
        }),
    }
}

fn parse_ports(text: &str) -> Result<Vec<(u32, String)>, TargetError> {
    let wrong = |part: &str| TargetError::Environment {
        variable: "NICPROXY_TEST_PORTS",
        problem: format!("{part:?} is not PORT=INTERFACE"),
    };
    text.split(',')
        .map(|part| {
            let (port, interface) = part.trim().split_once('=').ok_or_else(|| wrong(part))?;
            Ok((port.parse().map_err(|_| wrong(part))?, interface.to_owned()))
        })
        .collect()
}

impl Target for External {
    fn name(&self) -> &str {
        &self.name
    }

    fn program(&self) -> Program {
        self.program
    }

    fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    fn device_id(&self) -> u64 {
        self.device_id
    }

    fn pipeline(&self) -> &PipelineConfig {
        &self.pipeline
    }

    fn pipeline_bytes(&self) -> Result<Pipeline, TargetError> {
        let text = std::fs::read_to_string(&self.p4info).map_err(|source| TargetError::File {
            path: self.p4info.clone(),
            source,
        })?;
        let p4info =
            p4runtime::proto::text::from_text(&text).map_err(|error| TargetError::P4Info {
                path: self.p4info.clone(),
                reason: error.to_string(),
            })?;
        let device_config =
            std::fs::read(&self.device_config).map_err(|source| TargetError::File {
                path: self.device_config.clone(),
                source,
            })?;
        Ok(Pipeline {
            p4info,
            device_config,
        })
    }

    fn ports(&self) -> Vec<u32> {
        self.wire.ports()
    }

    fn send(&self, port: u32, frame: &[u8]) -> Result<(), TargetError> {
        self.wire.send(port, frame)
    }

    fn receive(&self, deadline: Instant) -> Option<(u32, Vec<u8>)> {
        self.wire.receive(deadline)
    }

    fn announced(&self) -> BTreeSet<(u32, IpAddr)> {
        self.wire.announced()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_pairs_of_number_and_interface() {
        assert_eq!(
            parse_ports("1=a, 2=b").unwrap(),
            [(1, "a".to_owned()), (2, "b".to_owned())]
        );
        for wrong in ["", "1", "x=a", "1=a,2"] {
            assert!(
                matches!(parse_ports(wrong), Err(TargetError::Environment { .. })),
                "{wrong}"
            );
        }
    }
}
