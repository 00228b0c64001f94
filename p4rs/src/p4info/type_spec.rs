//! Types as P4Info describes them, and the widths that controllers see.
//!
//! In: types of the IR. Out: `P4DataTypeSpec`s, and the definitions of named types in `P4TypeInfo`.
//! Invariant: every named type that a specification mentions is defined in `P4TypeInfo`.

use num_bigint::BigInt;
use p4runtime_proto::p4::config::v1 as pb;
use pb::p4_bitstring_like_type_spec::TypeSpec as Bitstring;
use pb::p4_data_type_spec::TypeSpec;

use super::annotation;
use crate::ir::{
    Annotated, Annotation, EnumType, FieldsType, Handle, NewType, Program, SerEnumType, Type,
};

/// The control-plane name of a type: `@name`, else as declared.
pub(super) fn name(declared: &str, annotations: &Vec<Annotation>) -> String {
    let renamed = annotations.annotation_string("name");
    renamed.map_or_else(
        || declared.to_owned(),
        |name| name.trim_start_matches('.').to_owned(),
    )
}

/// The width that a controller gives values of this type: of its translation if it has one (0 for strings).
pub(super) fn width(program: &Program, ty: Handle<Type>) -> i32 {
    if let Type::New(new) = &program.types[ty]
        && let Some((_, width)) = annotation::translation(&new.annotations)
    {
        return width.unwrap_or(0);
    }
    program
        .width(ty)
        .and_then(|width| i32::try_from(width).ok())
        .unwrap_or(0)
}

/// The name of a type made by `type`.
pub(super) fn new_type_name(program: &Program, ty: Handle<Type>) -> Option<pb::P4NamedType> {
    match &program.types[ty] {
        Type::New(new) => Some(pb::P4NamedType {
            name: new.name.clone(),
        }),
        _ => None,
    }
}

/// A value in the bytes that p4c puts into P4Info: as many as the width needs. Negative ones have none.
pub(super) fn bytes(value: &BigInt, width: i32) -> Option<Vec<u8>> {
    let value = value.to_biguint()?.to_bytes_be();
    let length = usize::try_from(width).ok()?.div_ceil(8);
    let value = if value == [0] { &[][..] } else { &value[..] };
    let mut padded = vec![0; length.saturating_sub(value.len())];
    padded.extend_from_slice(value);
    Some(padded)
}

/// Describes types, defining named ones in `info` on the way.
pub(super) struct TypeSpecs<'a> {
    pub program: &'a Program,
    pub info: &'a mut pb::P4TypeInfo,
}

