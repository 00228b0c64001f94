//! Objects: externs, parsers, controls and packages made from their types.
//!
//! In: a type and constructor arguments. Out: the object, named for the control plane. Invariant: constructor arguments
//! are known when compiling; the check run makes no objects.

use std::rc::Rc;

use super::argument::{Bound, Given, ParamSig, Signature};
use super::names::{Context, Entity, Object, PackageValue, Scope};
use super::ty::{DefId, Ty};
use super::{Sema, code};
use crate::front::ast::{self, Annotation, Argument, Decl, Name};
use crate::ir::{self, Const, ObjectName, PackageArg};
use crate::source::Span;

impl<'a> Sema<'a> {
    /// The control-plane name of something declared here.
    pub(super) fn object_name(&mut self, local: &str, annotations: &'a [Annotation]) -> ObjectName {
        let given = self.name_annotation(annotations);
        let last = given.as_deref().unwrap_or(local);
        let control_plane = match last.strip_prefix('.') {
            Some(absolute) => absolute.to_string(),
            None if self.frame.path.is_empty() => last.to_string(),
            None => format!("{}.{last}", self.frame.path),
        };
        let hidden = self.frame.hidden || annotations.iter().any(|a| a.name.as_str() == "hidden");
        ObjectName {
            local: local.to_string(),
            control_plane,
            hidden,
        }
    }

    /// The name of an object that is made in an expression.
    pub(super) fn anonymous_name(&mut self, ty: &Ty) -> ObjectName {
        let of_type = match ty {
            Ty::Extern(id, _) | Ty::Block(id, _) => self.def_name(*id).to_string(),
            _ => String::new(),
        };
        let given = self.anonymous.take();
        let local = match (ty, given) {
            (Ty::Extern(..), Some(given)) => given,
            _ => of_type,
        };
        self.object_name(&local, &[])
    }

    /// Declares an instance in the innermost scope.
    pub(super) fn instance_decl(&mut self, decl: &'a ast::InstanceDecl) {
        let entity = self.instance_entity(decl).unwrap_or(Entity::Bad);
        self.bind(&decl.name, entity);
    }

