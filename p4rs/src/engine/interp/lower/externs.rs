//! Extern functions and methods: the ones of v1model and of PNA, by name.
//!
//! In: extern calls. Out: [`Extern`] operations with their operands. Invariant: a name that is not known is refused
//! at load time, never at run time.

use super::super::super::externs::HashAlgorithm;
use super::super::super::{Architecture, LoadError, bits, layout};
use super::super::code::{Checksum, ChecksumAction, Dest, Ex, Extern, Operand, Place, Prim};
use super::{Lower, Lowered};
use crate::ir::{Arg, Callee, Const, Expr, ExprKind, ExternInstance, Handle, Type};
use crate::source::Span;

/// `V1Model` colours by green, yellow, red.
pub(super) const V1MODEL_COLORS: [u128; 3] = [0, 1, 2];

/// The call at hand.
struct Site<'a> {
    args: &'a [Arg],
    ret: Handle<Type>,
    span: Span,
}

impl<'p> Lower<'p> {
    /// An extern function or method.
    pub(super) fn extern_call(&mut self, expr: Handle<Expr>) -> Lowered<Prim> {
        let node = self.expr(expr);
        let ExprKind::Call { callee, args, .. } = &node.kind else {
            return self.construct("not a call", node.span);
        };
        let site = Site {
            args,
            ret: node.ty,
            span: node.span,
        };
        match callee {
            Callee::Extern(name) if name == "verify" => {
                Ok(Prim::Verify(self.need(&site, 0)?, self.need(&site, 1)?))
            }
            Callee::Extern(name) => {
                let common = self.common_function(name, &site)?;
                let known = match (common, self.arch) {
                    (Some(op), _) => Some(op),
                    (None, Architecture::V1Model) => self.v1model_function(name, &site)?,
                    (None, Architecture::Pna) => self.pna_function(name, &site)?,
                };
                known
                    .map(Prim::Extern)
                    .ok_or_else(|| LoadError::Extern(name.clone()))
            }
            Callee::Method { instance, method } => {
                let kind = self.program.externs[*instance].kind.clone();
                let known = self.method(*instance, &kind, method, &site)?;
                known
                    .map(Prim::Extern)
                    .ok_or_else(|| LoadError::Extern(format!("{kind}.{method}")))
            }
            _ => self.construct("not an extern", node.span),
        }
    }

    fn need(&mut self, site: &Site<'_>, index: usize) -> Lowered<Ex> {
        match self.scalar_arg(site.args, index)? {
            Some(value) => Ok(value),
            None => self.construct("an argument is missing", site.span),
        }
    }

    fn out(&mut self, site: &Site<'_>, index: usize) -> Lowered<Option<Dest>> {
        match site.args.get(index) {
            Some(Arg::Place(expr)) => self.dest(*expr).map(Some),
            _ => Ok(None),
        }
    }

    fn common_function(&mut self, name: &str, site: &Site<'_>) -> Lowered<Option<Extern>> {
        Ok(Some(match name {
            "assert" | "assume" => Extern::Assert(self.need(site, 0)?),
            "static_assert" => Extern::Nothing,
            "log_msg" => {
                let text = match site.args.first() {
                    Some(Arg::In(expr)) => match &self.expr(*expr).kind {
                        ExprKind::Const(Const::String(text)) => text.clone(),
                        _ => String::new(),
                    },
                    _ => String::new(),
                };
                Extern::Log {
                    text,
                    data: self.pack(site.args, 1)?,
                }
            }
            _ => return Ok(None),
        }))
    }

    fn list_arg(&mut self, site: &Site<'_>, index: usize) -> Lowered<Option<u32>> {
        Ok(match self.scalar_arg(site.args, index)? {
            Some(Ex::Const(list)) => u32::try_from(list).ok(),
            _ => None,
        })
    }

