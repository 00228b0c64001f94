//! Architectures: which blocks a package has, and which externs there are.
//!
//! In: a program's package and extern calls. Out: findings. Invariant checked: each role is filled by a block with the
//! parameters of that role; no extern is used that the architecture lacks.

use super::{Validator, code};
use crate::ir::{Callee, Direction, ExprKind, Package, PackageArg, Param, Type};
use crate::source::Span;

/// A role of a package.
struct Role {
    name: &'static str,
    parser: bool,
    /// Directions of the parameters, the packet's included.
    params: &'static [Direction],
}

/// What an architecture offers.
struct Architecture {
    package: &'static str,
    roles: &'static [Role],
    /// Extern object types.
    objects: &'static [&'static str],
    /// Extern functions.
    functions: &'static [&'static str],
}

use Direction::{In, InOut, None as Plain, Out};

/// `v1model.p4`: simple_switch.
const V1MODEL: Architecture = Architecture {
    package: "V1Switch",
    roles: &[
        Role {
            name: "parser",
            parser: true,
            params: &[Plain, Out, InOut, InOut],
        },
        Role {
            name: "checksum verification",
            parser: false,
            params: &[InOut, InOut],
        },
        Role {
            name: "ingress",
            parser: false,
            params: &[InOut, InOut, InOut],
        },
        Role {
            name: "egress",
            parser: false,
            params: &[InOut, InOut, InOut],
        },
        Role {
            name: "checksum computation",
            parser: false,
            params: &[InOut, InOut],
        },
        Role {
            name: "deparser",
            parser: false,
            params: &[Plain, In],
        },
    ],
    objects: &[
        "counter",
        "direct_counter",
        "meter",
        "direct_meter",
        "register",
        "action_profile",
        "action_selector",
        "Checksum16",
    ],
    functions: &[
        "random",
        "digest",
        "mark_to_drop",
        "hash",
        "verify_checksum",
        "update_checksum",
        "verify_checksum_with_payload",
        "update_checksum_with_payload",
        "clone",
        "clone3",
        "clone_preserving_field_list",
        "resubmit",
        "resubmit_preserving_field_list",
        "recirculate",
        "recirculate_preserving_field_list",
        "truncate",
        "assert",
        "assume",
        "log_msg",
    ],
};

/// `pna.p4` as `p4c-dpdk --arch pna` takes it.
const PNA: Architecture = Architecture {
    package: "PNA_NIC",
    roles: &[
        Role {
            name: "main parser",
            parser: true,
            params: &[Plain, Out, InOut, In],
        },
        Role {
            name: "pre control",
            parser: false,
            params: &[In, InOut, In, InOut],
        },
        Role {
            name: "main control",
            parser: false,
            params: &[InOut, InOut, In, InOut],
        },
        Role {
            name: "main deparser",
            parser: false,
            params: &[Plain, In, In, In],
        },
    ],
    objects: &[
        "Hash",
        "Checksum",
        "InternetChecksum",
        "Counter",
        "DirectCounter",
        "Meter",
        "DirectMeter",
        "Register",
        "Random",
        "ActionProfile",
        "ActionSelector",
        "Digest",
    ],
    functions: &[
        "drop_packet",
        "send_to_port",
        "mirror_packet",
        "recirculate",
        "add_entry",
        "allocate_flow_id",
        "set_entry_expire_time",
        "restart_expire_timer",
        "SelectByDirection",
        "is_host_port",
        "is_net_port",
    ],
};

/// Extern functions of `core.p4`.
const CORE: &[&str] = &["verify", "static_assert"];

impl Validator<'_> {
    pub(super) fn architecture(&mut self) {
        let program = self.program;
        let Some(package) = &program.package else {
            let help = "instantiate the architecture's package, such as `V1Switch(...) main;`";
            self.report(
                code::ARCHITECTURE,
                Span::NONE,
                "the program has no `main`: there is nothing to run",
                help,
            );
            return;
        };
        let known = [&V1MODEL, &PNA];
        let Some(arch) = known.iter().find(|arch| arch.package == package.name) else {
            let message = format!(
                "the architecture of the package `{}` is not supported by the engine",
                package.name
            );
            let help = "the engine runs `V1Switch` (v1model.p4) and `PNA_NIC` (pna.p4); the program can be checked only";
            self.report(code::ARCHITECTURE, Span::NONE, message, help);
            return;
        };
        self.roles(arch, package);
        self.externs(arch);
    }

    fn roles(&mut self, arch: &Architecture, package: &Package) {
        if package.args.len() != arch.roles.len() {
            let message = format!(
                "`{}` has {} blocks here, {} are known",
                package.name,
                package.args.len(),
                arch.roles.len()
            );
            let help = "this is another version of the architecture than the engine runs";
            self.report(code::BLOCK, Span::NONE, message, help);
            return;
        }
        for (role, (name, arg)) in arch.roles.iter().zip(&package.args) {
            let params = match (arg, role.parser) {
                (PackageArg::Parser(handle), true) => {
                    self.program.parsers.get(*handle).map(|p| &p.params)
                }
                (PackageArg::Control(handle), false) => {
                    self.program.controls.get(*handle).map(|c| &c.params)
                }
                _ => None,
            };
            match params {
                Some(params) => self.role(role, params),
                None => {
                    let message = format!(
                        "the {} (`{name}`) is not a {}",
                        role.name,
                        if role.parser { "parser" } else { "control" }
                    );
                    self.report(code::BLOCK, Span::NONE, message, "");
                }
            }
        }
    }

    fn role(&mut self, role: &Role, params: &[Param]) {
        let fits = params.len() == role.params.len()
            && params
                .iter()
                .zip(role.params)
                .all(|(param, direction)| param.direction == *direction);
        let span = params
            .first()
            .map_or(Span::NONE, |param| self.program.vars[param.var].span);
        if !fits {
            let message = format!(
                "the parameters of the {} are not those of its role",
                role.name
            );
            self.report(
                code::BLOCK,
                span,
                message,
                "use the architecture's own declarations",
            );
            return;
        }
        for (param, direction) in params.iter().zip(role.params) {
            let ty = &self.program.types[self.program.resolve(self.program.vars[param.var].ty)];
            let packet = matches!(ty, Type::Extern { name, .. } if name == "packet_in" || name == "packet_out");
            if packet != (*direction == Plain) {
                let message = format!(
                    "a parameter of the {} has a type that its role does not have",
                    role.name
                );
                self.report(code::BLOCK, self.program.vars[param.var].span, message, "");
            } else if !packet
                && !matches!(
                    ty,
                    Type::Struct(_) | Type::Header(_) | Type::Union(_) | Type::Bits { .. }
                )
            {
                let message = format!("headers and metadata of the {} must be structs", role.name);
                self.report(code::BLOCK, self.program.vars[param.var].span, message, "");
            }
        }
    }

    fn externs(&mut self, arch: &Architecture) {
        let program = self.program;
        for (_, instance) in program.externs.iter() {
            if !arch.objects.contains(&instance.kind.as_str()) {
                self.unknown_extern(&instance.kind, instance.span);
            }
        }
        for (_, expr) in program.exprs.iter() {
            if let ExprKind::Call {
                callee: Callee::Extern(name),
                ..
            } = &expr.kind
                && !arch.functions.contains(&name.as_str())
                && !CORE.contains(&name.as_str())
            {
                self.unknown_extern(name, expr.span);
            }
        }
    }
}
