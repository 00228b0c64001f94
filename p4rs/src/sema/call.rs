//! Calls of functions, actions and tables by name, and constructor calls.
//!
//! In: a callee with its arguments. Out: a value (perhaps `void`) or, for constructors, an object. Invariant: what may
//! be called from where is decided here.

use std::rc::Rc;

use super::argument::{Bound, Given, Signature};
use super::expr::Operand;
use super::names::{ActionInfo, Context, Found, Object};
use super::ty::{DefId, Ty};
use super::{Sema, code};
use crate::front::ast::{Argument, Decl, Expr, ExprKind as Ast, TypeRef};
use crate::ir::{Arg, Callee, Const, ExprKind};
use crate::source::Span;

impl<'a> Sema<'a> {
    pub(super) fn call(
        &mut self,
        callee: &'a Expr,
        type_args: &'a [TypeRef],
        args: &'a [Argument],
        span: Span,
        want: Option<&Ty>,
    ) -> Operand<'a> {
        if let Ast::Member { base, name } = &callee.kind {
            return self.method(base, name, type_args, args, span, want);
        }
        let operand = match &callee.kind {
            Ast::Path(path) if !type_args.is_empty() => match self.find_name(path) {
                Some(Found::Global(ids)) => self.generic_callee(ids, type_args, span),
                _ => self.name(path),
            },
            _ => self.operand(callee, None),
        };
        match operand {
            Operand::Bad => Operand::Bad,
            Operand::Functions(ids) => self.call_overloaded(&ids, type_args, args, span, want),
            Operand::Action(action) => self.call_action(&action, args, span),
            Operand::Type(ty) => self.construct(ty, args, span, want),
            Operand::Object(ty, _) => {
                let message = format!("an object of type `{}` cannot be called", self.show(&ty));
                self.err(
                    code::NOT_CALLABLE,
                    callee.span,
                    message,
                    "call one of its methods",
                );
                Operand::Bad
            }
            _ => {
                self.err(code::NOT_CALLABLE, callee.span, "this cannot be called", "");
                Operand::Bad
            }
        }
    }

    /// `Name<types>(...)`: the types belong to the type that is constructed, or to the function.
    fn generic_callee(
        &mut self,
        ids: Vec<DefId>,
        type_args: &'a [TypeRef],
        span: Span,
    ) -> Operand<'a> {
        let Some(&last) = ids.last() else {
            return Operand::Bad;
        };
        if matches!(self.decl(last), Decl::Function(_) | Decl::ExternFunction(_)) {
            return Operand::Functions(ids);
        }
        let types = type_args.iter().map(|ty| self.type_arg(ty)).collect();
        match self.type_named(last, Some(types), span) {
            Some(ty) => Operand::Type(ty),
            None => {
                self.err(
                    code::NOT_CALLABLE,
                    span,
                    "type arguments cannot stand here",
                    "",
                );
                Operand::Bad
            }
        }
    }

    fn call_overloaded(
        &mut self,
        ids: &[DefId],
        type_args: &'a [TypeRef],
        args: &'a [Argument],
        span: Span,
        want: Option<&Ty>,
    ) -> Operand<'a> {
        let proto = |sema: &Self, id: &DefId| match sema.decl(*id) {
            Decl::Function(f) => Some(&f.prototype),
            Decl::ExternFunction(f) => Some(&f.prototype),
            _ => None,
        };
        let fitting = ids
            .iter()
            .rev()
            .find(|id| proto(self, id).is_some_and(|p| Self::accepts(&p.params, args)));
        let chosen = match (fitting, ids) {
            (Some(id), _) => *id,
            (None, [only]) => *only,
            _ => {
                let message = format!("no `{}` takes these arguments", self.def_name(ids[0]));
                self.err(code::ARGUMENTS, span, message, "");
                return Operand::Bad;
            }
        };
        match self.decl(chosen) {
            Decl::Function(f) => {
                let signature = self.signature(Some(chosen), Vec::new(), &f.prototype, false);
                self.call_function(chosen, signature, type_args, args, span, want)
            }
            Decl::ExternFunction(f) => {
                let signature = self.signature(Some(chosen), Vec::new(), &f.prototype, false);
                let pure = f.annotations.iter().any(|a| a.name.as_str() == "pure");
                self.call_extern(signature, pure, type_args, args, span, want)
            }
            _ => Operand::Bad,
        }
    }

    fn call_function(
        &mut self,
        id: DefId,
        signature: Signature<'a>,
        type_args: &'a [TypeRef],
        args: &'a [Argument],
        span: Span,
        want: Option<&Ty>,
    ) -> Operand<'a> {
        let params = signature.params.clone();
        let name = signature.name.to_string();
        let Some(bound) = self.bind_call(signature, type_args, args, want, span) else {
            return Operand::Bad;
        };
        if !self.inferred(&bound, &name, span) {
            return Operand::Bad;
        }
        let callee = if self.checking() {
            Callee::Extern(name)
        } else {
            match self.function_instance(id, &bound, span) {
                Some(handle) => Callee::Function(handle),
                None => return Operand::Bad,
            }
        };
        let ir_args = self.ir_args(&params, &bound.args);
        let kind = ExprKind::Call {
            callee,
            type_args: Vec::new(),
            args: ir_args,
        };
        Operand::Value(self.value(kind, bound.ret, span))
    }

    /// Whether all type arguments are known now.
    pub(super) fn inferred(&mut self, bound: &Bound, name: &str, span: Span) -> bool {
        let open = bound
            .type_args
            .iter()
            .any(|ty| self.resolve(ty).has_infer())
            || self.resolve(&bound.ret).has_infer();
        if open {
            let message = format!("the type arguments of `{name}` cannot be inferred");
            self.err(
                code::NOT_INFERRED,
                span,
                message,
                "write them: `name<types>(...)`",
            );
        }
        !open
    }

    fn call_extern(
        &mut self,
        signature: Signature<'a>,
        pure: bool,
        type_args: &'a [TypeRef],
        args: &'a [Argument],
        span: Span,
        want: Option<&Ty>,
    ) -> Operand<'a> {
        let params = signature.params.clone();
        let name = signature.name.to_string();
        if name == "verify" && !matches!(self.frame.context, Context::State | Context::Function) {
            self.err(
                code::CALL_PLACE,
                span,
                "`verify` can only be called in parsers",
                "",
            );
            return Operand::Bad;
        }
        let Some(bound) = self.bind_call(signature, type_args, args, want, span) else {
            return Operand::Bad;
        };
        if !self.inferred(&bound, &name, span) {
            return Operand::Bad;
        }
        let constant = bound.args.iter().all(|given| match given {
            Given::Value(value) => value.known,
            _ => true,
        });
        if bound.ret.is_object() {
            if !constant {
                let message =
                    "the arguments of what makes an object must be compile-time constants";
                self.err(code::NOT_CONSTANT, span, message, "");
                return Operand::Bad;
            }
            return Operand::Object(bound.ret, Object::Unknown);
        }
        if name == "static_assert" {
            return self.static_assert(&bound, span);
        }
        let types = bound.type_args.iter().map(|ty| self.ir_type(ty)).collect();
        let ir_args = self.ir_args(&params, &bound.args);
        let kind = ExprKind::Call {
            callee: Callee::Extern(name),
            type_args: types,
            args: ir_args,
        };
        let mut value = self.value(kind, bound.ret, span);
        value.known = pure && constant;
        Operand::Value(value)
    }

    fn static_assert(&mut self, bound: &Bound, span: Span) -> Operand<'a> {
        let text = match bound.args.get(1) {
            Some(Given::Value(value)) => match self.const_value(value.expr) {
                Some(Const::String(text)) => text,
                _ => String::new(),
            },
            _ => String::new(),
        };
        if let Some(Given::Value(value)) = bound.args.first() {
            match self.const_value(value.expr) {
                Some(Const::Bool(true)) => {}
                Some(Const::Bool(false)) => {
                    let message = if text.is_empty() {
                        "static assertion failed".into()
                    } else {
                        text
                    };
                    self.err(code::ASSERTION, span, message, "");
                    return Operand::Bad;
                }
                _ if value.known && self.checking() => {}
                _ => {
                    self.err(
                        code::NOT_CONSTANT,
                        span,
                        "the condition must be a compile-time constant",
                        "",
                    );
                    return Operand::Bad;
                }
            }
        }
        Operand::Value(self.constant(Const::Bool(true), Ty::Bool, span))
    }

    fn call_action(
        &mut self,
        action: &Rc<ActionInfo<'a>>,
        args: &'a [Argument],
        span: Span,
    ) -> Operand<'a> {
        match self.frame.context {
            Context::Apply | Context::Action => {}
            Context::Table => {
                self.err(
                    code::CALL_PLACE,
                    span,
                    "an action cannot be called here",
                    "",
                );
                return Operand::Bad;
            }
            Context::State | Context::ParserLocals => {
                self.err(
                    code::CALL_PLACE,
                    span,
                    "actions cannot be called in parsers",
                    "make it a function",
                );
                return Operand::Bad;
            }
            _ => {
                self.err(
                    code::CALL_PLACE,
                    span,
                    "actions cannot be called here",
                    "make it a function",
                );
                return Operand::Bad;
            }
        }
        let signature = Signature {
            name: action.decl.name.text.clone(),
            type_args: Vec::new(),
            formal: Vec::new(),
            params: action.params.clone(),
            ret: Ty::Void,
            home: self.frame.owner,
            constant_args: false,
        };
        let Some(bound) = self.bind_call(signature, &[], args, None, span) else {
            return Operand::Bad;
        };
        let ir_args: Vec<Arg> = self.ir_args(&action.params, &bound.args);
        let kind = ExprKind::Call {
            callee: Callee::Action(action.handle),
            type_args: Vec::new(),
            args: ir_args,
        };
        Operand::Value(self.value(kind, Ty::Void, span))
    }

    /// `Type(args)`: an object without a name.
    fn construct(
        &mut self,
        ty: Ty,
        args: &'a [Argument],
        span: Span,
        want: Option<&Ty>,
    ) -> Operand<'a> {
        if ty.is_error() {
            return Operand::Bad;
        }
        if !ty.is_object() {
            let message = format!("`{}` cannot be constructed", self.show(&ty));
            let help = format!("to cast, write `({}) ...`", self.show(&ty));
            self.err(code::NOT_CALLABLE, span, message, &help);
            return Operand::Bad;
        }
        if let Some(want @ Ty::Block(..)) = want
            && self.resolve(&ty).has_infer()
        {
            self.unify(want, &ty);
        }
        let in_statement = matches!(self.frame.context, Context::Apply | Context::State);
        if in_statement && !matches!(ty, Ty::Extern(..))
            || matches!(self.frame.context, Context::Action | Context::Function)
        {
            self.err(
                code::INSTANCE,
                span,
                "objects cannot be made in statements",
                "declare an instance outside",
            );
            return Operand::Bad;
        }
        let name = self.anonymous_name(&ty);
        match self.instantiate(&ty, args, name, &[], None, span) {
            Some((ty, object)) => Operand::Object(ty, object),
            None => Operand::Bad,
        }
    }

    /// `Block.apply(args)`: an instance made for this one call.
    pub(super) fn apply_type(&mut self, ty: &Ty, args: &'a [Argument], span: Span) -> Operand<'a> {
        let Ty::Block(id, _) = ty else {
            let message = format!("`{}` cannot be applied", self.show(ty));
            self.err(code::NOT_CALLABLE, span, message, "");
            return Operand::Bad;
        };
        if self.frame.owner == Some(*id) {
            self.err(
                code::RECURSIVE,
                span,
                format!("`{}` applies itself", self.def_name(*id)),
                "P4 has no recursion",
            );
            return Operand::Bad;
        }
        let name = self.object_name(&self.def_name(*id), &[]);
        match self.instantiate(ty, &[], name, &[], None, span) {
            Some((ty, object)) => self.apply_object(&ty, &object, args, span),
            None => Operand::Bad,
        }
    }

    /// `instance.apply(args)`.
    pub(super) fn apply_object(
        &mut self,
        ty: &Ty,
        object: &Object,
        args: &'a [Argument],
        span: Span,
    ) -> Operand<'a> {
        let Ty::Block(id, _) = ty else {
            return Operand::Bad;
        };
        let parser = matches!(self.decl(*id), Decl::Parser(_) | Decl::ParserType(_));
        let control = matches!(self.decl(*id), Decl::Control(_) | Decl::ControlType(_));
        let allowed = match self.frame.context {
            Context::State => parser,
            Context::Apply => control,
            _ => false,
        };
        if !allowed {
            let message = format!("`{}` cannot be applied here", self.show(ty));
            let help = if parser {
                "parsers are applied in parser states"
            } else {
                "controls are applied in the `apply` block of controls"
            };
            self.err(code::CALL_PLACE, span, message, help);
            return Operand::Bad;
        }
        let params = self.apply_params(ty);
        let signature = Signature {
            name: "apply".into(),
            type_args: Vec::new(),
            formal: Vec::new(),
            params: params.to_vec(),
            ret: Ty::Void,
            home: Some(*id),
            constant_args: true,
        };
        let Some(bound) = self.bind_call(signature, &[], args, None, span) else {
            return Operand::Bad;
        };
        let object = match object {
            Object::Deferred(index) => {
                let objects = bound.args.iter().map(Given::object).collect();
                match self.make_deferred(*index, objects, span) {
                    Some(object) => object,
                    None => return Operand::Bad,
                }
            }
            other => other.clone(),
        };
        let callee = match object {
            Object::Parser(handle) => Callee::Parser(handle),
            Object::Control(handle) => Callee::Control(handle),
            _ => Callee::Extern("apply".into()),
        };
        let ir_args = self.ir_args(&params, &bound.args);
        let kind = ExprKind::Call {
            callee,
            type_args: Vec::new(),
            args: ir_args,
        };
        Operand::Value(self.value(kind, Ty::Void, span))
    }
}