    /// What is marked is the metadata at hand: an action may have got a copy of it, which it gives back.
    fn mark_to_drop(&mut self, site: &Site<'_>) -> Lowered<Extern> {
        let marked = match site.args.first() {
            Some(Arg::Place(metadata)) => {
                let parts = layout::parts(self.program, self.expr(*metadata).ty);
                let field = |name| parts.iter().find(|(_, _, field)| field == name);
                let offsets = field("egress_spec").zip(field("mcast_grp"));
                let offsets = offsets.map(|((port, ..), (group, ..))| (*port, *group));
                match (self.place(*metadata)?, offsets) {
                    (Place::Fixed(base), Some((port, group))) => Some((base + port, base + group)),
                    _ => None,
                }
            }
            _ => None,
        };
        match marked {
            Some((port, group)) => Ok(Extern::MarkToDrop { port, group }),
            None => self.construct("`mark_to_drop` of something else than metadata", site.span),
        }
    }

    fn v1model_function(&mut self, name: &str, site: &Site<'_>) -> Lowered<Option<Extern>> {
        Ok(Some(match name {
            "mark_to_drop" => self.mark_to_drop(site)?,
            "random" => {
                let (low, high) = (self.need(site, 1)?, self.need(site, 2)?);
                Extern::Random {
                    low,
                    high,
                    dest: self.out(site, 0)?,
                }
            }
            "hash" => {
                let (base, max) = (self.need(site, 2)?, self.need(site, 4)?);
                Extern::Hash {
                    algorithm: self.algorithm(site, 1)?,
                    base,
                    max: Some(max),
                    data: self.pack(site.args, 3)?,
                    dest: self.out(site, 0)?,
                    mask: self.place_mask(site, 0),
                }
            }
            "digest" => {
                let Some(Arg::In(data)) = site.args.get(1) else {
                    return self.construct("`digest` without data", site.span);
                };
                let ty = self.expr(*data).ty;
                Extern::Digest {
                    ty,
                    receiver: self.need(site, 0)?,
                    data: self.pack(site.args, 1)?,
                }
            }
            "verify_checksum" | "verify_checksum_with_payload" => {
                self.checksum(name, site, false)?
            }
            "update_checksum" | "update_checksum_with_payload" => {
                self.checksum(name, site, true)?
            }
            "clone" | "clone3" | "clone_preserving_field_list" => self.clone_call(name, site)?,
            "resubmit" => Extern::Resubmit(None),
            "recirculate" => Extern::RecirculateList(None),
            "resubmit_preserving_field_list" => Extern::Resubmit(self.list_arg(site, 0)?),
            "recirculate_preserving_field_list" => Extern::RecirculateList(self.list_arg(site, 0)?),
            "truncate" => Extern::Truncate(self.need(site, 0)?),
            _ => return Ok(None),
        }))
    }

    fn clone_call(&mut self, name: &str, site: &Site<'_>) -> Lowered<Extern> {
        // CloneType { I2E, E2E }
        let egress = matches!(self.need(site, 0)?, Ex::Const(1));
        let list = if name == "clone" {
            None
        } else {
            self.list_arg(site, 2)?
        };
        Ok(Extern::Clone {
            egress,
            session: self.need(site, 1)?,
            list,
        })
    }

    fn checksum(&mut self, name: &str, site: &Site<'_>, update: bool) -> Lowered<Extern> {
        let condition = self.need(site, 0)?;
        let data = self.pack(site.args, 1)?;
        let mask = self.place_mask(site, 2);
        let action = if update {
            match self.out(site, 2)? {
                Some(dest) => ChecksumAction::Update(dest),
                None => return Ok(Extern::Nothing),
            }
        } else {
            let guard = match site.args.get(2) {
                Some(Arg::In(expr) | Arg::Place(expr)) => self.guard_place(*expr)?,
                _ => None,
            };
            ChecksumAction::Verify {
                stored: self.need(site, 2)?,
                guard,
            }
        };
        let algorithm = self.algorithm(site, 3)?;
        let payload = name.ends_with("_with_payload");
        Ok(Extern::Checksum(Box::new(Checksum {
            condition,
            data,
            algorithm,
            payload,
            mask,
            action,
        })))
    }

