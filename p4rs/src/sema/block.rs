//! Parsers and controls: parameters, local declarations, bodies.
//!
//! In: declarations; in the elaborate run also type and constructor arguments and a name. Out: IR instances. Invariant:
//! the check run binds type parameters to opaque types and constructor parameters to unknown constants.

use super::argument::{Bound, Given, ParamSig};
use super::names::{Context, Entity, Frame, Object};
use super::ty::{DefId, Ty};
use super::{Sema, code};
use crate::front::ast::{self, Decl};
use crate::ir::{self, ObjectName, StmtKind};
use crate::source::Span;

/// All that an instance is made from, but for the objects passed when it is applied.
#[derive(Clone)]
pub(super) struct Deferred<'a> {
    id: DefId,
    ty: Ty,
    params: Vec<ParamSig<'a>>,
    given: Vec<Given>,
    name: ObjectName,
    made: Vec<(Vec<Option<Object>>, Object)>,
}

impl<'a> Sema<'a> {
    /// Checks a parser or control once, whether or not it is instantiated.
    pub(super) fn check_block(&mut self, id: DefId) {
        let (signature, constructor) = match self.decl(id) {
            Decl::Parser(d) => (&d.ty, &d.constructor_params),
            Decl::Control(d) => (&d.ty, &d.constructor_params),
            _ => return,
        };
        let frame = self.frame_of(id);
        self.within(frame, |sema| {
            for param in &signature.type_params {
                let ty = sema.new_param(param);
                sema.bind_type(param, ty);
            }
            let params = sema.params(constructor);
            sema.check_params(&params, true);
            for param in &params {
                let entity = if param.ty.is_object() {
                    Entity::Object {
                        ty: param.ty.clone(),
                        object: Object::Unknown,
                    }
                } else {
                    let var = sema.new_var(param.name(), &param.ty, param.ast.name.span);
                    Entity::Var {
                        var,
                        ty: param.ty.clone(),
                        writable: false,
                        known: true,
                    }
                };
                sema.bind_param(&param.ast.name, entity);
            }
            let name = sema.object_name(&signature.name.text, &[]);
            sema.block_body(id, name, &[]);
        });
    }

    /// Makes an instance, or notes how to make it where objects are passed when it is applied.
    pub(super) fn elaborate_or_defer(
        &mut self,
        id: DefId,
        ty: &Ty,
        params: Vec<ParamSig<'a>>,
        bound: Bound,
        name: ObjectName,
        span: Span,
    ) -> Option<Object> {
        let deferred = Deferred {
            id,
            ty: ty.clone(),
            params,
            given: bound.args,
            name,
            made: Vec::new(),
        };
        let takes_objects = self
            .apply_params(ty)
            .iter()
            .any(|p| p.ty.is_object() && !self.is_packet(&p.ty));
        if takes_objects {
            self.deferred.push(deferred);
            return Some(Object::Deferred(self.deferred.len() as u32 - 1));
        }
        self.nested(span, |sema| sema.elaborate_block(&deferred, &[]))
    }

    /// The copy of a deferred instance for these objects.
    pub(super) fn make_deferred(
        &mut self,
        index: u32,
        objects: Vec<Option<Object>>,
        span: Span,
    ) -> Option<Object> {
        let deferred = self.deferred[index as usize].clone();
        if let Some((_, made)) = deferred.made.iter().find(|(known, _)| *known == objects) {
            return Some(made.clone());
        }
        let made = self.nested(span, |sema| sema.elaborate_block(&deferred, &objects))?;
        self.deferred[index as usize]
            .made
            .push((objects, made.clone()));
        Some(made)
    }

    /// Makes an instance in the elaborate run.
    fn elaborate_block(&mut self, deferred: &Deferred<'a>, objects: &[Option<Object>]) -> Object {
        let Deferred {
            id,
            ty,
            params,
            given,
            name,
            ..
        } = deferred;
        let signature = match self.decl(*id) {
            Decl::Parser(d) => &d.ty,
            Decl::Control(d) => &d.ty,
            _ => return Object::Unknown,
        };
        let frame = Frame {
            path: name.control_plane.clone(),
            hidden: name.hidden,
            ..self.frame_of(*id)
        };
        self.within(frame, |sema| {
            if let Ty::Block(_, types) = ty {
                for (param, arg) in signature.type_params.iter().zip(types.iter()) {
                    sema.bind_type(param, arg.clone());
                }
            }
            for (param, given) in params.iter().zip(given) {
                let entity = match given {
                    Given::Object(ty, object) => Entity::Object {
                        ty: ty.clone(),
                        object: object.clone(),
                    },
                    Given::Value(value) => Entity::Const {
                        expr: value.expr,
                        ty: value.ty.clone(),
                    },
                    Given::Absent => Entity::Object {
                        ty: param.ty.clone(),
                        object: Object::Absent,
                    },
                };
                sema.bind_param(&param.ast.name, entity);
            }
            sema.block_body(*id, name.clone(), objects)
        })
    }

