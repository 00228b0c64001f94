//! Prints a syntax tree as P4 source.
//!
//! In: a [`Program`]. Out: text that parses to the same tree, spans apart (`{:-?}` of both is equal). Parentheses stand
//! only where precedence needs them; array suffixes stand at the type.

use std::fmt::Write;

use super::ast::{
    ActionDecl, ActionRef, Annotation, AnnotationBody, AnnotationToken, AnnotationTokenKind,
    ApplyType, ConstDecl, Decl, Direction, Entry, EnumDecl, ExternObjectDecl, Field, InstanceDecl,
    KeyElement, Keyset, MembersDecl, Name, Param, Path, Program, PropertyValue, Prototype,
    StructDecl, StructKind, TableDecl, TypedefDecl, TypedefTarget, VariableDecl,
};
use super::parser::FIELD_LIST;

mod body;
mod expr;
#[cfg(test)]
mod tests;

/// Prints a program.
pub fn print(program: &Program) -> String {
    let mut printer = Printer::default();
    for decl in &program.decls {
        printer.decl(decl);
    }
    printer.out
}

#[derive(Default)]
struct Printer {
    out: String,
    indent: usize,
}

impl Printer {
    fn put(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// Writing to a string cannot fail.
    fn fmt(&mut self, args: std::fmt::Arguments<'_>) {
        let _ = self.out.write_fmt(args);
    }

    fn line(&mut self) {
        self.out.push('\n');
        for _ in 0..self.indent {
            self.out.push_str("    ");
        }
    }

    /// `{`, the items each on its line, `}`.
    fn braces<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T)) {
        self.put("{");
        self.indent += 1;
        for one in items {
            self.line();
            item(self, one);
        }
        self.indent -= 1;
        self.line();
        self.put("}");
    }

    /// Items with commas between.
    fn commas<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T)) {
        for (index, one) in items.iter().enumerate() {
            if index > 0 {
                self.put(", ");
            }
            item(self, one);
        }
    }

    fn name(&mut self, name: &Name) {
        self.put(&name.text);
    }

    fn path(&mut self, path: &Path) {
        if path.absolute {
            self.put(".");
        }
        self.name(&path.name);
    }

    // ------------------------------------------------------------ annotations

    /// Annotations, each followed by a space.
    fn annotations(&mut self, annotations: &[Annotation]) {
        for annotation in annotations {
            self.annotation(annotation);
            self.put(" ");
        }
    }

    fn annotation(&mut self, annotation: &Annotation) {
        self.put("@");
        self.name(&annotation.name);
        match &annotation.body {
            AnnotationBody::None => {}
            AnnotationBody::Tokens(tokens) => {
                self.put("(");
                tokens.iter().for_each(|token| self.annotation_token(token));
                self.put(")");
            }
            AnnotationBody::Expressions(expressions) => {
                let (open, close) = match annotation.name.as_str() {
                    FIELD_LIST => ("(", ")"),
                    _ => ("[", "]"),
                };
                self.put(open);
                self.commas(expressions, Self::expr);
                self.put(close);
            }
            AnnotationBody::KeyValues(pairs) => {
                self.put("[");
                self.commas(pairs, Self::key_value);
                self.put("]");
            }
        }
    }

    fn annotation_token(&mut self, token: &AnnotationToken) {
        if token.spaced {
            self.put(" ");
        }
        match token.kind {
            AnnotationTokenKind::Str => self.fmt(format_args!("\"{}\"", token.text)),
            _ => self.put(&token.text),
        }
    }

    // ------------------------------------------------------------ declarations

    fn decl(&mut self, decl: &Decl) {
        match decl {
            Decl::Const(decl) => self.const_decl(decl),
            Decl::Variable(decl) => self.variable(decl, ";"),
            Decl::Instance(decl) => self.instance(decl),
            Decl::Action(decl) => self.action(decl),
            Decl::Function(decl) => {
                self.annotations(&decl.annotations);
                self.prototype(&decl.prototype);
                self.put(" ");
                self.block(&decl.body);
            }
            Decl::Parser(decl) => self.parser(decl),
            Decl::ParserType(ty) => self.apply_type("parser", ty, ";"),
            Decl::Control(decl) => self.control(decl),
            Decl::ControlType(ty) => self.apply_type("control", ty, ";"),
            Decl::Package(ty) => self.apply_type("package", ty, ";"),
            Decl::ExternFunction(decl) => {
                self.annotations(&decl.annotations);
                self.put("extern ");
                self.prototype(&decl.prototype);
                self.put(";");
            }
            Decl::ExternObject(decl) => self.extern_object(decl),
            Decl::ExternForward(name) => self.fmt(format_args!("extern {name};")),
            Decl::Struct(decl) => self.structure(decl),
            Decl::Enum(decl) => self.enumeration(decl),
            Decl::Error(decl) => self.members("error", decl),
            Decl::MatchKind(decl) => self.members("match_kind", decl),
            Decl::Typedef(decl) => self.typedef("typedef", decl),
            Decl::NewType(decl) => self.typedef("type", decl),
            Decl::ValueSet(decl) => {
                self.annotations(&decl.annotations);
                self.put("value_set<");
                self.type_ref(&decl.element);
                self.put(">(");
                self.expr(&decl.size);
                self.fmt(format_args!(") {};", decl.name));
            }
            Decl::Table(decl) => self.table(decl),
        }
        if self.indent == 0 {
            self.put("\n");
        }
    }

    fn const_decl(&mut self, decl: &ConstDecl) {
        self.annotations(&decl.annotations);
        self.put("const ");
        self.type_ref(&decl.ty);
        self.fmt(format_args!(" {} = ", decl.name));
        self.expr(&decl.value);
        self.put(";");
    }

    fn variable(&mut self, decl: &VariableDecl, end: &str) {
        self.annotations(&decl.annotations);
        self.type_ref(&decl.ty);
        self.fmt(format_args!(" {}", decl.name));
        if let Some(value) = &decl.value {
            self.put(" = ");
            self.expr(value);
        }
        self.put(end);
    }

    fn instance(&mut self, decl: &InstanceDecl) {
        self.annotations(&decl.annotations);
        self.type_ref(&decl.ty);
        self.arguments(&decl.args);
        self.fmt(format_args!(" {}", decl.name));
        if let Some(decls) = &decl.initializer {
            self.put(" = ");
            self.braces(decls, Self::decl);
        }
        self.put(";");
    }

    fn action(&mut self, decl: &ActionDecl) {
        self.annotations(&decl.annotations);
        self.fmt(format_args!("action {}", decl.name));
        self.params(&decl.params);
        self.put(" ");
        self.block(&decl.body);
    }

    fn type_params(&mut self, params: &[Name]) {
        if !params.is_empty() {
            self.put("<");
            self.commas(params, Self::name);
            self.put(">");
        }
    }

    fn params(&mut self, params: &[Param]) {
        self.put("(");
        self.commas(params, |this, param| {
            this.annotations(&param.annotations);
            this.put(match param.direction {
                Direction::None => "",
                Direction::In => "in ",
                Direction::Out => "out ",
                Direction::InOut => "inout ",
            });
            this.type_ref(&param.ty);
            this.fmt(format_args!(" {}", param.name));
            if let Some(default) = &param.default {
                this.put(" = ");
                this.expr(default);
            }
        });
        self.put(")");
    }

    fn apply_type(&mut self, keyword: &str, ty: &ApplyType, end: &str) {
        self.annotations(&ty.annotations);
        self.fmt(format_args!("{keyword} {}", ty.name));
        self.type_params(&ty.type_params);
        self.params(&ty.params);
        self.put(end);
    }

    fn prototype(&mut self, prototype: &Prototype) {
        if let Some(ty) = &prototype.return_type {
            self.type_ref(ty);
            self.put(" ");
        }
        self.name(&prototype.name);
        self.type_params(&prototype.type_params);
        self.params(&prototype.params);
    }

    fn extern_object(&mut self, decl: &ExternObjectDecl) {
        self.annotations(&decl.annotations);
        self.fmt(format_args!("extern {}", decl.name));
        self.type_params(&decl.type_params);
        self.put(" ");
        self.braces(&decl.methods, |this, method| {
            this.annotations(&method.annotations);
            if method.is_abstract {
                this.put("abstract ");
            }
            this.prototype(&method.prototype);
            this.put(";");
        });
    }

    fn structure(&mut self, decl: &StructDecl) {
        self.annotations(&decl.annotations);
        self.put(match decl.kind {
            StructKind::Struct => "struct ",
            StructKind::Header => "header ",
            StructKind::HeaderUnion => "header_union ",
        });
        self.name(&decl.name);
        self.type_params(&decl.type_params);
        self.put(" ");
        self.braces(&decl.fields, Self::field);
    }

    fn field(&mut self, field: &Field) {
        self.annotations(&field.annotations);
        self.type_ref(&field.ty);
        self.fmt(format_args!(" {};", field.name));
    }

    fn enumeration(&mut self, decl: &EnumDecl) {
        self.annotations(&decl.annotations);
        self.put("enum ");
        if let Some(ty) = &decl.underlying {
            self.type_ref(ty);
            self.put(" ");
        }
        self.fmt(format_args!("{} ", decl.name));
        self.braces(&decl.members, |this, member| {
            this.name(&member.name);
            if let Some(value) = &member.value {
                this.put(" = ");
                this.expr(value);
            }
            this.put(",");
        });
    }

    fn members(&mut self, keyword: &str, decl: &MembersDecl) {
        self.fmt(format_args!("{keyword} {{ "));
        self.commas(&decl.members, Self::name);
        self.put(" }");
    }

    fn typedef(&mut self, keyword: &str, decl: &TypedefDecl) {
        self.annotations(&decl.annotations);
        self.fmt(format_args!("{keyword} "));
        match &decl.target {
            TypedefTarget::Type(ty) => {
                self.type_ref(ty);
                self.fmt(format_args!(" {}", decl.name));
            }
            TypedefTarget::Inline { decl: inner, sizes } => {
                self.indent += 1;
                self.decl(inner);
                self.indent -= 1;
                self.fmt(format_args!(" {}", decl.name));
                for size in sizes {
                    self.put("[");
                    self.expr(size);
                    self.put("]");
                }
            }
        }
        self.put(";");
    }

    // ------------------------------------------------------------ tables

    fn table(&mut self, decl: &TableDecl) {
        self.annotations(&decl.annotations);
        self.fmt(format_args!("table {} ", decl.name));
        self.braces(&decl.properties, |this, property| {
            this.annotations(&property.annotations);
            if property.is_const {
                this.put("const ");
            }
            this.fmt(format_args!("{} = ", property.name));
            match &property.value {
                PropertyValue::Key(elements) => this.braces(elements, Self::key_element),
                PropertyValue::Actions(actions) => this.braces(actions, |this, action| {
                    this.action_ref(action);
                    this.put(";");
                }),
                PropertyValue::Entries(entries) => this.braces(entries, Self::entry),
                PropertyValue::Expr(value) => {
                    this.expr(value);
                    this.put(";");
                }
            }
        });
    }

    fn key_element(&mut self, element: &KeyElement) {
        self.expr(&element.expr);
        self.fmt(format_args!(" : {}", element.match_kind));
        self.trailing_annotations(&element.annotations);
        self.put(";");
    }

    fn trailing_annotations(&mut self, annotations: &[Annotation]) {
        for annotation in annotations {
            self.put(" ");
            self.annotation(annotation);
        }
    }

    fn action_ref(&mut self, action: &ActionRef) {
        self.annotations(&action.annotations);
        self.path(&action.path);
        if let Some(args) = &action.args {
            self.arguments(args);
        }
    }

    fn entry(&mut self, entry: &Entry) {
        if entry.is_const {
            self.put("const ");
        }
        if let Some(priority) = &entry.priority {
            self.put("priority = (");
            self.expr(priority);
            self.put(") : ");
        }
        self.keyset(&entry.keyset);
        self.put(" : ");
        self.action_ref(&entry.action);
        self.trailing_annotations(&entry.annotations);
        self.put(";");
    }

    fn keyset(&mut self, keyset: &Keyset) {
        self.put("(");
        self.commas(&keyset.elements, Self::expr);
        self.put(")");
    }
}
