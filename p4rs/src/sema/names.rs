//! Scopes: what a name means at a place.
//!
//! In: names as written. Out: [`Entity`]s. Invariant: a body sees the locals declared before it, innermost first, then
//! the top-level declarations that stand before the declaration it belongs to.

use std::rc::Rc;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::argument::ParamSig;
use super::code;
use super::ty::{DefId, Ty};
use super::{Def, Sema};
use crate::front::ast::{self, Decl, Path};
use crate::ir::{self, Handle};
use crate::source::Span;

/// An object at elaboration time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Object {
    /// Not known: the check run.
    Unknown,
    /// The packet at hand.
    Packet,
    Extern(Handle<ir::ExternInstance>),
    Parser(Handle<ir::Parser>),
    Control(Handle<ir::Control>),
    /// Boxed in an index of packages under construction.
    Package(Rc<PackageValue>),
    /// A parser or control that is made when it is applied, once per set of objects passed then.
    Deferred(u32),
    /// An optional parameter left out.
    Absent,
}

/// A package instance; compared by identity.
#[derive(Debug)]
pub(super) struct PackageValue(pub ir::Package);

impl PartialEq for PackageValue {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}
impl Eq for PackageValue {}

/// An action that can be called or listed.
pub(super) struct ActionInfo<'a> {
    pub decl: &'a ast::ActionDecl,
    pub handle: Handle<ir::Action>,
    pub params: Vec<ParamSig<'a>>,
}

/// What a local name stands for.
#[derive(Clone)]
pub(super) enum Entity<'a> {
    /// A variable or parameter; `known` for constructor parameters in the check run.
    Var {
        var: Handle<ir::Var>,
        ty: Ty,
        writable: bool,
        known: bool,
    },
    /// A constant.
    Const {
        expr: Handle<ir::Expr>,
        ty: Ty,
    },
    Object {
        ty: Ty,
        object: Object,
    },
    Type(Ty),
    Action(Rc<ActionInfo<'a>>),
    Table(u32),
    ValueSet {
        handle: Handle<ir::ValueSet>,
        ty: Ty,
    },
    /// A declaration that was refused.
    Bad,
}

/// One scope.
#[derive(Default, Clone)]
pub(super) struct Scope<'a> {
    pub names: FxHashMap<Arc<str>, (Entity<'a>, Span)>,
    /// Those of the names that are parameters.
    pub params: rustc_hash::FxHashSet<Arc<str>>,
}

/// What kind of body is being lowered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Context {
    #[default]
    Top,
    ParserLocals,
    State,
    ControlLocals,
    Apply,
    Action,
    Function,
    /// Keys and properties of a table.
    Table,
}

/// The lexical surroundings of the code being lowered.
#[derive(Default, Clone)]
pub(super) struct Frame<'a> {
    pub scopes: Vec<Scope<'a>>,
    /// Top-level declarations of a smaller order are visible.
    pub visible: usize,
    pub context: Context,
    /// Control-plane path of the instance, without a final dot.
    pub path: String,
    pub hidden: bool,
    /// The result type, in functions.
    pub ret: Option<Ty>,
    pub loops: u32,
    /// `this`, in methods.
    pub this: Option<(Ty, Object)>,
    /// The top-level declaration this belongs to.
    pub owner: Option<DefId>,
}

/// What a top-level name has been lowered to.
#[derive(Clone)]
pub(super) enum GlobalValue<'a> {
    /// Being worked on: meeting it again is recursion.
    Busy,
    Entity(Entity<'a>),
}

/// The meaning of a name.
pub(super) enum Found<'a> {
    Local(Entity<'a>),
    /// All visible top-level declarations of the name, the latest last.
    Global(Vec<DefId>),
}