impl TypeSpecs<'_> {
    /// The specification of a type; unset for types that hold no data.
    pub fn spec(&mut self, ty: Handle<Type>) -> pb::P4DataTypeSpec {
        let type_spec = match &self.program.types[ty] {
            Type::Bool => Some(TypeSpec::Bool(pb::P4BoolType {})),
            Type::Bits { .. } | Type::Varbit { .. } => self.bitstring(ty).map(TypeSpec::Bitstring),
            Type::Tuple(items) => {
                let members = items.iter().map(|&item| self.spec(item)).collect();
                Some(TypeSpec::Tuple(pb::P4TupleTypeSpec { members }))
            }
            Type::Struct(fields) => Some(TypeSpec::Struct(self.structure(fields))),
            Type::Header(fields) => Some(TypeSpec::Header(self.header(fields))),
            Type::Union(fields) => Some(TypeSpec::HeaderUnion(self.union(fields))),
            Type::Stack { elem, size } => self.stack(*elem, *size),
            Type::Enum(en) => Some(TypeSpec::Enum(self.enumeration(en))),
            Type::SerEnum(en) => Some(TypeSpec::SerializableEnum(self.ser_enum(en))),
            Type::New(new) => Some(TypeSpec::NewType(self.new_type(new))),
            Type::Error => {
                let members = self.program.errors.clone();
                self.info
                    .error
                    .get_or_insert(pb::P4ErrorTypeSpec { members });
                Some(TypeSpec::Error(pb::P4ErrorType {}))
            }
            Type::Void
            | Type::Integer
            | Type::MatchKind
            | Type::String
            | Type::List(_)
            | Type::Extern { .. }
            | Type::ApplyResult => None,
        };
        pb::P4DataTypeSpec { type_spec }
    }

    fn bitstring(&self, ty: Handle<Type>) -> Option<pb::P4BitstringLikeTypeSpec> {
        let bits = |width: u32| i32::try_from(width).unwrap_or(i32::MAX);
        let spec = match &self.program.types[self.program.resolve(ty)] {
            Type::Bool => Bitstring::Bit(pb::P4BitTypeSpec { bitwidth: 1 }),
            Type::Bits {
                width,
                signed: true,
            } => Bitstring::Int(pb::P4IntTypeSpec {
                bitwidth: bits(*width),
            }),
            Type::Bits {
                width,
                signed: false,
            } => Bitstring::Bit(pb::P4BitTypeSpec {
                bitwidth: bits(*width),
            }),
            Type::Varbit { max } => Bitstring::Varbit(pb::P4VarbitTypeSpec {
                max_bitwidth: bits(*max),
            }),
            _ => return None,
        };
        Some(pb::P4BitstringLikeTypeSpec {
            type_spec: Some(spec),
            ..Default::default()
        })
    }

    fn structure(&mut self, fields: &FieldsType) -> pb::P4NamedType {
        let name = name(&fields.name, &fields.annotations);
        if !self.info.structs.contains_key(&name) {
            let mut spec = pb::P4StructTypeSpec::default();
            for field in &fields.fields {
                spec.members.push(pb::p4_struct_type_spec::Member {
                    name: self::name(&field.name, &field.annotations),
                    type_spec: Some(self.spec(field.ty)),
                });
            }
            self.info.structs.insert(name.clone(), spec);
        }
        pb::P4NamedType { name }
    }

    fn header(&mut self, fields: &FieldsType) -> pb::P4NamedType {
        let name = name(&fields.name, &fields.annotations);
        if !self.info.headers.contains_key(&name) {
            let mut spec = pb::P4HeaderTypeSpec::default();
            for field in flatten(self.program, fields) {
                self.spec(field.ty);
                spec.members.push(pb::p4_header_type_spec::Member {
                    name: field.name,
                    type_spec: self.bitstring(field.ty),
                });
            }
            self.info.headers.insert(name.clone(), spec);
        }
        pb::P4NamedType { name }
    }

    fn union(&mut self, fields: &FieldsType) -> pb::P4NamedType {
        let name = name(&fields.name, &fields.annotations);
        if !self.info.header_unions.contains_key(&name) {
            let mut spec = pb::P4HeaderUnionTypeSpec::default();
            for field in &fields.fields {
                let header = match self.spec(field.ty).type_spec {
                    Some(TypeSpec::Header(header)) => Some(header),
                    _ => None,
                };
                let name = self::name(&field.name, &field.annotations);
                spec.members
                    .push(pb::p4_header_union_type_spec::Member { name, header });
            }
            self.info.header_unions.insert(name.clone(), spec);
        }
        pb::P4NamedType { name }
    }

    fn stack(&mut self, elem: Handle<Type>, size: u32) -> Option<TypeSpec> {
        let size = i32::try_from(size).unwrap_or(i32::MAX);
        match self.spec(elem).type_spec {
            Some(TypeSpec::Header(header)) => {
                Some(TypeSpec::HeaderStack(pb::P4HeaderStackTypeSpec {
                    header: Some(header),
                    size,
                }))
            }
            Some(TypeSpec::HeaderUnion(union)) => {
                let header_union = Some(union);
                Some(TypeSpec::HeaderUnionStack(pb::P4HeaderUnionStackTypeSpec {
                    header_union,
                    size,
                }))
            }
            _ => None,
        }
    }

    fn enumeration(&mut self, en: &EnumType) -> pb::P4NamedType {
        let name = name(&en.name, &en.annotations);
        let member = |name: &String| pb::p4_enum_type_spec::Member {
            name: name.clone(),
            ..Default::default()
        };
        self.info
            .enums
            .entry(name.clone())
            .or_insert_with(|| pb::P4EnumTypeSpec {
                members: en.members.iter().map(member).collect(),
                ..Default::default()
            });
        pb::P4NamedType { name }
    }

    fn ser_enum(&mut self, en: &SerEnumType) -> pb::P4NamedType {
        let name = name(&en.name, &en.annotations);
        let bitwidth = width(self.program, en.under);
        let member =
            |(name, value): &(String, BigInt)| pb::p4_serializable_enum_type_spec::Member {
                name: name.clone(),
                value: bytes(value, bitwidth).unwrap_or_default(),
                ..Default::default()
            };
        self.info
            .serializable_enums
            .entry(name.clone())
            .or_insert_with(|| pb::P4SerializableEnumTypeSpec {
                underlying_type: Some(pb::P4BitTypeSpec { bitwidth }),
                members: en.members.iter().map(member).collect(),
                ..Default::default()
            });
        pb::P4NamedType { name }
    }

    fn new_type(&mut self, new: &NewType) -> pb::P4NamedType {
        use pb::p4_new_type_spec::Representation;
        let name = name(&new.name, &new.annotations);
        if !self.info.new_types.contains_key(&name) {
            let mut under = new.under;
            while let Type::New(inner) = &self.program.types[under] {
                under = inner.under;
            }
            let original = self.spec(under);
            let representation = match annotation::translation(&new.annotations) {
                Some((uri, width)) => Representation::TranslatedType(translated(uri, width)),
                None => Representation::OriginalType(original),
            };
            let mut spec = pb::P4NewTypeSpec {
                representation: Some(representation),
                ..Default::default()
            };
            annotation::fill(
                &new.annotations,
                &["p4runtime_translation"],
                &mut spec.annotations,
                &mut spec.structured_annotations,
            );
            self.info.new_types.insert(name.clone(), spec);
        }
        pb::P4NamedType { name }
    }
}