    /// Mask of the width of a place argument.
    fn place_mask(&self, site: &Site<'_>, index: usize) -> u128 {
        match site.args.get(index) {
            Some(Arg::Place(expr) | Arg::In(expr)) => bits::mask(self.number_type(*expr).0),
            _ => u128::MAX,
        }
    }

    /// A constant enum argument that names an algorithm.
    fn algorithm(&self, site: &Site<'_>, index: usize) -> Lowered<HashAlgorithm> {
        let Some(Arg::In(expr)) = site.args.get(index) else {
            return self.construct("a hash algorithm is missing", site.span);
        };
        let node = self.expr(*expr);
        let name = match (&node.kind, self.ty(node.ty)) {
            (ExprKind::Const(Const::Enum { member, .. }), _) => member.clone(),
            (ExprKind::Const(Const::Int(index)), Type::Enum(en)) => {
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                en.members.get(index).cloned().unwrap_or_default()
            }
            _ => return self.construct("a hash algorithm must be constant", node.span),
        };
        HashAlgorithm::by_name(&name).ok_or(LoadError::HashAlgorithm(name))
    }

    fn pna_function(&mut self, name: &str, site: &Site<'_>) -> Lowered<Option<Extern>> {
        Ok(Some(match name {
            "drop_packet" => Extern::Drop,
            "send_to_port" => Extern::SendTo(self.need(site, 0)?),
            "recirculate" => Extern::Recirculate,
            "mirror_packet" => Extern::Mirror {
                slot: self.need(site, 0)?,
                session: self.need(site, 1)?,
            },
            "add_entry" => self.add_entry(site)?,
            "set_entry_expire_time" => Extern::SetExpire(self.need(site, 0)?),
            "restart_expire_timer" => Extern::RestartTimer,
            "is_host_port" => Extern::IsHostPort(self.need(site, 0)?),
            _ => return Ok(None),
        }))
    }

    /// `add_entry(action, params, profile)`: the table is the one whose default action calls it.
    fn add_entry(&mut self, site: &Site<'_>) -> Lowered<Extern> {
        let wanted = match site.args.first() {
            Some(Arg::In(expr)) => match &self.expr(*expr).kind {
                ExprKind::Const(Const::String(name)) => name.clone(),
                _ => String::new(),
            },
            _ => String::new(),
        };
        let caller = self.in_action;
        let tables = self.program.tables.iter();
        let found = tables
            .filter(|(_, table)| table.properties.iter().any(|p| p.name == "add_on_miss"))
            .find_map(|(_, table)| {
                let default = table.actions.get(table.default_action.action)?;
                let learned = table.actions.iter().position(|reference| {
                    let name = &self.program.actions[reference.action].name;
                    name.local == wanted || name.control_plane == wanted
                })?;
                let action = table.actions.get(learned)?.action;
                (Some(default.action) == caller).then_some((learned, action))
            });
        let Some((number, action)) = found else {
            return self.construct(
                format!("`add_entry` outside the default action of a table that has an action `{wanted}`"),
                site.span,
            );
        };
        let data = match site.args.get(1) {
            Some(Arg::In(expr)) => self.learned_data(*expr)?,
            _ => Vec::new(),
        };
        let given: Vec<u32> = data.iter().map(|&(_, width)| width).collect();
        let taken: Vec<u32> = layout::action_data(self.program, action)
            .map(|ty| layout::number(self.program, ty).0)
            .collect();
        if given != taken {
            return self.construct(
                format!("`add_entry` with values of {given:?} bits for `{wanted}`, whose parameters have {taken:?}"),
                site.span,
            );
        }
        Ok(Extern::AddEntry {
            action: number as u16,
            data,
            profile: self.need(site, 2)?,
        })
    }

