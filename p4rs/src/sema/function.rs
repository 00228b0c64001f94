//! Functions, methods and actions.
//!
//! In: declarations with bodies. Out: IR functions, one per set of type arguments and static objects, and IR actions, one
//! per instance of their control. Invariant: a function with a result returns on every path.

use std::rc::Rc;

use super::argument::{Bound, Given, ParamSig};
use super::expr::Operand;
use super::names::{ActionInfo, Context, Entity, Object};
use super::ty::{DefId, Ty};
use super::{Sema, code};
use crate::front::ast::{self, Decl, Direction, StmtKind};
use crate::ir::{self, Handle};
use crate::source::Span;

/// How deep instantiations and calls may nest.
pub(super) const MAX_NESTING: u32 = 100;

/// How many instances and copies of functions one program may have.
const MAX_MADE: u32 = 50_000;
/// How many expressions one program may have.
const MAX_EXPRS: usize = 8_000_000;

/// What makes two copies of a function one.
#[derive(PartialEq, Eq, Clone)]
pub(super) struct FunctionKey {
    def: DefId,
    type_args: Vec<Ty>,
    objects: Vec<Option<Object>>,
}

impl<'a> Sema<'a> {
    /// The copy of a function for these type arguments and objects.
    pub(super) fn function_instance(
        &mut self,
        def: DefId,
        bound: &Bound,
        span: Span,
    ) -> Option<Handle<ir::Function>> {
        let objects: Vec<Option<Object>> = bound.args.iter().map(Given::object).collect();
        let key = FunctionKey {
            def,
            type_args: bound.type_args.clone(),
            objects,
        };
        if let Some((_, handle)) = self.functions.iter().find(|(known, _)| *known == key) {
            return Some(*handle);
        }
        let Decl::Function(decl) = self.decl(def) else {
            return None;
        };
        self.nested(span, |sema| {
            let frame = sema.frame_of(def);
            let function = sema.within(frame, |sema| {
                for (param, ty) in decl.prototype.type_params.iter().zip(&key.type_args) {
                    sema.rebind(param, Entity::Type(ty.clone()));
                }
                sema.function_body(&decl.prototype, &decl.body, &key.objects)
            });
            let handle = sema.ir.functions.push(function);
            sema.functions.push((key, handle));
            handle
        })
    }

    /// Runs `work` one level deeper, unless that is too deep.
    pub(super) fn nested<R>(&mut self, span: Span, work: impl FnOnce(&mut Self) -> R) -> Option<R> {
        if self.depth >= MAX_NESTING {
            self.err(
                code::TOO_LARGE,
                span,
                format!("calls and instances nest deeper than {MAX_NESTING}"),
                "",
            );
            return None;
        }
        if self.made >= MAX_MADE || self.ir.exprs.len() > MAX_EXPRS {
            self.err(
                code::TOO_LARGE,
                span,
                "the program is too large once all instances are made",
                "",
            );
            return None;
        }
        self.made += 1;
        self.depth += 1;
        let result = work(self);
        self.depth -= 1;
        Some(result)
    }

    /// Checks a top-level function with its type parameters opaque.
    pub(super) fn check_function(&mut self, id: DefId, decl: &'a ast::FunctionDecl) {
        let frame = self.frame_of(id);
        self.within(frame, |sema| {
            for param in &decl.prototype.type_params {
                let ty = sema.new_param(param);
                sema.bind_type(param, ty);
            }
            sema.function_body(&decl.prototype, &decl.body, &[]);
        });
    }