    /// Makes a declared instance.
    pub(super) fn instance_entity(&mut self, decl: &'a ast::InstanceDecl) -> Option<Entity<'a>> {
        let ty = self.type_or_bare(&decl.ty);
        if ty.is_error() {
            return None;
        }
        if !ty.is_object() {
            let message = format!("`{}` cannot be instantiated", self.show(&ty));
            self.err(
                code::INSTANCE,
                decl.span,
                message,
                "only externs, parsers, controls and packages can",
            );
            return None;
        }
        let name = self.object_name(&decl.name.text, &decl.annotations);
        let (ty, object) = self.instantiate(
            &ty,
            &decl.args,
            name,
            &decl.annotations,
            decl.initializer.as_deref(),
            decl.span,
        )?;
        let package = matches!(&ty, Ty::Block(id, _) if matches!(self.decl(*id), Decl::Package(_)));
        if !package && self.resolve(&ty).has_infer() {
            let message = format!("the type arguments of `{}` cannot be inferred", decl.name);
            self.err(
                code::NOT_INFERRED,
                decl.ty.span,
                message,
                "write them between `<` and `>`",
            );
            return None;
        }
        Some(Entity::Object { ty, object })
    }

    /// Makes an object.
    pub(super) fn instantiate(
        &mut self,
        ty: &Ty,
        args: &'a [Argument],
        name: ObjectName,
        annotations: &'a [Annotation],
        init: Option<&'a [Decl]>,
        span: Span,
    ) -> Option<(Ty, Object)> {
        match ty {
            Ty::Extern(id, types) => {
                self.make_extern(*id, types, args, name, annotations, init, span)
            }
            Ty::Block(id, types) => {
                if init.is_some() {
                    let help = "only externs with abstract methods have initializers";
                    self.err(
                        code::ABSTRACT,
                        span,
                        "this cannot have an initializer",
                        help,
                    );
                    return None;
                }
                self.make_block(*id, types, args, name, span)
            }
            _ => None,
        }
    }

    fn make_block(
        &mut self,
        id: DefId,
        types: &[Ty],
        args: &'a [Argument],
        name: ObjectName,
        span: Span,
    ) -> Option<(Ty, Object)> {
        let id = self.pick_overload(id, args);
        let decl = self.decl(id);
        let complaint = match (decl, self.frame.context) {
            (Decl::ParserType(_) | Decl::ControlType(_), _) => {
                Some("a type without a body cannot be instantiated")
            }
            (Decl::Package(_), context) if context != Context::Top => {
                Some("packages are instantiated at top level")
            }
            (Decl::Parser(_), Context::ControlLocals | Context::Apply) => {
                Some("a control cannot hold a parser")
            }
            (Decl::Control(_), Context::ParserLocals | Context::State) => {
                Some("a parser cannot hold a control")
            }
            _ => None,
        };
        if let Some(message) = complaint {
            self.err(code::INSTANCE, span, message, "");
            return None;
        }
        if self.frame.owner == Some(id) {
            self.err(
                code::RECURSIVE,
                span,
                format!("`{}` contains itself", self.def_name(id)),
                "P4 has no recursion",
            );
            return None;
        }
        let params = self.constructor_params(id, types);
        let mut signature = self.constructor(id, params.clone());
        signature.formal = super::types::type_params(decl)
            .iter()
            .zip(types.iter().cloned())
            .collect();
        let bound = self.bind_call(signature, &[], args, None, span)?;
        let ty = self.resolve(&Ty::Block(id, types.into()));
        if self.checking() {
            return Some((ty, Object::Unknown));
        }
        if let Decl::Package(package) = decl {
            return Some((ty, self.make_package(package, &params, bound, span)));
        }
        if ty.has_infer() {
            let message = format!(
                "the type arguments of `{}` cannot be inferred",
                self.def_name(id)
            );
            self.err(
                code::NOT_INFERRED,
                span,
                message,
                "write them between `<` and `>`",
            );
            return None;
        }
        let object = self.elaborate_or_defer(id, &ty, params, bound, name, span)?;
        Some((ty, object))
    }

    /// Among blocks of one name, the one whose constructor takes these arguments.
    fn pick_overload(&self, id: DefId, args: &[Argument]) -> DefId {
        let fits = |id: &DefId| match self.decl(*id) {
            Decl::Parser(d) => Self::accepts(&d.constructor_params, args),
            Decl::Control(d) => Self::accepts(&d.constructor_params, args),
            Decl::Package(d) => Self::accepts(&d.params, args),
            _ => false,
        };
        let named = self
            .globals
            .get(&self.def_name(id))
            .map(Vec::as_slice)
            .unwrap_or_default();
        let candidates = named
            .iter()
            .filter(|other| self.def(**other).order < self.frame.visible);
        if fits(&id) {
            id
        } else {
            candidates
                .rev()
                .find(|other| fits(other))
                .copied()
                .unwrap_or(id)
        }
    }

    fn constructor(&mut self, id: DefId, params: Vec<ParamSig<'a>>) -> Signature<'a> {
        Signature {
            name: self.def_name(id),
            type_args: Vec::new(),
            formal: Vec::new(),
            params,
            ret: Ty::Void,
            home: Some(id),
            constant_args: true,
        }
    }

    /// The constructor's parameters of a parser, control or package.
    pub(super) fn constructor_params(&mut self, id: DefId, types: &[Ty]) -> Vec<ParamSig<'a>> {
        let (names, params): (&'a [Name], &'a [ast::Param]) = match self.decl(id) {
            Decl::Parser(d) => (&d.ty.type_params, &d.constructor_params),
            Decl::Control(d) => (&d.ty.type_params, &d.constructor_params),
            Decl::Package(d) => (&d.type_params, &d.params),
            _ => return Vec::new(),
        };
        self.params_with(id, names, types, params)
    }

    /// The run-time parameters of a parser or control type.
    pub(super) fn apply_params(&mut self, ty: &Ty) -> Rc<[ParamSig<'a>]> {
        let Ty::Block(id, types) = ty else {
            return Rc::from([]);
        };
        let signature = match self.decl(*id) {
            Decl::Parser(d) => &d.ty,
            Decl::Control(d) => &d.ty,
            Decl::ParserType(d) | Decl::ControlType(d) => d,
            _ => return Rc::from([]),
        };
        self.params_with(*id, &signature.type_params, types, &signature.params)
            .into()
    }

    fn params_with(
        &mut self,
        id: DefId,
        names: &'a [Name],
        types: &[Ty],
        params: &'a [ast::Param],
    ) -> Vec<ParamSig<'a>> {
        let frame = self.frame_of(id);
        self.within(frame, |sema| {
            for (name, ty) in names.iter().zip(types) {
                sema.rebind(name, Entity::Type(ty.clone()));
            }
            sema.params(params)
        })
    }