    /// The fields of the parameter struct, one per action parameter.
    fn learned_data(&mut self, expr: Handle<Expr>) -> Lowered<Vec<(Operand, u32)>> {
        let node = self.expr(expr);
        match &node.kind {
            ExprKind::Struct(items) => items
                .iter()
                .map(|&item| Ok((self.operand(item)?, self.number_type(item).0)))
                .collect(),
            ExprKind::Cast(inner) if matches!(self.expr(*inner).kind, ExprKind::Struct(_)) => {
                let parts = layout::parts(self.program, node.ty);
                let mut data = self.learned_data(*inner)?;
                for ((_, width), (_, ty, _)) in data.iter_mut().zip(parts) {
                    *width = layout::number(self.program, ty).0;
                }
                Ok(data)
            }
            _ if layout::is_scalar(self.program, node.ty) => {
                Ok(vec![(self.operand(expr)?, self.number_type(expr).0)])
            }
            _ => {
                let slots = self.slots(node.ty);
                let base = self.place(expr)?;
                let parts = layout::parts(self.program, node.ty);
                let part = |(first, ty, _)| {
                    let place = super::place::offset_by(base.clone(), first);
                    let operand = if layout::is_scalar(self.program, ty) {
                        Operand::One(super::expr::load(place))
                    } else {
                        Operand::Many(super::super::code::Agg::Place(place), slots)
                    };
                    (operand, layout::number(self.program, ty).0)
                };
                Ok(parts.into_iter().map(part).collect())
            }
        }
    }

    fn method(
        &mut self,
        instance: Handle<ExternInstance>,
        kind: &str,
        method: &str,
        site: &Site<'_>,
    ) -> Lowered<Option<Extern>> {
        Ok(Some(match (kind, method) {
            ("counter", "count") => Extern::Count {
                instance,
                index: self.need(site, 0)?,
                length: None,
            },
            ("Counter", "count") => {
                let index = self.need(site, 0)?;
                Extern::Count {
                    instance,
                    index,
                    length: self.scalar_arg(site.args, 1)?,
                }
            }
            // The direct counter of v1model counts each hit by itself.
            ("direct_counter", "count") => Extern::Nothing,
            ("DirectCounter", "count") => {
                let Some(table) = self.owner(instance) else {
                    return Ok(Some(Extern::Nothing));
                };
                Extern::CountDirect {
                    table,
                    length: self.scalar_arg(site.args, 0)?,
                }
            }
            ("meter", "execute_meter") => {
                let index = self.need(site, 0)?;
                let dest = self.out(site, 1)?;
                Extern::Meter {
                    instance,
                    index,
                    length: None,
                    colors: V1MODEL_COLORS,
                    dest,
                }
            }
            ("direct_meter", "read") => Extern::DirectMeter {
                colors: V1MODEL_COLORS,
                dest: self.out(site, 0)?,
            },
            ("Meter", "execute" | "dpdk_execute") => {
                let index = self.need(site, 0)?;
                let length = if method == "dpdk_execute" {
                    self.scalar_arg(site.args, site.args.len() - 1)?
                } else {
                    None
                };
                Extern::Meter {
                    instance,
                    index,
                    length,
                    colors: self.colors(site.ret),
                    dest: None,
                }
            }
            ("DirectMeter", "execute" | "dpdk_execute") => Extern::DirectMeter {
                colors: self.colors(site.ret),
                dest: None,
            },
            ("register", "read") => {
                let index = self.need(site, 1)?;
                let dest = self.out(site, 0)?;
                let slots = dest.as_ref().map_or(1, |dest| dest.slots);
                Extern::RegisterRead {
                    instance,
                    index,
                    dest,
                    slots,
                    temp: self.alloc(slots),
                }
            }
            ("Register", "read") => {
                let slots = self.slots(site.ret).max(1);
                Extern::RegisterRead {
                    instance,
                    index: self.need(site, 0)?,
                    dest: None,
                    slots,
                    temp: self.alloc(slots),
                }
            }
            ("register" | "Register", "write") => {
                let index = self.need(site, 0)?;
                let Some(Arg::In(value)) = site.args.get(1) else {
                    return self.construct("a register write without a value", site.span);
                };
                let ty = self.program.externs[instance]
                    .type_args
                    .first()
                    .copied()
                    .unwrap_or(self.expr(*value).ty);
                Extern::RegisterWrite {
                    instance,
                    index,
                    value: self.typed(*value, ty)?,
                }
            }
            ("Random", "read") => self.random_object(instance)?,
            ("Digest", "pack") => {
                let Some(Arg::In(data)) = site.args.first() else {
                    return self.construct("`pack` without data", site.span);
                };
                Extern::Digest {
                    ty: self.expr(*data).ty,
                    receiver: Ex::Const(0),
                    data: self.pack(site.args, 0)?,
                }
            }
            ("Hash", "get_hash") => self.hash_object(instance, site)?,
            ("InternetChecksum" | "Checksum", _) => return self.sum_method(instance, method, site),
            _ => return Ok(None),
        }))
    }