fn translated(uri: String, width: Option<i32>) -> pb::P4NewTypeTranslation {
    use pb::p4_new_type_translation::{SdnString, SdnType};
    let sdn_type = width.map_or(SdnType::SdnString(SdnString {}), SdnType::SdnBitwidth);
    pb::P4NewTypeTranslation {
        uri,
        sdn_type: Some(sdn_type),
    }
}

/// A header's field as controllers see it: nested structs are spread out, names joined by dots.
#[derive(Clone, Debug)]
pub(super) struct FlatField {
    pub name: String,
    pub ty: Handle<Type>,
    pub annotations: Vec<Annotation>,
}

impl Annotated for FlatField {
    fn annotations(&self) -> &[Annotation] {
        &self.annotations
    }
}

/// The fields of a header, those of nested structs in their place.
pub(super) fn flatten(program: &Program, fields: &FieldsType) -> Vec<FlatField> {
    let mut flat = Vec::new();
    for field in &fields.fields {
        let name = name(&field.name, &field.annotations);
        match &program.types[field.ty] {
            Type::Struct(inner) => {
                for mut nested in flatten(program, inner) {
                    nested.name = format!("{name}.{}", nested.name);
                    let outer = field
                        .annotations
                        .iter()
                        .filter(|a| nested.annotation(&a.name).is_none());
                    let outer: Vec<_> = outer.cloned().collect();
                    nested.annotations.extend(outer);
                    flat.push(nested);
                }
            }
            _ => flat.push(FlatField {
                name,
                ty: field.ty,
                annotations: field.annotations.clone(),
            }),
        }
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_padded_to_the_width() {
        assert_eq!(bytes(&0.into(), 9), Some(vec![0, 0]));
        assert_eq!(bytes(&511.into(), 9), Some(vec![1, 255]));
        assert_eq!(bytes(&1.into(), 1), Some(vec![1]));
        assert_eq!(bytes(&(-1).into(), 8), None);
    }
}