impl<'a> Sema<'a> {
    pub(super) fn def(&self, id: DefId) -> &Def<'a> {
        &self.defs[id.0 as usize]
    }

    pub(super) fn decl(&self, id: DefId) -> &'a Decl {
        self.def(id).decl
    }

    pub(super) fn def_name(&self, id: DefId) -> Arc<str> {
        self.decl(id)
            .name()
            .map_or_else(|| Arc::from(""), |name| name.text.clone())
    }

    /// A frame for the body of a top-level declaration.
    pub(super) fn frame_of(&self, id: DefId) -> Frame<'a> {
        Frame {
            visible: self.def(id).sees,
            owner: Some(id),
            scopes: vec![Scope::default()],
            ..Frame::default()
        }
    }

    /// Runs `work` in another frame.
    pub(super) fn within<R>(&mut self, frame: Frame<'a>, work: impl FnOnce(&mut Self) -> R) -> R {
        let saved = std::mem::replace(&mut self.frame, frame);
        let result = work(self);
        self.frame = saved;
        result
    }

    /// Runs `work` in a scope of its own.
    pub(super) fn scoped<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        self.frame.scopes.push(Scope::default());
        let result = work(self);
        self.frame.scopes.pop();
        result
    }

    /// Declares a local name; a second one in the same scope is an error.
    pub(super) fn bind(&mut self, name: &ast::Name, entity: Entity<'a>) {
        let in_body = !matches!(
            self.frame.context,
            Context::Top | Context::ControlLocals | Context::ParserLocals
        );
        let mut outer = self.frame.scopes.iter().rev().skip(1);
        let hidden = outer.find(|scope| in_body && scope.params.contains(&name.text));
        if let Some((_, place)) = hidden.and_then(|scope| scope.names.get(&name.text)) {
            let place = *place;
            let message = format!("`{name}` hides the parameter of this name");
            self.err_with(
                code::SHADOWED,
                name.span,
                message,
                (place, "the parameter"),
                "rename one of them",
            );
        }
        self.declare(name, entity);
    }

    fn declare(&mut self, name: &ast::Name, entity: Entity<'a>) {
        let Some(scope) = self.frame.scopes.last_mut() else {
            return;
        };
        match scope.names.get(&name.text) {
            Some((_, earlier)) => {
                let earlier = *earlier;
                let message = format!("`{name}` is declared twice");
                self.err_with(
                    code::DUPLICATE,
                    name.span,
                    message,
                    (earlier, "first here"),
                    "rename one of them",
                );
            }
            None => {
                scope.names.insert(name.text.clone(), (entity, name.span));
            }
        }
    }

    /// Declares a parameter.
    pub(super) fn bind_param(&mut self, name: &ast::Name, entity: Entity<'a>) {
        self.declare(name, entity);
        if let Some(scope) = self.frame.scopes.last_mut() {
            scope.params.insert(name.text.clone());
        }
    }

    /// Declares a type name without a place of its own.
    pub(super) fn bind_type(&mut self, name: &ast::Name, ty: Ty) {
        self.bind(name, Entity::Type(ty));
    }

    /// Replaces what a name of the innermost scopes stands for.
    pub(super) fn rebind(&mut self, name: &ast::Name, entity: Entity<'a>) {
        if let Some(scope) = self.frame.scopes.last_mut() {
            scope.names.insert(name.text.clone(), (entity, name.span));
        }
    }

    /// Finds a name without complaint.
    pub(super) fn find_name(&self, path: &Path) -> Option<Found<'a>> {
        let name: &str = &path.name.text;
        if !path.absolute {
            for scope in self.frame.scopes.iter().rev() {
                if let Some((entity, _)) = scope.names.get(name) {
                    return Some(Found::Local(entity.clone()));
                }
            }
        }
        let visible: Vec<DefId> = self
            .globals
            .get(name)?
            .iter()
            .copied()
            .filter(|id| self.def(*id).order < self.frame.visible)
            .collect();
        if visible.is_empty() {
            None
        } else {
            Some(Found::Global(visible))
        }
    }

    /// Finds a name or complains.
    pub(super) fn look_up(&mut self, path: &Path) -> Option<Found<'a>> {
        let found = self.find_name(path);
        if found.is_none() {
            self.unknown_name(path);
        }
        found
    }

    fn unknown_name(&mut self, path: &Path) {
        let name = path.name.text.clone();
        let later = self.globals.get(&name).and_then(|ids| ids.first().copied());
        match later {
            Some(id) => {
                let place = self.decl(id).name().map_or(Span::NONE, |n| n.span);
                let itself = self.frame.owner == Some(id);
                let message = if itself {
                    format!("`{name}` refers to itself")
                } else {
                    format!("`{name}` is used before its declaration")
                };
                let help = if itself {
                    "P4 has no recursion"
                } else {
                    "move the declaration up"
                };
                self.err_with(
                    code::UNKNOWN_NAME,
                    path.span,
                    message,
                    (place, "declared here"),
                    help,
                );
            }
            None => {
                let near = self.similar(&name);
                let help = near
                    .map(|near| format!("did you mean `{near}`?"))
                    .unwrap_or_default();
                self.err(
                    code::UNKNOWN_NAME,
                    path.span,
                    format!("`{name}` is not declared"),
                    &help,
                );
            }
        }
    }

    /// A visible name that differs by one or two letters.
    fn similar(&self, name: &str) -> Option<Arc<str>> {
        let locals = self
            .frame
            .scopes
            .iter()
            .rev()
            .flat_map(|scope| scope.names.keys());
        let globals = self.globals.keys();
        locals
            .chain(globals)
            .filter(|known| within_two(known, name))
            .min()
            .cloned()
    }
}

/// Whether two words are at most two edits apart (and not wholly different).
fn within_two(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > 2 || a.len().min(b.len()) < 3 || a.len() > 64 {
        return false;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut previous = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let here = (previous + usize::from(x != y))
                .min(row[j] + 1)
                .min(row[j + 1] + 1);
            previous = row[j + 1];
            row[j + 1] = here;
        }
    }
    row[b.len()] <= 2
}