    fn block_body(&mut self, id: DefId, name: ObjectName, objects: &[Option<Object>]) -> Object {
        match self.decl(id) {
            Decl::Parser(decl) => Object::Parser(self.parser_body(decl, name, objects)),
            Decl::Control(decl) => Object::Control(self.control_body(decl, name, objects)),
            _ => Object::Unknown,
        }
    }

    fn parser_body(
        &mut self,
        decl: &'a ast::ParserDecl,
        name: ObjectName,
        objects: &[Option<Object>],
    ) -> ir::Handle<ir::Parser> {
        self.frame.context = Context::ParserLocals;
        let params = self.run_time_params(&decl.ty, objects);
        let locals = self.locals(&decl.locals);
        let (states, start) = self.states(decl);
        let annotations = self.annotations(&decl.ty.annotations);
        self.ir.parsers.push(ir::Parser {
            name,
            params,
            locals,
            states,
            start,
            annotations,
        })
    }

    fn control_body(
        &mut self,
        decl: &'a ast::ControlDecl,
        name: ObjectName,
        objects: &[Option<Object>],
    ) -> ir::Handle<ir::Control> {
        self.frame.context = Context::ControlLocals;
        let params = self.run_time_params(&decl.ty, objects);
        let locals = self.locals(&decl.locals);
        self.frame.context = Context::Apply;
        let body = self.scoped(|sema| sema.block(&decl.body));
        let annotations = self.annotations(&decl.ty.annotations);
        self.ir.controls.push(ir::Control {
            name,
            params,
            locals,
            body,
            annotations,
        })
    }

    fn run_time_params(
        &mut self,
        signature: &'a ast::ApplyType,
        objects: &[Option<Object>],
    ) -> Vec<ir::Param> {
        let params = self.params(&signature.params);
        if self.checking() {
            self.check_params(&params, false);
        }
        self.bind_params(&params, objects)
    }

    /// Local declarations, in a scope of their own above the parameters.
    fn locals(&mut self, decls: &'a [Decl]) -> ir::Block {
        self.frame.scopes.push(Default::default());
        let mut block = ir::Block::default();
        for decl in decls {
            self.local(decl, &mut block);
        }
        block
    }

    fn local(&mut self, decl: &'a Decl, block: &mut ir::Block) {
        match decl {
            Decl::Const(decl) => self.local_const(decl),
            Decl::Variable(decl) => block.stmts.extend(self.variable(decl)),
            Decl::Instance(decl) => self.instance_decl(decl),
            Decl::Action(decl) => {
                let action = self.action(decl);
                self.bind(&decl.name, Entity::Action(action));
            }
            Decl::Table(decl) => self.table(decl),
            Decl::ValueSet(decl) => self.value_set(decl),
            other => self.err(
                code::MISPLACED,
                other.span(),
                "this declaration cannot stand here",
                "",
            ),
        }
    }

    /// A constant in the innermost scope.
    pub(super) fn local_const(&mut self, decl: &'a ast::ConstDecl) {
        let entity = self.const_entity(decl);
        self.bind(&decl.name, entity);
    }

    /// Evaluates a constant declaration.
    pub(super) fn const_entity(&mut self, decl: &'a ast::ConstDecl) -> Entity<'a> {
        let ty = self.closed_type(&decl.ty);
        if ty.is_object() {
            let message = format!("a constant cannot have type `{}`", self.show(&ty));
            self.err(code::BAD_TYPE, decl.ty.span, message, "");
            return Entity::Bad;
        }
        let value = self.expr_as(&decl.value, &ty);
        if value.ty.is_error() {
            return Entity::Bad;
        }
        if !value.known {
            let message = "this is not known when compiling";
            self.err(
                code::NOT_CONSTANT,
                decl.value.span,
                message,
                "use a variable instead of a constant",
            );
            return Entity::Bad;
        }
        Entity::Const {
            expr: value.expr,
            ty: value.ty,
        }
    }

    /// A variable in the innermost scope, and the statement that gives it its first value.
    pub(super) fn variable(&mut self, decl: &'a ast::VariableDecl) -> Option<ir::Stmt> {
        let ty = self.closed_type(&decl.ty);
        let storable = !ty.is_object()
            && !matches!(
                ty,
                Ty::Integer | Ty::Str | Ty::Void | Ty::MatchKind | Ty::List(_)
            );
        if !storable {
            let message = format!("a variable cannot have type `{}`", self.show(&ty));
            let help = if ty == Ty::Integer {
                "give it a width, such as `bit<32>`, or make it a constant"
            } else {
                ""
            };
            self.err(code::BAD_TYPE, decl.ty.span, message, help);
            self.bind(&decl.name, Entity::Bad);
            return None;
        }
        let init = decl.value.as_ref().map(|value| self.expr_as(value, &ty));
        if ty.is_error() {
            self.bind(&decl.name, Entity::Bad);
            return None;
        }
        let var = self.new_var(&decl.name.text, &ty, decl.name.span);
        self.bind(
            &decl.name,
            Entity::Var {
                var,
                ty,
                writable: true,
                known: false,
            },
        );
        let init = init.map(|value| value.expr);
        Some(ir::Stmt {
            kind: StmtKind::Init { var, init },
            span: decl.span,
        })
    }
}