    /// Lowers a body in the current frame, which holds the type parameters.
    pub(super) fn function_body(
        &mut self,
        proto: &'a ast::Prototype,
        body: &'a ast::Block,
        objects: &[Option<Object>],
    ) -> ir::Function {
        let ret = proto
            .return_type
            .as_ref()
            .map_or(Ty::Void, |ty| self.type_of(ty));
        if ret.is_object() {
            let message = format!("a function cannot return `{}`", self.show(&ret));
            self.err(code::BAD_TYPE, proto.span, message, "");
        }
        if matches!(ret, Ty::Integer | Ty::Str) {
            let message = format!("a function cannot return `{}`", self.show(&ret));
            self.err(code::BAD_TYPE, proto.span, message, "");
        }
        let params = self.params(&proto.params);
        self.check_params(&params, false);
        if let Some(param) = params.iter().find(|param| param.optional) {
            let help = "give it a default value";
            self.err(
                code::PARAMETERS,
                param.ast.span,
                "a function cannot have optional parameters",
                help,
            );
        }
        self.frame.context = Context::Function;
        self.frame.ret = Some(ret.clone());
        let ir_params = self.bind_params(&params, objects);
        let lowered = self.scoped(|sema| sema.block(body));
        if !matches!(ret, Ty::Void | Ty::Error) && !returns(&body.stmts) {
            let message = format!("`{}` does not return a value on every path", proto.name);
            self.err(
                code::RETURN,
                proto.name.span,
                message,
                "add a `return` at its end",
            );
        }
        let ret = self.ir_type(&ret);
        ir::Function {
            name: proto.name.to_string(),
            params: ir_params,
            ret,
            body: lowered,
        }
    }

