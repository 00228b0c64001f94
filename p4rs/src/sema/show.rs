//! Types as text, the way they are written in P4.
//!
//! In: a type. Out: its source form. Invariant: closed types print as they would be written.

use super::Sema;
use super::ty::{DefId, Ty};

impl<'a> Sema<'a> {
    /// The type as a reader would write it.
    pub(super) fn show(&self, ty: &Ty) -> String {
        match self.resolve(ty) {
            Ty::Error => "<unknown>".into(),
            Ty::Void => "void".into(),
            Ty::Bool => "bool".into(),
            Ty::Bits {
                width,
                signed: false,
            } => format!("bit<{width}>"),
            Ty::Bits {
                width,
                signed: true,
            } => format!("int<{width}>"),
            Ty::Integer => "int".into(),
            Ty::Varbit(max) => format!("varbit<{max}>"),
            Ty::ErrorCode => "error".into(),
            Ty::MatchKind => "match_kind".into(),
            Ty::Str => "string".into(),
            Ty::Enum(def) | Ty::SerEnum(def) | Ty::New(def) => self.def_name(def).to_string(),
            Ty::Fields(_, def, args) | Ty::Extern(def, args) | Ty::Block(def, args) => {
                self.show_named(def, &args)
            }
            Ty::Stack(elem, size) => format!("{}[{size}]", self.show(&elem)),
            Ty::Tuple(items) => format!("tuple<{}>", self.show_all(&items)),
            Ty::List(elem) => format!("list<{}>", self.show(&elem)),
            Ty::ListLit(items, _) => format!("{{ {} }}", self.show_all(&items)),
            Ty::RecordLit(items, _) => {
                let parts: Vec<String> = items
                    .iter()
                    .map(|(name, ty)| format!("{name} = {}", self.show(ty)))
                    .collect();
                format!("{{ {} }}", parts.join(", "))
            }
            Ty::Invalid => "{#}".into(),
            Ty::Dots => "...".into(),
            Ty::Param(index) => self.params[index as usize].to_string(),
            Ty::Infer(_) => "_".into(),
            Ty::Apply(_) => "apply_result".into(),
            Ty::ActionRun(_) => "action_run".into(),
        }
    }

    fn show_named(&self, def: DefId, args: &[Ty]) -> String {
        let name = self.def_name(def);
        if args.is_empty() {
            name.to_string()
        } else {
            format!("{name}<{}>", self.show_all(args))
        }
    }

    fn show_all(&self, items: &[Ty]) -> String {
        items
            .iter()
            .map(|ty| self.show(ty))
            .collect::<Vec<_>>()
            .join(", ")
    }
}
