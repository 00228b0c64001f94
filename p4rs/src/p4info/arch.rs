//! How the architectures call the things that P4Info shows: extern types, table properties, units.
//!
//! In: the package's name. Out: names to look for. An architecture that is not known is
//! shown as v1model.

use crate::ir::{Package, Program};
use p4runtime_proto::p4::config::v1 as pb;

/// The vocabulary of one architecture.
#[derive(Clone, Debug)]
pub(super) struct Arch {
    /// As in `PkgInfo.arch`.
    pub name: String,
    pub flavour: Flavour,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    V1Model,
    Psa,
    Pna,
    Other,
}

/// The extern types that P4Info knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Counter,
    DirectCounter,
    Meter,
    DirectMeter,
    Register,
    ActionProfile,
    ActionSelector,
    Digest,
}

impl Arch {
    pub fn of(program: &Program) -> Self {
        let package = program
            .package
            .as_ref()
            .map_or("", |Package { name, .. }| name.as_str());
        let (name, flavour) = match package {
            "V1Switch" => ("v1model", Flavour::V1Model),
            "PSA_Switch" => ("psa", Flavour::Psa),
            "PNA_NIC" => ("pna", Flavour::Pna),
            "ubpf" => ("ubpf", Flavour::Other),
            // What p4c takes a program for unless told otherwise.
            _ => ("v1model", Flavour::V1Model),
        };
        Self {
            name: name.to_owned(),
            flavour,
        }
    }

    /// What an extern type is for P4Info.
    pub fn resource(&self, kind: &str) -> Option<Resource> {
        let v1model = self.flavour == Flavour::V1Model;
        Some(match kind {
            "counter" if v1model => Resource::Counter,
            "direct_counter" if v1model => Resource::DirectCounter,
            "meter" if v1model => Resource::Meter,
            "direct_meter" if v1model => Resource::DirectMeter,
            "register" if v1model => Resource::Register,
            "action_profile" if v1model => Resource::ActionProfile,
            "action_selector" if v1model => Resource::ActionSelector,
            "Counter" if !v1model => Resource::Counter,
            "DirectCounter" if !v1model => Resource::DirectCounter,
            "Meter" if !v1model => Resource::Meter,
            "DirectMeter" if !v1model => Resource::DirectMeter,
            "Register" if !v1model => Resource::Register,
            "ActionProfile" if !v1model => Resource::ActionProfile,
            "ActionSelector" if !v1model => Resource::ActionSelector,
            "Digest" if !v1model => Resource::Digest,
            _ => return None,
        })
    }

    fn property(
        &self,
        v1model: &'static str,
        psa: &'static str,
        pna: &'static str,
    ) -> &'static str {
        match self.flavour {
            Flavour::V1Model => v1model,
            Flavour::Psa | Flavour::Other => psa,
            Flavour::Pna => pna,
        }
    }

    /// The table property that holds an action profile or selector.
    pub fn implementation(&self) -> &'static str {
        self.property("implementation", "psa_implementation", "pna_implementation")
    }

    /// The table property that holds a direct counter.
    pub fn direct_counter(&self) -> &'static str {
        self.property("counters", "psa_direct_counter", "pna_direct_counter")
    }

    /// The table property that holds a direct meter.
    pub fn direct_meter(&self) -> &'static str {
        self.property("meters", "psa_direct_meter", "pna_direct_meter")
    }

    /// The table property that says that entries age; p4c reads PSA's for PNA too.
    pub fn idle_timeout(&self) -> &'static str {
        self.property("support_timeout", "psa_idle_timeout", "psa_idle_timeout")
    }

    /// The constructor parameter that holds the number of cells.
    pub fn size_parameter(&self, resource: Resource) -> &'static str {
        match resource {
            Resource::Counter if self.flavour != Flavour::V1Model => "n_counters",
            Resource::Meter if self.flavour != Flavour::V1Model => "n_meters",
            _ => "size",
        }
    }

    /// The type argument that is the index type; v1model's index is plain `bit<32>`.
    pub fn index_type(&self, resource: Resource) -> Option<usize> {
        match (self.flavour, resource) {
            (Flavour::V1Model, _) => None,
            (_, Resource::Meter) => Some(0),
            (_, Resource::Counter | Resource::Register) => Some(1),
            _ => None,
        }
    }

    /// What a counter's constructor argument says it counts.
    pub fn counter_unit(&self, member: &str) -> pb::counter_spec::Unit {
        match member {
            "packets" | "PACKETS" => pb::counter_spec::Unit::Packets,
            "bytes" | "BYTES" => pb::counter_spec::Unit::Bytes,
            "packets_and_bytes" | "PACKETS_AND_BYTES" => pb::counter_spec::Unit::Both,
            _ => pb::counter_spec::Unit::Unspecified,
        }
    }

    /// What a meter's constructor argument says it measures.
    pub fn meter_unit(&self, member: &str) -> pb::meter_spec::Unit {
        match member {
            "packets" | "PACKETS" => pb::meter_spec::Unit::Packets,
            "bytes" | "BYTES" => pb::meter_spec::Unit::Bytes,
            _ => pb::meter_spec::Unit::Unspecified,
        }
    }
}
