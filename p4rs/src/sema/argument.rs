//! Parameters and the arguments that go to them.
//!
//! In: a signature and the arguments of a call. Out: lowered arguments in parameter order, type arguments solved.
//! Invariant: every parameter without default has exactly one argument; `out` and `inout` arguments are places of
//! exactly the parameter's type.

use std::sync::Arc;

use super::emit::Typed;
use super::expr::Operand;
use super::names::{Entity, Object};
use super::ty::{DefId, Ty};
use super::{Sema, code};
use crate::front::ast::{self, Argument, Direction, ExprKind as Ast, Name, TypeRef};
use crate::ir::Arg;
use crate::source::Span;

/// A parameter with its type resolved.
#[derive(Clone)]
pub(super) struct ParamSig<'a> {
    pub ast: &'a ast::Param,
    pub direction: Direction,
    pub ty: Ty,
    pub optional: bool,
    pub default: Option<&'a ast::Expr>,
}

impl ParamSig<'_> {
    pub(super) fn name(&self) -> &Arc<str> {
        &self.ast.name.text
    }
}

/// What can be called, with its type parameters as unknowns.
pub(super) struct Signature<'a> {
    pub name: Arc<str>,
    /// One unknown per type parameter.
    pub type_args: Vec<Ty>,
    /// What the type parameters in reach of defaults stand for.
    pub formal: Vec<(&'a Name, Ty)>,
    pub params: Vec<ParamSig<'a>>,
    pub ret: Ty,
    /// Where defaults of parameters are evaluated.
    pub home: Option<DefId>,
    /// Arguments of parameters without direction must be known when compiling.
    pub constant_args: bool,
}

/// An argument, lowered.
#[derive(Clone)]
pub(super) enum Given {
    Value(Typed),
    Object(Ty, Object),
    /// Left out, or `_`.
    Absent,
}

impl Given {
    /// The object that is passed, if one is.
    pub(super) fn object(&self) -> Option<Object> {
        match self {
            Given::Object(_, object) => Some(object.clone()),
            _ => None,
        }
    }
}

/// A call whose arguments fit.
pub(super) struct Bound {
    pub args: Vec<Given>,
    pub type_args: Vec<Ty>,
    pub ret: Ty,
}