    /// Declares parameters in the innermost scope.
    pub(super) fn bind_params(
        &mut self,
        params: &[ParamSig<'a>],
        objects: &[Option<Object>],
    ) -> Vec<ir::Param> {
        let mut result = Vec::with_capacity(params.len());
        for (index, param) in params.iter().enumerate() {
            let var = self.new_var(param.name(), &param.ty, param.ast.name.span);
            let entity = if param.ty.is_object() {
                let packet = self.is_packet(&param.ty);
                let given = objects.get(index).cloned().flatten();
                let object = if packet {
                    Object::Packet
                } else {
                    given.unwrap_or(Object::Unknown)
                };
                Entity::Object {
                    ty: param.ty.clone(),
                    object,
                }
            } else {
                let writable = matches!(param.direction, Direction::Out | Direction::InOut);
                Entity::Var {
                    var,
                    ty: param.ty.clone(),
                    writable,
                    known: false,
                }
            };
            self.bind_param(&param.ast.name, entity);
            let annotations = self.annotations(&param.ast.annotations);
            result.push(ir::Param {
                var,
                direction: ir_direction(param.direction),
                annotations,
            });
        }
        result
    }

    pub(super) fn is_packet(&self, ty: &Ty) -> bool {
        matches!(ty, Ty::Extern(id, _) if matches!(&*self.def_name(*id), "packet_in" | "packet_out"))
    }

    /// Rules for the parameters of anything that is called.
    pub(super) fn check_params(&mut self, params: &[ParamSig<'a>], constructor: bool) {
        for (index, param) in params.iter().enumerate() {
            if let Some(first) = params[..index].iter().find(|p| p.name() == param.name()) {
                let message = format!("parameter `{}` is declared twice", param.name());
                let other = (first.ast.name.span, "first here");
                self.err_with(
                    code::DUPLICATE,
                    param.ast.name.span,
                    message,
                    other,
                    "rename one of them",
                );
            }
            self.check_param(param, constructor);
        }
    }

    fn check_param(&mut self, param: &ParamSig<'a>, constructor: bool) {
        let span = param.ast.span;
        let shown = self.show(&param.ty);
        let package =
            matches!(&param.ty, Ty::Block(id, _) if matches!(self.decl(*id), Decl::Package(_)));
        let block = matches!(param.ty, Ty::Block(..));
        let directed = param.direction != Direction::None;
        let mut complaint = None;
        let concrete = matches!(&param.ty, Ty::Block(id, _) if matches!(self.decl(*id), Decl::Parser(_) | Decl::Control(_)));
        if concrete || (package || block) && !constructor || param.ty == Ty::Void {
            complaint = Some(format!("a parameter cannot have type `{shown}`"));
        } else if directed && (param.ty.is_object() || matches!(param.ty, Ty::Integer | Ty::Str)) {
            complaint = Some(format!(
                "a parameter of type `{shown}` cannot have a direction"
            ));
        } else if constructor && directed {
            complaint = Some("a constructor's parameter cannot have a direction".into());
        } else if param.optional && param.default.is_some() {
            complaint = Some("an optional parameter cannot have a default value".into());
        } else if param.default.is_some()
            && matches!(param.direction, Direction::Out | Direction::InOut)
        {
            complaint = Some("an `out` parameter cannot have a default value".into());
        }
        if let Some(message) = complaint {
            self.err(code::PARAMETERS, span, message, "");
            return;
        }
        if let Some(default) = param.default
            && self.checking()
            && !param.ty.is_error()
        {
            if param.ty.is_object() {
                match self.operand(default, Some(&param.ty)) {
                    Operand::Object(..) | Operand::Bad => {}
                    _ => {
                        let message = format!("the default value must have type `{shown}`");
                        self.err(code::MISMATCH, default.span, message, "");
                    }
                }
                return;
            }
            let value = self.expr_as(default, &param.ty);
            if !value.ty.is_error() && !value.known {
                self.err(
                    code::NOT_CONSTANT,
                    default.span,
                    "a default value must be a compile-time constant",
                    "",
                );
            }
        }
    }

    /// Lowers an action in the current frame and declares nothing.
    pub(super) fn action(&mut self, decl: &'a ast::ActionDecl) -> Rc<ActionInfo<'a>> {
        let params = self.params(&decl.params);
        self.check_params(&params, false);
        self.check_action_params(&params);
        let mut frame = self.frame.clone();
        frame.context = Context::Action;
        frame.ret = Some(Ty::Void);
        frame.loops = 0;
        frame.scopes.push(Default::default());
        let name = self.object_name(&decl.name.text, &decl.annotations);
        let annotations = self.annotations(&decl.annotations);
        let (ir_params, body) = self.within(frame, |sema| {
            let ir_params = sema.bind_params(&params, &[]);
            let body = sema.scoped(|sema| sema.block(&decl.body));
            (ir_params, body)
        });
        let action = ir::Action {
            name,
            params: ir_params,
            body,
            annotations,
            span: decl.span,
        };
        let handle = self.ir.actions.push(action);
        Rc::new(ActionInfo {
            decl,
            handle,
            params,
        })
    }

    fn check_action_params(&mut self, params: &[ParamSig<'a>]) {
        let mut data = false;
        for param in params {
            let span = param.ast.span;
            if param.ty.is_object() || matches!(param.ty, Ty::Integer | Ty::Str) {
                let message = format!(
                    "an action cannot have a parameter of type `{}`",
                    self.show(&param.ty)
                );
                self.err(code::PARAMETERS, span, message, "");
            }
            if param.direction == Direction::None {
                data = true;
            } else if data {
                let message = "parameters without direction must come last";
                self.err(code::PARAMETERS, span, message, "move this one before them");
            }
            if param.optional {
                self.err(
                    code::PARAMETERS,
                    span,
                    "an action cannot have optional parameters",
                    "",
                );
            }
        }
    }
}

/// The IR's word for a direction.
pub(super) fn ir_direction(direction: Direction) -> ir::Direction {
    match direction {
        Direction::None => ir::Direction::None,
        Direction::In => ir::Direction::In,
        Direction::Out => ir::Direction::Out,
        Direction::InOut => ir::Direction::InOut,
    }
}

/// Whether every path through the statements ends in `return` or `exit`.
fn returns(stmts: &[ast::Stmt]) -> bool {
    stmts.iter().any(|stmt| match &stmt.kind {
        StmtKind::Return(_) | StmtKind::Exit => true,
        StmtKind::Block(block) => returns(&block.stmts),
        StmtKind::If {
            then,
            otherwise: Some(otherwise),
            ..
        } => returns(std::slice::from_ref(then)) && returns(std::slice::from_ref(otherwise)),
        StmtKind::Switch { cases, .. } => {
            let default = cases
                .iter()
                .any(|case| matches!(case.label.kind, ast::ExprKind::Default));
            default
                && cases
                    .iter()
                    .all(|case| case.body.as_ref().is_none_or(|body| returns(&body.stmts)))
        }
        _ => false,
    })
}
