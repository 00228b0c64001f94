//! `base.name(args)`: methods of objects, headers, stacks and tables.
//!
//! In: a base of any sort. Out: a value. Invariant: built-in methods become [`HeaderOp`] and [`PacketOp`] calls, all
//! others name their extern instance.

use super::argument::Given;
use super::emit::Typed;
use super::expr::Operand;
use super::names::{Context, Object};
use super::ty::{DefId, Ty};
use super::{Sema, code};
use crate::front::ast::{Argument, Decl, Expr, MethodDecl, Name, TypeRef};
use crate::ir::{Arg, Callee, ExprKind, HeaderOp, PacketOp};
use crate::source::Span;

impl<'a> Sema<'a> {
    pub(super) fn method(
        &mut self,
        base: &'a Expr,
        name: &'a Name,
        type_args: &'a [TypeRef],
        args: &'a [Argument],
        span: Span,
        want: Option<&Ty>,
    ) -> Operand<'a> {
        match self.operand(base, None) {
            Operand::Bad => Operand::Bad,
            Operand::Type(ty) if name.as_str() == "apply" => self.apply_type(&ty, args, span),
            Operand::Type(ty) => match self.size_method(&ty, name.as_str(), span) {
                Some(size) => Operand::Value(size),
                None => self.no_method(&ty, name),
            },
            Operand::Object(ty @ Ty::Block(..), object) if name.as_str() == "apply" => {
                self.apply_object(&ty, &object, args, span)
            }
            Operand::Object(Ty::Extern(id, types), object) => {
                self.extern_method(id, &types, object, name, type_args, args, span, want)
            }
            Operand::Object(ty, _) => self.no_method(&ty, name),
            Operand::Table(index) => self.apply_table(index, name, args, span),
            Operand::Value(value) => self.value_method(value, name, args, span),
            other => {
                self.as_value(other, base.span);
                Operand::Bad
            }
        }
    }

    fn no_method(&mut self, ty: &Ty, name: &Name) -> Operand<'a> {
        if !ty.is_error() {
            let message = format!("`{}` has no method `{name}`", self.show(ty));
            self.err(code::UNKNOWN_MEMBER, name.span, message, "");
        }
        Operand::Bad
    }

    fn apply_table(
        &mut self,
        index: u32,
        name: &Name,
        args: &'a [Argument],
        span: Span,
    ) -> Operand<'a> {
        if name.as_str() != "apply" {
            self.err(
                code::UNKNOWN_MEMBER,
                name.span,
                format!("a table has no method `{name}`"),
                "write `apply()`",
            );
            return Operand::Bad;
        }
        if self.frame.context != Context::Apply {
            let help = "tables are applied in the `apply` block of their control";
            self.err(
                code::CALL_PLACE,
                span,
                "a table cannot be applied here",
                help,
            );
            return Operand::Bad;
        }
        if !args.is_empty() {
            self.err(
                code::ARGUMENTS,
                span,
                "`apply` of a table takes no arguments",
                "",
            );
            return Operand::Bad;
        }
        let Some(handle) = self.tables.get(index as usize).map(|table| table.handle) else {
            self.err(
                code::RECURSIVE,
                span,
                "a table cannot be applied within itself",
                "",
            );
            return Operand::Bad;
        };
        let kind = ExprKind::Call {
            callee: Callee::Table(handle),
            type_args: Vec::new(),
            args: Vec::new(),
        };
        Operand::Value(self.value(kind, Ty::Apply(index), span))
    }

    fn value_method(
        &mut self,
        value: Typed,
        name: &'a Name,
        args: &'a [Argument],
        span: Span,
    ) -> Operand<'a> {
        let ty = self.resolve(&value.ty);
        if ty.is_error() {
            return Operand::Bad;
        }
        if args.is_empty()
            && let Some(size) = self.size_method(&ty, name.as_str(), span)
        {
            return Operand::Value(size);
        }
        let header = ty.is_header();
        let op = match (name.as_str(), &ty) {
            ("isValid", _) if header || ty.is_union() => HeaderOp::IsValid,
            ("setValid", _) if header => HeaderOp::SetValid,
            ("setInvalid", _) if header || ty.is_union() => HeaderOp::SetInvalid,
            ("push_front", Ty::Stack(..)) => HeaderOp::PushFront,
            ("pop_front", Ty::Stack(..)) => HeaderOp::PopFront,
            _ => return self.no_method(&ty, name),
        };
        let counted = matches!(op, HeaderOp::PushFront | HeaderOp::PopFront);
        if args.len() != usize::from(counted) {
            let message = format!(
                "`{name}` takes {} arguments, {} are given",
                u8::from(counted),
                args.len()
            );
            self.err(code::ARGUMENTS, span, message, "");
            return Operand::Bad;
        }
        if op == HeaderOp::IsValid {
            let args = vec![Arg::In(value.expr)];
            let kind = ExprKind::Call {
                callee: Callee::Header(op),
                type_args: Vec::new(),
                args,
            };
            return Operand::Value(self.value(kind, Ty::Bool, span));
        }
        if !value.place {
            let message = format!("`{name}` changes its header, but this cannot be changed");
            self.err(code::NOT_A_PLACE, span, message, "");
            return Operand::Bad;
        }
        let mut ir_args = vec![Arg::Place(value.expr)];
        if let Some(count) = args.first() {
            let Some(count) = self.stack_count(&count.value) else {
                return Operand::Bad;
            };
            ir_args.push(Arg::In(count.expr));
        }
        let kind = ExprKind::Call {
            callee: Callee::Header(op),
            type_args: Vec::new(),
            args: ir_args,
        };
        Operand::Value(self.value(kind, Ty::Void, span))
    }

    /// The method of an extern that these arguments call.
    pub(super) fn find_method(
        &mut self,
        id: DefId,
        name: &Name,
        args: &[Argument],
        span: Span,
    ) -> Option<&'a MethodDecl> {
        let Decl::ExternObject(decl) = self.decl(id) else {
            return None;
        };
        let named: Vec<&'a MethodDecl> = decl
            .methods
            .iter()
            .filter(|m| m.prototype.name.text == name.text)
            .collect();
        if named.is_empty() {
            self.no_method(&Ty::Extern(id, Ty::none()), name);
            return None;
        }
        let mut candidates = named
            .iter()
            .filter(|m| Self::accepts(&m.prototype.params, args));
        let fitting = candidates.next();
        let same_length =
            |a: &MethodDecl, b: &MethodDecl| a.prototype.params.len() == b.prototype.params.len();
        if let (Some(first), Some(second)) = (fitting, candidates.next())
            && same_length(first, second)
        {
            let message = format!(
                "this call of `{name}` fits two methods of `{}`",
                self.def_name(id)
            );
            self.err_with(
                code::ARGUMENTS,
                span,
                message,
                (second.span, "the other one"),
                "name the arguments",
            );
            return None;
        }
        match (fitting, named.as_slice()) {
            (Some(method), _) => Some(method),
            (None, [only]) => Some(only),
            _ => {
                let message = format!(
                    "no `{name}` of `{}` takes these arguments",
                    self.def_name(id)
                );
                self.err(code::ARGUMENTS, span, message, "");
                None
            }
        }
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "a method call has this many parts"
    )]
    fn extern_method(
        &mut self,
        id: DefId,
        types: &[Ty],
        object: Object,
        name: &'a Name,
        type_args: &'a [TypeRef],
        args: &'a [Argument],
        span: Span,
        want: Option<&Ty>,
    ) -> Operand<'a> {
        let Some(method) = self.find_method(id, name, args, span) else {
            return Operand::Bad;
        };
        let Decl::ExternObject(decl) = self.decl(id) else {
            return Operand::Bad;
        };
        if method.prototype.return_type.is_none() {
            return self.no_method(&Ty::Extern(id, Ty::none()), name);
        }
        let outer: Vec<(&'a Name, Ty)> =
            decl.type_params.iter().zip(types.iter().cloned()).collect();
        let signature = self.signature(Some(id), outer, &method.prototype, false);
        let params = signature.params.clone();
        let Some(bound) = self.bind_call(signature, type_args, args, want, span) else {
            return Operand::Bad;
        };
        if !self.inferred(&bound, name.as_str(), span) {
            return Operand::Bad;
        }
        let packet = self.packet_op(id, name, args.len());
        if let Some(op) = packet
            && !self.check_packet_op(op, &bound.args, &bound.type_args, span)
        {
            return Operand::Bad;
        }
        let callee = match (packet, object) {
            (Some(op), _) => Callee::Packet(op),
            (None, Object::Extern(instance)) => Callee::Method {
                instance,
                method: name.to_string(),
            },
            _ => Callee::Extern(name.to_string()),
        };
        let type_handles = bound.type_args.iter().map(|ty| self.ir_type(ty)).collect();
        let ir_args = self.ir_args(&params, &bound.args);
        let kind = ExprKind::Call {
            callee,
            type_args: type_handles,
            args: ir_args,
        };
        Operand::Value(self.value(kind, bound.ret, span))
    }

    /// The packet operation a method of `packet_in` or `packet_out` is.
    fn packet_op(&self, id: DefId, name: &Name, args: usize) -> Option<PacketOp> {
        match (&*self.def_name(id), name.as_str(), args) {
            ("packet_in", "extract", 1) => Some(PacketOp::Extract),
            ("packet_in", "extract", 2) => Some(PacketOp::ExtractVarbit),
            ("packet_in", "lookahead", 0) => Some(PacketOp::Lookahead),
            ("packet_in", "advance", 1) => Some(PacketOp::Advance),
            ("packet_in", "length", 0) => Some(PacketOp::Length),
            ("packet_out", "emit", 1) => Some(PacketOp::Emit),
            _ => None,
        }
    }

    fn check_packet_op(&mut self, op: PacketOp, args: &[Given], types: &[Ty], span: Span) -> bool {
        let ty = match types.first() {
            Some(ty) => self.resolve(ty),
            None => return true,
        };
        if matches!(ty, Ty::Error | Ty::Param(_)) {
            return true;
        }
        let varbits = self.varbits(&ty);
        let refused = match op {
            PacketOp::Extract | PacketOp::ExtractVarbit if !ty.is_header() => Some((
                "only headers can be extracted",
                "use `lookahead` or a header type",
            )),
            PacketOp::Extract if varbits > 0 && !matches!(args.first(), Some(Given::Absent)) => {
                Some((
                    "this header has a `varbit` field",
                    "give its size as second argument",
                ))
            }
            PacketOp::ExtractVarbit if varbits != 1 => Some((
                "a header with exactly one `varbit` field is needed",
                "leave the size out",
            )),
            PacketOp::Lookahead
                if varbits > 0 || self.size_bounds(&ty).is_none() || ty.is_union() =>
            {
                Some(("only types of a fixed width can be looked ahead", ""))
            }
            PacketOp::Emit if !self.emittable(&ty) => Some((
                "only headers, header stacks, unions and structs of them can be emitted",
                "",
            )),
            _ => None,
        };
        if let Some((message, help)) = refused {
            self.err(
                code::ARGUMENTS,
                span,
                format!("{message}; this is `{}`", self.show(&ty)),
                help,
            );
        }
        refused.is_none()
    }

    /// How many `varbit` fields a type has.
    pub(super) fn varbits(&mut self, ty: &Ty) -> usize {
        match self.resolve(ty) {
            Ty::Varbit(_) => 1,
            ty @ Ty::Fields(..) => self
                .fields_of(&ty)
                .iter()
                .map(|field| self.varbits(&field.ty))
                .sum(),
            Ty::Stack(elem, _) => self.varbits(&elem),
            Ty::Tuple(items) => items.iter().map(|item| self.varbits(item)).sum(),
            _ => 0,
        }
    }

    fn emittable(&mut self, ty: &Ty) -> bool {
        match self.resolve(ty) {
            Ty::Error | Ty::Param(_) => true,
            ty @ Ty::Fields(..) if ty.is_header() || ty.is_union() => true,
            ty @ Ty::Fields(..) => self
                .fields_of(&ty)
                .iter()
                .all(|field| self.emittable(&field.ty)),
            Ty::Stack(elem, _) => self.emittable(&elem),
            Ty::Tuple(items) | Ty::ListLit(items, _) => {
                items.iter().all(|item| self.emittable(item))
            }
            _ => false,
        }
    }
}