impl<'a> Sema<'a> {
    /// Resolves a parameter list in the current frame.
    pub(super) fn params(&mut self, params: &'a [ast::Param]) -> Vec<ParamSig<'a>> {
        params
            .iter()
            .map(|param| ParamSig {
                ast: param,
                direction: param.direction,
                ty: self.param_type(&param.ty),
                optional: param
                    .annotations
                    .iter()
                    .any(|a| a.name.as_str() == "optional"),
                default: param.default.as_ref(),
            })
            .collect()
    }

    /// Parameters of package type arguments may leave inner arguments open (`_`).
    fn param_type(&mut self, written: &'a TypeRef) -> Ty {
        self.type_of(written)
    }

    /// The signature of a function or method with unknowns for its type parameters, after binding `outer` names.
    pub(super) fn signature(
        &mut self,
        home: Option<DefId>,
        outer: Vec<(&'a Name, Ty)>,
        proto: &'a ast::Prototype,
        constant_args: bool,
    ) -> Signature<'a> {
        let type_args: Vec<Ty> = proto.type_params.iter().map(|_| self.fresh()).collect();
        let frame = match home {
            Some(id) => self.frame_of(id),
            None => self.frame.clone(),
        };
        let (params, ret) = self.within(frame, |sema| {
            sema.scoped(|sema| {
                for (name, ty) in &outer {
                    sema.rebind(name, Entity::Type(ty.clone()));
                }
                for (name, ty) in proto.type_params.iter().zip(&type_args) {
                    sema.rebind(name, Entity::Type(ty.clone()));
                }
                let ret = proto
                    .return_type
                    .as_ref()
                    .map_or(Ty::Void, |ty| sema.type_or_bare(ty));
                (sema.params(&proto.params), ret)
            })
        });
        let formal = outer
            .into_iter()
            .chain(proto.type_params.iter().zip(type_args.iter().cloned()))
            .collect();
        Signature {
            name: proto.name.text.clone(),
            type_args,
            formal,
            params,
            ret,
            home,
            constant_args,
        }
    }

    /// Picks the candidates that the number and names of the arguments allow.
    pub(super) fn accepts(params: &[ast::Param], args: &[Argument]) -> bool {
        if args.len() > params.len() {
            return false;
        }
        let has_default = |p: &ast::Param| {
            p.default.is_some() || p.annotations.iter().any(|a| a.name.as_str() == "optional")
        };
        if args.iter().any(|arg| arg.name.is_some()) {
            let named = |p: &ast::Param| {
                args.iter()
                    .any(|a| a.name.as_ref().is_some_and(|n| n.text == p.name.text))
            };
            let all_known = args.iter().all(|a| {
                a.name
                    .as_ref()
                    .is_some_and(|n| params.iter().any(|p| p.name.text == n.text))
            });
            return all_known && params.iter().all(|p| named(p) || has_default(p));
        }
        params[args.len()..].iter().all(has_default)
    }

    /// Brings arguments into parameter order, complaining about what does not fit.
    pub(super) fn arrange(
        &mut self,
        name: &str,
        params: &[ParamSig<'a>],
        args: &'a [Argument],
        span: Span,
    ) -> Option<Vec<Option<&'a Argument>>> {
        let mut slots: Vec<Option<&'a Argument>> = vec![None; params.len()];
        let named = args.iter().filter(|arg| arg.name.is_some()).count();
        if named != 0 && named != args.len() {
            self.err(
                code::ARGUMENTS,
                span,
                "either all or none of the arguments must be named",
                "",
            );
            return None;
        }
        for (index, arg) in args.iter().enumerate() {
            let at = match &arg.name {
                Some(wanted) => params.iter().position(|p| p.name() == &wanted.text),
                None => Some(index).filter(|index| *index < params.len()),
            };
            match (at, &arg.name) {
                (Some(at), Some(wanted)) if slots[at].is_some() => {
                    self.err(
                        code::ARGUMENTS,
                        wanted.span,
                        format!("argument `{wanted}` is given twice"),
                        "",
                    );
                    return None;
                }
                (Some(at), _) => slots[at] = Some(arg),
                (None, Some(wanted)) => {
                    self.err(
                        code::ARGUMENTS,
                        wanted.span,
                        format!("`{name}` has no parameter `{wanted}`"),
                        "",
                    );
                    return None;
                }
                (None, None) => {
                    let message = format!(
                        "`{name}` takes {} arguments, {} are given",
                        params.len(),
                        args.len()
                    );
                    self.err(code::ARGUMENTS, span, message, "");
                    return None;
                }
            }
        }
        let missing = params
            .iter()
            .zip(&slots)
            .find(|(p, slot)| slot.is_none() && !p.optional && p.default.is_none());
        if let Some((param, _)) = missing {
            let message = format!("no argument for parameter `{}` of `{name}`", param.name());
            self.err_with(
                code::ARGUMENTS,
                span,
                message,
                (param.ast.span, "declared here"),
                "",
            );
            return None;
        }
        Some(slots)
    }

    /// Lowers the arguments of a call and solves its type arguments.
    pub(super) fn bind_call(
        &mut self,
        signature: Signature<'a>,
        type_args: &'a [TypeRef],
        args: &'a [Argument],
        want: Option<&Ty>,
        span: Span,
    ) -> Option<Bound> {
        let Signature {
            name,
            type_args: unknowns,
            formal,
            params,
            ret,
            home,
            constant_args,
        } = signature;
        self.explicit_types(&name, &unknowns, type_args, span)?;
        let slots = self.arrange(&name, &params, args, span)?;
        let mut given = Vec::with_capacity(params.len());
        let mut sound = true;
        for (param, slot) in params.iter().zip(&slots) {
            let one = slot.map_or(Some(Given::Absent), |arg| self.argument(param, arg));
            sound &= one.is_some();
            given.push(one.unwrap_or(Given::Absent));
        }
        if !sound {
            return None;
        }
        self.learn_all(&params, &given);
        for ((param, slot), one) in params.iter().zip(&slots).zip(given.iter_mut()) {
            if slot.is_none() {
                *one = self.left_out(param, home, &formal)?;
            }
        }
        self.learn_all(&params, &given);
        if let Some(want) = want
            && self.resolve(&ret).has_infer()
            && !want.is_literal()
        {
            self.unify(&ret, want);
        }
        for ((param, slot), one) in params.iter().zip(&slots).zip(given.iter_mut()) {
            let place = slot.map_or(span, |arg| arg.span);
            sound &= self.fit(param, one, constant_args && slot.is_some(), place);
        }
        if !sound {
            return None;
        }
        for (param, one) in params.iter().zip(&given) {
            // Nothing says what an argument left out would have been.
            if matches!(one, Given::Absent) && param.optional {
                self.unify(&param.ty, &Ty::Void);
            }
        }
        let type_args: Vec<Ty> = unknowns.iter().map(|ty| self.settle_type(ty)).collect();
        if !self.widths_known(&unknowns, &params, &given, span) {
            return None;
        }
        Some(Bound {
            args: given,
            type_args,
            ret: self.resolve(&ret),
        })
    }

    /// Solves unknowns of parameter types: what has a type of its own speaks before what takes any. What does not fit is
    /// found by the conversion that follows.
    fn learn_all(&mut self, params: &[ParamSig<'a>], given: &[Given]) {
        for literals in [false, true] {
            for (param, one) in params.iter().zip(given) {
                let ty = match one {
                    Given::Value(value) => value.ty.clone(),
                    Given::Object(ty, _) => ty.clone(),
                    Given::Absent => continue,
                };
                if ty.is_literal() == literals && self.resolve(&param.ty).has_infer() {
                    self.unify(&param.ty, &ty);
                }
            }
        }
    }

    /// Refuses a type parameter that only one number without width speaks for, and records without a type.
    fn widths_known(
        &mut self,
        unknowns: &[Ty],
        params: &[ParamSig<'a>],
        given: &[Given],
        span: Span,
    ) -> bool {
        for unknown in unknowns {
            let solved = self.resolve(unknown);
            let speakers = params
                .iter()
                .zip(given)
                .filter(|(param, one)| param.ty == *unknown && matches!(one, Given::Value(_)))
                .count();
            let complaint = match solved {
                Ty::Integer if speakers == 1 => Some((
                    "the width of this number is not known",
                    "write it with a width, such as `8w1`",
                )),
                Ty::RecordLit(..) => Some((
                    "the type of this structure is not known",
                    "cast it: `(type) { ... }`",
                )),
                _ => None,
            };
            if let Some((message, help)) = complaint {
                let place = params.iter().zip(given).find_map(|(param, one)| match one {
                    Given::Value(value) if param.ty == *unknown => {
                        Some(self.ir.exprs[value.expr].span)
                    }
                    _ => None,
                });
                self.err(code::NOT_INFERRED, place.unwrap_or(span), message, help);
                return false;
            }
        }
        true
    }

    /// Untyped lists inside a solution become tuples.
    pub(super) fn settle_type(&mut self, ty: &Ty) -> Ty {
        match self.resolve(ty) {
            Ty::ListLit(items, false) => {
                Ty::Tuple(items.iter().map(|item| self.settle_type(item)).collect())
            }
            other => other,
        }
    }

    fn explicit_types(
        &mut self,
        name: &str,
        unknowns: &[Ty],
        given: &'a [TypeRef],
        span: Span,
    ) -> Option<()> {
        if given.is_empty() {
            return Some(());
        }
        if given.len() != unknowns.len() {
            let message = format!(
                "`{name}` takes {} type arguments, {} are given",
                unknowns.len(),
                given.len()
            );
            self.err(code::TYPE_ARGS, span, message, "");
            return None;
        }
        for (unknown, written) in unknowns.iter().zip(given) {
            let ty = self.type_arg(written);
            if ty.is_error() {
                return None;
            }
            self.unify(unknown, &ty);
        }
        Some(())
    }

    /// Lowers one argument; its type is settled later.
    fn argument(&mut self, param: &ParamSig<'a>, arg: &'a Argument) -> Option<Given> {
        if matches!(arg.value.kind, Ast::DontCare) {
            if param.direction == Direction::Out {
                return Some(Given::Absent);
            }
            let message = format!(
                "`_` is given for `{}`, which is not an `out` parameter",
                param.name()
            );
            self.err(code::ARGUMENTS, arg.span, message, "");
            return None;
        }
        let want = self.resolve(&param.ty);
        let hint = if want.has_infer() && matches!(want, Ty::Infer(_)) {
            None
        } else {
            Some(&want)
        };
        let saved = self.anonymous.replace(param.name().to_string());
        let operand = self.operand(&arg.value, hint);
        self.anonymous = saved;
        match operand {
            Operand::Object(ty, object) => Some(Given::Object(ty, object)),
            Operand::Bad => None,
            other => {
                let value = self.as_value(other, arg.span);
                if value.ty.is_error() {
                    None
                } else {
                    Some(Given::Value(value))
                }
            }
        }
    }

    fn left_out(
        &mut self,
        param: &ParamSig<'a>,
        home: Option<DefId>,
        formal: &[(&'a Name, Ty)],
    ) -> Option<Given> {
        let Some(default) = param.default else {
            return Some(Given::Absent);
        };
        let ty = param.ty.clone();
        let frame = match home {
            Some(id) => self.frame_of(id),
            None => self.frame.clone(),
        };
        let hint = self.resolve(&ty);
        let operand = self.within(frame, |sema| {
            sema.scoped(|sema| {
                for (name, ty) in formal {
                    sema.rebind(name, Entity::Type(ty.clone()));
                }
                sema.operand(default, Some(&hint))
            })
        });
        match operand {
            Operand::Object(ty, object) => Some(Given::Object(ty, object)),
            Operand::Bad => None,
            other => {
                let value = self.as_value(other, default.span);
                if value.ty.is_error() {
                    None
                } else {
                    Some(Given::Value(value))
                }
            }
        }
    }

    /// Converts or checks one argument against its parameter, whose type is known by now.
    fn fit(&mut self, param: &ParamSig<'a>, given: &mut Given, constant: bool, span: Span) -> bool {
        match given {
            Given::Absent => true,
            Given::Object(ty, _) => {
                let ty = ty.clone();
                let fits = param.ty.is_object()
                    || matches!(self.resolve(&param.ty), Ty::Infer(_) | Ty::Param(_));
                if fits && self.unify(&param.ty, &ty) {
                    return true;
                }
                self.argument_mismatch(param, &ty, span);
                false
            }
            Given::Value(value) => match param.direction {
                Direction::Out | Direction::InOut => {
                    if !value.place {
                        let message = format!(
                            "parameter `{}` is written to, but this cannot be assigned",
                            param.name()
                        );
                        self.err(
                            code::NOT_A_PLACE,
                            span,
                            message,
                            "pass a variable or a field of one",
                        );
                        return false;
                    }
                    let ty = value.ty.clone();
                    if self.unify(&param.ty, &ty) && !(ty.is_literal()) {
                        return true;
                    }
                    self.argument_mismatch(param, &ty, span);
                    false
                }
                direction => {
                    let to = self.resolve(&param.ty);
                    let to = self.settle_type(&to);
                    let converted = self.convert(value.clone(), &to, span);
                    if converted.ty.is_error() {
                        return false;
                    }
                    if direction == Direction::In && to == Ty::Str {
                        let message = format!(
                            "parameter `{}` cannot be a string: it has a direction",
                            param.name()
                        );
                        self.err(code::PARAMETERS, span, message, "");
                        return false;
                    }
                    if direction == Direction::None && constant && !converted.known {
                        let message = format!(
                            "the argument for `{}` must be a compile-time constant",
                            param.name()
                        );
                        self.err(code::NOT_CONSTANT, span, message, "");
                        return false;
                    }
                    *value = converted;
                    true
                }
            },
        }
    }

    fn argument_mismatch(&mut self, param: &ParamSig<'a>, ty: &Ty, span: Span) {
        let message = format!(
            "parameter `{}` has type `{}`, the argument `{}`",
            param.name(),
            self.show(&param.ty),
            self.show(ty)
        );
        self.err_with(
            code::MISMATCH,
            span,
            message,
            (param.ast.span, "declared here"),
            "",
        );
    }

    /// The arguments as the IR wants them.
    pub(super) fn ir_args(&mut self, params: &[ParamSig<'a>], given: &[Given]) -> Vec<Arg> {
        params
            .iter()
            .zip(given)
            .map(|(param, given)| ir_arg(param, given))
            .collect()
    }
}

fn ir_arg(param: &ParamSig<'_>, given: &Given) -> Arg {
    match given {
        Given::Absent | Given::Object(_, Object::Absent) => Arg::Absent,
        Given::Object(_, Object::Extern(handle)) => Arg::Extern(*handle),
        Given::Object(..) => Arg::Packet,
        Given::Value(value) => match param.direction {
            Direction::Out | Direction::InOut => Arg::Place(value.expr),
            _ => Arg::In(value.expr),
        },
    }
}