    fn sum_method(
        &mut self,
        instance: Handle<ExternInstance>,
        method: &str,
        site: &Site<'_>,
    ) -> Lowered<Option<Extern>> {
        if self.program.externs[instance].kind == "Checksum"
            && self.object_algorithm(instance)? != HashAlgorithm::Csum16
        {
            return Err(LoadError::HashAlgorithm(String::from(
                "Checksum other than ONES_COMPLEMENT16",
            )));
        }
        let slot = self.sum(instance);
        Ok(Some(match method {
            "clear" => Extern::SumClear(slot),
            "add" | "update" => Extern::SumAdd(slot, self.pack(site.args, 0)?),
            "subtract" => Extern::SumSubtract(slot, self.pack(site.args, 0)?),
            "get" => Extern::SumGet(slot),
            "get_state" => Extern::SumState(slot),
            "set_state" => Extern::SumSetState(slot, self.need(site, 0)?),
            _ => return Ok(None),
        }))
    }

    fn random_object(&mut self, instance: Handle<ExternInstance>) -> Lowered<Extern> {
        let args = &self.program.externs[instance].args;
        let bound = |index: usize| match args.get(index) {
            Some((_, Const::Int(value))) => bits::word_of(value, bits::WORD),
            _ => 0,
        };
        Ok(Extern::Random {
            low: Ex::Const(bound(0)),
            high: Ex::Const(bound(1)),
            dest: None,
        })
    }

    fn object_algorithm(&self, instance: Handle<ExternInstance>) -> Lowered<HashAlgorithm> {
        match self.program.externs[instance].args.first() {
            Some((_, Const::Enum { member, .. })) => HashAlgorithm::by_name(member)
                .ok_or_else(|| LoadError::HashAlgorithm(member.clone())),
            _ => Err(LoadError::HashAlgorithm(String::from("?"))),
        }
    }

    fn hash_object(
        &mut self,
        instance: Handle<ExternInstance>,
        site: &Site<'_>,
    ) -> Lowered<Extern> {
        let algorithm = self.object_algorithm(instance)?;
        let mask = bits::mask(layout::number(self.program, site.ret).0);
        let dest = None;
        if site.args.len() < 3 {
            let data = self.pack(site.args, 0)?;
            return Ok(Extern::Hash {
                algorithm,
                base: Ex::Const(0),
                max: None,
                data,
                dest,
                mask,
            });
        }
        let (base, max) = (self.need(site, 0)?, self.need(site, 2)?);
        Ok(Extern::Hash {
            algorithm,
            base,
            max: Some(max),
            data: self.pack(site.args, 1)?,
            dest,
            mask,
        })
    }

    /// The values of green, yellow and red in a colour enum.
    fn colors(&self, ty: Handle<Type>) -> [u128; 3] {
        let Type::Enum(en) = self.ty(ty) else {
            return V1MODEL_COLORS;
        };
        ["GREEN", "YELLOW", "RED"].map(|color| {
            en.members
                .iter()
                .position(|member| member == color)
                .unwrap_or(0) as u128
        })
    }
}