    fn make_package(
        &mut self,
        decl: &ast::ApplyType,
        params: &[ParamSig<'a>],
        mut bound: Bound,
        span: Span,
    ) -> Object {
        for given in &mut bound.args {
            if let Given::Object(_, object @ Object::Deferred(_)) = given
                && let Object::Deferred(index) = *object
            {
                *object = self
                    .make_deferred(index, Vec::new(), span)
                    .unwrap_or(Object::Unknown);
            }
        }
        let arg = |(param, given): (&ParamSig<'a>, &Given)| {
            let value = match given {
                Given::Object(_, Object::Parser(handle)) => PackageArg::Parser(*handle),
                Given::Object(_, Object::Control(handle)) => PackageArg::Control(*handle),
                Given::Object(_, Object::Extern(handle)) => PackageArg::Extern(*handle),
                Given::Object(_, Object::Package(package)) => {
                    PackageArg::Package(Box::new(package.0.clone()))
                }
                Given::Value(value) => self
                    .const_value(value.expr)
                    .map_or(PackageArg::Absent, PackageArg::Const),
                _ => PackageArg::Absent,
            };
            (param.name().to_string(), value)
        };
        let args = params.iter().zip(&bound.args).map(arg).collect();
        Object::Package(Rc::new(PackageValue(ir::Package {
            name: decl.name.to_string(),
            args,
        })))
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "an extern instance has this many parts"
    )]
    fn make_extern(
        &mut self,
        id: DefId,
        types: &[Ty],
        args: &'a [Argument],
        name: ObjectName,
        annotations: &'a [Annotation],
        init: Option<&'a [Decl]>,
        span: Span,
    ) -> Option<(Ty, Object)> {
        let Decl::ExternObject(decl) = self.decl(id) else {
            return None;
        };
        let constructor = decl
            .methods
            .iter()
            .filter(|m| {
                m.prototype.return_type.is_none() && m.prototype.name.text == decl.name.text
            })
            .find(|m| Self::accepts(&m.prototype.params, args));
        let Some(constructor) = constructor else {
            let message = format!("no constructor of `{}` takes these arguments", decl.name);
            self.err_with(
                code::INSTANCE,
                span,
                message,
                (decl.name.span, "declared here"),
                "",
            );
            return None;
        };
        let outer: Vec<(&'a Name, Ty)> =
            decl.type_params.iter().zip(types.iter().cloned()).collect();
        let signature = self.signature(Some(id), outer, &constructor.prototype, true);
        let params = signature.params.clone();
        let bound = self.bind_call(signature, &[], args, None, span)?;
        let ty = self.resolve(&Ty::Extern(id, types.into()));
        let instance = if self.checking() {
            None
        } else {
            Some(self.push_extern(&ty, name, annotations, &params, &bound, span))
        };
        let methods = self.abstract_methods(decl, &ty, instance, init, span)?;
        match instance {
            None => Some((ty, Object::Unknown)),
            Some(handle) => {
                self.ir.externs[handle].methods = methods;
                Some((ty, Object::Extern(handle)))
            }
        }
    }

    fn push_extern(
        &mut self,
        ty: &Ty,
        name: ObjectName,
        annotations: &'a [Annotation],
        params: &[ParamSig<'a>],
        bound: &Bound,
        span: Span,
    ) -> ir::Handle<ir::ExternInstance> {
        let constant = |given: &Given| match given {
            Given::Value(value) => self.const_value(value.expr).unwrap_or(Const::Absent),
            Given::Object(_, Object::Extern(handle)) => Const::Extern(*handle),
            _ => Const::Absent,
        };
        let args = params
            .iter()
            .zip(&bound.args)
            .map(|(p, g)| (p.name().to_string(), constant(g)))
            .collect();
        let (kind, types) = match ty {
            Ty::Extern(id, types) => (self.def_name(*id).to_string(), types.clone()),
            _ => (String::new(), Ty::none()),
        };
        let type_args = types.iter().map(|ty| self.ir_type(ty)).collect();
        let annotations = self.annotations(annotations);
        let instance = ir::ExternInstance {
            name,
            kind,
            type_args,
            args,
            methods: Vec::new(),
            annotations,
            span,
        };
        self.ir.externs.push(instance)
    }

    /// Lowers the implementations of abstract methods and checks that they are complete.
    fn abstract_methods(
        &mut self,
        decl: &'a ast::ExternObjectDecl,
        ty: &Ty,
        instance: Option<ir::Handle<ir::ExternInstance>>,
        init: Option<&'a [Decl]>,
        span: Span,
    ) -> Option<Vec<(String, ir::Handle<ir::Function>)>> {
        let wanted: Vec<&'a ast::MethodDecl> =
            decl.methods.iter().filter(|m| m.is_abstract).collect();
        if wanted.is_empty() && init.is_some() {
            let message = format!("`{}` has no abstract methods to initialize", decl.name);
            self.err(code::ABSTRACT, span, message, "remove the initializer");
            return None;
        }
        let given = init.unwrap_or_default();
        let mut frame = self.frame.clone();
        let object = instance.map_or(Object::Unknown, Object::Extern);
        frame.this = Some((ty.clone(), object));
        frame.scopes.push(Scope::default());
        let methods = self.within(frame, |sema| {
            let mut methods = Vec::new();
            for item in given {
                match item {
                    Decl::Function(function) => {
                        let fits = sema.implements(decl, ty, &wanted, function);
                        let mut inner = sema.frame.clone();
                        inner.scopes.push(Scope::default());
                        inner.context = Context::Function;
                        let body = sema.within(inner, |sema| {
                            sema.function_body(&function.prototype, &function.body, &[])
                        });
                        if fits {
                            let handle = sema.ir.functions.push(body);
                            methods.push((function.prototype.name.to_string(), handle));
                        }
                    }
                    Decl::Instance(inner) => sema.instance_decl(inner),
                    other => sema.err(
                        code::ABSTRACT,
                        other.span(),
                        "only methods and instances can stand here",
                        "",
                    ),
                }
            }
            methods
        });
        let defined = |m: &ast::MethodDecl| {
            given.iter().any(|item| {
                item.name()
                    .is_some_and(|name| name.text == m.prototype.name.text)
            })
        };
        if let Some(missing) = wanted.iter().find(|m| !defined(m) && !optional_method(m)) {
            let message = format!(
                "abstract method `{}` of `{}` is not implemented",
                missing.prototype.name, decl.name
            );
            let help = "declare the instance with `= { ... }` and write the method there";
            self.err_with(
                code::ABSTRACT,
                span,
                message,
                (missing.span, "declared here"),
                help,
            );
            return None;
        }
        Some(methods)
    }

    /// Whether a method implements an abstract one with the same signature.
    fn implements(
        &mut self,
        decl: &'a ast::ExternObjectDecl,
        ty: &Ty,
        wanted: &[&'a ast::MethodDecl],
        function: &'a ast::FunctionDecl,
    ) -> bool {
        let name = &function.prototype.name;
        let place = function.prototype.name.span;
        let method = wanted.iter().find(|m| {
            let given = function.prototype.params.len();
            let rest = m.prototype.params.get(given..);
            m.prototype.name.text == name.text
                && rest.is_some_and(|rest| rest.iter().all(is_optional))
        });
        let Some(method) = method else {
            self.err(
                code::ABSTRACT,
                place,
                format!("`{}` has no abstract method `{name}` like this", decl.name),
                "",
            );
            return false;
        };
        let Ty::Extern(id, types) = ty else {
            return false;
        };
        let outer: Vec<(&'a Name, Ty)> =
            decl.type_params.iter().zip(types.iter().cloned()).collect();
        let theirs = self.signature(Some(*id), outer, &method.prototype, false);
        let ours = self.signature(None, Vec::new(), &function.prototype, false);
        let fits = theirs.type_args.len() == ours.type_args.len()
            && self.unify(&theirs.ret, &ours.ret)
            && theirs
                .params
                .iter()
                .zip(&ours.params)
                .all(|(a, b)| a.direction == b.direction && self.unify(&a.ty, &b.ty));
        if !fits {
            let message =
                format!("`{name}` does not have the parameters and result of the abstract method");
            self.err_with(
                code::ABSTRACT,
                place,
                message,
                (method.span, "declared here"),
                "",
            );
        }
        fits
    }
}

fn is_optional(param: &ast::Param) -> bool {
    param
        .annotations
        .iter()
        .any(|a| a.name.as_str() == "optional")
}

fn optional_method(method: &ast::MethodDecl) -> bool {
    method
        .annotations
        .iter()
        .any(|a| a.name.as_str() == "optional")
}
